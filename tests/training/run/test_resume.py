"""Resuming: other options are refused, and what a run of an earlier version was started with is found."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from tf_mlm.durable import read_checked, write_checked
from tf_mlm.errors import ConfigError
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run.checkpointing import MANIFEST, Checkpoint
from tf_mlm.training.run.resume import check_options
from tf_mlm.training.run.trainer import train

pytestmark = pytest.mark.usefixtures("all_interpreted")

SETTINGS = {
    "architecture": "albert",
    "batch_size": 4,
    "vocabulary_size": 120,
    "hidden_size": 16,
    "layers": 1,
    "heads": 2,
    "held_out": 0.1,
    "strategy": "cpu",
    "evaluation_rows": 8,
    "checkpoint_every": 1,
    "steps_per_call": 1,
    "mask_rate": 0.2,
}
NEW = ("batch_warmup", "recompute", "decay", "packed", "model.mixing")
"""Options of which the records of earlier versions say nothing."""


@pytest.fixture(scope="module")
def stopped(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped, as a version left it that had BERT's defaults for every architecture."""
    output = tmp_path_factory.mktemp("stopped")
    config = TrainConfig(**SETTINGS, steps=3, length=128, optimizer="adamw", beta_2=0.98)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tf_mlm.training.run.trainer.Preemption.requested", lambda self: True)
        assert not train([corpus], output, config, compile=False).finished
    for path in (output / "training" / "checkpoints").glob(f"*/{MANIFEST}"):
        manifest = read_checked(path)
        for name in NEW:
            del manifest["options"][name]
        write_checked(path, manifest)
    return output


@pytest.fixture
def earlier(stopped: Path, tmp_path: Path) -> Path:
    """A copy to go on with."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def test_other_options_are_refused_by_name(tmp_path: Path) -> None:
    found = Checkpoint(tmp_path, step=1, options={"seed": 1, "length": 16}, notes={}, digest="")
    with pytest.raises(ConfigError, match=r"`length` was 16 and is now 32.*from step 1"):
        check_options(found, {"seed": 1, "length": 32})
    check_options(found, {"length": 16, "seed": 1})


def test_it_goes_on_as_it_was_started(corpus: Path, earlier: Path) -> None:
    result = train([corpus], earlier, TrainConfig(**SETTINGS, steps=3), compile=False)
    assert (result.steps, result.finished) == (3, True)
    newest = earlier / "training" / "checkpoints" / "step-00000003" / MANIFEST
    options = read_checked(newest)["options"]
    assert (options["optimizer"], options["length"], options["beta_2"]) == ("adamw", 128, 0.98)


def test_what_is_given_otherwise_is_refused(corpus: Path, earlier: Path) -> None:
    config = TrainConfig(**SETTINGS, steps=3)
    for change, message in (
        ({"optimizer": "lamb"}, "`optimizer` was 'adamw' and is now 'lamb'"),
        ({"batch_warmup": "2:2", "accumulation": 2}, "`batch_warmup` was None and is now '2:2'"),
    ):
        given = TrainConfig(**{**SETTINGS, **change}, steps=3)
        with pytest.raises(ConfigError, match=message):
            train([corpus], earlier, given, compile=False)
    assert config.optimizer == "lamb"
    fresh = dataclasses.replace(config, length=16)
    assert train([corpus], earlier, fresh, fresh=True, compile=False).finished
    log = (earlier / "training" / "log.jsonl").read_text().splitlines()
    assert json.loads(log[0])["batch_size"] == 4
