"""Directories that transformers wrote, and transformers reading ours. `parity` compares the logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tf_mlm
from tf_mlm.errors import CheckpointError, NewHeadWarning, TokenizerWarning
from tf_mlm.model.masked_lm import MaskedLM

pytestmark = pytest.mark.peers

SIZES = {
    "vocab_size": 25,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
}


def hidden_states(model: Any, ids: list[int]) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model.eval()(torch.tensor([ids])).last_hidden_state.numpy()[0]


@pytest.mark.parametrize("name", ["BertModel", "BertForSequenceClassification", "BertForPreTraining"])
def test_models_for_other_tasks(name: str, tmp_path: Path) -> None:
    import transformers

    model = getattr(transformers, name)(transformers.BertConfig(**SIZES))
    model.save_pretrained(tmp_path)
    if name == "BertForPreTraining":
        ours = tf_mlm.load(tmp_path)  # has the masked-LM head, and the other one
    else:
        with pytest.warns(NewHeadWarning, match="The head is new"):
            ours = tf_mlm.load(tmp_path)
    ids = [2, 7, 8, 9, 3]
    expected = hidden_states(getattr(model, "bert", model), ids)
    np.testing.assert_allclose(ours.encoder([ids], [5])[0], expected, atol=1e-5)


def test_electras_discriminator_has_no_masked_lm_head(tmp_path: Path) -> None:
    import transformers

    model = transformers.ElectraForPreTraining(transformers.ElectraConfig(**SIZES, embedding_size=8))
    model.save_pretrained(tmp_path)
    with pytest.warns(NewHeadWarning, match=r"ignored: discriminator_predictions"):
        ours = tf_mlm.load(tmp_path)
    ids = [2, 7, 8, 9, 3]
    np.testing.assert_allclose(ours.encoder([ids], [5])[0], hidden_states(model.electra, ids), atol=1e-5)


def test_a_model_loads_without_a_tokenizer_that_is_not_known_and_says_so(tmp_path: Path) -> None:
    import transformers

    transformers.XLMRobertaForMaskedLM(transformers.XLMRobertaConfig(**SIZES)).save_pretrained(tmp_path)
    assert tf_mlm.load(tmp_path).preprocessor is None  # there are no files of one
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "XLNetTokenizer"}')
    with pytest.warns(TokenizerWarning, match=r"not known here: tokenizer_class='XLNetTokenizer'"):
        ours = tf_mlm.load(tmp_path)
    assert ours.preprocessor is None
    with pytest.raises(ValueError, match="must have a preprocessor"):
        tf_mlm.FillMask(ours)


def test_what_keras_heads_add_to_the_config_does_not_disturb_transformers(tmp_path: Path) -> None:
    import transformers

    config = tf_mlm.ModelConfig(**SIZES, head_hidden_act="relu", head_layer_norm_eps=1e-5)
    tf_mlm.save(MaskedLM.from_config(config, seed=0), tmp_path)
    _, info = transformers.BertForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (lambda weights: [1, 2], "the whole of type list"),
        (lambda weights: {"epoch": 3, "state_dict": weights}, "epoch of type int"),
    ],
    ids=["a list", "nested"],
)
def test_pytorch_files_that_hold_something_else(make: Any, received: str, tmp_path: Path) -> None:
    import torch
    import transformers

    model = transformers.BertForMaskedLM(transformers.BertConfig(**SIZES))
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    path = tmp_path / "pytorch_model.bin"
    torch.save(make(model.state_dict()), path)
    with pytest.raises(CheckpointError, match=rf"pytorch_model.bin` must hold tensors by name.*{received}"):
        tf_mlm.load(tmp_path)
    torch.save(model.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin` is not a readable PyTorch checkpoint"):
        tf_mlm.load(tmp_path)


def test_a_type_that_numpy_does_not_know_is_named(tmp_path: Path) -> None:
    import safetensors.torch
    import torch
    import transformers

    transformers.BertForMaskedLM(transformers.BertConfig(**SIZES)).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["cls.predictions.bias"] = weights["cls.predictions.bias"].to(torch.float8_e4m3fn)
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"model.safetensors`.*cls.predictions.bias of F8_E4M3"):
        tf_mlm.load(tmp_path)


TEXT = "Héllo [MASK] naïve CAFÉ, [mask] 寿司 <m>!"


@pytest.mark.parametrize("lower_case", [True, False])
@pytest.mark.parametrize("strip_accents", [None, True, False])
@pytest.mark.parametrize(("mask_token", "layout"), [("[MASK]", "tokenizer.json"), ("<m>", "vocab.txt")])
def test_tokenizers_come_and_go(
    lower_case: bool, strip_accents: bool | None, mask_token: str, layout: str, tmp_path: Path
) -> None:
    import transformers

    words = ["hello", "Hello", "héllo", "Héllo", "naive", "naïve", "cafe", "café", "CAFE", "CAFÉ"]
    words += [",", "[", "]", "mask", "!", "寿", "司", "<", ">", "m"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", mask_token, *words]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    theirs = transformers.BertTokenizerFast(
        str(tmp_path / "vocab.txt"),
        do_lower_case=lower_case,
        strip_accents=strip_accents,
        mask_token=mask_token,
    )
    config = transformers.BertConfig(**{**SIZES, "vocab_size": len(vocabulary)})
    source = tmp_path / "theirs"
    transformers.BertForMaskedLM(config).save_pretrained(source)
    theirs.save_pretrained(source)
    if layout == "vocab.txt":
        (source / "tokenizer.json").unlink()
        (source / "vocab.txt").write_bytes((tmp_path / "vocab.txt").read_bytes())
    ours = tf_mlm.load(source)
    tf_mlm.save(ours, tmp_path / "ours")
    again = transformers.BertTokenizerFast.from_pretrained(tmp_path / "ours")
    expected = theirs(TEXT)["input_ids"]
    assert again(TEXT)["input_ids"] == expected
    assert again.mask_token_id == theirs.mask_token_id == 4
    assert ours.preprocessor(TEXT).token_ids.numpy()[0].tolist() == expected
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")(TEXT)["input_ids"] == expected
