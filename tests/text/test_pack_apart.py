"""Rows of whole documents: nothing lost, nothing torn that fits, little padding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tf_mlm.text.packing import PackedRows, pack_apart

CLS, SEP, PAD = 2, 3, 0


def _documents(count: int, most: int) -> list[np.ndarray]:
    draw = np.random.default_rng(count)
    return [draw.integers(10, 99, draw.integers(0, most)).astype(np.int32) for _ in range(count)]


def _unpacked(rows: PackedRows) -> list[tuple[int, ...]]:
    """The documents that the rows hold, without their special tokens."""
    found = []
    for ids, length, places in zip(*rows, strict=True):
        starts = [*np.flatnonzero(places[:length] == 0), length]
        for start, end in itertools.pairwise(starts):
            assert (ids[start], ids[end - 1]) == (CLS, SEP)
            np.testing.assert_array_equal(places[start:end], np.arange(end - start))
            found.append(tuple(ids[start + 1 : end - 1].tolist()))
        assert (ids[length:] == PAD).all()
        assert (places[length:] == 0).all()
    return found


@pytest.mark.parametrize(("count", "most", "length"), [(200, 30, 64), (50, 200, 64), (40, 5, 8), (3, 9, 3)])
def test_every_document_stands_in_one_row_and_only_long_ones_are_cut(
    count: int, most: int, length: int
) -> None:
    documents = _documents(count, most)
    rows = pack_apart(documents, length, cls_id=CLS, sep_id=SEP, pad_id=PAD)
    room = length - 2
    wanted = [
        tuple(ids[start : start + room].tolist()) for ids in documents for start in range(0, len(ids), room)
    ]
    assert sorted(_unpacked(rows)) == sorted(wanted)
    assert rows.token_ids.shape == rows.position_ids.shape == (len(rows.lengths), length)


def test_rows_are_nearly_full() -> None:
    rows = pack_apart(_documents(1000, 60), 128, cls_id=CLS, sep_id=SEP)
    assert rows.lengths.sum() / rows.token_ids.size > 0.98


def test_a_row_must_hold_a_token() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        pack_apart([], 2, cls_id=CLS, sep_id=SEP)
