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
        "ragged, an empty row": tf.ragged.constant([[7, 8], [], [9]]),
        "int64": tf.constant(rows, tf.int64),
        "one row": tf.constant(rows[0]),
        "nothing to select": tf.constant([[2, 3, 0], [0, 0, 0]]),
        "no columns": tf.zeros([2, 0], tf.int32),
    }


# Whether each is chosen for sure: with one token in the vocabulary even a random one is known.
_CERTAIN: dict[str, dict[str, Any]] = {
    "none": {"mask_selection_rate": 0.0, "random_token_rate": 0.0},
    "all, masked": {"mask_selection_rate": 1.0, "mask_token_rate": 1.0, "random_token_rate": 0.0},
    "all, kept": {"mask_selection_rate": 1.0, "mask_token_rate": 0.0, "random_token_rate": 0.0},
    "all, random": {
        "mask_selection_rate": 1.0,
        "mask_token_rate": 0.0,
        "random_token_rate": 1.0,
        "vocabulary_size": 1,
        "mask_token_id": 0,
    },
    "all, nothing unselectable": {
        "mask_selection_rate": 1.0,
        "mask_token_rate": 1.0,
        "random_token_rate": 0.0,
        "unselectable_token_ids": [],
    },
}


@claim("MaskedLMMaskGenerator = KerasHub's where nothing is random: outputs that differ", 0)
def certain(quick: bool) -> Measurements:
    cases = list(itertools.product(_CERTAIN.items(), (None, 5, 9), _inputs().items()))
    # Fewer of them: every setting, length and kind of input, but not each with each.
    for (setting, options), length, (kind, inputs) in cases[:: 16 if quick else 1]:
        ours, theirs = _both(mask_selection_length=length, **options)
        a, b = ours(inputs), theirs(inputs)
        different = [key for key in b if _values(a[key]) != _values(b[key]) or a[key].dtype != b[key].dtype]
        yield f"{setting}, length={length}, {kind}", len(different) + (a.keys() != b.keys())


@claim("MaskedLMMaskGenerator = KerasHub's: how many tokens are selected of each row, rows that differ", 0)
def counts(quick: bool) -> Measurements:
    rows = tf.ragged.constant([[7] * size for size in range(130)])
    cases = list(itertools.product((0.01, 0.1, 0.15, 0.2, 1 / 3, 0.5, 0.7, 0.999), (None, 1, 20)))
    for rate, length in cases[:: 5 if quick else 1]:
        ours, theirs = (
            tf.reduce_sum(generator(rows)["mask_weights"], 1).numpy()
            for generator in _both(mask_selection_rate=rate, mask_selection_length=length)
        )
        yield f"rate={rate} length={length}", int((ours != theirs).sum())


def _values(tensor: Any) -> Any:
    return tensor.to_list() if isinstance(tensor, tf.RaggedTensor) else tensor.numpy().tolist()


@claim("80/10/10 and even spread over a million tokens, here and in KerasHub: standard errors off", 5)
def shares(quick: bool) -> Measurements:
    """A binomial test of each share, chi-square tests of how often each position and random id is chosen."""
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
        drawn = np.bincount(seen[(seen != MASK) & (seen != originals)], minlength=VOCAB)
        yield f"{name} random ids", _uneven(np.delete(drawn, MASK))
        often = np.bincount(positions, minlength=length)
        mean = len(positions) / length
        # Selection without replacement: the variance of a position's count is that of `rows` draws.
        chi_square = ((often - mean) ** 2).sum() / (mean * (1 - mean / rows)) * (length - 1) / length
        yield f"{name} positions", abs(chi_square - (length - 1)) / np.sqrt(2 * (length - 1))


def _uneven(counts: np.ndarray) -> float:
    """Standard errors by which the chi-square statistic of equally likely counts is off."""
    freedom = len(counts) - 1
    return abs(((counts - counts.mean()) ** 2).sum() / counts.mean() - freedom) / np.sqrt(2 * freedom)


CLAIMS = [certain, counts, shares]
