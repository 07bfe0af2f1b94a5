"""What a long text takes in training: memory of a step and cost of a token, full and banded layers apart.

One row, four layers of 256 with ModernBERT's switches, AdamW included, compiled by XLA. The memory is that of
all temporaries as the compiler lays them out: everything but the weights and their moments. Packed rows hold
documents of 512 tokens, in full layers.
"""

from __future__ import annotations

import functools
import gc
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.contest import OURS, Outcome, compete
from tf_mlm.model.directory.config_json import read_config
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.optimizer import Optimizer
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import parameters
from tf_mlm.training.step import Batch, TrainStep

LENGTHS, LAYERS, HIDDEN, HEADS, VOCABULARY, DOCUMENT = (512, 1024, 2048, 4096, 8192), 4, 256, 4, 8000, 512
FORMS = ("banded", "full", "packed")
_TEMPORARY = re.compile(r"^allocation \d+: .*size (\d+), preallocated-temp", re.MULTILINE)

Step = Callable[[], np.ndarray]


def outcomes(peers: bool) -> Iterator[Outcome]:
    """Two rows for each form and length: the memory, and the time."""
    for form in FORMS:
        for length in LENGTHS:
            step, name = step_of(form, length), f"{form} layers, 1×{length}, a training step"
            step()  # compiles
            yield Outcome(f"{name}: memory", {OURS: growth(form, length)}, {}, 0.0, unit="MB")
            yield compete(name, {OURS: step}, rounds=5, seconds=6.0, tolerance=None, items=length)
            del step
            gc.collect()


def step_of(form: str, length: int, *, recompute: bool = False) -> Step:
    """A compiled training step of one row; `form` is one of `FORMS`."""
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 3 * HIDDEN // 2,
        "max_position_embeddings": length,
        "pad_token_id": 0,
    }
    kinds = ["sliding_attention" if form == "banded" else "full_attention"] * LAYERS
    config = read_config({"model_type": "modernbert", **sizes, "layer_types": kinds})
    settings = TrainConfig(batch_size=1, length=length, recompute=recompute)
    model = MaskedLM.from_config(config, seed=0)
    optimizer = Optimizer(parameters(model), lambda step: tf.constant(1e-4), settings)
    step = TrainStep.from_config(model, optimizer, settings)
    random = np.random.default_rng(0)
    ids = random.integers(5, VOCABULARY, [1, length])
    positions = np.sort(random.permutation(length)[: settings.masks])[np.newaxis]
    ids, positions, targets = (tf.constant(x, tf.int32) for x in (ids, positions, ids[:, positions[0]]))
    batch = Batch(ids, tf.constant([length]), positions, targets, tf.ones([1, settings.masks]))
    if form == "packed":
        batch = batch._replace(position_ids=tf.range(length)[tf.newaxis] % DOCUMENT)
    fields = [x for x in batch if x is not None]
    program = tf.function(lambda *fields: step(Batch(*fields)), jit_compile=True, autograph=False)
    return functools.partial(lambda *fields: program(*fields).numpy(), *fields)


def growth(form: str, length: int) -> float:
    """Megabytes that XLA gives the temporaries of a step, compiled in a process that writes them down."""
    with tempfile.TemporaryDirectory() as directory:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={directory} --xla_dump_hlo_as_text"
        code = f"from benchmarks.memory import step_of; step_of({form!r}, {length})()"
        paths = [str(Path(__file__).parents[1]), *sys.path]
        environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": os.pathsep.join(paths)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
        reports = [path.read_text("utf-8") for path in Path(directory).glob("*buffer-assignment.txt")]
    sizes = [int(size) for text in reports for size in _TEMPORARY.findall(text)]
    return max(sizes) / 1e6  # the step is the largest program by far
