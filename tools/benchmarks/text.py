"""Raw text to the five likeliest tokens, BERT-base: 1,000 lines of mixed length, in batches of 32."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.contest import OURS, Contender, Outcome, compete
from benchmarks.text_lines import bert_base, sentences, with_a_mask
from tf_mlm.config import Buckets
from tf_mlm.export.calibration import length_buckets, work_of_a_text
from tf_mlm.model.directory.checkpoint import save
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.questions import Inference

LINES, PARTS, BATCH, TOP = 1000, 4, 32, 5
BATCHES = (8, BATCH)
LENGTH_BUCKETS = 8
"""As many as `tf-mlm export` has by default and two more, chosen for these lines by calibration."""
Fill = Callable[[list[str]], Any]


def outcomes(peers: bool) -> Iterator[Outcome]:
    """One row. The lines come in four parts, so that contenders take turns; each part is a round."""
    model = bert_base()
    lines = with_a_mask(sentences(LINES), "[MASK]")
    size = len(lines) // PARTS
    parts = [lines[start : start + size] for start in range(0, size * PARTS, size)]
    fills: dict[str, Fill] = {OURS: _ours(model, lines)}
    with tempfile.TemporaryDirectory() as directory:
        if peers:
            save(model, directory)
            fills |= _peers(Path(directory), model, lines)
        contenders = {name: _in_turn(fill, parts) for name, fill in fills.items()}
        yield compete(
            f"raw text to top-{TOP}, {size} of {LINES} lines, batch {BATCH}",
            contenders,
            rounds=PARTS,
            seconds=3600.0,
            tolerance=5e-3,
            items=size,
        )


def _in_turn(fill: Fill, parts: list[list[str]]) -> Contender:
    """A contender that treats the next part with every call."""
    turns = itertools.cycle(parts)
    return lambda: fill(next(turns))


def _ours(model: MaskedLM, lines: list[str]) -> Fill:
    """What the export's `serving_default` runs, with every shape compiled beforehand."""
    assert model.preprocessor is not None
    lengths = model.preprocessor(lines).lengths.numpy().tolist()
    sizes, _ = length_buckets(lengths, max(lengths), LENGTH_BUCKETS, work_of_a_text(model.config))
    inference = Inference(model, buckets=Buckets(BATCHES, sizes, (BATCH,)), top_k=TOP)
    fill = tf.function(inference.fill, [tf.TensorSpec([None], tf.string)], autograph=False)
    for length in sizes:
        for batch in BATCHES:
            fill(tf.constant([" ".join(["[MASK]"] + ["the"] * (length - 3))] * batch))

    def run(lines: list[str]) -> np.ndarray:
        return np.log(fill(tf.constant(lines))["scores"].numpy()[:, 0])

    return run


def _peers(directory: Path, model: MaskedLM, lines: list[str]) -> dict[str, Fill]:
    from benchmarks.hugging_face_peer import HuggingFacePeer
    from benchmarks.keras_hub_peer import KerasHubPeer
    from benchmarks.onnx_runtime_peer import OnnxRuntimePeer

    assert model.preprocessor is not None
    longest = int(tf.reduce_max(model.preprocessor(lines).lengths))
    pipeline = HuggingFacePeer(directory).pipeline(BATCH, TOP)
    onnx, keras_hub = OnnxRuntimePeer(directory, top=TOP), KerasHubPeer(directory, jit=True)

    def run_pipeline(lines: list[str]) -> np.ndarray:
        return np.log([[fill["score"] for fill in fills] for fills in pipeline(lines)])

    return {
        "transformers pipeline": run_pipeline,
        "tokenizers + ONNX Runtime": onnx.text(BATCH),
        "KerasHub": keras_hub.text(directory, BATCH, longest, TOP),
    }
