"""`MaskedLMMaskGenerator` beside KerasHub's: equal where nothing is random, equal shares elsewhere.

KerasHub's runs in a graph: eagerly it takes another path, in Python, with other rules.
"""

from __future__ import annotations

import itertools
from typing import Any

import keras_hub
import numpy as np
import tensorflow as tf
from parity.claim import Measurements, claim

from tf_mlm.text.masking import MaskedLMMaskGenerator

VOCAB, MASK, UNSELECTABLE = 1000, 4, [0, 2, 3]  # KerasHub takes no tuple


def _both(**options: Any) -> tuple[Any, Any]:
    arguments = {
        "vocabulary_size": VOCAB,
        "mask_token_id": MASK,
        "unselectable_token_ids": UNSELECTABLE,
        **options,
    }
    theirs = tf.function(keras_hub.layers.MaskedLMMaskGenerator(**arguments))
    return MaskedLMMaskGenerator(**arguments, seed=0), theirs


def _inputs() -> dict[str, Any]:
    rows = [[2, 50, 51, 52, 3], [2, 3, 0, 0, 0], [2, 60, 3, 70, 71], [0, 0, 0, 0, 0]]
    return {
        "dense": tf.constant(rows),
        "ragged": tf.ragged.constant([row[: 5 - index] for index, row in enumerate(rows)]),
        "one row": tf.constant(rows[0]),
    }


@claim("MaskedLMMaskGenerator = KerasHub's where nothing is random: outputs that differ", 0)
def certain(quick: bool) -> Measurements:
    for rate, mask_rate, length, (kind, inputs) in itertools.product(
        (0.0, 1.0), (0.0, 1.0), (None, 5, 9), _inputs().items()
    ):
        if quick and (rate == 0 or length == 9):
            continue
        ours, theirs = _both(
            mask_selection_rate=rate,
            mask_selection_length=length,
            mask_token_rate=mask_rate,
            random_token_rate=0.0,
        )
        a, b = ours(inputs), theirs(inputs)
        different = [key for key in b if _values(a[key]) != _values(b[key])]
        yield f"rate={rate} mask={mask_rate} length={length} {kind}", len(different) + (a.keys() != b.keys())


def _values(tensor: Any) -> Any:
    return tensor.to_list() if isinstance(tensor, tf.RaggedTensor) else tensor.numpy().tolist()


@claim("80/10/10 and even spread over a million tokens, here and in KerasHub: standard errors off", 5)
def shares(quick: bool) -> Measurements:
    """A binomial test of each share, and a chi-square test of how often each position is selected."""
    length = 128
    rows = 1_000_000 // length
    rng = np.random.default_rng(0)
    token_ids = rng.integers(5, VOCAB, (rows, length), np.int32)
    for name, generator in zip(
        ("ours", "KerasHub"), _both(mask_selection_rate=0.15, mask_selection_length=32), strict=True
    ):
        outputs = {key: np.asarray(value) for key, value in generator(tf.constant(token_ids)).items()}
        weights = outputs["mask_weights"] > 0
        counts = weights.sum(1)
        yield f"{name} selected per row", float(np.abs(counts - np.ceil(np.float32(0.15) * length)).max())
        positions, originals = outputs["mask_positions"][weights], outputs["mask_ids"][weights]
        row_of = np.repeat(np.arange(rows), counts)
        seen = outputs["token_ids"][row_of, positions]
        yield f"{name} original ids kept", float((token_ids[row_of, positions] != originals).sum())
        # A random token is now and then the original itself: such ones count as kept.
        same = 1 / VOCAB
        expected = {"mask": 0.8 + 0.1 * same, "kept": 0.1 + 0.1 * same}
        found = {"mask": (seen == MASK).mean(), "kept": (seen == originals).mean()}
        for share, p in expected.items():
            yield f"{name} {share}", abs(found[share] - p) / np.sqrt(p * (1 - p) / len(seen))
        often = np.bincount(positions, minlength=length)
        mean = len(positions) / length
        # Selection without replacement: the variance of a position's count is that of `rows` draws.
        chi_square = ((often - mean) ** 2).sum() / (mean * (1 - mean / rows)) * (length - 1) / length
        yield f"{name} positions", abs(chi_square - (length - 1)) / np.sqrt(2 * (length - 1))


CLAIMS = [certain, shares]
