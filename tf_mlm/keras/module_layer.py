"""A Keras layer around a `tf.Module`: the module computes, the layer owns the variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from tf_mlm.layers.keras_tracking import is_tracked
from tf_mlm.layers.precision import Precision

Place = tuple[tf.Module, str, Any]
"""A module, the name of its attribute, and the weight of the layer that belongs there."""


class ModuleLayer(keras.layers.Layer):
    """A layer whose weights are the variables of one `tf.Module`, each under its path in the module.

    The module is made with variables of its own, whose values become those of the weights; before every
    call the weights take their places in it. So Keras may create, replace and map them as it likes (it
    makes them late in subclassed models, and hands over tensors in `stateless_call`), and numbers and
    initial values are those of the module.
    """

    def __init__(self, **options: Any) -> None:
        # The modules cast what they want to. Keras would cast ids that come as floats to half precision.
        super().__init__(**{"autocast": False, **options})
        self._precision()  # a policy that the modules do not know is refused here
        self._hide("_module", None)
        self._hide("_places", [])

    def _hide(self, name: str, value: Any) -> None:
        """Sets an attribute that is not to be tracked, as what it holds is tracked already."""
        object.__setattr__(self, name, value)

    def _precision(self) -> Precision:
        return Precision.of(self.dtype_policy.name)

    def _hold(self, make: Callable[[], tf.Module], shared: Iterable[tf.Module] = ()) -> None:
        """Makes the module, and weights of all its variables but those of modules that others own."""
        with tf.init_scope():
            module = make()
            others = {id(variable) for other in shared for variable in other.variables}
            places: list[Place] = []
            for path, owner, name in _variables(module):
                variable = getattr(owner, name)
                if id(variable) not in others:
                    places.append((owner, name, self._weight(path, variable)))
        is_tracked(module)
        self._hide("_module", module)
        self._hide("_places", places)

    def _weight(self, path: str, variable: tf.Variable) -> Any:
        value = tf.convert_to_tensor(variable)
        return self.add_weight(
            shape=tuple(variable.shape),
            dtype=variable.dtype.name,
            initializer=lambda shape, dtype=None: value,
            trainable=variable.trainable,
            autocast=False,  # the module casts where it wants to
            name=path,
        )

    @property
    def module(self) -> Any:
        """The `tf.Module` that computes, with the weights of this layer: what changes here changes there.

        Raises:
            ValueError: before the layer has been built.
        """
        if self._module is None:
            raise ValueError(
                f"The layer `{self.name}` has no variables yet. Call it once, or `build` it with its shapes."
            )
        for owner, name, weight in self._places:
            value = weight.value
            if getattr(owner, name) is not value:
                setattr(owner, name, value)
        return self._module

    def _assign(self, module: tf.Module) -> None:
        """Takes over the values of another module of the same kind."""
        values = {path: getattr(owner, name) for path, owner, name in _variables(module)}
        for _, _, weight in self._places:
            weight.assign(values[weight.name])

    def save_own_variables(self, store: Any) -> None:
        for _, _, weight in self._places:
            store[weight.name] = weight

    def load_own_variables(self, store: Any) -> None:
        names = [weight.name for _, _, weight in self._places]
        if set(store.keys()) != set(names):
            raise ValueError(
                f"The layer `{self.name}` must find its {len(names)} weights in the file, and no others. "
                f"Missing: {sorted(set(names) - set(store.keys()))}. "
                f"Unexpected: {sorted(set(store.keys()) - set(names))}."
            )
        for _, _, weight in self._places:
            weight.assign(store[weight.name])


def _variables(module: tf.Module) -> list[tuple[str, tf.Module, str]]:
    """The variables in a module: path from the module, the module that has it, and its attribute there."""
    found: dict[int, tuple[str, tf.Module, str]] = {}

    def walk(owner: tf.Module, path: tuple[str, ...]) -> None:
        for name, value in vars(owner).items():
            if isinstance(value, tf.Variable):
                found.setdefault(id(value), (".".join([*path, name]), owner, name))
            elif isinstance(value, tf.Module):
                walk(value, (*path, name))
            elif isinstance(value, (list, tuple)) and not name.startswith("_self_"):
                for index, item in enumerate(value):
                    if isinstance(item, tf.Module):
                        walk(item, (*path, name, str(index)))

    walk(module, ())
    return list(found.values())
