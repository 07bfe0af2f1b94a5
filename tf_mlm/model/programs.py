"""The numeric programs that every answer is made of, and the shapes that they are compiled for.

The encoder runs by (batch, length), all that follows it by the number of rows. As rows are counted over a
whole request, the two do not multiply: `compilations` are few, known, and enough for every question.
"""

from __future__ import annotations

import functools

import tensorflow as tf

from tf_mlm.config import Buckets
from tf_mlm.layers import top_k as likeliest
from tf_mlm.layers.compact_weight import multiplied
from tf_mlm.model.masked_lm import MaskedLM

States = tuple[tf.Tensor, ...]
ARITHMETIC = ("float", "int8", "bfloat16")


class Programs(tf.Module):
    """A model as `tf.function`s of ids and of rows. Ids only in, numbers only out.

    Args:
        model: the model.
        top_k: how many fills `top` returns per row.
        xla: compile them (`jit_compile=True`); without, they run as plain TensorFlow.
        arithmetic: how compact weights are multiplied: as `"float"`s, or as they are stored, `"int8"` or
            `"bfloat16"`, without XLA.

    Attributes:
        xla, arithmetic: as given.
        states: int32 token ids [batch, length], lengths [batch] and segment ids [batch, length] → the model's
            states, one or more floats [batch, length, size].
        hidden: a row [rows, size] of each state → final hidden states, float32 [rows, hidden].
        logits: the same → float32 [rows, vocab].
        top: the same → the `top_k` largest probabilities, float32, and their ids, int32, each [rows, top_k].
        head: final hidden states, float32 [rows, hidden] → float32 [rows, vocab].
        row_specs: the rows that `hidden`, `logits` and `top` take.
        hidden_row: those that `head` takes.
        hidden_size: their size.

    Raises:
        ValueError: for another `arithmetic`, or if XLA is to multiply anything but floats.

    Example:
        >>> programs = Programs(model, top_k=3, xla=False)
        >>> one = tf.constant([[2, 4, 3]])
        >>> states = programs.states(one, tf.constant([3]), tf.zeros_like(one))
        >>> programs.logits(*(state[:, 1] for state in states)).shape
        TensorShape([1, 21])
    """

    def __init__(self, model: MaskedLM, *, top_k: int, xla: bool, arithmetic: str = "float") -> None:
        super().__init__(name="programs")
        self.xla, self.arithmetic = xla, arithmetic
        jit = xla or None
        if arithmetic not in ARITHMETIC:
            raise ValueError(
                f"`arithmetic` must be one of {', '.join(ARITHMETIC)}. Received: arithmetic={arithmetic!r}."
            )
        if xla and arithmetic != "float":
            raise ValueError(
                f"{arithmetic} products are oneDNN's and go without XLA. Received: "
                f"arithmetic={arithmetic!r}, xla=True. Leave one of the two out."
            )
        products = functools.partial(multiplied, "xla" if xla else arithmetic)
        ids, lengths = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)

        def states(token_ids: tf.Tensor, lengths: tf.Tensor, segment_ids: tf.Tensor) -> States:
            with products():
                return model.states(token_ids, lengths, segment_ids)

        def hidden(*rows: tf.Tensor) -> tf.Tensor:
            with products():
                return tf.cast(model.hidden(*rows), tf.float32)

        def project(features: tf.Tensor) -> tf.Tensor:
            with products():
                return tf.cast(model.head.project(features), tf.float32)

        def logits(*rows: tf.Tensor) -> tf.Tensor:
            with products():
                features = model.features(*rows)
            return project(features)

        def top(*rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            scores = logits(*rows)
            best, token_ids = likeliest.top_k(scores, top_k)
            return tf.exp(best - tf.reduce_logsumexp(scores, -1, keepdims=True)), token_ids

        def head(rows: tf.Tensor) -> tf.Tensor:
            with products():
                features = model.head.transform(rows)
            return project(features)

        self.states = tf.function(states, [ids, lengths, ids], jit_compile=jit, autograph=False)
        self.row_specs = [
            tf.TensorSpec([None, spec.shape[-1]], spec.dtype)
            for spec in self.states.get_concrete_function().structured_outputs
        ]
        self.hidden = tf.function(hidden, self.row_specs, jit_compile=jit, autograph=False)
        self.hidden_size = self.hidden.get_concrete_function().structured_outputs.shape[-1]
        self.hidden_row = tf.TensorSpec([None, self.hidden_size], tf.float32)
        self.logits = tf.function(logits, self.row_specs, jit_compile=jit, autograph=False)
        self.top = tf.function(top, self.row_specs, jit_compile=jit, autograph=False)
        self.head = tf.function(head, [self.hidden_row], jit_compile=jit, autograph=False)

    def compilations(self, buckets: Buckets) -> int:
        """How many programs XLA compiles for these buckets."""
        return compilations(buckets) if self.xla else 0


def compilations(buckets: Buckets) -> int:
    """How many programs XLA compiles for these buckets: the encoder's, and four kinds of head."""
    return len(buckets.batch) * len(buckets.length) + len(buckets.masks) * 4


def length_limit(model: MaskedLM) -> int:
    """The most tokens of a text: the model's positions, or less if its preprocessor says so."""
    own = model.preprocessor.max_length if model.preprocessor else None
    return min(own or model.config.max_length, model.config.max_length)


def default_buckets(max_length: int) -> Buckets:
    """The default buckets, with lengths doubled up to the model's longest input."""
    lengths = [16]
    while lengths[-1] < max_length:
        lengths.append(lengths[-1] * 2)
    return Buckets(length=tuple(dict.fromkeys(min(length, max_length) for length in lengths)))
