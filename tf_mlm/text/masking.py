"""Which tokens a masked-language model is to predict, and what it sees in their place.

Dense and vectorised throughout, so that it can run inside an XLA-compiled training step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.arguments import any_tensor, described, tensor_argument
from tf_mlm.text.whole_words import select_words

_RESOLUTION = 1 << 24
"""Random numbers are whole numbers below this, all of which float32 holds, and rates are rounded to
multiples of its inverse. Whole numbers come out the same with and without XLA; random floats do not."""


class MaskedLMMaskGenerator(tf.Module):
    """Selects tokens at random and replaces most of them, as BERT's pretraining does.

    Of each row, `ceil(mask_selection_rate × selectable tokens)` are selected, but at most
    `mask_selection_length`. A selected token becomes the mask token, a random token, or stays.

    Arguments, outputs and edge rules are those of `keras_hub.layers.MaskedLMMaskGenerator` on TensorFlow;
    `seed` and `whole_word` come on top.

    Args:
        vocabulary_size: the number of ids that a random token is drawn from.
        mask_selection_rate: the share of selectable tokens to select, in [0, 1].
        mask_token_id: the id of the mask token.
        mask_selection_length: the most tokens selected per row. If set, the mask outputs are dense and
            padded with zeros to this length, else they are ragged.
        unselectable_token_ids: ids never selected, such as padding, [CLS] and [SEP].
        mask_token_rate: the share of selected tokens replaced by the mask token, in [0, 1].
        random_token_rate: the share of selected tokens replaced by a random token, in [0, 1].
        seed: makes masks reproducible: the n-th call, or the call with `step=n`, gives the same masks for
            the same input in every process. Without it they follow `tf.random.set_seed`.
        whole_word: select all tokens of a word or none. A word is selected only if it fits into what is left
            of the row's number; one with an unselectable token never is.
        continuation_token_ids: the ids that continue a word (`Vocabulary.continuation_ids`), needed for
            `whole_word`.

    Raises:
        ValueError: at construction, for rates outside [0, 1] or with a sum above 1, ids outside the
            vocabulary, a negative length, or `whole_word` without `continuation_token_ids`.

    Example:
        >>> from tf_mlm.text.masking import MaskedLMMaskGenerator
        >>> mask = MaskedLMMaskGenerator(
        ...     vocabulary_size=100, mask_selection_rate=1.0, mask_token_id=4, mask_selection_length=3,
        ...     unselectable_token_ids=(0, 2, 3), mask_token_rate=1.0, random_token_rate=0.0, seed=7,
        ... )
        >>> masked = mask([[2, 50, 51, 3, 0]], step=0)
        >>> masked["token_ids"].numpy().tolist(), masked["mask_positions"].numpy().tolist()
        ([[2, 4, 4, 3, 0]], [[1, 2, 0]])
        >>> masked["mask_ids"].numpy().tolist(), masked["mask_weights"].numpy().tolist()
        ([[50, 51, 0]], [[1.0, 1.0, 0.0]])

    References:
        Devlin et al., 2018, https://arxiv.org/abs/1810.04805
    """

    def __init__(
        self,
        vocabulary_size: int,
        mask_selection_rate: float,
        mask_token_id: int,
        mask_selection_length: int | None = None,
        unselectable_token_ids: Sequence[int] = (0,),
        mask_token_rate: float = 0.8,
        random_token_rate: float = 0.1,
        *,
        seed: int | None = None,
        whole_word: bool = False,
        continuation_token_ids: Sequence[int] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        _check_id("mask_token_id", mask_token_id, vocabulary_size)
        for argument, rate in (
            ("mask_selection_rate", mask_selection_rate),
            ("mask_token_rate", mask_token_rate),
            ("random_token_rate", random_token_rate),
        ):
            if not 0 <= rate <= 1:
                raise ValueError(f"`{argument}` must lie in [0, 1]. Received: {argument}={rate}.")
        if mask_token_rate + random_token_rate > 1 + 1e-6:
            raise ValueError(
                "`mask_token_rate` + `random_token_rate` must be at most 1; the rest of the selected tokens "
                f"stays as it is. Received: mask_token_rate={mask_token_rate}, "
                f"random_token_rate={random_token_rate}."
            )
        if mask_selection_length is not None and mask_selection_length < 0:
            raise ValueError(
                "`mask_selection_length` must not be negative (None means no limit). "
                f"Received: mask_selection_length={mask_selection_length}."
            )
        if whole_word and continuation_token_ids is None:
            raise ValueError(
                "`whole_word=True` needs to know which tokens continue a word. "
                "Pass `continuation_token_ids=vocabulary.continuation_ids`."
            )
        self.vocabulary_size = vocabulary_size
        self.mask_selection_rate = mask_selection_rate
        self.mask_token_id = mask_token_id
        self.mask_selection_length = mask_selection_length
        self.unselectable_token_ids = tuple(int(token_id) for token_id in unselectable_token_ids)
        self.mask_token_rate = mask_token_rate
        self.random_token_rate = random_token_rate
        self.seed = seed
        self.whole_word = whole_word
        self._calls = None if seed is None else tf.Variable(0, dtype=tf.int64, trainable=False, name="calls")
        self._continues = None
        if whole_word:
            continues = np.zeros(vocabulary_size, bool)
            for token_id in continuation_token_ids or ():
                _check_id("continuation_token_ids", token_id, vocabulary_size)
                continues[token_id] = True
            self._continues = tf.constant(continues)

    def __call__(self, inputs: Any, *, step: Any = None, rate: Any = None) -> dict[str, Any]:
        """Masked inputs and what to predict.

        Args:
            inputs: integer ids [batch, length], [batch, (length)] (ragged) or [length]; a tensor, an array
                or lists. Or what a `TextPreprocessor` returned, or a mapping with `token_ids`.
            step: integer scalar; the masks then depend on `seed`, `step` and the inputs alone, not on earlier
                calls. Use it where calls may be repeated or reordered, as in `tf.data` or a training step.
            rate: float scalar in place of `mask_selection_rate`, and no larger than it, for this call.

        Returns:
            `token_ids`, of the type and shape of the input, and per selected token `mask_positions` (int64,
            ascending), `mask_ids` (original ids, type of the input) and `mask_weights` (float32, 0 marks
            padding): [batch, mask_selection_length], or ragged [batch, (masks)] without that length. For
            what a `TextPreprocessor` returned also its `lengths` and `segment_ids`, so that a `MaskedLM`
            takes the whole.

        Raises:
            ValueError: if the input is not of rank 1 or 2 or not of integers, or `step` comes without a seed.
        """
        if isinstance(inputs, tuple) and hasattr(inputs, "_asdict"):
            inputs = inputs._asdict()
        if isinstance(inputs, Mapping):
            if "token_ids" not in inputs:
                raise ValueError(
                    "`inputs` that are a mapping must hold `token_ids`, as the preprocessor's do. "
                    f"Received: the keys {sorted(map(str, inputs))}."
                )
            beside = {name: inputs[name] for name in ("lengths", "segment_ids") if name in inputs}
            return {**self(inputs["token_ids"], step=step, rate=rate), **beside}
        token_ids, row_lengths = _to_dense(inputs)
        is_batch = token_ids.shape.rank == 2
        if not is_batch:
            token_ids = token_ids[tf.newaxis]
        selectable = self._selectable(token_ids, row_lengths)
        seeds = tf.random.split(self._seed_of_call(step), 3, alg="philox")

        positions = self._select(token_ids, selectable, seeds[0], rate)
        length = tf.shape(token_ids)[1]
        is_mask = positions < length
        # One column more takes what belongs nowhere.
        padded = tf.pad(token_ids, [[0, 0], [0, 1]])
        mask_ids = tf.gather(padded, positions, batch_dims=1)
        replacements = self._replace(mask_ids, seeds[1], seeds[2])
        rows = tf.broadcast_to(tf.range(tf.shape(positions)[0])[:, tf.newaxis], tf.shape(positions))
        masked = tf.tensor_scatter_nd_update(padded, tf.stack([rows, positions], 2), replacements)[:, :-1]
        outputs = {
            "mask_positions": tf.cast(tf.where(is_mask, positions, 0), tf.int64),
            "mask_ids": mask_ids,
            "mask_weights": tf.cast(is_mask, tf.float32),
        }
        if self.mask_selection_length:
            missing = self.mask_selection_length - tf.shape(positions)[1]
            for key, value in outputs.items():
                value = tf.pad(value, [[0, 0], [0, missing]])
                outputs[key] = tf.ensure_shape(value, [None, self.mask_selection_length])
        else:
            counts = tf.reduce_sum(tf.cast(is_mask, tf.int64), 1)
            outputs = {key: tf.RaggedTensor.from_tensor(value, counts) for key, value in outputs.items()}
        if not is_batch:
            return {"token_ids": masked[0], **{key: value[0] for key, value in outputs.items()}}
        if row_lengths is not None:
            masked = tf.RaggedTensor.from_tensor(masked, row_lengths)
        return {"token_ids": masked, **outputs}

    def _seed_of_call(self, step: Any) -> tf.Tensor:
        """Two integers from which all random numbers of a call follow."""
        if self.seed is None or self._calls is None:
            if step is not None:
                raise ValueError(
                    "`step` fixes the masks together with `seed`, which was not given. "
                    f"Construct the generator with a seed. Received: step={step}."
                )
            return tf.random.uniform([2], tf.int32.min, tf.int32.max, tf.int32)
        if step is not None:
            step = tensor_argument(step, "step", "integers", "[]")
        else:
            step = self._calls.assign_add(1) - 1
        return tf.stack([tf.constant(self.seed, tf.int64), tf.cast(step, tf.int64)])

    def _selectable(self, token_ids: tf.Tensor, row_lengths: tf.Tensor | None) -> tf.Tensor:
        selectable = tf.ones_like(token_ids, tf.bool)
        for token_id in self.unselectable_token_ids:
            selectable &= token_ids != token_id
        if row_lengths is not None:
            selectable &= tf.sequence_mask(row_lengths, tf.shape(token_ids)[1])
        return selectable

    def _count(self, selectable: tf.Tensor, rate: Any = None) -> tf.Tensor:
        """How many of this many selectable tokens to select; rounded in float32, as tf.text does."""
        rate = self.mask_selection_rate if rate is None else tf.cast(rate, tf.float32)
        count = tf.cast(tf.math.ceil(tf.cast(selectable, tf.float32) * rate), tf.int32)
        return count if self.mask_selection_length is None else tf.minimum(count, self.mask_selection_length)

    def _select(
        self, token_ids: tf.Tensor, selectable: tf.Tensor, seed: tf.Tensor, rate: Any = None
    ) -> tf.Tensor:
        """int32 [batch, masks]: ascending positions of the selected tokens, then `length` as filler."""
        length = tf.shape(token_ids)[1]
        most = tf.get_static_value(self._count(length))
        most = self._count(length) if most is None else int(most)
        counts = self._count(tf.reduce_sum(tf.cast(selectable, tf.int32), 1), rate)[:, tf.newaxis]
        draws = tf.cast(_draw(tf.shape(token_ids), seed, _RESOLUTION), tf.float32)  # XLA sorts floats faster
        if self.whole_word:
            known = tf.clip_by_value(token_ids, 0, self.vocabulary_size - 1)
            selected = select_words(tf.gather(self._continues, known), selectable, counts, draws)
            from_end = tf.where(selected, length - tf.range(length), 0)
            return length - tf.math.top_k(from_end, most).values
        chosen = tf.math.top_k(tf.where(selectable, draws, -1.0), most).indices
        return tf.sort(tf.where(tf.range(most) < counts, chosen, length), 1)

    def _replace(self, mask_ids: tf.Tensor, choice_seed: tf.Tensor, token_seed: tf.Tensor) -> tf.Tensor:
        """What stands in the place of each selected token."""
        choice = _draw(tf.shape(mask_ids), choice_seed, _RESOLUTION)
        drawn = tf.cast(_draw(tf.shape(mask_ids), token_seed, self.vocabulary_size), mask_ids.dtype)
        masks_below = round(self.mask_token_rate * _RESOLUTION)
        draws_below = round((self.mask_token_rate + self.random_token_rate) * _RESOLUTION)
        kept_or_drawn = tf.where(choice < draws_below, drawn, mask_ids)
        return tf.where(choice < masks_below, tf.cast(self.mask_token_id, mask_ids.dtype), kept_or_drawn)


def _draw(shape: tf.Tensor, seed: tf.Tensor, below: int) -> tf.Tensor:
    """Integers from 0."""
    return tf.random.stateless_uniform(shape, seed, minval=0, maxval=below, dtype=tf.int32, alg="philox")


def _check_id(argument: str, token_id: int, vocabulary_size: int) -> None:
    if not 0 <= token_id < vocabulary_size:
        raise ValueError(
            f"`{argument}` must be in range [0, vocabulary_size - 1]. "
            f"Received: {argument}={token_id}, vocabulary_size={vocabulary_size}."
        )


def _to_dense(inputs: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Ids [batch, length] or [length], and the row lengths [batch] if the input was ragged."""
    rule = "token ids, integers of shape [length] or [batch, length]"
    if isinstance(inputs, (list, tuple)):
        try:
            inputs = tf.ragged.constant(inputs, dtype=tf.int32) if inputs else tf.zeros([0], tf.int32)
        except (ValueError, TypeError) as error:
            raise ValueError(f"`inputs` must be {rule}. Received: {described(inputs)}.") from error
        if isinstance(inputs, tf.RaggedTensor) and inputs.ragged_rank == 1:
            lengths = inputs.row_lengths()
            if tf.reduce_all(lengths == lengths[0]):
                inputs = inputs.to_tensor()
    if not isinstance(inputs, tf.RaggedTensor):
        inputs = any_tensor(inputs, "inputs", rule, "tf_mlm.keras.MaskedLMMaskGenerator")
    if inputs.shape.rank not in (1, 2) or not inputs.dtype.is_integer:
        raise ValueError(
            f"`inputs` must be {rule}. Received: dtype={inputs.dtype.name}, shape={inputs.shape}."
        )
    if isinstance(inputs, tf.RaggedTensor):
        return inputs.to_tensor(), inputs.row_lengths()
    return inputs, None
