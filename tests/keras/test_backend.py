"""What other backends of Keras, and Keras 2, mean for the package: nothing, or one line that names them."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tf_mlm

ROOT = Path(tf_mlm.__file__).parents[1]
EVERYTHING = """
import numpy as np, tensorflow as tf, tf_mlm
for activation in ("relu", "gelu", "softmax", "mish"):
    embedding = tf_mlm.ReversibleEmbedding(11, 4)
    head = tf_mlm.MaskedLMHead(token_embedding=embedding, intermediate_activation=activation, hidden_dim=4)
    with tf.GradientTape() as tape:
        outputs = head(tf.ones([2, 3, 4]), tf.constant([[1, -1], [0, 2]]))
    assert tf.is_tensor(outputs), type(outputs)
    gradients = tape.gradient(outputs, head.trainable_variables)
    assert len(gradients) == 6 and all(gradient is not None for gradient in gradients)
    assert tf_mlm.MaskedLMHead.from_config(head.get_config()).get_config() == head.get_config()
sizes = dict(vocab_size=11, hidden_size=4, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
model = tf_mlm.MaskedLM.from_config(tf_mlm.ModelConfig(**sizes), seed=0)
print(float(tf.reduce_sum(model([[2, 5, 3]], mask_positions=[[1]]))))
"""
GIVEN = """
import keras, tensorflow as tf, tf_mlm
for initializer in (keras.initializers.HeNormal(seed=1), keras.initializers.Zeros(), "orthogonal"):
    for activation in (keras.activations.gelu, "tanh"):
        head = tf_mlm.MaskedLMHead(
            11, intermediate_activation=activation, kernel_initializer=initializer, hidden_dim=4
        )
        assert tf.is_tensor(head(tf.ones([1, 2, 4]), [[1]]))
try:
    tf_mlm.MaskedLMHead(11, intermediate_activation=keras.ops.relu, hidden_dim=4)(tf.ones([1, 2, 4]), [[1]])
except TypeError as error:
    print(error)
"""


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def wanted() -> str:
    """What it prints in this process, with Keras 3 and TensorFlow under it."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(EVERYTHING, {})
    return printed.getvalue()


@pytest.mark.peers
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_modules_compute_with_tensorflow_whatever_keras_does(backend: str, wanted: str) -> None:
    process = run(EVERYTHING + GIVEN, KERAS_BACKEND=backend)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(wanted)
    assert "An activation must return a tensor of TensorFlow" in process.stdout
    assert "KERAS_BACKEND" in process.stdout


def test_the_modules_work_where_keras_is_that_of_old(wanted: str) -> None:
    process = run(EVERYTHING, TF_USE_LEGACY_KERAS="1")
    assert (process.returncode, process.stdout) == (0, wanted), process.stderr


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"KERAS_BACKEND": "torch"}, "KERAS_BACKEND=torch"),
        ({"KERAS_BACKEND": "nonsense"}, "KERAS_BACKEND=nonsense"),
        ({"TF_USE_LEGACY_KERAS": "1"}, "TF_USE_LEGACY_KERAS=1"),
    ],
    ids=str,
)
def test_the_layers_say_in_one_line_what_is_in_their_way(environment: dict, named: str) -> None:
    process = run("import tf_mlm; tf_mlm.keras.MaskedLMHead(30)", **environment)
    assert process.returncode == 1
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: tf_mlm.keras")
    assert named in last
    assert "tf_mlm.MaskedLMHead" in last


def test_the_backend_of_kerass_own_file_is_named_too(tmp_path: Path) -> None:
    pytest.importorskip("jax")  # which Keras itself needs for it
    (tmp_path / "keras.json").write_text('{"backend": "numpy"}')
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    process = run("import tf_mlm; tf_mlm.keras", **{**environment, "KERAS_HOME": str(tmp_path)})
    assert process.returncode == 1
    assert "the backend 'numpy', from ~/.keras/keras.json" in process.stderr.splitlines()[-1]
