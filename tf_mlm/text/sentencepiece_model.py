"""SentencePiece models: read, and written from other tokenizers' tables for the operation of stock servers.

The format is `sentencepiece_model.proto` of https://github.com/google/sentencepiece; only the fields that the
operation reads are written. Standard library only.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


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


class SentencePieceModel(NamedTuple):
    """What is read of a model: its pieces by id, the kind, and the compiled normalisation.

    `cuts_at_blanks` is whether a text is read with one blank before each of its words and none behind the
    last, as models are trained unless told otherwise.
    """

    pieces: list[Piece]
    model_type: int
    charsmap: bytes
    cuts_at_blanks: bool


def read_model(data: bytes) -> SentencePieceModel:
    """The content of a `ModelProto`.

    Raises:
        ValueError: for bytes that are none.

    Example:
        >>> from tf_mlm.text.sentencepiece_model import ModelType, Piece, model_proto, read_model
        >>> read_model(model_proto([Piece("a", -1.5)], ModelType.UNIGRAM)).pieces[0].score
        -1.5
    """
    pieces: list[Piece] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    try:
        for number, value in _fields(data):
            if number == 1:
                piece = dict(_fields(value))
                text, score = piece[1].decode("utf-8"), struct.unpack("<f", piece.get(2, b"\0\0\0\0"))[0]
                pieces.append(Piece(text, score, Kind(piece.get(3, 1))))
            elif number == 2:
                trainer = dict(_fields(value))
            elif number == 3:
                normalizer = dict(_fields(value))
    except (IndexError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ValueError(f"it is no SentencePiece model ({error})") from error
    if not pieces:
        raise ValueError("it has no pieces")
    return SentencePieceModel(
        pieces,
        trainer.get(3, int(ModelType.UNIGRAM)),
        normalizer.get(2, b""),
        # The dummy prefix, no white space too much, blanks as ▁; and ▁ not at the end of words.
        all(normalizer.get(number, 1) for number in (3, 4, 5)) and not trainer.get(24, 0),
    )


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values: whole numbers, or the bytes of everything else."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _read_varint(data, at)
            yield key >> 3, value
            continue
        size, at = _read_varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        if at + size > len(data):
            raise IndexError("cut short")
        yield key >> 3, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while data[at] & 0x80:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return number | data[at] << shift, at + 1
