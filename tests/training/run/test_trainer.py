"""A run from text to a model directory, and the errors that come before its first step."""

from __future__ import annotations

import dataclasses
import json
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from rich.console import Console

from tf_mlm.config import ModelConfig
from tf_mlm.errors import (
    ConfigError,
    NewHeadWarning,
    TrainingDivergedError,
    TrainingStateError,
    UnknownTokensWarning,
)
from tf_mlm.model.directory.checkpoint import load, save
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.dataset import training_batches
from tf_mlm.training.data.records import write_token_records
from tf_mlm.training.evaluation import compare, evaluate
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run import open as opening
from tf_mlm.training.run.result import TrainResult
from tf_mlm.training.run.trainer import train

pytestmark = pytest.mark.usefixtures("interpreted")


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
    first, second = compare([run.directory, tmp_path], [corpus], learnt, only_held_out=True)
    assert (first.masks, first.most_frequent) == (second.masks, second.most_frequent)
    assert first.loss == pytest.approx(second.loss, rel=0.02)
    assert first.loss != second.loss
    # The same model in memory, and the settings of a run whose dropout is none of an evaluation's.
    config = dataclasses.replace(learnt, dropout=0.3)
    assert evaluate(load(run.directory), corpus, config, only_held_out=True) == first


def test_models_with_different_vocabularies_are_not_compared(
    run: TrainResult, corpus: Path, learnt: TrainConfig, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(run.directory, tmp_path / "other"))
    *tokens, last, first = (other / "vocab.txt").read_text(encoding="utf-8").splitlines()
    (other / "vocab.txt").write_text("\n".join([*tokens, first, last]) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"same vocabulary.*other` \([\d,]+ tokens\), which differ"):
        compare([run.directory, other], [corpus], learnt)


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
    assert first.steps >= 1
    assert train([corpus], tmp_path, config, compile=False).steps == first.steps


def test_nan_stops_the_run_with_step_checkpoint_and_hint(
    corpus: Path, small: TrainConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(small, learning_rate=1e38, schedule="constant", warmup=0.0, clip_norm=0.0)
    with pytest.raises(TrainingDivergedError, match=r"diverged at step \d+: loss=.*Lower `learning_rate`"):
        train([corpus], tmp_path, config, compile=False)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 100_000}, "must fill one batch"),
        ({"train": "last:9"}, "Received: a model with 1"),
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
    with pytest.raises(ConfigError, match=r"Only rotary positions.*length=32 and a bert .* for 16 tokens"):
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


# What ends a run.


