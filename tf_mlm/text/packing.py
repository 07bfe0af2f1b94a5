"""Documents of any length to blocks of one length, so that training wastes almost nothing on padding."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_mlm.text.selection import selected


class Blocks(NamedTuple):
    """Blocks `[CLS] tokens [SEP]`, padded behind `lengths`.

    Attributes:
        token_ids: int32 [blocks, length].
        lengths: int32 [blocks].
    """

    token_ids: tf.Tensor
    lengths: tf.Tensor


def pack_documents(
    documents: tf.RaggedTensor,
    length: int,
    *,
    cls_id: int,
    sep_id: int,
    pad_id: int = 0,
    across_documents: bool = True,
) -> Blocks:
    """Cut documents into blocks; every token of every document stands in exactly one block, in order.

    Args:
        documents: integer ids without special tokens, ragged [documents, (tokens)].
        length: tokens of a block, special ones included; at least 3.
        cls_id: starts each block.
        sep_id: ends each block, and stands between two documents that share one.
        pad_id: fills what is left of a block.
        across_documents: let documents share blocks, so that only the last block is padded. Else each
            document starts a block of its own.

    Returns:
        The blocks. Their number depends on the documents; empty documents take no room.

    Raises:
        ValueError: if `length` leaves no room for a token.

    Example:
        >>> import tensorflow as tf
        >>> from tf_mlm.text.packing import pack_documents
        >>> blocks = pack_documents(tf.ragged.constant([[10, 11, 12, 13], [20, 21]]), 5, cls_id=2, sep_id=3)
        >>> blocks.token_ids.numpy().tolist(), blocks.lengths.numpy().tolist()
        ([[2, 10, 11, 12, 3], [2, 13, 3, 20, 3], [2, 21, 3, 0, 0]], [5, 5, 3])
    """
    if length < 3:
        raise ValueError(
            f"`length` must be at least 3: [CLS], one token and [SEP]. Received: length={length}."
        )
    room = length - 2
    if across_documents:
        stream, firsts, ends = _shared(tf.cast(documents, tf.int32), room, sep_id)
    else:
        stream, firsts, ends = _separate(tf.cast(documents, tf.int32), room)
    sizes = (ends - firsts)[:, tf.newaxis]
    place = tf.range(length)[tf.newaxis]
    source = tf.where((place >= 1) & (place <= sizes), firsts[:, tf.newaxis] + place - 1, tf.size(stream))
    token_ids = tf.gather(tf.concat([stream, [pad_id]], 0), source)
    token_ids = tf.where(place == 0, cls_id, tf.where(place == sizes + 1, sep_id, token_ids))
    return Blocks(token_ids, sizes[:, 0] + 2)


def _shared(documents: tf.RaggedTensor, room: int, sep_id: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The documents joined by [SEP] as one stream, and where the content of each block lies in it."""
    documents = tf.ragged.boolean_mask(documents, documents.row_lengths() > 0)
    separator = tf.fill(tf.stack([documents.nrows(), 1]), sep_id)
    stream = tf.concat([documents, separator], 1).flat_values[:-1]
    joints = tf.concat([tf.zeros_like(documents), tf.ones_like(separator)], 1).flat_values[:-1]
    firsts = tf.range(0, tf.size(stream), room)
    ends = tf.minimum(firsts + room, tf.size(stream))
    # Between two blocks a separator says nothing that [SEP] and [CLS] do not say already.
    firsts, ends = firsts + tf.gather(joints, firsts), ends - tf.gather(joints, ends - 1)
    has_tokens = ends > firsts
    return stream, *selected(has_tokens, firsts, ends)


def _separate(documents: tf.RaggedTensor, room: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """All tokens as one stream, and where the content of each block lies in it."""
    splits = tf.cast(documents.row_splits, tf.int32)
    firsts = tf.ragged.range(splits[:-1], splits[1:], room)
    ends = tf.gather(splits, firsts.value_rowids() + 1)
    return documents.flat_values, firsts.flat_values, tf.minimum(firsts.flat_values + room, ends)


class PackedRows(NamedTuple):
    """Rows of whole documents, `[CLS] tokens [SEP]` end to end, padded behind `lengths`.

    Attributes:
        token_ids: int32 [rows, length].
        lengths: int32 [rows].
        position_ids: int32 [rows, length], the place of each token in its own document; 0 in the padding.
    """

    token_ids: np.ndarray
    lengths: np.ndarray
    position_ids: np.ndarray


def pack_apart(
    documents: Sequence[np.ndarray], length: int, *, cls_id: int, sep_id: int, pad_id: int = 0
) -> PackedRows:
    """Documents into rows in which each has its own [CLS] and [SEP], and no one is torn that fits a row.

    A document longer than a row is cut into rows, and what is left of it is packed as the others are: the
    longest first, each into the row that it fills best (Ding et al., https://arxiv.org/abs/2404.10830).

    Args:
        documents: int32 ids [tokens] without special tokens; empty ones take no room.
        length: tokens of a row, special ones included; at least 3.
        cls_id: starts each document.
        sep_id: ends each document.
        pad_id: fills what is left of a row.

    Raises:
        ValueError: if `length` leaves no room for a token.

    Example:
        >>> import numpy as np
        >>> from tf_mlm.text.packing import pack_apart
        >>> rows = pack_apart([np.array([10, 11, 12]), np.array([20])], 8, cls_id=2, sep_id=3)
        >>> rows.token_ids.tolist(), rows.position_ids.tolist()
        ([[2, 10, 11, 12, 3, 2, 20, 3]], [[0, 1, 2, 3, 4, 0, 1, 2]])
    """
    if length < 3:
        raise ValueError(
            f"`length` must be at least 3: [CLS], one token and [SEP]. Received: length={length}."
        )
    room = length - 2
    pieces = [ids[start : start + room] for ids in documents for start in range(0, len(ids), room)]
    rows = _best_fit([len(piece) + 2 for piece in pieces], length)
    token_ids = np.full([len(rows), length], pad_id, np.int32)
    position_ids = np.zeros([len(rows), length], np.int32)
    lengths = np.zeros([len(rows)], np.int32)
    for row, chosen in enumerate(rows):
        for piece in (pieces[index] for index in chosen):
            start, end = lengths[row], lengths[row] + len(piece) + 2
            token_ids[row, start:end] = np.concatenate([[cls_id], piece, [sep_id]])
            position_ids[row, start:end] = np.arange(end - start)
            lengths[row] = end
    return PackedRows(token_ids, lengths, position_ids)


def _best_fit(sizes: Sequence[int], length: int) -> list[list[int]]:
    """Which of the pieces with these sizes go into each row, those of a row in their given order."""
    rows: list[list[int]] = []
    left: list[tuple[int, int]] = []  # what is left of each row that still has room, and which it is
    for index in sorted(range(len(sizes)), key=lambda index: (-sizes[index], index)):
        place = bisect.bisect_left(left, (sizes[index], -1))
        if place < len(left):
            free, row = left.pop(place)
        else:
            free, row = length, len(rows)
            rows.append([])
        rows[row].append(index)
        if free - sizes[index] >= 3:
            bisect.insort(left, (free - sizes[index], row))
    return [sorted(row) for row in rows]
