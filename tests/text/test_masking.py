from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.text.masking import MaskedLMMaskGenerator

PAD, CLS, SEP, MASK = 0, 2, 3, 4
VOCABULARY_SIZE = 1000
CONTINUATIONS = range(500, 1000)
KEYS = ["token_ids", "mask_positions", "mask_ids", "mask_weights"]


def generator(**changes: Any) -> MaskedLMMaskGenerator:
    arguments: dict[str, Any] = {
        "vocabulary_size": VOCABULARY_SIZE,
        "mask_selection_rate": 0.15,
        "mask_token_id": MASK,
        "mask_selection_length": 20,
        "unselectable_token_ids": (PAD, CLS, SEP),
        "seed": 1,
    }
    return MaskedLMMaskGenerator(**{**arguments, **changes})


def batch(rows: int = 64, length: int = 96, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, VOCABULARY_SIZE, (rows, length)).astype(np.int32)
    ids[:, 0] = CLS
    for row, size in zip(ids, rng.integers(2, length + 1, rows), strict=True):
        row[size - 1] = SEP
        row[size:] = PAD
    return ids


def values(outputs: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.to_list() if isinstance(value, tf.RaggedTensor) else value.numpy().tolist()
        for key, value in outputs.items()
    }


def check(ids: np.ndarray, outputs: dict[str, Any]) -> np.ndarray:
    """Positions, original ids and weights fit together; returns the number selected per row."""
    masked, positions, mask_ids, weights = (outputs[key].numpy() for key in KEYS)
    counts = weights.sum(1).astype(int)
    rebuilt = masked.copy()
    for row, count in enumerate(counts):
        chosen = positions[row, :count]
        assert np.all(np.diff(chosen) > 0)
        assert not np.isin(ids[row, chosen], [PAD, CLS, SEP]).any()
        np.testing.assert_array_equal(mask_ids[row, :count], ids[row, chosen])
        rebuilt[row, chosen] = mask_ids[row, :count]
        for array in (positions, mask_ids, weights):
            assert np.all(array[row, count:] == 0)
    np.testing.assert_array_equal(rebuilt, ids)
    return counts


@pytest.mark.parametrize("whole_word", [False, True])
def test_outputs_fit_together(whole_word: bool) -> None:
    ids = batch()
    masker = generator(whole_word=whole_word, continuation_token_ids=CONTINUATIONS)
    counts = check(ids, masker(ids))
    selectable = (~np.isin(ids, [PAD, CLS, SEP])).sum(1)
    wanted = np.minimum(np.ceil(selectable.astype(np.float32) * np.float32(0.15)), 20)
    assert np.all(counts <= wanted) if whole_word else np.all(counts == wanted)
    assert counts.sum() > 0.8 * wanted.sum()


def test_types_and_shapes_of_outputs() -> None:
    for dtype in (tf.int32, tf.int64):
        outputs = generator()(tf.constant([[5, 6, 7]], dtype))
        assert [outputs[key].dtype for key in KEYS] == [dtype, tf.int64, dtype, tf.float32]
        assert [tuple(outputs[key].shape) for key in KEYS] == [(1, 3), (1, 20), (1, 20), (1, 20)]
    assert list(outputs) == KEYS


ALL = {"mask_selection_rate": 1.0, "mask_token_rate": 1.0, "random_token_rate": 0.0}


