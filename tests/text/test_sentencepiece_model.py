"""Models written here, run by the operation that servers link."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_text as tf_text

from tf_mlm.text.sentencepiece_model import Kind, ModelType, Piece, model_proto

UNKNOWN = Piece("<unk>", kind=Kind.UNKNOWN)


def ids(proto: bytes, text: str) -> list[int]:
    tokenizer = tf_text.SentencepieceTokenizer(proto, out_type=tf.int32)
    return tokenizer.tokenize([text]).to_list()[0]


def test_earlier_merges_go_first() -> None:
    pieces = [UNKNOWN, *map(Piece, "abc"), Piece("ab", -1.0), Piece("bc", 0.0)]
    assert ids(model_proto(pieces, ModelType.BPE), "abc") == [1, 5]


def test_likelier_pieces_win() -> None:
    pieces = [UNKNOWN, *(Piece(letter, -9.0) for letter in "abc"), Piece("ab", -1.0), Piece("bc", -2.0)]
    assert ids(model_proto(pieces, ModelType.UNIGRAM), "abc") == [4, 3]


def test_what_has_no_piece_is_spelt_in_bytes() -> None:
    pieces = [UNKNOWN, Piece("a"), *(Piece(f"<0x{byte:02X}>", kind=Kind.BYTE) for byte in range(256))]
    assert ids(model_proto(pieces, ModelType.BPE, byte_fallback=True), "aé") == [1, 2 + 0xC3, 2 + 0xA9]


def test_long_pieces_and_many_of_them() -> None:
    pieces = [
        UNKNOWN,
        Piece("x"),
        Piece("x" * 300, 1.0),
        *(Piece(chr(0x4E00 + n), -n) for n in range(20_000)),
    ]
    proto = model_proto(pieces, ModelType.UNIGRAM)
    assert ids(proto, "x" * 301) in ([1, 2], [2, 1])
    assert ids(proto, chr(0x4E00 + 19_999)) == [20_002]
