"""Texts cut at the tokens that are found in them."""

from __future__ import annotations

import itertools

import pytest
import tensorflow as tf

from tf_mlm.config import AddedToken
from tf_mlm.text.added_tokens import AddedTokenFinder
from tf_mlm.text.segments import Segments, cut, whole

FINDER = AddedTokenFinder([AddedToken("<m>", lstrip=True), AddedToken("é")], ["<m>", "é"])
IDS = tf.constant([7, 8])


def parts(segments: Segments) -> list[list[tuple[str, int, int]]]:
    """Text, first byte and id of each part of each text."""
    texts = [text.decode() for text in segments.texts.numpy()]
    columns = list(
        zip(texts, segments.starts.numpy().tolist(), segments.token_ids.numpy().tolist(), strict=True)
    )
    splits = segments.splits.numpy()
    return [columns[a:b] for a, b in itertools.pairwise(splits)]


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([], []),
        (["ab", ""], [[("ab", 0, -1)], [("", 0, -1)]]),
        (["a  <m>b"], [[("a", 0, -1), ("  <m>", 1, 7), ("b", 6, -1)]]),
        (
            ["x", "éé<m>", "y é"],
            [
                [("x", 0, -1)],
                [
                    ("", 0, -1),
                    ("é", 0, 8),
                    ("", 2, -1),
                    ("é", 2, 8),
                    ("", 4, -1),
                    ("<m>", 4, 7),
                    ("", 7, -1),
                ],
                [("y ", 0, -1), ("é", 2, 8), ("", 4, -1)],
            ],
        ),
    ],
    ids=["no text", "no token", "blanks taken along", "several"],
)
def test_parts_follow_each_other(texts: list[str], found: list[object]) -> None:
    assert parts(cut(whole(tf.constant(texts, tf.string)), FINDER, IDS)) == found


def test_a_token_that_was_found_is_not_searched_again() -> None:
    once = cut(whole(tf.constant(["a<m>é"])), FINDER, IDS)
    letters = AddedTokenFinder([AddedToken("m"), AddedToken("a")], ["m", "a"])
    again = parts(cut(once, letters, tf.constant([1, 2])))
    assert [part for part in again[0] if part[0]] == [("a", 0, 2), ("<m>", 1, 7), ("é", 4, 8)]