@pytest.mark.parametrize(
    ("changes", "inputs", "wanted"),
    [
        ({**ALL, "mask_selection_length": 3}, [5, 6], ([4, 4], [0, 1, 0], [5, 6, 0], [1, 1, 0])),
        ({**ALL, "mask_selection_length": 1}, [[5], [2]], ([[4], [2]], [[0], [0]], [[5], [0]], [[1], [0]])),
        ({**ALL, "mask_selection_length": None}, [5, 2, 6], ([4, 2, 4], [0, 2], [5, 6], [1, 1])),
        (
            {**ALL, "mask_selection_length": None},
            [[5, 2, 6], [2, 7, 0]],
            ([[4, 2, 4], [2, 4, 0]], [[0, 2], [1]], [[5, 6], [7]], [[1, 1], [1]]),
        ),
        (
            {**ALL, "mask_selection_length": 2},
            [[5, 6], [], [7]],
            ([[4, 4], [], [4]], [[0, 1], [0, 0], [0, 0]], [[5, 6], [0, 0], [7, 0]], [[1, 1], [0, 0], [1, 0]]),
        ),
        ({**ALL, "mask_selection_length": None}, [[5], [2]], ([[4], [2]], [[0], []], [[5], []], [[1], []])),
        ({**ALL, "mask_token_rate": 0.0, "mask_selection_length": 1}, [5], ([5], [0], [5], [1])),
        (
            {"mask_selection_rate": 0.0, "mask_selection_length": 2},
            [[5, 6]],
            ([[5, 6]], [[0, 0]], [[0, 0]], [[0, 0]]),
        ),
        ({"mask_selection_length": 0}, [[5, 6]], ([[5, 6]], [[]], [[]], [[]])),
        (
            {"mask_selection_length": 1},
            np.zeros([2, 0], np.int32),
            ([[], []], [[0]] * 2, [[0]] * 2, [[0]] * 2),
        ),
        ({"mask_selection_length": 1}, np.zeros([0, 2], np.int32), ([], [], [], [])),
    ],
)
def test_edge_cases(changes: dict[str, Any], inputs: Any, wanted: tuple[Any, ...]) -> None:
    assert values(generator(**changes)(inputs)) == dict(zip(KEYS, wanted, strict=True))


@pytest.mark.parametrize(("count", "selected"), [(1, 1), (6, 1), (7, 2), (20, 3), (21, 4), (200, 20)])
def test_selected_are_rounded_up_and_capped(count: int, selected: int) -> None:
    assert generator()(np.full([1, count], 9))["mask_weights"].numpy().sum() == selected


def test_ragged_and_dense_inputs_agree() -> None:
    ids = batch()
    lengths = (ids != PAD).sum(1)
    dense = values(generator()(ids, step=3))
    ragged = values(generator()(tf.RaggedTensor.from_tensor(ids, lengths), step=3))
    for key in KEYS[1:]:
        assert ragged[key] == dense[key]
    assert ragged["token_ids"] == [row[:size] for row, size in zip(dense["token_ids"], lengths, strict=True)]


@pytest.mark.parametrize("whole_word", [False, True])
def test_the_same_masks_eagerly_compiled_and_under_xla(whole_word: bool) -> None:
    masker = generator(whole_word=whole_word, continuation_token_ids=CONTINUATIONS)

    def call(ids: tf.Tensor, step: tf.Tensor) -> dict[str, tf.Tensor]:
        return masker(ids, step=step)

    unknown = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([], tf.int64)]
    graph, xla = tf.function(call, input_signature=unknown), tf.function(call, jit_compile=True)
    for step in range(3):
        arguments = tf.constant(batch()), tf.constant(step, tf.int64)
        eager = values(call(*arguments))
        assert values(graph(*arguments)) == eager
        assert values(xla(*arguments)) == eager


def test_masks_follow_from_seed_and_step_alone() -> None:
    ids = batch()
    masker = generator()
    first = values(masker(ids, step=7))
    masker(ids)
    assert values(masker(ids, step=7)) == first
    assert values(generator()(ids, step=tf.constant(7))) == first
    others = [values(generator()(ids, step=8)), values(generator(seed=2)(ids, step=7))]
    assert all(other["mask_positions"] != first["mask_positions"] for other in others)


def test_calls_without_step_are_counted() -> None:
    ids = batch()
    masker, again = generator(), generator()
    calls = [values(masker(ids)) for _ in range(3)]
    assert calls[0] != calls[1] != calls[2]
    assert [values(again(ids)) for _ in range(3)] == calls
    assert [values(again(ids, step=step)) for step in range(3)] == calls


def test_without_seed_masks_follow_the_global_seed() -> None:
    ids = batch()
    masker = generator(seed=None)
    tf.random.set_seed(3)
    first, second = values(masker(ids)), values(masker(ids))
    tf.random.set_seed(3)
    assert (values(masker(ids)), values(masker(ids))) == (first, second)
    assert first != second


