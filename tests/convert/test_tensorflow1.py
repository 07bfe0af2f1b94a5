"""Google's BERT checkpoints: variables by TensorFlow 1's own `Saver`, slots and other heads among them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from reference import numpy_bert
from reference.foreign_checkpoints import (
    SIZES,
    TOKENS,
    google_variables,
    hugging_face_weights,
    write_google_checkpoint,
)

import tf_mlm
from tf_mlm.convert.conversion import convert
from tf_mlm.convert.source import read_vocabulary
from tf_mlm.errors import CheckpointError, ConfigError


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_google_checkpoint(tmp_path_factory.mktemp("google"), google_variables())


def test_logits_equal_the_float64_twin(source: Path, tmp_path: Path) -> None:
    report = convert(source, tmp_path / "model")
    assert report.largest_weight_difference == 0
    assert report.tensors == 5 + 2 * 16 + 5
    assert not report.head_is_new
    assert report.parameters == sum(value.size for value in _kept().values())
    model = tf_mlm.load(tmp_path / "model")
    inputs = model.preprocessor(["The cat sat on a mat.", "dogs [MASK]"])
    ids, lengths, segments = (np.asarray(part) for part in inputs[:3])
    weights = hugging_face_weights(google_variables())
    options = {"layers": SIZES["layers"], "heads": SIZES["heads"], "activation": "gelu", "epsilon": 1e-12}
    states = numpy_bert.encode(ids, lengths, segments, weights, **options)
    logits = model(ids, lengths, segments, [[1, 2], [0, 2]]).numpy()
    for row, positions in enumerate([[1, 2], [0, 2]]):
        expected = numpy_bert.head(states[row][positions], weights, "gelu", 1e-12)
        np.testing.assert_allclose(logits[row], expected, atol=1e-4)


def _kept() -> dict[str, np.ndarray]:
    weights = hugging_face_weights(google_variables())
    return {n: v for n, v in weights.items() if "pooler" not in n and "seq_relationship" not in n}


def test_what_is_left_out_is_reported(source: Path, tmp_path: Path) -> None:
    report = convert(source, tmp_path / "model")
    assert "bert/pooler/dense/kernel" in report.ignored
    assert "cls/seq_relationship/output_weights" in report.ignored
    assert len(report.ignored) == 4
    slots = len(google_variables()) - report.tensors - 4
    assert any(note.startswith(f"{slots} variables of the optimizer") for note in report.notes)
    assert report.largest_logit_difference is None
    assert any(note.startswith("The graph is not in the files") for note in report.notes)
    assert json.loads(json.dumps(report.to_json()))["tensors"] == report.tensors


def test_a_prefix_names_the_checkpoint(source: Path, tmp_path: Path) -> None:
    convert(source / "bert_model.ckpt", tmp_path / "model")
    assert tf_mlm.load(tmp_path / "model").preprocessor.vocabulary.tokens == tuple(TOKENS)


def test_without_the_prediction_head_it_is_new(tmp_path: Path) -> None:
    variables = {name: v for name, v in google_variables().items() if not name.startswith("cls/")}
    report = convert(write_google_checkpoint(tmp_path / "source", variables), tmp_path / "model")
    assert report.head_is_new
    assert any("head is new" in note for note in report.notes)


def test_capitals_in_the_vocabulary_say_that_it_is_cased(source: Path, tmp_path: Path) -> None:
    assert read_vocabulary(source / "vocab.txt", None).config.do_lower_case
    tokens = [*TOKENS[:-1], "Xx"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens))
    assert not read_vocabulary(tmp_path / "vocab.txt", None).config.do_lower_case
    assert read_vocabulary(tmp_path / "vocab.txt", True).config.do_lower_case


def test_what_does_not_fit_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Received: `.*nowhere`"):
        convert(tmp_path / "nowhere", tmp_path / "model")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"must be new or empty.*full`"):
        convert(source, tmp_path / "full")
    lying = write_google_checkpoint(tmp_path / "lying", google_variables(), num_hidden_layers=3)
    with pytest.raises(CheckpointError, match=r"bert_config.json`;[\s\S]*missing: bert.encoder.layer.2"):
        convert(lying, tmp_path / "model")
    with pytest.raises(ConfigError, match=r"bert_config.json`: `hidden_act` must be one of"):
        convert(
            write_google_checkpoint(tmp_path / "odd", google_variables(), hidden_act="elu"),
            tmp_path / "model",
        )
    short = tmp_path / "short.txt"
    short.write_text("\n".join(TOKENS[:-1]))
    with pytest.raises(ConfigError, match=r"one token per row.*39 tokens, vocab_size=40"):
        convert(source, tmp_path / "model", vocabulary=short)
    cut = write_google_checkpoint(tmp_path / "cut", google_variables())
    data = next(cut.glob("*.data-*"))
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"bert_model.ckpt.*(cannot be read|not a readable)"):
        convert(cut, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_several_checkpoints_ask_for_one(source: Path, tmp_path: Path) -> None:
    directory = write_google_checkpoint(tmp_path / "two", google_variables())
    for path in list(directory.glob("bert_model.ckpt.*")):
        path.with_name(path.name.replace("bert_model", "other")).write_bytes(path.read_bytes())
    with pytest.raises(ConfigError, match=r"must hold one checkpoint.*bert_model.ckpt, other.ckpt"):
        convert(directory, tmp_path / "model")
