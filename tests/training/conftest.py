"""A small corpus with something to learn in it, and settings for runs of seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tf_mlm.training.options import TrainConfig

NOUNS = ("cat", "dog", "bird", "fish", "horse", "mouse")
VERBS = ("sees", "hears", "likes", "follows")
PLACES = ("garden", "house", "river", "forest")


def sentences(count: int, seed: int) -> list[str]:
    """Sentences whose last word follows from their first noun."""
    draw = np.random.default_rng(seed)
    lines = []
    for _ in range(count):
        first, second = draw.integers(0, len(NOUNS), 2)
        verb = VERBS[draw.integers(0, len(VERBS))]
        lines.append(f"the {NOUNS[first]} {verb} the {NOUNS[second]} in the {PLACES[first % len(PLACES)]} .")
    return lines


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file of 200 documents."""
    path = tmp_path_factory.mktemp("corpus") / "animals.txt"
    path.write_text("\n\n".join("\n".join(sentences(6, seed)) for seed in range(200)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small() -> TrainConfig:
    """Thirty steps of a model of one layer of 16."""
    return TrainConfig(
        steps=30,
        batch_size=8,
        length=16,
        vocabulary_size=120,
        hidden_size=16,
        layers=1,
        heads=2,
        learning_rate=3e-3,
        mask_rate=0.2,
        held_out=0.1,
        strategy="cpu",
        evaluate_every=20,
        checkpoint_every=5,
        steps_per_call=5,
        evaluation_rows=32,
    )


RUN = """
import json, sys
from tf_mlm.lean_import import import_tensorflow_alone
import_tensorflow_alone()
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run.trainer import train
arguments = json.loads(sys.argv[1])
config = TrainConfig(**arguments["config"])
result = train(arguments["files"], arguments["output"], config, compile=arguments.get("compile", True))
print(json.dumps({"steps": result.steps, "finished": result.finished}))
"""


@pytest.fixture(scope="session")
def start_training() -> Callable[..., subprocess.Popen[str]]:
    """Starts `train` in a process of its own, as somebody would who may have to kill it."""

    def start(arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", RUN, arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", **environment},
        )

    return start