def test_in_a_dataset() -> None:
    ids = batch(rows=8)
    masker = generator()
    dataset = tf.data.Dataset.from_tensors(ids).repeat(4).enumerate()
    dataset = dataset.map(lambda step, row: masker(row, step=step), num_parallel_calls=2)
    assert [values(outputs) for outputs in dataset] == [values(masker(ids, step=step)) for step in range(4)]


def words_of(row: np.ndarray) -> list[list[int]]:
    words: list[list[int]] = []
    for place, token in enumerate(row.tolist()):
        if token in CONTINUATIONS and place and row[place - 1] not in (PAD, CLS, SEP):
            words[-1].append(place)
        else:
            words.append([place])
    return words


def test_whole_words_are_selected_or_left() -> None:
    ids = batch(rows=200)
    outputs = generator(whole_word=True, continuation_token_ids=CONTINUATIONS)(ids)
    counts = check(ids, outputs)
    sizes = set()
    for row, count, positions in zip(ids, counts, outputs["mask_positions"].numpy(), strict=True):
        chosen = set(positions[:count].tolist())
        for word in words_of(row):
            assert len(chosen & set(word)) in (0, len(word))
            sizes.add(len(word) if word[0] in chosen else 0)
        selectable = int((~np.isin(row, [PAD, CLS, SEP])).sum())
        left = min(math.ceil(np.float32(selectable) * np.float32(0.15)), 20) - count
        candidates = [
            word for word in words_of(row) if row[word[0]] not in (PAD, CLS, SEP) and word[0] not in chosen
        ]
        assert all(len(word) > left for word in candidates), "a word that fits was left out"
    assert {0, 1, 2, 3} <= sizes


def test_words_are_selected_alike_wherever_they_stand() -> None:
    ids = np.tile(np.array([[10, 11, 12, 500, 13, 14, 15, 501]], np.int32), (40000, 1))
    masker = generator(mask_selection_rate=0.25, whole_word=True, continuation_token_ids=CONTINUATIONS)
    outputs = masker(ids, step=0)
    chosen = np.bincount(outputs["mask_positions"].numpy()[outputs["mask_weights"].numpy() > 0], minlength=8)
    # Two tokens per row: a pair if it is drawn first (2 of 6 draws), else two of the four single words.
    expected = 40000 * np.array([1 / 3, 1 / 3, 1 / 6, 1 / 6, 1 / 3, 1 / 3, 1 / 6, 1 / 6])
    deviation = np.sqrt(expected * (1 - expected / 40000))
    assert np.all(np.abs(chosen - expected) < 5 * deviation)


def within_five_deviations(count: float, total: float, rate: float) -> bool:
    """A binomial test at 5 standard deviations: fails by chance once in 1.7 million."""
    return bool(abs(count - total * rate) < 5 * math.sqrt(total * rate * (1 - rate)))


def statistics(ids: np.ndarray, outputs: dict[str, Any]) -> tuple[int, int, int, int]:
    """How many are selected, and of these replaced by the mask, by another token, and kept."""
    masked = outputs["token_ids"].numpy()
    rows, columns = np.nonzero(outputs["mask_weights"].numpy())
    places = outputs["mask_positions"].numpy()[rows, columns]
    after, before = masked[rows, places], ids[rows, places]
    return (
        len(rows),
        int((after == MASK).sum()),
        int(((after != MASK) & (after != before)).sum()),
        int((after == before).sum()),
    )


def check_rates(selected: int, masked: int, random: int, kept: int) -> None:
    other = (VOCABULARY_SIZE - 2) / VOCABULARY_SIZE  # a random token may be the mask or the very token
    assert within_five_deviations(masked, selected, 0.8 + 0.1 / VOCABULARY_SIZE)
    assert within_five_deviations(random, selected, 0.1 * other)
    assert within_five_deviations(kept, selected, 0.1 + 0.1 / VOCABULARY_SIZE)


def test_rates_over_a_million_tokens() -> None:
    ids = np.random.default_rng(0).integers(5, VOCABULARY_SIZE, (8000, 128)).astype(np.int32)
    outputs = generator()(ids, step=0)
    selected, *replaced = statistics(ids, outputs)
    assert selected == 8000 * math.ceil(128 * 0.15)
    check_rates(selected, *replaced)
    places = outputs["mask_positions"].numpy().ravel()
    assert all(within_five_deviations(count, 8000, 20 / 128) for count in np.bincount(places, minlength=128))
    drawn = outputs["token_ids"].numpy()[outputs["token_ids"].numpy() != ids]
    counts = np.bincount(drawn[drawn != MASK], minlength=VOCABULARY_SIZE)
    assert counts.min() >= 0
    assert np.count_nonzero(counts[:4]) == 4, "random tokens come from the whole vocabulary"


