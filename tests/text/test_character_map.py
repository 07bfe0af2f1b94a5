"""Steps of normalisation over characters, beside the same steps of the library."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import tensorflow as tf
from reference import byte_level, unigram
from tokenizers import Regex, normalizers

from tf_mlm.text.character_map import Runs, Strip, of_charsmap, of_library
from tf_mlm.text.characters import characters_of
from tf_mlm.text.normalizer_steps import Step, steps_of
from tf_mlm.text.sentencepiece_model import read_model

TEXTS = [
    *byte_level.torments("<mask>", 400, seed=11),
    *(
        "",
        " ",
        "  ",
        "a  b   c",
        "``a'' ```",
        "  x\u3000",
        "①\u0301",
        "①\u20d0b",
        "u\u0308\u0304",
        "\r\na",
        "\x01\x01a\u0301",
    ),
]


def charsmap() -> bytes:
    return read_model(unigram.trained("xlm-roberta")).charsmap


STEPS: dict[str, Callable[[], tuple[Step, normalizers.Normalizer]]] = {
    "charsmap": lambda: (of_charsmap(charsmap()), normalizers.Precompiled(charsmap())),
    "lower case": lambda: (of_library([normalizers.Lowercase()]), normalizers.Lowercase()),
    "without accents": lambda: (
        of_library([normalizers.NFKD(), normalizers.StripAccents()]),
        normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents()]),
    ),
    "pairs": lambda: (Runs("`", '"', pairs=True), normalizers.Replace("``", '"')),
    "runs": lambda: (Runs(" ", "▁", pairs=False), normalizers.Replace(Regex(" {2,}"), "▁")),
    "left": lambda: (Strip(True, False), normalizers.Strip(True, False)),
    "both ends": lambda: (Strip(True, True), normalizers.Strip(True, True)),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_gives_the_text_that_the_library_gives(name: str) -> None:
    step, library = STEPS[name]()
    characters, parts = characters_of(tf.constant(TEXTS))
    characters = step(characters, tf.size(parts.token_ids))
    rows = tf.RaggedTensor.from_value_rowids(characters.points, characters.owners, len(TEXTS))
    ours = [bytes(text).decode() for text in tf.strings.unicode_encode(rows, "UTF-8").numpy()]
    wrong = [
        (text, mine) for text, mine in zip(TEXTS, ours, strict=True) if mine != library.normalize_str(text)
    ]
    assert not wrong


def test_steps_in_a_row_that_look_at_one_character_are_one() -> None:
    values = [{"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]
    assert len(steps_of(json.dumps({"type": "Sequence", "normalizers": values}))) == 1
    assert steps_of("") == []
