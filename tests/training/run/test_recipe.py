"""Packed rows, growing batches, fewer masks, plateau and decay: a run with all of it, resumed and decayed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tf_mlm.errors import ConfigError
from tf_mlm.training.data.dataset import mask_rate
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run.trainer import train

pytestmark = pytest.mark.usefixtures("all_interpreted")


@pytest.fixture(scope="module")
def config(small: TrainConfig) -> TrainConfig:
    return dataclasses.replace(
        small,
        architecture="modernbert",
        vocabulary_size=300,
        length=32,
        heads=2,
        steps=6,
        steps_per_call=1,
        batch_size=4,
        accumulation=2,
        batch_warmup="2:4",
        schedule="wsd",
        optimizer="muon",
        mask_rate="0.4:0.2",
        recompute=True,
        checkpoint_every=3,
        evaluate_every=6,
    )


@pytest.fixture(scope="module")
def whole(corpus: Path, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole")
    result = train([corpus], output, config, compile=False)
    assert result.evaluation is not None
    # Bits per byte and the loss of a token differ by the number of tokens of a byte.
    assert 0 < result.evaluation.bits_per_byte < result.evaluation.loss / np.log(2)
    return output


def _weights(output: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(output / "model.safetensors")


def _log(output: Path) -> list[dict[str, float]]:
    lines = (output / "training" / "log.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == "step"]


def test_documents_lie_apart_and_fewer_tokens_are_hidden_as_the_run_goes_on(
    whole: Path, config: TrainConfig
) -> None:
    places = np.fromfile(whole / "training" / "tokens" / "train.positions", np.uint16).reshape(-1, 32)
    documents = (places[:, :-1] == 0).sum(1)
    assert documents.max() > 1
    assert [record["batch_size"] for record in _log(whole)] == [2, 2, 2, 2, 4, 4]
    assert not any("mfu" in record for record in _log(whole))  # the peak of a CPU is not known
    masks = [record["masks"] / record["batch_size"] for record in _log(whole)]
    assert masks[0] > 1.2 * masks[-1]
    assert [round(mask_rate(config, step, 6), 2) for step in (0, 5)] == [0.4, 0.2]


def test_a_resumed_run_ends_with_the_same_bits(
    corpus: Path, config: TrainConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tf_mlm.training.run.trainer.Preemption.requested", lambda self: True
    )  # as after a signal
    assert not train([corpus], tmp_path, config, compile=False).finished
    monkeypatch.undo()
    assert train([corpus], tmp_path, config, compile=False).finished
    ours, wanted = _weights(tmp_path), _weights(whole)
    for name, value in wanted.items():
        assert value.tobytes() == ours[name].tobytes(), name


def test_a_decay_goes_on_from_a_checkpoint_with_a_falling_rate(
    corpus: Path, config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    source = whole / "training" / "checkpoints" / "step-00000003"
    decay = dataclasses.replace(config, steps=3, mask_rate=0.2)
    result = train([corpus], tmp_path, decay, decay_from=source, compile=False)
    assert (result.steps, result.ended) == (6, "steps")
    wanted = [config.learning_rate * (1 - np.sqrt(step / 3)) for step in range(3)]
    np.testing.assert_allclose([record["learning_rate"] for record in _log(tmp_path)], wanted, rtol=1e-4)
    assert train([corpus], tmp_path, decay, decay_from=source, compile=False).finished  # again: nothing to do


def test_a_decay_under_other_options_is_refused_by_name(
    corpus: Path, config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    other = dataclasses.replace(config, beta_2=0.9)
    with pytest.raises(ConfigError, match=r"`beta_2` was 0\.98 and is now 0\.9"):
        train([corpus], tmp_path / "a", other, decay_from=whole, compile=False)
    with pytest.raises(ConfigError, match="holds none that is whole"):
        train([corpus], tmp_path / "b", config, decay_from=tmp_path, compile=False)
    linear = dataclasses.replace(config, schedule="linear")
    with pytest.raises(ConfigError, match="needs `schedule` wsd"):
        train([corpus], tmp_path / "c", linear, decay_from=whole, compile=False)
