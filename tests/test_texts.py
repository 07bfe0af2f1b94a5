"""What counts as texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tf_mlm.errors import InvalidInputError
from tf_mlm.texts import as_texts

ONE, TWO = "é".encode(), b"b\xff"


@pytest.mark.parametrize(
    "value",
    ["é", ONE, bytearray(ONE), np.str_("é"), np.bytes_(ONE), np.array("é"), np.array(ONE, object)],
    ids=repr,
)
def test_one_text(value: Any) -> None:
    texts, single = as_texts(value)
    assert (texts.tolist(), texts.dtype, single) == ([ONE], object, True)


@pytest.mark.parametrize(
    "value",
    [
        ["é", TWO],
        ("é", TWO),
        iter(["é", TWO]),
        np.array(["é", TWO], object),
        np.array([ONE, TWO]),
        [np.str_("é"), np.bytes_(TWO)],
        [np.array("é"), bytearray(TWO)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_several_texts(value: Any) -> None:
    texts, single = as_texts(value)
    assert (texts.tolist(), single) == ([ONE, TWO], False)


@pytest.mark.parametrize("value", [[], (), np.array([]), np.zeros(0, object)], ids=repr)
def test_no_text(value: Any) -> None:
    texts, single = as_texts(value)
    assert (texts.shape, texts.dtype, single) == ((0,), object, False)


def test_a_tensor_of_strings() -> None:
    import tensorflow as tf

    assert as_texts(tf.constant(["é", TWO]))[0].tolist() == [ONE, TWO]
    assert as_texts([tf.constant("é")])[0].tolist() == [ONE]
    with pytest.raises(InvalidInputError, match="an array of float32"):
        as_texts(tf.constant([1.0]))


@pytest.mark.parametrize(
    ("value", "received"),
    [
        (3, r"3 \(int\)"),
        (None, r"None \(NoneType\)"),
        (1.5, r"1.5 \(float\)"),
        (["a", None], r"None \(NoneType\) at index 1"),
        ([["a"], ["b"]], r"shape \(2, 1\)"),
        ([["a"], ["b", "c"]], r"shape \(2, various\)"),
        (["a", ["b"]], r"\['b'\] \(list\) at index 1"),
        (np.array([["a"]]), r"shape \(1, 1\)"),
        (np.array([1]), "an array of int64"),
        (np.array(["a", None], object), r"None \(NoneType\) at index 1"),
        ({"a": 1}, r"\(dict\)"),
        ({"a"}, r"\(set\)"),
        (["a", range(100)], r"range\(0, 100\) \(range\) at index 1"),
        (["a", "b" * 3, list(range(100))], r"\.\.\. \(list\) at index 2"),
    ],
    ids=repr,
)
def test_anything_else_is_refused(value: Any, received: str) -> None:
    with pytest.raises(
        InvalidInputError, match=f"`prompt` must be one text or a batch .* Received: .*{received}"
    ):
        as_texts(value, "prompt")
