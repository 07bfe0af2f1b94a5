"""Whether Keras knows of a module's variables: a `keras.layers.Layer` tracks no `tf.Module` that it holds."""

from __future__ import annotations

import warnings
import weakref

import tensorflow as tf

from tf_mlm.layers.keras_state import keras_state

_SEEN: weakref.WeakSet[tf.Module] = weakref.WeakSet()


def is_tracked(module: tf.Module) -> None:
    """Says of a module, and of all in it, that a Keras layer has their variables as its weights."""
    _SEEN.update([module, *module.submodules])


def warn_if_untracked(module: tf.Module, keras_layer: str) -> None:
    """A warning, once for a module, if it is called inside a Keras layer, which does not train it.

    Which layer is being called only Keras's own state tells; where it does not, nothing is said.
    """
    if module in _SEEN:
        return
    layer = getattr(keras_state("current_call_ctx"), "entry_layer", None)
    if layer is None or not module.trainable_variables:
        return
    is_tracked(module)
    warnings.warn(
        f"A tf_mlm.{type(module).__name__} is called inside the Keras layer `{layer.name}`, and Keras does "
        f"not track the {len(module.variables)} variables of a tf.Module: `fit` will not train them, and "
        f"`save` will not store them. Use {keras_layer}, the same as a Keras layer.",
        stacklevel=3,
    )
