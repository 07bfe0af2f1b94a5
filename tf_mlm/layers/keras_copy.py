"""What Keras's and KerasHub's layers call the variables of the modules here, and copies in both directions.

A module is told by what it has, so that the modules may import this file and not the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf


def head_arguments(layer: Any) -> dict[str, Any]:
    """What a built head of `keras_hub` or `tf_mlm.keras` was made with, its embedding left out.

    Raises:
        ValueError: when the layer is not built yet.
    """
    if not layer.built:
        raise ValueError(
            "The Keras layer must be built, so that it has weights to copy. "
            f"Received: `{layer.name}` with built=False. Call it once, or `layer.build(shape)`."
        )
    own = getattr(layer, "module", None)  # of tf_mlm.keras
    hidden = layer._intermediate_dense.kernel.shape[0] if own is None else own.hidden_dim
    return {**layer.get_config(), "token_embedding": None, "hidden_dim": hidden}


def copy_to_head(layer: Any, head: Any) -> None:
    """Takes over the weights of a built layer, all but those of a shared table."""
    own = getattr(layer, "module", None)
    if own is not None:
        for ours, theirs in zip(_unshared(head), _unshared(own), strict=True):
            ours.assign(theirs)
        return
    for ours, theirs, transposed in head_pairs(head, layer):
        ours.assign(tf.transpose(tf.convert_to_tensor(theirs)) if transposed else theirs)


def check_has_keras_layer(head: Any) -> None:
    """Whether a head has variables, and a Keras layer that could take them.

    Raises:
        ValueError: if not.
    """
    if head.hidden_dim is None:
        raise ValueError(
            "The head must have its variables before they can be copied. "
            "Received: a head without `hidden_dim`. Call it once, or pass `hidden_dim`."
        )
    if head.bare or not (head.dense_bias and head.norm_bias):
        has = f"bare={head.bare}, dense_bias={head.dense_bias}, norm_bias={head.norm_bias}"
        raise ValueError(
            "Keras's masked-LM heads have a dense layer, a norm and all biases, and a head that leaves some "
            f"out cannot become one. Received: {has}. Use the module as it is."
        )


def head_as_keras_hub(head: Any, token_embedding: Any) -> Any:
    """A built `keras_hub.layers.MaskedLMHead` with the head's weights.

    Raises:
        ValueError: as `check_has_keras_layer`.
        ModuleNotFoundError: without keras-hub.
    """
    check_has_keras_layer(head)
    try:
        import keras_hub
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "`to_keras` needs keras-hub: run `pip install 'tf-mlm[keras-hub]'`."
        ) from error
    layer = keras_hub.layers.MaskedLMHead(**{**head.get_config(), "token_embedding": token_embedding})
    layer.build((None, None, head.hidden_dim), (None, None))
    for ours, theirs, transposed in head_pairs(head, layer):
        theirs.assign(tf.transpose(ours) if transposed else ours)
    return layer


def embedding_as_keras(embedding: Any) -> Any:
    """A built `keras.layers.ReversibleEmbedding` with the table's weights."""
    import keras

    layer = keras.layers.ReversibleEmbedding.from_config(embedding.get_config())
    layer.build()
    layer.embeddings.assign(embedding.embeddings)
    if embedding.reverse_embeddings is not None:
        layer.reverse_embeddings.assign(embedding.reverse_embeddings)
    return layer


def head_pairs(head: Any, layer: Any) -> Iterator[tuple[tf.Variable, Any, bool]]:
    """Our variables, those of a built KerasHub head, and whether transposed. Private names, as there are no
    others; `tests/layers/test_keras_copy.py` says what to do when KerasHub changes them."""
    yield head.intermediate_dense.kernel, layer._intermediate_dense.kernel, True
    yield head.intermediate_dense.bias, layer._intermediate_dense.bias, False
    yield head.intermediate_layer_norm.gamma, layer._intermediate_layer_norm.gamma, False
    yield head.intermediate_layer_norm.beta, layer._intermediate_layer_norm.beta, False
    yield head.output_bias, layer._bias, False
    if head.output_kernel is not None:
        yield head.output_kernel, layer._kernel, False


def _unshared(head: Any) -> list[tf.Variable]:
    """All variables but those of the shared table."""
    shared = head.token_embedding.variables if head.token_embedding is not None else ()
    others = {id(variable) for variable in shared}
    return [variable for variable in head.variables if id(variable) not in others]
