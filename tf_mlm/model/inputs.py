"""What a model reads of a batch: given one by one, or as what the preprocessor or the masker returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mlm.arguments import indices_argument


class ModelInputs(NamedTuple):
    """The arguments of a model by name; None where one was not given.

    Example:
        >>> given = ModelInputs.of({"token_ids": [[2, 3]], "lengths": [2]}, mask_positions=[[0]])
        >>> given.lengths, given.segment_ids, given.mask_positions
        ([2], None, [[0]])
    """

    token_ids: Any
    lengths: Any = None
    segment_ids: Any = None
    mask_positions: Any = None

    @classmethod
    def of(cls, inputs: Any, **given: Any) -> ModelInputs:
        """From token ids, or from a mapping or named tuple that has them under their names, with more.

        What is `given` beside it goes before what stands in it.

        Raises:
            ValueError: for a mapping without `token_ids`.
        """
        given = {name: value for name, value in given.items() if value is not None}
        if isinstance(inputs, tuple) and hasattr(inputs, "_asdict"):
            inputs = inputs._asdict()
        if not isinstance(inputs, Mapping):
            return cls(inputs, **given)
        if "token_ids" not in inputs:
            raise ValueError(
                "A mapping of inputs must hold `token_ids`, as those of the preprocessor and the masker do. "
                f"Received: the keys {sorted(map(str, inputs))}."
            )
        return cls(**{**{name: inputs[name] for name in cls._fields if name in inputs}, **given})


def dense_ids(inputs: ModelInputs, pad_id: int | None, **more: Any) -> ModelInputs:
    """The inputs with ids as dense tensors [batch, length], and with lengths.

    Lengths that were not given are those of ragged rows; of dense ones, where the padding's id is known,
    a row ends behind its last other token.

    Raises:
        ValueError: for ids or lengths of another kind or shape, or when the lengths cannot be known.
    """
    token_ids, lengths, segment_ids, positions = inputs
    if isinstance(token_ids, tf.RaggedTensor) and token_ids.dtype.is_integer and token_ids.shape.rank == 2:
        lengths = token_ids.row_lengths() if lengths is None else lengths
        token_ids = token_ids.to_tensor(pad_id or 0)
    token_ids = indices_argument(token_ids, "token_ids", "[batch, length]", **more)
    if lengths is None:
        if pad_id is None:
            raise ValueError(
                "`lengths` must be given: how many tokens of each row are real, integers [batch]. "
                "Received: lengths=None, and the encoder has no `config` that names the padding's id."
            )
        places = tf.range(1, tf.shape(token_ids)[1] + 1)
        lengths = tf.reduce_max(tf.where(token_ids != pad_id, places, 0), axis=1)
    lengths = indices_argument(lengths, "lengths", "[batch]", **more)
    if not token_ids.shape[:1].is_compatible_with(lengths.shape):
        raise ValueError(
            "`token_ids` and `lengths` must have the same batch size. "
            f"Received: token_ids.shape={token_ids.shape}, lengths.shape={lengths.shape}."
        )
    if segment_ids is not None:
        if isinstance(segment_ids, tf.RaggedTensor) and segment_ids.dtype.is_integer:
            segment_ids = segment_ids.to_tensor()
        segment_ids = indices_argument(segment_ids, "segment_ids", "[batch, length]", **more)
        if not segment_ids.shape.is_compatible_with(token_ids.shape):
            raise ValueError(
                "`segment_ids` must have the shape of `token_ids`. Received: "
                f"segment_ids.shape={segment_ids.shape}, token_ids.shape={token_ids.shape}."
            )
    return ModelInputs(token_ids, lengths, segment_ids, positions)
