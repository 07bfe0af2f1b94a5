"""What of a model an export keeps beside its graphs: variables, lookup tables, the vocabulary file."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_mlm.export.private_tensorflow import is_state


def state_of(module: tf.Module) -> dict[str, Any]:
    """The state below a module, in dictionaries that are nested as its attributes are.

    Saved in the module's place, it leaves out what modules carry along: every `tf.function` among their
    attributes would be traced, saved and loaded by each server, asked for or not.

    Example:
        >>> module = tf.Module()
        >>> module.layers = [tf.Module()]
        >>> module.layers[0].bias = tf.Variable(0.0)
        >>> module.call = tf.function(lambda x: x + module.layers[0].bias)
        >>> state_of(module) == {"layers": {"0": {"bias": module.layers[0].bias}}}
        True
    """
    state: dict[str, Any] = {}
    for path, leaf in module._flatten(predicate=is_state, with_path=True):
        *parents, name = map(str, path)
        node = state
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return state
