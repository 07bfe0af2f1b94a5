"""Imports TensorFlow alone, without Matplotlib, scikit-learn and JAX, which nothing here uses.

Keras loads Matplotlib and scikit-learn wherever they are installed, TensorFlow Lite loads JAX; together they
take half as long to import as TensorFlow itself. A command or a server has no use for any of them there.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_UNUSED = ("jax", "matplotlib", "sklearn")


def import_tensorflow_alone() -> None:
    """From now on, and once, `import tensorflow` does not find what only Keras would offer more with.

    Behind that import everything is found again. Nothing changes where TensorFlow is there already, or where
    Keras has another backend.

    Example:
        >>> from tf_mlm.lean_import import import_tensorflow_alone
        >>> import_tensorflow_alone()
        >>> import tensorflow as tf
    """
    is_other_backend = os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow"
    if "tensorflow" not in sys.modules and not is_other_backend:
        sys.meta_path.insert(0, _Finder())


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Discards what C++ writes to standard error before its log level can be set."""
    sys.stderr.flush()
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(null)
        os.close(kept)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        hidden = [name for name in _UNUSED if name not in sys.modules]
        sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: no such module
        try:
            self._loader.exec_module(module)
        finally:
            for name in hidden:
                del sys.modules[name]
