"""The sizes and constants of a model: `config.json`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tf_mlm.config.rules import require, require_positive, require_whole
from tf_mlm.config.switches import check_switches

MODEL_TYPES = (
    *("albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "esm", "fnet", "modernbert"),
    *("mpnet", "roberta", "roformer", "roformer_v2", "xlm-roberta"),
)
ROBERTA_TYPES = ("camembert", "esm", "mpnet", "roberta", "xlm-roberta")
"""Families whose learned positions count from behind the padding id, and whose heads use GELU."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes and constants of an encoder with its masked-LM head.

    `head_hidden_act` and `head_layer_norm_eps` are for heads that differ from their encoder, as
    KerasHub's do; None follows the family. transformers has no such keys and ignores them.

    The switches behind them are what families differ in; by default they are BERT's. `norm_position` is
    `post` (a norm behind each half of a block) or `pre` (before it, and one behind the last block). `norm` is
    `layer`, or `rms` for one that takes no mean away. A `bare_head` projects what the encoder gives as it is,
    with neither a dense layer and a norm before nor a bias behind.
    `gated` multiplies half of the feed-forward's inner values with the other half. With a `rope_theta`
    positions are rotations of queries and keys, without one they are a learned table. `layer_types` says of
    each layer whether it attends to the whole text or to `local_attention // 2` tokens on either side; the
    latter rotate by `local_rope_theta`. `first_norm` is whether a `pre` model normalises what its first block
    gets too. With `num_hidden_groups` as many groups of consecutive layers share their weights each, and
    `embedding_projection` projects the vectors of tokens even where they have the hidden size already.
    `embedding_norm` is whether they are normalised; the vectors of the token `dropped_token_id`, a mask, are
    zeros, and the others are scaled for it. `rope_stored` says whether the `frequencies` or the `angles` of
    rotations are kept among the weights, `rope_interleaved` that neighbouring values are turned against each
    other, and `rope_values` that values are turned too. `relative_buckets` is how many distances have a bias
    of their own in all layers' scores. `mixing` is `attention`, or `fourier` for a transform in its place.
    `position_table` false leaves learned positions out. `relative_parts` are what attention reads of relative
    positions, `c2p` from a token to a distance and `p2c` the other way, from twice as many vectors as
    `max_relative_positions` or `position_buckets`, with the weights of queries and keys if `relative_shared`,
    and normalised if `relative_norm`. With a `conv_kernel_size` the first layer is followed by a convolution.
    `kept_head` are weights that nothing here computes with, and that a file of the family has: ESM's for
    `contacts` between residues, or a `pooler`.

    `extra` keeps the keys of a `config.json` that this package does not use, so that saving
    a loaded model loses nothing.

    Raises:
        ConfigError: at construction, for sizes below one, heads that do not divide the hidden
            size, rates outside [0, 1), an unknown `model_type`, `layer_types` that are not one for each
            layer, or more `num_hidden_groups` than layers.

    Example:
        >>> from tf_mlm.config import ModelConfig
        >>> ModelConfig(vocab_size=100, hidden_size=32, num_attention_heads=4).head_size
        8
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    embedding_size: int | None = None
    tie_word_embeddings: bool = True
    model_type: str = "bert"
    head_hidden_act: str | None = None
    head_layer_norm_eps: float | None = None
    norm_position: str = "post"
    norm: str = "layer"
    gated: bool = False
    norm_bias: bool = True
    attention_bias: bool = True
    mlp_bias: bool = True
    head_bias: bool = True
    bare_head: bool = False
    rope_theta: float | None = None
    local_rope_theta: float | None = None
    layer_types: tuple[str, ...] | None = None
    local_attention: int = 128
    num_hidden_groups: int | None = None
    embedding_projection: bool = False
    first_norm: bool = True
    embedding_norm: bool = True
    dropped_token_id: int | None = None
    kept_head: str | None = None
    rope_stored: str | None = None
    rope_interleaved: bool = False
    rope_values: bool = False
    relative_buckets: int | None = None
    mixing: str = "attention"
    position_table: bool = True
    relative_parts: tuple[str, ...] | None = None
    relative_shared: bool = False
    relative_norm: bool = False
    position_buckets: int | None = None
    max_relative_positions: int | None = None
    conv_kernel_size: int = 0
    conv_act: str = "tanh"
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
        ):
            require_whole(name, getattr(self, name), least=1)
        for name in ("type_vocab_size", "pad_token_id"):
            require_whole(name, getattr(self, name), least=0)
        if self.embedding_size is not None:
            require_whole("embedding_size", self.embedding_size, least=1)
        require(
            self.hidden_size % self.num_attention_heads == 0,
            "`num_attention_heads` must divide `hidden_size`; choose a number of heads that does.",
            hidden_size=self.hidden_size,
            num_attention_heads=self.num_attention_heads,
        )
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            rate = getattr(self, name)
            is_rate = isinstance(rate, int | float) and not isinstance(rate, bool) and 0 <= rate < 1
            require(is_rate, f"`{name}` must be a number in [0, 1).", **{name: rate})
        for name in ("layer_norm_eps", "initializer_range"):
            require_positive(name, getattr(self, name))
        if self.head_layer_norm_eps is not None:
            require_positive("head_layer_norm_eps", self.head_layer_norm_eps)
        check_switches(self)
        require(
            self.pad_token_id < self.vocab_size,
            "`pad_token_id` must be an id of the vocabulary.",
            pad_token_id=self.pad_token_id,
            vocab_size=self.vocab_size,
        )
        require(
            self.model_type in MODEL_TYPES,
            f"`model_type` must be one of {', '.join(MODEL_TYPES)}.",
            model_type=self.model_type,
        )
        require(
            self.max_length >= 3,
            "`max_position_embeddings` must leave room for [CLS], one token and [SEP].",
            max_position_embeddings=self.max_position_embeddings,
        )

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def token_embedding_size(self) -> int:
        return self.embedding_size or self.hidden_size

    @property
    def position_offset(self) -> int:
        """RoBERTa counts positions from the one behind its padding id."""
        counts_on = self.model_type in ROBERTA_TYPES and self.has_position_table
        return self.pad_token_id + 1 if counts_on else 0

    @property
    def has_position_table(self) -> bool:
        """Whether positions are learned vectors, added to those of tokens."""
        return self.position_table and self.rope_theta is None

    @property
    def reads_apart(self) -> bool:
        """Whether documents that share a row can be kept apart: attention alone mixes what stands in it."""
        mixes = self.mixing != "attention" or self.conv_kernel_size > 0
        return not mixes and self.dropped_token_id is None  # which is counted

    @property
    def num_blocks(self) -> int:
        """How many layers have weights of their own."""
        return self.num_hidden_groups or self.num_hidden_layers

    def block_of(self, layer: int) -> int:
        """Which block a layer runs; layers of a group run the same one."""
        return int(layer / (self.num_hidden_layers / self.num_blocks))

    @property
    def projects_embedding(self) -> bool:
        """Whether a linear map stands between the embedding and the first layer."""
        return self.embedding_projection or self.token_embedding_size != self.hidden_size

    def is_local(self, layer: int) -> bool:
        """Whether a layer attends to the neighbours of a token only."""
        return self.layer_types is not None and self.layer_types[layer] == "sliding_attention"

    @property
    def max_length(self) -> int:
        """The most tokens, special ones included, that the position table has rows for."""
        return self.max_position_embeddings - self.position_offset
