"""Every numeric module of the package, once: how to make it, what to feed it, what must come out.

`tests/layers/test_conformance.py` puts each case through every way of running it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from reference import numpy_bert

from tf_mlm.config import ModelConfig
from tf_mlm.layers.bert_embedding import BertEmbedding
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.encoder_block import EncoderBlock
from tf_mlm.layers.layer_norm import LayerNorm
from tf_mlm.layers.masked_lm_head import MaskedLMHead
from tf_mlm.layers.reversible_embedding import ReversibleEmbedding
from tf_mlm.layers.self_attention import SelfAttention
from tf_mlm.model.bert_encoder import BertEncoder
from tf_mlm.model.masked_lm import MaskedLM

VOCAB, HIDDEN, HEADS = 19, 8, 2
CONFIG = ModelConfig(
    vocab_size=VOCAB,
    hidden_size=HIDDEN,
    num_hidden_layers=2,
    num_attention_heads=HEADS,
    intermediate_size=16,
    max_position_embeddings=12,
    initializer_range=0.5,
)

Inputs = tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Case:
    """A module and one way to call it.

    Attributes:
        make: the module, for a dtype policy.
        inputs: arguments for a batch and a length.
        variables: how many there are, all of them before the first call.
        reference: the result in float64, from the module's variables and the inputs.
        call: calls the module.
    """

    name: str
    make: Callable[[str], Any]
    inputs: Callable[[int, int], Inputs]
    variables: int
    reference: Callable[..., np.ndarray] | None = None
    call: Callable[..., tf.Tensor] = lambda module, *inputs: module(*inputs)

    def specs(self) -> list[tf.TensorSpec]:
        """The inputs with batch, length and masks unknown; only the hidden axis keeps its size."""
        return [
            tf.TensorSpec([*[None] * (x.ndim - 1), HIDDEN if x.dtype.kind == "f" else None], x.dtype)
            for x in self.inputs(2, 3)
        ]


def initialise(module: tf.Module, seed: int = 0) -> None:
    """Gives every variable a value drawn from `seed`, biases and norms included."""
    rng = np.random.default_rng(seed)
    for variable in module.variables:
        centre = 1.0 if "gamma" in variable.name else 0.0
        variable.assign(rng.normal(centre, 0.3, variable.shape).astype(variable.dtype.as_numpy_dtype))


def _states(batch: int, length: int) -> Inputs:
    return (np.random.default_rng(1).normal(size=(batch, length, HIDDEN)).astype(np.float32),)


def _ids(batch: int, length: int) -> Inputs:
    return (np.random.default_rng(2).integers(0, VOCAB, (batch, length), np.int32),)


def _ids_and_segments(batch: int, length: int) -> Inputs:
    return (*_ids(batch, length), np.random.default_rng(3).integers(0, 2, (batch, length), np.int32))


def _states_and_mask(batch: int, length: int) -> Inputs:
    return (*_states(batch, length), np.arange(length) < 1 + np.arange(batch)[:, None] % length)


def _positions(batch: int, length: int) -> np.ndarray:
    return np.random.default_rng(4).integers(0, length, (batch, length + 1), np.int32)  # some are repeated


def _texts(batch: int, length: int) -> Inputs:
    lengths = (1 + np.arange(batch) % length).astype(np.int32)
    token_ids, segment_ids = _ids_and_segments(batch, length)
    return token_ids, lengths, segment_ids


def _dense(module: Dense, x: np.ndarray) -> np.ndarray:
    return numpy_bert.ACTIVATIONS["gelu"](x @ module.kernel.numpy().T + module.bias.numpy())


def _layer_norm(module: LayerNorm, x: np.ndarray) -> np.ndarray:
    rows = x.reshape(-1, x.shape[-1])
    rows = numpy_bert.layer_norm(rows, module.gamma.numpy(), module.beta.numpy(), module.epsilon)
    return rows.reshape(x.shape)


def _attention(module: SelfAttention, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    kernel, bias = module.query_key_value.kernel.numpy().T, module.query_key_value.bias.numpy()
    rows = []
    for text, real in zip(x, mask, strict=True):
        query, key, value = np.split(text @ kernel + bias, 3, axis=-1)
        rows.append(numpy_bert.attention(query, key[real], value[real], HEADS))
    return np.stack(rows)


def _embedding(module: BertEmbedding, ids: np.ndarray, segments: np.ndarray) -> np.ndarray:
    total = module.token.embeddings.numpy()[ids] + module.position.embeddings.numpy()[: ids.shape[1]]
    total += module.segment.embeddings.numpy()[segments]
    return _layer_norm(module.norm, total)


def _head(module: MaskedLMHead, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    dense, norm = module.intermediate_dense, module.intermediate_layer_norm
    rows = np.take_along_axis(x, positions[:, :, None], axis=1)
    rows = numpy_bert.ACTIVATIONS["relu"](rows @ dense.kernel.numpy().T + dense.bias.numpy())
    rows = _layer_norm(norm, rows)
    return rows @ np.asarray(module.output_table).T + module.output_bias.numpy()


def _masked_lm(dtype: str, **changes: Any) -> MaskedLM:
    return MaskedLM.from_config(dataclasses.replace(CONFIG, **changes), dtype=dtype, seed=0)


def _bert_embedding(dtype: str, **changes: Any) -> BertEmbedding:
    return BertEmbedding(dataclasses.replace(CONFIG, **changes), dtype=dtype)


_BLOCK_VARIABLES = 2 * 4 + 2 * 2  # four dense layers, two norms
_ENCODER_VARIABLES = 3 + 2 + CONFIG.num_hidden_layers * _BLOCK_VARIABLES

CASES = [
    Case("dense", lambda dtype: Dense(HIDDEN, 5, "gelu", dtype=dtype), _states, 2, _dense),
    Case("layer_norm", lambda dtype: LayerNorm(HIDDEN, dtype=dtype), _states, 2, _layer_norm),
    Case(
        "rms_norm",
        lambda dtype: LayerNorm(HIDDEN, 1e-3, use_bias=False, centred=False, dtype=dtype),
        _states,
        1,
        lambda module, x: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3) * module.gamma.numpy(),
    ),
    Case(
        "embedding",
        lambda dtype: ReversibleEmbedding(VOCAB, HIDDEN, dtype=dtype),
        _ids,
        1,
        lambda module, ids: module.embeddings.numpy()[ids],
    ),
    Case(
        "embedding_reversed",
        lambda dtype: ReversibleEmbedding(VOCAB, HIDDEN, logit_soft_cap=2.0, dtype=dtype),
        _states,
        1,
        lambda module, x: 2 * np.tanh(x @ module.embeddings.numpy().T / 2),
        call=lambda module, x: module(x, reverse=True),
    ),
    Case(
        "embedding_untied_reversed",
        lambda dtype: ReversibleEmbedding(VOCAB, HIDDEN, tie_weights=False, dtype=dtype),
        _states,
        2,
        lambda module, x: x @ module.reverse_embeddings.numpy(),
        call=lambda module, x: module(x, reverse=True),
    ),
    Case("bert_embedding", _bert_embedding, _ids_and_segments, 5, _embedding),
    Case("electra_embedding", lambda dtype: _bert_embedding(dtype, embedding_size=4), _ids_and_segments, 7),
    Case("distilbert_embedding", lambda dtype: _bert_embedding(dtype, type_vocab_size=0), _ids, 4),
    Case(
        "roberta_embedding",
        lambda dtype: _bert_embedding(dtype, model_type="roberta", pad_token_id=1),
        _ids,
        5,
    ),
    Case(
        "self_attention",
        lambda dtype: SelfAttention(HIDDEN, HEADS, dtype=dtype),
        _states_and_mask,
        2,
        _attention,
    ),
    Case(
        "encoder_block", lambda dtype: EncoderBlock(CONFIG, dtype=dtype), _states_and_mask, _BLOCK_VARIABLES
    ),
    Case(
        "head_tied",
        lambda dtype: MaskedLMHead(
            token_embedding=ReversibleEmbedding(VOCAB, 6, dtype=dtype), hidden_dim=HIDDEN, dtype=dtype
        ),
        lambda batch, length: (*_states(batch, length), _positions(batch, length)),
        6,
        _head,
    ),
    Case(
        "head_untied",
        lambda dtype: MaskedLMHead(VOCAB, hidden_dim=HIDDEN, dtype=dtype),
        lambda batch, length: (*_states(batch, length), _positions(batch, length)),
        6,
        _head,
    ),
    Case(
        "head_bare",
        lambda dtype: MaskedLMHead(
            token_embedding=ReversibleEmbedding(VOCAB, HIDDEN, dtype=dtype), bare=True, dtype=dtype
        ),
        lambda batch, length: (*_states(batch, length), _positions(batch, length)),
        1,
        lambda module, x, at: np.take_along_axis(x, at[:, :, None], 1) @ module.output_table.numpy().T,
    ),
    Case("encoder", lambda dtype: BertEncoder(CONFIG, dtype=dtype, seed=0), _texts, _ENCODER_VARIABLES),
    Case(
        "masked_lm",
        _masked_lm,
        lambda batch, length: (*_texts(batch, length), _positions(batch, length)),
        _ENCODER_VARIABLES + 5,
    ),
]
