"""Families beyond BERT from a model directory through training, compression and export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from click.testing import CliRunner
from reference import byte_level, small_tokenizers, unigram

import tf_mlm
from tf_mlm.cli import group
from tf_mlm.config import Buckets
from tf_mlm.export.quantization import quantize
from tf_mlm.export.saved_model import export
from tf_mlm.model.directory.config_json import read_config
from tf_mlm.model.directory.read_tokenizer import read_preprocessor
from tf_mlm.signatures import PORTABLE
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run.preemption import Preemption
from tf_mlm.training.run.trainer import train

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 34,
    "initializer_range": 0.3,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "roberta": {"type_vocab_size": 1},
    "camembert": {"type_vocab_size": 1},
    "xlm-roberta": {"type_vocab_size": 1},
    "albert": {"embedding_size": 8, "num_hidden_layers": 3, "num_hidden_groups": 2},
    "modernbert": {"local_attention": 6, "global_attn_every_n_layers": 2},
    "mmbert": {"local_attention": 6, "global_attn_every_n_layers": 2},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
        "conv_kernel_size": 3,
    },
    "esm": {"position_embedding_type": "rotary", "token_dropout": True, "mask_token_id": 32},
    "mpnet": {},
    "roformer": {},
    "fnet": {},
}
BUCKETS = Buckets(batch=(2,), length=(32,), masks=(2,))


def reference_of(family: str) -> Any:
    """What writes the tokenizer of a family."""
    if family in small_tokenizers.KINDS:
        return small_tokenizers
    return byte_level if family in byte_level.KINDS else unigram


# CamemBERT is RoBERTa's encoder with XLM-RoBERTa's tokenizer: both are asked without it. What the last ones
# have of their own is asked by `test_in_short`.
SLOW = ("camembert", "deberta-v2", *small_tokenizers.KINDS)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in FAMILIES],
)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def directory(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with random weights and a tokenizer of the family."""
    path = tmp_path_factory.mktemp(family)
    write_model(path, family)
    return path


def write_model(path: Path, family: str) -> None:
    if family in small_tokenizers.KINDS:
        size, pad = small_tokenizers.write_tokenizer(path, family), small_tokenizers.padding_of(family)
    else:
        tokenizer = reference_of(family).write_tokenizer(path, family)
        pad = tokenizer.token_to_id("[PAD]" if family in ("modernbert", "deberta-v2") else "<pad>")
        size = tokenizer.get_vocab_size()
    sizes = {**SIZES, "vocab_size": size, "pad_token_id": pad}
    config = read_config(
        {"model_type": "modernbert" if family == "mmbert" else family, **sizes, **FAMILIES[family]}
    )
    preprocessor = read_preprocessor(path, config)
    tf_mlm.save(tf_mlm.MaskedLM.from_config(config, seed=1, preprocessor=preprocessor), path)


@pytest.fixture(scope="module")
def corpus(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    text = small_tokenizers.text_of("esm") if family == "esm" else ""
    lines = [f"The list {n} is sorted in place.\n" if not text else text[n % 40 :] for n in range(200)]
    path.write_text("\n\n".join(lines))
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "esm",
        "fnet",
        "deberta-v2",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("mpnet", "roformer")),
    ],
)
def test_in_short(kind: str, tmp_path: Path) -> None:
    """From a directory to fills, through XLA as eagerly, and trained: every weight that is one moves."""
    write_model(tmp_path, kind)
    model = tf_mlm.load(tmp_path)
    assert model.preprocessor is not None
    mask, text = reference_of(kind).mask_of(kind), small_tokenizers.text_of(kind)
    texts = [f"{text[:16]}{mask} {text[-12:]}", f"{mask} {text[:4]}"]
    inputs = model.preprocessor(texts)
    assert (inputs.mask_positions >= 0).numpy().tolist() == [[True], [True]]
    both = model(inputs)
    alone = model(model.preprocessor(texts[1]))
    np.testing.assert_allclose(both[1:], alone, atol=1e-5)  # whatever stands beside a text
    specs = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
    compiled = tf.function(model, input_signature=[*specs, specs[0], specs[0]], jit_compile=True)
    padded = [tf.pad(tensor, [[0, 0], [0, 3]]) for tensor in (inputs.token_ids, inputs.segment_ids)]
    logits = compiled(padded[0], inputs.lengths, padded[1], inputs.mask_positions)
    np.testing.assert_allclose(logits, both, atol=1e-5)

    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(inputs, dropout_seed=tf.constant([1, 2])) ** 2)
    weights = model.trainable_variables
    assert all(gradient is not None for gradient in tape.gradient(loss, weights))
    assert len(model.variables) - len(weights) == {"esm": 3, "roformer": 1, "fnet": 2}.get(kind, 0)
    shown = CliRunner().invoke(group, ["inspect", str(tmp_path)])
    assert f"tokenizer: {model.preprocessor.vocabulary.config.model}" in shown.output, shown
    fills = tf_mlm.FillMask(model)(texts, top_k=2)
    tf_mlm.save(model, tmp_path / "again")
    assert tf_mlm.FillMask(tf_mlm.load(tmp_path / "again"))(texts, top_k=2) == fills


