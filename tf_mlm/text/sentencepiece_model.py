"""SentencePiece models written from other tokenizers' tables, for the operation that stock servers link.

The format is `sentencepiece_model.proto` of https://github.com/google/sentencepiece; only the fields that the
operation reads are written. Standard library only.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from typing import NamedTuple


class Kind(enum.IntEnum):
    """What a piece is to SentencePiece."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3  # never found in a text
    USER_DEFINED = 4  # found before anything else
    UNUSED = 5
    BYTE = 6


class ModelType(enum.IntEnum):
    """How pieces are chosen."""

    UNIGRAM = 1
    BPE = 2


class Piece(NamedTuple):
    """One entry; its id is its place among the others."""

    text: str
    score: float = 0.0
    kind: Kind = Kind.NORMAL


def model_proto(
    pieces: Iterable[Piece],
    model_type: ModelType,
    *,
    charsmap: bytes = b"",
    dummy_prefix: bool = False,
    byte_fallback: bool = False,
) -> bytes:
    """A serialized `ModelProto`.

    Args:
        pieces: in the order of their ids.
        model_type: unigram or BPE.
        charsmap: the compiled normalisation, as `precompiled_charsmap` of a `tokenizer.json` has it.
        dummy_prefix: put a blank before each text.
        byte_fallback: spell what has no piece in the pieces of its bytes.

    Example:
        >>> from tf_mlm.text.sentencepiece_model import Kind, ModelType, Piece, model_proto
        >>> proto = model_proto([Piece("<unk>", kind=Kind.UNKNOWN), Piece("a")], ModelType.BPE)
        >>> proto[:9]
        b'\\n\\x0e\\n\\x05<unk>'
    """
    entries = b"".join(
        _field(1, _field(1, piece.text) + _field(2, float(piece.score)) + _field(3, int(piece.kind)))
        for piece in pieces
    )
    trainer = _field(3, int(model_type)) + _field(35, int(byte_fallback))
    normalizer = _field(1, "given") + (_field(2, charsmap) if charsmap else b"")
    normalizer += _field(3, int(dummy_prefix)) + _field(4, 0) + _field(5, 0)
    return entries + _field(2, trainer) + _field(3, normalizer)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _field(number: int, value: bytes | str | int | float) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode("utf-8") if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data