@pytest.mark.peers
def test_edge_rules_and_rates_equal_kerashub() -> None:
    from keras_hub.layers import MaskedLMMaskGenerator as KerasHub

    arguments = {
        "vocabulary_size": VOCABULARY_SIZE,
        "mask_selection_rate": 0.15,
        "mask_token_id": MASK,
        "unselectable_token_ids": [PAD, CLS, SEP],
    }
    dense = np.random.default_rng(0).integers(5, VOCABULARY_SIZE, (500, 128)).astype(np.int32)
    ragged = tf.ragged.constant([[5, 6, 7], [], [2, 3], [9] * 50], dtype=tf.int32)
    inputs = [
        tf.constant(batch(), tf.int64),
        ragged,
        tf.constant([5, 6, 7]),
        tf.constant(dense),
    ]
    for length in (None, 0, 5):
        ours = MaskedLMMaskGenerator(**arguments, mask_selection_length=length)
        theirs = tf.function(KerasHub(**arguments, mask_selection_length=length), autograph=False)
        for given in inputs:
            got, wanted = ours(given), theirs(given)
            assert got.keys() == wanted.keys()
            for key in KEYS:
                assert got[key].dtype == wanted[key].dtype, (key, length)
                assert isinstance(got[key], tf.RaggedTensor) == isinstance(wanted[key], tf.RaggedTensor)
                assert got[key].shape.rank == wanted[key].shape.rank
                if isinstance(got[key], tf.RaggedTensor):
                    assert (
                        got[key].row_lengths().numpy().tolist() == wanted[key].row_lengths().numpy().tolist()
                    )
                else:
                    assert got[key].shape == wanted[key].shape
            assert values(got)["mask_weights"] == values(wanted)["mask_weights"]

    theirs = tf.function(KerasHub(**arguments, mask_selection_length=20), autograph=False)
    totals = np.sum([statistics(dense, theirs(tf.constant(dense))) for _ in range(16)], 0)  # a million tokens
    check_rates(*totals.tolist())
    totals_ours = np.sum([statistics(dense, generator()(dense, step=step)) for step in range(16)], 0)
    assert totals_ours[0] == totals[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_token_id": 1000}, r"`mask_token_id` must be in range \[0, vocabulary_size - 1\].*=1000"),
        ({"mask_token_id": -1}, r"`mask_token_id` must be in range"),
        ({"mask_selection_rate": 1.5}, r"`mask_selection_rate` must lie in \[0, 1\]. Received: .*=1\.5"),
        ({"mask_token_rate": -0.1}, r"`mask_token_rate` must lie in \[0, 1\]"),
        ({"random_token_rate": 2}, r"`random_token_rate` must lie in \[0, 1\]"),
        ({"mask_token_rate": 0.8, "random_token_rate": 0.3}, r"at most 1.*=0\.8, random_token_rate=0\.3"),
        ({"mask_selection_length": -1}, r"must not be negative.*=-1"),
        ({"whole_word": True}, r"Pass `continuation_token_ids=vocabulary.continuation_ids`"),
        (
            {"whole_word": True, "continuation_token_ids": [1000]},
            r"`continuation_token_ids` must be in range",
        ),
    ],
)
def test_bad_settings_are_refused_at_construction(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator(**changes)


@pytest.mark.parametrize(
    ("inputs", "step", "message"),
    [
        (np.zeros([1, 2, 3], np.int32), None, r"Received: dtype=int32, shape=\(1, 2, 3\)"),
        (np.zeros([3], np.float32), None, "must be token ids, integers.*Received: dtype=float32"),
        (np.zeros([3], np.int32), 1, "Construct the generator with a seed"),
    ],
)
def test_bad_inputs_are_refused(inputs: np.ndarray, step: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator(seed=None)(inputs, step=step)
