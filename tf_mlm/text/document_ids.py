"""Documents to token ids, many at a time."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.text.preprocessor import TextPreprocessor

LINES_PER_CALL, BYTES_PER_CALL = 2048, 1 << 20
"""Lines are short, as a rule; the second limit is for those that are not: a call needs some sixty times the
memory of its text."""

_GROUP = (tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int32))
_traced: weakref.WeakKeyDictionary[TextPreprocessor, tuple[Any, Callable[..., Any]]] = (
    weakref.WeakKeyDictionary()
)


def tokenize_documents(documents: Iterable[str], preprocessor: TextPreprocessor) -> Iterator[np.ndarray]:
    """The token ids of each document, int32 [tokens], in order and without special tokens around them.

    Lines are tokenised in batches on all cores. A document without any token gives an empty array.
    """

    failure: list[Exception] = []

    def groups() -> Iterator[tuple[list[bytes], list[int]]]:
        try:
            yield from grouped()
        except Exception as error:  # within TensorFlow it would become text with a traceback
            failure.append(error)

    def grouped() -> Iterator[tuple[list[bytes], list[int]]]:
        lines: list[bytes] = []
        counts: list[int] = []
        size = 0
        for document in documents:
            parts = [part.encode("utf-8", "surrogatepass") for part in document.split("\n")]
            lines += parts
            counts.append(len(parts))
            size += sum(map(len, parts))
            if len(lines) >= LINES_PER_CALL or size >= BYTES_PER_CALL:
                yield lines, counts
                lines, counts, size = [], [], 0
        if counts:
            yield lines, counts

    dataset = tf.data.Dataset.from_generator(groups, output_signature=_GROUP)
    tokenize = _of_group(preprocessor)
    for ids, counts in (
        dataset.map(tokenize, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2).as_numpy_iterator()
    ):
        yield from np.split(ids, np.cumsum(counts)[:-1])
    if failure:
        raise failure[0]


def _of_group(preprocessor: TextPreprocessor) -> Callable[..., Any]:
    """Lines and how many each document has → ids and their number in each; traced once for many calls."""
    tokenizer = preprocessor.tokenizer

    def tokenize(lines: tf.Tensor, counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = tokenizer(lines)
        per_line = tf.RaggedTensor.from_row_lengths(tf.range(tf.size(found.token_ids)), found.counts)
        # The tokenizer may return the texts in any order; put the lines back into theirs.
        source = per_line.values + tf.repeat(
            found.firsts - tf.cast(per_line.row_starts(), tf.int32), found.counts
        )
        lines_of = tf.RaggedTensor.from_row_lengths(found.counts, counts)
        return tf.gather(found.token_ids, source), tf.reduce_sum(lines_of, axis=1)

    traced_of, traced = _traced.get(preprocessor, (None, None))
    if traced is None or traced_of is not tokenizer:  # it may have got another one
        traced = tf.function(tokenize, input_signature=_GROUP, autograph=False)
        _traced[preprocessor] = (tokenizer, traced)
    return traced
