"""Every module under a mirrored strategy: two replicas, half a batch each, give the gradients of the whole.

A process of its own runs them, as TensorFlow splits a processor in two only before its first use.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def differences() -> dict[str, float]:
    """Case name → the largest difference of any gradient, relative to the largest gradient."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    process = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_two_replicas_give_the_gradients_of_the_whole_batch(differences: dict[str, float]) -> None:
    from reference.layer_cases import CASES

    assert list(differences) == [case.name for case in CASES]
    assert max(differences.values()) < 1e-5, differences


def main() -> None:
    from reference.layer_cases import CASES, initialise

    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    assert strategy.num_replicas_in_sync == 2
    differences = {}
    for case in CASES:
        with strategy.scope():
            module = case.make("float32")
        initialise(module)
        alone = case.make("float32")
        initialise(alone)

        def gradients(module, *inputs, case=case):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(case.call(module, *inputs) ** 2)
            return [
                tf.convert_to_tensor(g)
                for g in tape.gradient(loss, module.trainable_variables)
                if g is not None
            ]

        inputs = case.inputs(4, 3)
        halves = strategy.experimental_distribute_values_from_function(
            lambda context, inputs=inputs: tuple(
                tf.constant(half)
                for half in (np.split(x, 2)[context.replica_id_in_sync_group] for x in inputs)
            )
        )

        @tf.function
        def step(halves, module=module, gradients=gradients):
            return strategy.run(lambda half: gradients(module, *half), args=(halves,))

        summed = [strategy.reduce("SUM", part, axis=None).numpy() for part in step(halves)]
        expected = [gradient.numpy() for gradient in gradients(alone, *inputs)]
        scale = max(np.abs(gradient).max() for gradient in expected)
        differences[case.name] = max(
            float(np.abs(ours - whole).max() / scale) for ours, whole in zip(summed, expected, strict=True)
        )
    print(json.dumps(differences))


if __name__ == "__main__":
    main()
