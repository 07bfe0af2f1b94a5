"""Which documents are held out, and what is said when one side has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tf_mlm.errors import ConfigError
from tf_mlm.reading.split_key import split_key
from tf_mlm.training.data.split import Split, is_held_out

FILES = [Path(f"{name}.txt") for name in "abcde"]


def _split(share: float, texts: list[str]) -> Split:
    split = Split(share)
    for text in texts:
        assert split.is_held_out(split_key(text)) is is_held_out(text, share)
    return split


def test_both_sides_are_counted() -> None:
    split = _split(0.5, [f"text {number}" for number in range(100)])
    assert split.train + split.held_out == 100
    assert 30 < split.train < 70
    split.check(FILES)
    _split(1.0, ["one"]).check(FILES)


def test_one_document_asks_for_line_by_line() -> None:
    texts = ["one long text"]
    with pytest.raises(ConfigError, match=r"1 document to train on and 0 held out.*--line-by-line") as caught:
        _split(0.01, texts).check(FILES)
    assert "--held-out" not in str(caught.value)
    assert "a.txt, b.txt, c.txt and 2 more" in str(caught.value)
    with pytest.raises(ConfigError, match=r"0 documents to train on and 1 held out.*--line-by-line"):
        _split(0.999, texts).check(FILES)


@pytest.mark.parametrize("share", [1e-6, 0.99999])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_the_share_that_is_advised_works(share: float, count: int) -> None:
    texts = [f"text {number}" for number in range(count)]
    with pytest.raises(ConfigError, match="--held-out ") as caught:
        _split(share, texts).check(FILES)
    advised = float(str(caught.value).rpartition("--held-out ")[2].removesuffix("."))
    _split(advised, texts).check(FILES)


def test_token_ids_have_no_lines() -> None:
    with pytest.raises(ConfigError) as caught:
        _split(0.01, ["one"]).check([Path("ids.tfrecord")])
    assert "--line-by-line" not in str(caught.value)


def test_no_text_at_all() -> None:
    with pytest.raises(ConfigError, match=r"must hold text. Received: a\.txt, b\.txt.*without one word"):
        Split(0.1).check(FILES)


def test_the_split_depends_on_content_alone() -> None:
    texts = [f"document {index}" for index in range(4000)]
    held = {text for text in texts if is_held_out(text, 0.1)}
    assert held == {text for text in reversed(texts) if is_held_out(text, 0.1)}
    assert 320 < len(held) < 480
    assert held < {text for text in texts if is_held_out(text, 0.2)}
    assert all(is_held_out(text, 1.0) for text in texts)
