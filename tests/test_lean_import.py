"""TensorFlow without what Keras would load beside it; a process each, as an import happens once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from tf_mlm.lean_import import import_tensorflow_alone
import_tensorflow_alone()
import tensorflow as tf
print(*sorted({"jax", "matplotlib", "sklearn"} & {name.partition(".")[0] for name in sys.modules}))
import keras, matplotlib.pyplot
assert keras.layers.Dense(3)(tf.ones([1, 2])).shape == (1, 3)
assert tf.__spec__.loader is tf.__loader__
assert not any("Finder" == type(finder).__name__ for finder in sys.meta_path)
import_tensorflow_alone()
"""


def test_what_nothing_uses_is_not_loaded_and_can_be_loaded_later() -> None:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_another_backend_finds_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    from tf_mlm.lean_import import import_tensorflow_alone

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    finders = list(sys.meta_path)
    import_tensorflow_alone()
    assert sys.meta_path == finders
