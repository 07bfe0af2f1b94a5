"""A run from text to a model directory, and the errors that come before its first step."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from rich.console import Console

from tf_mlm.config import ConfigError, ModelConfig
from tf_mlm.model.checkpoint import NewHeadWarning, load, save
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.comparison import evaluate
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.records import write_token_records
from tf_mlm.training.trainer import TrainingDiverged, TrainResult, train


@pytest.fixture(scope="module")
def learnt(small: TrainConfig) -> TrainConfig:
    """Long enough to learn what follows from what."""
    return dataclasses.replace(
        small,
        steps=400,
        batch_size=32,
        hidden_size=32,
        learning_rate=5e-3,
        dropout=0.0,
        evaluate_every=200,
        checkpoint_every=200,
    )


@pytest.fixture(scope="module")
def run(corpus: Path, learnt: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    output = tmp_path_factory.mktemp("run")
    with (output / "screen.txt").open("w") as screen:
        return train([corpus], output, learnt, console=Console(file=screen, width=120))


def test_it_learns(run: TrainResult) -> None:
    assert run.finished
    assert run.steps == 400
    assert run.evaluation is not None
    assert run.evaluation.lift > 1.25
    assert run.evaluation.loss < 1.5  # the frequencies alone reach 2.4
    assert run.evaluation.top_5 > run.evaluation.top_1
    assert run.evaluation.perplexity == pytest.approx(np.exp(run.evaluation.loss))


def test_the_output_is_a_model_directory(run: TrainResult) -> None:
    model = load(run.directory)
    assert model.preprocessor is not None
    assert model.config.max_length == 16
    ids = model.preprocessor(["the cat sees the dog in the [MASK] ."])
    logits = model(ids.token_ids, ids.lengths, ids.segment_ids, ids.mask_positions)
    top = tf.math.top_k(logits[0, 0], 4).indices
    words = [word.decode() for word in model.preprocessor.tokens_of(top).numpy()]
    assert {"garden", "house", "river", "forest"} & set(words)


def test_everything_is_written_down(run: TrainResult) -> None:
    training = run.directory / "training"
    log = [json.loads(line) for line in (training / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log if entry["event"] == "evaluation"] == [200, 400]
    steps = [entry for entry in log if entry["event"] == "step"]
    assert steps[-1]["step"] == 400
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert (training / "curve.png").read_bytes().startswith(b"\x89PNG")
    events = [
        value.tag
        for path in (training / "tensorboard").iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    ]
    assert {"step/loss", "evaluation/top_1"} <= set(events)
    screen = (run.directory / "screen.txt").read_text()
    assert "held-out top-1" in screen
    assert "[MASK]" in screen  # sample fills


def test_adaptation_of_a_model_directory_and_comparison_on_the_same_masks(
    run: TrainResult, corpus: Path, learnt: TrainConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(learnt, steps=5, train="head", learning_rate=1e-5)
    train([corpus], tmp_path, config, from_directory=run.directory, compile=False)
    before, after = load(run.directory), load(tmp_path)
    for ours, theirs in zip(before.encoder.variables, after.encoder.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert any(
        np.any(ours.numpy() != theirs.numpy())
        for ours, theirs in zip(before.head.variables, after.head.variables, strict=True)
    )
    first, second = evaluate([run.directory, tmp_path], [corpus], learnt, only_held_out=True)
    assert (first.masks, first.most_frequent) == (second.masks, second.most_frequent)
    assert first.loss == pytest.approx(second.loss, rel=0.02)
    assert first.loss != second.loss


def test_models_with_different_vocabularies_are_not_compared(
    run: TrainResult, corpus: Path, learnt: TrainConfig, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(run.directory, tmp_path / "other"))
    *tokens, last, first = (other / "vocab.txt").read_text(encoding="utf-8").splitlines()
    (other / "vocab.txt").write_text("\n".join([*tokens, first, last]) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"same vocabulary.*other` \([\d,]+ tokens\), which differ"):
        evaluate([run.directory, other], [corpus], learnt)


def test_token_records_train_as_their_text_does(
    run: TrainResult, corpus: Path, small: TrainConfig, tmp_path: Path
) -> None:
    preprocessor = load(run.directory).preprocessor
    assert preprocessor is not None
    records = tmp_path / "ids.tfrecord.gz"
    documents, tokens = write_token_records([corpus], records, preprocessor)
    assert (documents, tokens) == (200, 200 * 6 * 9)
    config = dataclasses.replace(small, steps=2)
    with pytest.raises(ConfigError, match="Token ids say nothing without their vocabulary"):
        train([records], tmp_path / "none", config, compile=False)
    result = train([records], tmp_path / "run", config, vocabulary=preprocessor.vocabulary, compile=False)
    assert result.finished
    other = Vocabulary([*preprocessor.vocabulary.tokens[:-1], "zebra"])
    with pytest.raises(ConfigError, match="Token ids must come from the vocabulary of the model"):
        train([records], tmp_path / "other", config, vocabulary=other, compile=False)


def test_a_time_budget_becomes_a_number_of_steps_once(
    corpus: Path, small: TrainConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(small, steps=None, minutes=0.05)
    first = train([corpus], tmp_path, config, compile=False)
    plan = json.loads((tmp_path / "training" / "plan.json").read_text())
    assert first.steps == plan["steps"]
    assert train([corpus], tmp_path, config, compile=False).steps == first.steps


def test_nan_stops_the_run_with_step_checkpoint_and_hint(
    corpus: Path, small: TrainConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(small, learning_rate=1e38, schedule="constant", warmup=0.0, clip_norm=0.0)
    with pytest.raises(TrainingDiverged, match=r"diverged at step \d+: loss=.*Lower `learning_rate`"):
        train([corpus], tmp_path, config, compile=False)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 100_000}, "must fill one batch"),
        ({"train": "last:9"}, "Received: a model with 2"),
        ({"held_out": 1e-9}, "0 held out"),
    ],
)
def test_what_cannot_work_is_said_before_the_first_step(
    corpus: Path, small: TrainConfig, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train([corpus], tmp_path, dataclasses.replace(small, **change), compile=False)
    assert not (tmp_path / "training" / "checkpoints").exists()


def test_a_text_longer_than_the_positions_is_refused(
    run: TrainResult, corpus: Path, learnt: TrainConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="must not exceed the model's 16 positions"):
        train([corpus], tmp_path, dataclasses.replace(learnt, length=32), from_directory=run.directory)
    with pytest.raises(ConfigError, match="keeps its own dropout"):
        train([corpus], tmp_path, dataclasses.replace(learnt, dropout=0.3), from_directory=run.directory)


def test_a_vocabulary_beside_a_model_is_refused(
    run: TrainResult, corpus: Path, small: TrainConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="keeps its vocabulary, tokenizer and sizes"):
        train([corpus], tmp_path, small, from_directory=run.directory, vocabulary=run.directory / "vocab.txt")


def test_sizes_must_fit_the_vocabulary(corpus: Path, small: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one embedding per token"):
        train([corpus], tmp_path, small, model_config=ModelConfig(vocab_size=3, pad_token_id=0))


def test_a_lost_head_is_made_anew(run: TrainResult, corpus: Path, small: TrainConfig, tmp_path: Path) -> None:
    model = load(run.directory)
    encoder = tmp_path / "encoder"
    save(model, encoder)
    tensors = safetensors.numpy.load_file(encoder / "model.safetensors")
    without = {name: value for name, value in tensors.items() if not name.startswith("cls.")}
    assert len(without) < len(tensors)
    safetensors.numpy.save_file(without, encoder / "model.safetensors")
    config = dataclasses.replace(small, steps=2)
    with pytest.warns(NewHeadWarning):
        result = train([corpus], tmp_path / "run", config, from_directory=encoder, compile=False)
    assert result.finished


def test_a_model_without_a_tokenizer_is_refused(corpus: Path, small: TrainConfig, tmp_path: Path) -> None:
    sizes = ModelConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    save(MaskedLM.from_config(sizes), tmp_path)
    with pytest.raises(ConfigError, match=r"needs the model's tokenizer.*Add the WordPiece vocab\.txt"):
        train([corpus], tmp_path / "run", small, from_directory=tmp_path)
