"""Texts, however they are given, as a string tensor."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_mlm.arguments import any_tensor, is_symbolic
from tf_mlm.texts import as_texts


def as_strings(text: Any, argument: str) -> tf.Tensor:
    """One text or several as string [batch]; lone surrogates become invalid UTF-8, which is ignored.

    Raises:
        ValueError: for what is no batch of texts; the message names the `argument`.
    """
    if not tf.is_tensor(text) and not is_symbolic(text):
        return tf.constant(as_texts(text, argument)[0], tf.string)
    rule = "one text or a batch of texts, string [batch]"
    strings = any_tensor(text, argument, rule)
    if strings.shape.rank == 0:
        strings = strings[tf.newaxis]
    if strings.dtype != tf.string or strings.shape.rank not in (None, 1):
        raise ValueError(
            f"`{argument}` must be {rule}. Received: dtype={strings.dtype.name}, shape={strings.shape}."
        )
    return tf.ensure_shape(strings, [None])
