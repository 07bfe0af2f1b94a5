"""What a damaged directory of every family gets: an error at load that names file, key and value."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from reference.families import Family, asked_of
from reference.model_directory import edit_json

import tf_mlm
from tf_mlm.cli import group
from tf_mlm.errors import CheckpointError, ConfigError, TokenizerWarning
from tf_mlm.model.directory.families import FAMILIES


@pytest.fixture(
    scope="module", params=asked_of("albert", "deberta-v2", "distilbert", "esm", "modernbert", "roformer")
)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture
def damaged(directory: Path, tmp_path: Path) -> Path:
    """A directory to damage."""
    return shutil.copytree(directory, tmp_path / "damaged")


def key_of(model: tf_mlm.MaskedLM, name: str) -> str:
    """What the family's `config.json` calls a setting."""
    return FAMILIES[model.config.model_type].keys.get(name, name)


def assert_refused(directory: Path, *words: str) -> None:
    """By Python and by `inspect`, with all of these words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TokenizerWarning)
        with pytest.raises((ConfigError, CheckpointError)) as caught:
            tf_mlm.load(directory)
        done = CliRunner().invoke(group, ["inspect", str(directory)])
    assert str(done.exception) == str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("size", [10**12, 10**20], ids=["large", "absurd"])
@pytest.mark.parametrize(
    "name", ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "max_position_embeddings"]
)
def test_sizes_beyond_memory(model: tf_mlm.MaskedLM, damaged: Path, name: str, size: int) -> None:
    key = key_of(model, name)
    edit_json(damaged, **{key: size})
    if "layer_types" in (values := json.loads((damaged / "config.json").read_text())):
        del values["layer_types"]
        (damaged / "config.json").write_text(json.dumps(values))
    assert_refused(damaged, str(damaged / "config.json"), f"{key}={size}")


def test_a_vocabulary_longer_than_the_table(model: tf_mlm.MaskedLM, damaged: Path) -> None:
    size = model.config.vocab_size
    edit_json(damaged, vocab_size=size - 1)
    assert_refused(damaged, f"`{damaged}/", f"vocab_size={size - 1}")


def test_a_vocabulary_shorter_than_the_table(model: tf_mlm.MaskedLM, damaged: Path) -> None:
    size = model.config.vocab_size
    edit_json(damaged, vocab_size=size + 1500)
    assert_refused(damaged, f"as vocab_size={size + 1500} says")
    with (
        pytest.warns(TokenizerWarning, match=rf"has {size} tokens, and the embedding {size + 1500} rows"),
        pytest.raises(CheckpointError),
    ):
        tf_mlm.load(damaged)


def test_positions_that_lie_by_the_offset(model: tf_mlm.MaskedLM, damaged: Path) -> None:
    stated = model.config.max_position_embeddings - 2
    edit_json(damaged, max_position_embeddings=stated)
    if model.config.has_position_table or model.config.rope_stored == "angles":
        assert_refused(damaged, "misshapen", f"as max_position_embeddings={stated} says")
    else:  # there is no table: the number is a limit, and no answer changes below it
        assert tf_mlm.load(damaged).config.max_length == stated


@pytest.mark.parametrize("types", [["full_attention"], ["full_attention"] * 9, ["diagonal"] * 2, 7], ids=str)
def test_types_of_layers_that_are_not_one_for_each(model: tf_mlm.MaskedLM, damaged: Path, types: Any) -> None:
    if model.config.layer_types is None:
        pytest.skip("all layers of the family are alike")
    edit_json(damaged, layer_types=types)
    assert_refused(damaged, str(damaged / "config.json"), f"layer_types={types!r}")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("adapter_config.json", '{"base_model_name_or_path": "some/base"}', "an adapter for 'some/base'"),
        ("flax_model.msgpack", "x", "weights of transformers' Flax models"),
    ],
)
def test_weights_in_other_forms(damaged: Path, file: str, content: str, words: str) -> None:
    (damaged / "model.safetensors").unlink()
    (damaged / file).write_text(content)
    assert_refused(damaged, str(damaged / file), words)


def test_quantised_checkpoints(damaged: Path) -> None:
    quantised = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    edit_json(damaged, quantization_config=quantised)
    found = f"quantization_config={quantised!r}"
    assert_refused(damaged, str(damaged / "config.json"), found, "dequantize()")


def test_a_tokenizer_of_another_kind_leaves_the_weights(damaged: Path) -> None:
    path = damaged / "tokenizer.json"
    if not path.is_file():
        pytest.skip("its class reads vocab.txt")
    edit_json(damaged, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    edit_json(damaged, "tokenizer.json", pre_tokenizer={"type": "Digits", "individual_digits": True})
    with pytest.warns(TokenizerWarning, match=rf"{damaged}/tokenizer.json`: .*`pre_tokenizer`.*Digits"):
        assert tf_mlm.load(damaged).preprocessor is None


def test_a_vocabulary_that_lacks_what_its_merges_make(model: tf_mlm.MaskedLM, damaged: Path) -> None:
    values = json.loads(path.read_text()) if (path := damaged / "tokenizer.json").is_file() else {}
    if not (merges := values.get("model", {}).get("merges")):
        pytest.skip("its tokenizer has no merges")
    left, right = merges[40]
    values["model"]["vocab"]["<spare>"] = values["model"]["vocab"].pop(left + right)
    path.write_text(json.dumps(values))
    assert_refused(damaged, str(path))
