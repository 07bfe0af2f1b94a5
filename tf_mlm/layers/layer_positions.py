"""What the layers of an encoder know of positions, and share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.layers import initializer as initializers
from tf_mlm.layers.disentangled_bias import DisentangledBias, RelativeVectors
from tf_mlm.layers.relative_bias import RelativeBias
from tf_mlm.layers.rotary import Rotary


class LayerPositions(tf.Module):
    """Rotations of queries and keys, and biases of scores, as the config's switches say; both may be absent.

    Attributes:
        rotary: for the layers that attend to the whole text.
        local_rotary: for those that attend to a token's neighbours.
        bias: added to the scores of every layer.
        vectors: of relative positions, which each layer reads in its own way.

    Example:
        >>> positions = LayerPositions(ModelConfig(relative_buckets=32), lambda: "truncated_normal")
        >>> positions.rotary, positions.bias.table.shape
        (None, TensorShape([32, 12]))
    """

    def __init__(
        self,
        config: ModelConfig,
        initializer: Callable[[], Any],
        *,
        name: str | None = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name)

        def rotary(theta: float | None) -> Rotary | None:
            if theta is None:
                return None
            return Rotary(
                config.head_size,
                theta,
                interleaved=config.rope_interleaved,
                stored=config.rope_stored,
                positions=config.max_position_embeddings,
                name="rotary",
            )

        self.rotary = rotary(config.rope_theta)
        self.local_rotary = rotary(config.local_rope_theta)
        self.bias = (
            RelativeBias(
                config.num_attention_heads, config.relative_buckets, initializer(), name="bias", dtype=dtype
            )
            if config.relative_buckets is not None
            else None
        )
        self.vectors = (
            RelativeVectors(config, initializers.get(initializer()), name="vectors", dtype=dtype)
            if config.relative_parts is not None
            else None
        )

    def bias_of_layer(
        self, config: ModelConfig, initializer: Callable[[], Any], dtype: Any
    ) -> RelativeBias | DisentangledBias | None:
        """What is added to the scores of one layer; of its own where it reads the shared vectors."""
        if self.vectors is None:
            return self.bias
        return DisentangledBias(config, self.vectors, initializer, name="bias", dtype=dtype)
