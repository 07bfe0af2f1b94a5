"""SentencePiece's compiled normalisation, beside the library that follows it."""

from __future__ import annotations

import pytest
from reference import unigram
from tokenizers import normalizers

from tf_mlm.errors import ConfigError
from tf_mlm.text.charsmap import Charsmap, read_charsmap
from tf_mlm.text.sentencepiece_model import read_model


@pytest.fixture(scope="module")
def data() -> bytes:
    return read_model(unigram.trained("xlm-roberta")).charsmap


@pytest.fixture(scope="module")
def charsmap(data: bytes) -> Charsmap:
    return read_charsmap(data)


def test_every_replacement_is_the_librarys(data: bytes, charsmap: Charsmap) -> None:
    library = normalizers.Precompiled(data)
    assert len(charsmap.singles) > 4000
    assert len(charsmap.groups) > 500
    assert charsmap.groups["←\u0338"] == "↚"  # of five bytes, the most that a group can have
    for pairs in (charsmap.singles, charsmap.groups):
        wrong = [key for key, value in pairs.items() if library.normalize_str(key) != value]
        assert not wrong


def test_other_characters_stay(data: bytes, charsmap: Charsmap) -> None:
    library = normalizers.Precompiled(data)
    others = [chr(point) for point in range(0x3000) if chr(point) not in charsmap.singles]
    assert len(others) > 0x2000
    assert not [character for character in others if library.normalize_str(character) != character]


def test_marks_extend_and_controls_stand_alone(charsmap: Charsmap) -> None:
    assert {0x301, 0x200D, 0xFE0F, 0x903, 0x1F3FB} <= charsmap.extends
    assert not charsmap.extends & {ord("a"), ord(" "), 0x4E2D, 0xAC00}
    assert {1, ord("\t"), 0x200B} <= charsmap.ends_group
    assert ord("½") not in charsmap.ends_group


@pytest.mark.parametrize("data", [b"", b"\0\0\0", b"\x08\0\0\0abcd", b"\xff\xff\xff\xff" * 4])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match=rf"its {len(data)} bytes are not.*Restore the file"):
        read_charsmap(data)