def test_a_resumed_run_ends_with_the_same_bits(
    directory: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(
        steps=6,
        batch_size=4,
        length=24,
        whole_word=True,
        held_out=0.1,
        evaluation_rows=8,
        evaluate_every=6,
        checkpoint_every=2,
        steps_per_call=2,
        strategy="cpu",
    )

    def run(name: str) -> int:
        return train([corpus], tmp_path / name, config, from_directory=directory, compile=False).steps

    assert run("whole") == 6
    asked: list[bool] = []
    with monkeypatch.context() as patch:
        patch.setattr(Preemption, "requested", lambda self: asked.append(True) or len(asked) > 1)
        assert 0 < run("parts") < 6
    assert run("parts") == 6
    one, other = (
        safetensors.numpy.load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts")
    )
    before = safetensors.numpy.load_file(directory / "model.safetensors")
    assert one.keys() == other.keys() == before.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
    assert any(np.abs(one[name] - value).max() > 0 for name, value in before.items())


@pytest.mark.parametrize(
    "compressed",
    [pytest.param(False, id="float"), pytest.param(True, id="int8", marks=pytest.mark.slow)],
)
def test_an_export_answers_as_the_model_does(
    family: str, directory: Path, tmp_path: Path, compressed: bool
) -> None:
    model = tf_mlm.load(directory)
    if compressed:
        model = quantize(model)
    path = export(model, tmp_path / "mlm", buckets=BUCKETS, top_k=3, xla=not compressed)
    assert CliRunner().invoke(group, ["inspect", str(path)]).exit_code == 0
    mask = reference_of(family).mask_of(family)
    text = tf.constant([f"the {mask} is sorted in place", f"an é {mask}\u3000x"])
    if family == "esm":
        text = tf.constant([f"MKT{mask}LLA", f"an é {mask}\u3000A"])
    loaded = tf.saved_model.load(str(path))  # what int8 weights become lives as long as this
    wanted = tf_mlm.FillMask(model).inference.fill(text)
    for name in ("serving_default",) if compressed else ("serving_default", "serving_default" + PORTABLE):
        answer = loaded.signatures[name](text=text)
        np.testing.assert_array_equal(answer["tokens"], wanted["tokens"][..., :3])
        np.testing.assert_allclose(answer["scores"], wanted["scores"][..., :3], rtol=1e-4)


def test_a_pseudo_log_likelihood_counts_every_token_once(family: str, directory: Path) -> None:
    model = tf_mlm.load(directory)
    assert model.preprocessor is not None
    text = "The list is sorted in place, and nothing is returned: it is sorted where it stands. " * 3
    if family == "esm":
        text = small_tokenizers.text_of(family)
    outputs = tf_mlm.FillMask(model).inference.pseudo_log_likelihood(tf.constant([text]))
    whole = tf_mlm.TextPreprocessor(model.preprocessor.vocabulary, None)(text)
    assert int(outputs["scored_tokens"][0]) == int(whole.lengths[0]) - 2 > 32
