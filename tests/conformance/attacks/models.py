"""The models under attack: the suite's own, two exports of ours, and three that misbehave."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from conformance import models_tf1 as tf1
from conformance import tiny_export
from conformance.repository import Repository

v1 = tf.compat.v1
SUITE = ("half_plus_two", "strings", "dtypes", "examples", "slow", "pair")
ANSWER_BYTES = 3_000_000
OURS = ("mlm_xla", "mlm")
# XLA's programs take the server a gigabyte, beside which an attack would not show: most kinds do without.
# Servers that only start and stop do without exports of ours.
CONFIGURATIONS = {"few": OURS, "most": ("mlm_xla",), "all": ()}  # name → models left out


def stuck() -> tf1.Signatures:
    """`y` never comes."""
    x = v1.placeholder(tf.float32, [None], name="x")
    still = v1.while_loop(lambda value: value < 1.0, tf.identity, [tf.constant(0.0)], parallel_iterations=1)
    return {"serving_default": tf1.signature({"x": x}, {"y": tf.add(x, still, name="y")})}


def wide() -> tf1.Signatures:
    """Three megabytes for every number, as text too."""
    x = v1.placeholder(tf.float32, [None], name="x")
    y = tf.tile(tf.expand_dims(x, 1), [1, ANSWER_BYTES // 4], name="y")
    return {"serving_default": tf1.signature({"x": x}, {"y": y})}


def configuration(directory: Path, name: str) -> Path:
    """The model configuration file of this name."""
    return directory / f"{name}.config"


def write(directory: Path, xla: bool = True) -> None:
    """Writes every model below `directory`, and the configuration files; without `xla` not `mlm_xla`."""
    repository = Repository(directory / "suite", SUITE).write()
    paths = {name: repository.models / name for name in SUITE}
    for name, build in (("stuck", stuck), ("wide", wide)):
        paths[name] = directory / name
        tf1.write(paths[name] / "1", build)
    for name in OURS if xla else OURS[1:]:
        paths[name] = directory / name
        tiny_export.write(paths[name], name == "mlm_xla")
    for title, left_out in CONFIGURATIONS.items():
        entries = [
            f'  config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }}'
            for name, path in paths.items()
            if name not in left_out
        ]
        text = "model_config_list {\n" + "\n".join(entries) + "\n}\n"
        configuration(directory, title).write_text(text)
