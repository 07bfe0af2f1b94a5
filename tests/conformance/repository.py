"""Writes the model repository that the cases know, its configuration files and the flags to start on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from conformance import models_tf1 as tf1
from conformance import models_tf2 as tf2

# Model → version directory → what writes it. Version directories of one name may differ in spelling only.
MODELS: dict[str, dict[str, Callable[[Path], object]]] = {
    "half_plus_two": {"00000123": lambda path: tf1.write(path, tf1.half_plus(2.0))},
    "half_plus_three": {"00000123": lambda path: tf1.write(path, tf1.half_plus(3.0))},
    "half_plus_two_tf2": {"00000123": tf2.write_half_plus_two},
    "counter": {
        str(version): lambda path, version=version: tf1.write(path, tf1.add_constant(float(version)))  # type: ignore[misc]
        for version in (0, 1, 2, 3)
    },
    "dtypes": {"1": lambda path: tf1.write(path, tf1.dtypes)},
    "strings": {"1": lambda path: tf1.write(path, tf1.strings)},
    "pair": {"1": lambda path: tf1.write(path, tf1.pair)},
    "mixed": {"1": lambda path: tf1.write(path, tf1.mixed)},
    "shapes": {"1": lambda path: tf1.write(path, tf1.shapes)},
    "examples": {"1": lambda path: tf1.write(path, tf1.examples)},
    "slow": {"1": lambda path: tf1.write(path, tf1.slow)},
    "batch_view": {"1": lambda path: tf1.write(path, tf1.batch_view)},
    "scale": {"1": tf2.write_scale},
    "keras": {"1": tf2.write_keras},
    "tf_text": {"01": tf2.write_tf_text},
}

# `missing` points at a version nobody has: legal with the flag below, and a request through it finds nothing.
COUNTER_POLICY = """
    model_version_policy { all {} }
    version_labels { key: "stable" value: 1 }
    version_labels { key: "canary" value: 2 }
    version_labels { key: "missing" value: 9 }
    version_labels { key: "same/as:stable" value: 1 }"""

MONITORING_CONFIG = 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }\n'

# Small enough for a handful of requests to fill; the timeout lets requests of one case meet in a batch.
BATCHING_CONFIG = """\
max_batch_size { value: 8 }
batch_timeout_micros { value: 200000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 }
allowed_batch_sizes: 2
allowed_batch_sizes: 4
allowed_batch_sizes: 8
pad_variable_length_inputs: true
"""


def models_config(models: Path, names: Iterable[str]) -> str:
    """A `ModelServerConfig` in text form that lists the models of these names."""
    entries = []
    for name in names:
        extra = COUNTER_POLICY if name == "counter" else ""
        entries.append(
            f'  config {{\n    name: "{name}"\n    base_path: "{models / name}"\n'
            f'    model_platform: "tensorflow"{extra}\n  }}'
        )
    return "model_config_list {\n" + "\n".join(entries) + "\n}\n"


class Repository:
    """A directory with `models/` and the configuration files.

    `standard_flags` and `batching_flags` start a server on it, next to `--port` and `--rest_api_port`.
    """

    def __init__(self, directory: Path, names: Iterable[str] = tuple(MODELS)) -> None:
        self.directory = directory.resolve()
        self.names = tuple(names)
        self.models = self.directory / "models"

    def write(self) -> Repository:
        """Writes everything. Complete repositories are left as they are.

        Raises:
            FileExistsError: the directory holds something else.
        """
        done = self.directory / "models.config"
        if done.exists():
            return self
        if self.directory.exists() and any(self.directory.iterdir()):
            raise FileExistsError(
                "The model repository needs an empty or new directory. "
                f"Received: {self.directory}, which has other files."
            )
        for name in self.names:
            for version, write in MODELS[name].items():
                write(self.models / name / version)
        (self.directory / "monitoring.config").write_text(MONITORING_CONFIG)
        (self.directory / "batching.config").write_text(BATCHING_CONFIG)
        done.write_text(models_config(self.models, self.names))  # last, as the mark of a complete repository
        return self

    @property
    def standard_flags(self) -> list[str]:
        return [
            f"--model_config_file={self.directory / 'models.config'}",
            f"--monitoring_config_file={self.directory / 'monitoring.config'}",
            "--allow_version_labels_for_unavailable_models=true",
            "--rest_api_enable_cors_support=false",
        ]

    @property
    def batching_flags(self) -> list[str]:
        return [
            *self.standard_flags,
            "--enable_batching=true",
            f"--batching_parameters_file={self.directory / 'batching.config'}",
        ]

    def copy_model(self, name: str, version: str, destination: Path) -> Path:
        """Copies one version directory so that it appears under `destination` at once, never half-written."""
        destination.parent.mkdir(parents=True, exist_ok=True)
        beside = destination.parent / f"copying-{destination.name}"
        shutil.copytree(self.models / name / version, beside)
        return beside.rename(destination)