def test_a_target_ends_the_run_at_an_evaluation_and_says_so(
    corpus: Path, small: TrainConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(small, steps=10, evaluate_every=5, until_top_1=0.001)
    first = train([corpus], tmp_path, config, compile=False)
    assert (first.finished, first.ended, first.steps) == (True, "target", 5)
    assert (tmp_path / "model.safetensors").exists()
    again = train([corpus], tmp_path, config, compile=False)
    assert (again.ended, again.steps) == ("target", 5)
    # A higher target goes on with the same run.
    further = train([corpus], tmp_path, dataclasses.replace(config, until_top_1=0.999), compile=False)
    assert (further.ended, further.steps) == ("steps", 10)


def test_a_bound_of_time_shortens_the_run_and_says_so(
    corpus: Path, small: TrainConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(small, steps=100_000, evaluate_every=50_000, within_minutes=1e-4)
    with (tmp_path / "screen.txt").open("w") as screen:
        first = train([corpus], tmp_path, config, compile=False, console=Console(file=screen, width=120))
    assert (first.finished, first.ended) == (True, "time")
    assert 0 < first.steps < 100
    assert first.evaluation is not None
    assert "shortened to 0.0001 minutes" in (tmp_path / "screen.txt").read_text()
    again = train([corpus], tmp_path, config, compile=False)
    assert (again.ended, again.steps) == ("time", first.steps)


def test_a_bound_that_leaves_room_changes_nothing(corpus: Path, small: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(small, steps=10)
    train([corpus], tmp_path / "free", config, compile=False)
    bound = train([corpus], tmp_path / "bound", dataclasses.replace(config, within_minutes=60), compile=False)
    assert bound.ended == "steps"
    free, bounded = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("free", "bound"))
    assert free == bounded


# Nothing that is not finite replaces what is good.


def test_weights_that_are_not_finite_are_never_saved(
    corpus: Path, small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(small, steps=20, weight_decay=1000.0, clip_norm=0.0, evaluate_every=10)
    # The update of step 10 overflows; the metrics of that step come before it and are finite.
    monkeypatch.setattr(
        opening, "learning_rate_schedule", lambda *_, **__: lambda step: tf.where(step == 9, 3e38, 1e-4)
    )
    with pytest.raises(
        TrainingDivergedError, match=r"step 10: `.*` holds values that are not.*step-00000005`"
    ):
        train([corpus], tmp_path, config, compile=False)
    checkpoints = tmp_path / "training" / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["step-00000005"]
    assert not (tmp_path / "model.safetensors").exists()


def test_an_evaluation_that_is_no_number_is_never_the_best(
    corpus: Path, small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Weights of 1e38 are finite; what a model makes of them is not.
    monkeypatch.setattr(
        opening, "learning_rate_schedule", lambda *_, **__: lambda step: tf.where(step == 9, 1e38, 1e-4)
    )
    config = dataclasses.replace(small, steps=20, clip_norm=0.0, evaluate_every=5)
    with pytest.raises(
        TrainingDivergedError, match=r"step 10: the held-out loss is (nan|inf).*step-00000005`"
    ):
        train([corpus], tmp_path, config, compile=False)
    checkpoints = tmp_path / "training" / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["best.json", "step-00000005"]
    assert '"step-00000005"' in (checkpoints / "best.json").read_text()


def test_a_model_that_answers_no_numbers_is_not_evaluated(
    run: TrainResult, corpus: Path, learnt: TrainConfig, tmp_path: Path
) -> None:
    model = load(run.directory)
    model.head.output_bias.assign(np.full(model.head.output_bias.shape, np.nan))
    save(model, tmp_path)
    with pytest.raises(ConfigError, match=r"must answer with numbers.*whose loss is nan"):
        evaluate(tmp_path, corpus, dataclasses.replace(learnt, evaluation_rows=4))


def test_tokens_forbidden_by_a_bias_are_no_divergence(
    run: TrainResult, corpus: Path, small: TrainConfig, tmp_path: Path
) -> None:
    model = load(run.directory)
    assert model.preprocessor is not None
    bias = model.head.output_bias.numpy()
    bias[list(model.preprocessor.vocabulary.special_ids)] = -np.inf
    model.head.output_bias.assign(bias)
    save(model, tmp_path / "forbidding")
    config = dataclasses.replace(small, steps=5)
    result = train([corpus], tmp_path / "run", config, from_directory=tmp_path / "forbidding", compile=False)
    assert result.evaluation is not None
    assert np.isfinite(result.evaluation.loss)


# What would be lost, or trained without a word.


def test_a_model_that_no_run_wrote_is_not_overwritten(
    run: TrainResult, corpus: Path, small: TrainConfig, tmp_path: Path
) -> None:
    save(load(run.directory), tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    for fresh in (False, True):
        with pytest.raises(ConfigError, match=r"holds config\.json\. To continue it, name it with --from"):
            train([corpus], tmp_path, small, fresh=fresh)
    with pytest.raises(ConfigError, match="must not be overwritten"):
        train([corpus], tmp_path, small, from_directory=tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_other_weights_to_start_from_are_another_run(
    run: TrainResult, corpus: Path, small: TrainConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(small, steps=5)
    train([corpus], tmp_path / "run", config, from_directory=run.directory, compile=False)
    model = load(run.directory)
    model.head.output_bias.assign_add(tf.ones_like(model.head.output_bias))
    save(model, tmp_path / "other")
    with pytest.raises(ConfigError, match="`--from` names a model with other weights"):
        train([corpus], tmp_path / "run", config, from_directory=tmp_path / "other", compile=False)


def test_the_vocabulary_of_an_earlier_try_is_not_taken_for_other_text(
    corpus: Path, small: TrainConfig, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"few words {number}" for number in range(60)))
    with pytest.raises(ConfigError, match="must fill one batch"):
        train([text], tmp_path / "run", dataclasses.replace(small, batch_size=500), compile=False)
    text.write_text(corpus.read_text())
    result = train([text], tmp_path / "run", dataclasses.replace(small, steps=1), compile=False)
    preprocessor = load(result.directory).preprocessor
    assert preprocessor is not None
    assert "cat" in preprocessor.vocabulary


def test_text_that_the_vocabulary_does_not_know(
    run: TrainResult, corpus: Path, learnt: TrainConfig, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join("日本語 の 文" for _ in range(50)))
    with pytest.raises(ConfigError, match=r"must fit the text.*every token is \[UNK\]"):
        evaluate(run.directory, [text], learnt)
    text.write_text("\n\n".join("日本語 の 文 cat" for _ in range(50)))
    with pytest.warns(UnknownTokensWarning, match=r"of which \d+% of the tokens are \[UNK\]"):
        evaluate(run.directory, [text], learnt)


def test_a_run_without_a_token_to_predict_is_refused(
    corpus: Path, small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_masks(*arguments: Any, **options: Any) -> tf.data.Dataset:
        batches = training_batches(*arguments, **options)
        return batches.map(lambda batch: batch._replace(mask_weights=tf.zeros_like(batch.mask_weights)))

    monkeypatch.setattr(opening, "training_batches", without_masks)
    with pytest.raises(ConfigError, match=r"Training needs tokens to predict.*in the steps up to 5"):
        train([corpus], tmp_path, small, compile=False)
    assert not (tmp_path / "training" / "checkpoints").exists()


@pytest.mark.parametrize("limit", [500, 5_000, 15_000, 40_000])
def test_a_full_disk_is_one_line(corpus: Path, small: TrainConfig, tmp_path: Path, limit: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writes fail instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(TrainingStateError) as caught:
            train([corpus], tmp_path, dataclasses.replace(small, steps=6), compile=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert len(str(caught.value).splitlines()) == 1
    assert str(tmp_path) in str(caught.value)


def test_an_output_that_cannot_be_made_is_one_line(corpus: Path, small: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingStateError, match=r"`.*file/training`: .*run the same command again"):
        train([corpus], tmp_path / "file", small)
