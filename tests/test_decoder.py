"""Tokens back to text, beside Hugging Face's own decoder."""

from __future__ import annotations

import json
import random

import pytest
from tokenizers import decoders

from tf_mlm.decoder import Decoder
from tf_mlm.errors import DecoderError

SHORT = "it ' s ##s ##' don n't . , ? ! 'm 're 've 's do not ## #### ##. #a [CLS] é 🙂 ##🏽 [unused1]"
PIECES = (*SHORT.split(" "), "do not", " do not", " ' ", " ", "a .", "## 's")


def make(prefix: str = "##", cleanup: bool = True) -> Decoder:
    steps = {"type": "WordPiece", "prefix": prefix, "cleanup": cleanup}
    return Decoder(steps, "[MASK]", "[PAD]", ("[PAD]", "[CLS]", "[MASK]"))


@pytest.mark.parametrize("cleanup", [True, False])
@pytest.mark.parametrize("prefix", ["##", "#", "@@", ""])
def test_word_pieces_read_as_hugging_faces_do(prefix: str, cleanup: bool) -> None:
    rng, theirs = random.Random(1), decoders.WordPiece(prefix=prefix, cleanup=cleanup)
    for _ in range(2000):
        tokens = rng.choices(PIECES, k=rng.randint(0, 8))
        assert make(prefix, cleanup).decode(tokens, skip_special_tokens=False) == theirs.decode(tokens), (
            tokens
        )


def test_the_form_is_that_of_tokenizer_json() -> None:
    theirs = json.loads(decoders.WordPiece(prefix="##").__getstate__())
    assert make().steps == theirs
    assert json.loads(make().to_json())["decoder"] == theirs


def test_special_tokens_are_left_out_on_demand() -> None:
    tokens = ["[CLS]", "a", "[MASK]", "[UNK]"]
    assert make().decode(tokens) == "a [UNK]"
    assert make().decode(tokens, skip_special_tokens=False) == "[CLS] a [MASK] [UNK]"


def test_it_travels_as_json() -> None:
    assert Decoder.from_json(make("@@").to_json()) == make("@@")
    assert Decoder.from_json(make().to_json().encode()) == make()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        "[]",
        "{}",
        "null",
        "[" * 100_000,
        make().to_json().replace("[MASK]", ""),
        make().to_json().replace('"[PAD]"', "1"),
        make().to_json().replace("false", "0"),
        make().to_json().replace('"WordPiece"', '"Rot13"'),
        make().to_json().replace('"WordPiece"', "{}"),
        make().to_json().replace('"##"', "7"),
    ],
    ids=range(12),
)
def test_what_is_no_decoder_is_refused(text: str | bytes) -> None:
    with pytest.raises(DecoderError, match=r"Received: .*\."):
        Decoder.from_json(text)
