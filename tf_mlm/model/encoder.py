"""What a masked language model asks of its encoder."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import tensorflow as tf

from tf_mlm.config import ModelConfig


class Encoder(Protocol):
    """Token ids to hidden states: what `MaskedLM`, training, `Inference` and the exporter ask for.

    Nothing has to be inherited from here; `BertEncoder` and any class with these two members will do.

    - Training and export need a `tf.Module`, as that is how variables are found; `train="last:N"` and
      `layer_decay` also need a list of its layers, lowest first, as `blocks`.
    - The call is traced and compiled by XLA with unknown batch and length: TensorFlow operations only.
    - An encoder that can leave out work on positions nobody asks for is a `SplitEncoder` too.

    Example:
        >>> from tf_mlm import MaskedLM, MaskedLMHead
        >>> class Neighbours(tf.Module):
        ...     def __init__(self, config):
        ...         super().__init__()
        ...         self.config = config
        ...         self.table = tf.Variable(tf.random.stateless_normal([30, 8], seed=[0, 1]))
        ...     def __call__(self, token_ids, lengths, segment_ids, *, dropout_seed=None):
        ...         real = tf.sequence_mask(lengths, tf.shape(token_ids)[1], self.table.dtype)
        ...         x = tf.gather(self.table, token_ids) * real[..., tf.newaxis]
        ...         return x + tf.roll(x, 1, axis=1)
        >>> config = ModelConfig(vocab_size=30, hidden_size=8, num_attention_heads=2)
        >>> model = MaskedLM(Neighbours(config), MaskedLMHead(30, hidden_dim=8))
        >>> model([[2, 5, 4, 3]], mask_positions=[[2]]).shape
        TensorShape([1, 1, 30])
    """

    @property
    def config(self) -> ModelConfig:
        """Sizes and limits.

        Read are `vocab_size`; `max_length`, the most tokens of a row; `type_vocab_size`, what `segment_ids`
        stay below; `pad_token_id`, where a row ends if lengths are not given; and the two dropout rates, of
        which one must not be 0 for a `dropout_seed` to come. The others are only written down.
        """

    def __call__(
        self, token_ids: tf.Tensor, lengths: tf.Tensor, segment_ids: Any, *, dropout_seed: Any = None
    ) -> tf.Tensor:
        """Hidden states, float [batch, length, hidden], of a hidden size known when traced.

        Args:
            token_ids: int32 [batch, length].
            lengths: int32 [batch]. What stands behind a row's length must not change the states before it.
            segment_ids: int32 [batch, length], or None for zeros.
            dropout_seed: int32 [2] in training with dropout: the same seed, the same states. Left out in
                every other call.
        """


@runtime_checkable
class SplitEncoder(Protocol):
    """An encoder whose last, position-wise part can run at some positions only, with the same result.

    `encoder(...)` equals `encoder.transform(*encoder.attend(...))`, and between the two calls rows may be
    gathered. `BertEncoder` is one: it leaves out half of its last block wherever there is no mask.
    """

    def attend(
        self, token_ids: Any, lengths: Any = None, segment_ids: Any = None, *, dropout_seed: Any = None
    ) -> tuple[tf.Tensor, ...]:
        """All that mixes positions: one or more tensors [batch, length, size]."""

    def transform(self, *states: tf.Tensor, dropout_seed: Any = None) -> tf.Tensor:
        """From those, at the same positions [..., size]: the final hidden states [..., hidden]."""
