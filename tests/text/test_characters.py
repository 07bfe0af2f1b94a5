"""Texts as characters that know their bytes, and the tokens cut out of them."""

from __future__ import annotations

import tensorflow as tf

from tf_mlm.config import AddedToken
from tf_mlm.text.added_tokens import AddedTokenFinder
from tf_mlm.text.characters import characters_of, cut


def test_characters_know_their_bytes() -> None:
    characters, parts = characters_of(tf.constant(["aé", "", b"\xff\xe4\xb8b", "中"]))
    assert characters.starts.numpy().tolist() == [0, 1, 0, 1, 3, 0]
    assert characters.ends.numpy().tolist() == [1, 3, 1, 3, 4, 3]
    assert characters.owners.numpy().tolist() == [0, 0, 2, 2, 2, 3]
    assert parts.splits.numpy().tolist() == [0, 1, 2, 3, 4]


def test_tokens_become_parts_of_their_own() -> None:
    finder = AddedTokenFinder([AddedToken("[M]", lstrip=True), AddedToken("é")], ["[M]", "é"])
    ids = tf.constant([7, 8])
    characters, parts = characters_of(tf.constant(["x", "a [M]éb", "", "[M]"]))
    characters, parts = cut(characters, parts, finder, ids)
    assert bytes(characters.points.numpy().tolist()) == b"xab"
    assert parts.token_ids.numpy().tolist() == [-1, -1, 7, -1, 8, -1, -1, -1, 7, -1]
    assert parts.starts.numpy()[[2, 4, 8]].tolist() == [1, 5, 0]
    assert parts.ends.numpy()[[2, 4, 8]].tolist() == [5, 7, 3]
    assert parts.splits.numpy().tolist() == [0, 1, 6, 7, 10]
    assert characters.owners.numpy().tolist() == [0, 1, 5]
