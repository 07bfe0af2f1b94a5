"""From a name to a `tf.distribute` strategy: one code path for a laptop, several GPUs, workers and TPUs."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import urllib.parse
from typing import Any

import tensorflow as tf

from tf_mlm.errors import ConfigError
from tf_mlm.training.options import STRATEGIES

TPU_SECONDS = 50.0
_log = logging.getLogger(__name__)


def make_strategy(
    name: str = "auto", *, tpu: str = "local", tpu_seconds: float = TPU_SECONDS
) -> tf.distribute.Strategy:
    """The strategy behind `name`.

    Args:
        name: `cpu`, `gpu` (the first one), `mirrored` (all GPUs, or all logical CPU devices where
            there is none), `multiworker` (from `TF_CONFIG`), `tpu`; `auto` takes `multiworker` when
            `TF_CONFIG` is set, `tpu` when `TPU_NAME` is, else what the visible GPUs ask for.
        tpu: name, `grpc://` address or `local` (a TPU VM).
        tpu_seconds: how long the TPU may take to answer.

    Raises:
        ConfigError: if the devices are not there, `TF_CONFIG` is not usable, or the TPU does not
            answer in time; says what to do next.

    Example:
        >>> from tf_mlm.training.strategy import make_strategy
        >>> make_strategy("cpu").num_replicas_in_sync
        1
    """
    if name not in STRATEGIES:
        raise ConfigError(f"`strategy` must be one of {', '.join(STRATEGIES)}. Received: strategy={name!r}.")
    if name == "auto":
        name = _best()
        tpu = os.environ.get("TPU_NAME", tpu) if name == "tpu" else tpu
    if name == "tpu":
        return _tpu(tpu, tpu_seconds)
    if name == "multiworker":
        return _multiworker()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(
            [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
        )
    if name == "gpu":
        if not gpus:
            raise ConfigError(
                "`strategy=gpu` needs a GPU that TensorFlow can use. Received: a machine with none visible. "
                "Use --strategy cpu, or check the driver with `nvidia-smi` and CUDA_VISIBLE_DEVICES."
            )
        return tf.distribute.OneDeviceStrategy(gpus[0].name)
    return tf.distribute.OneDeviceStrategy("/cpu:0")


def compiles_whole_step(strategy: tf.distribute.Strategy) -> bool:
    """Whether `strategy.run` itself compiles what it is given (TPU)."""
    return isinstance(strategy, tf.distribute.TPUStrategy)


def worker_index(strategy: tf.distribute.Strategy) -> int | None:
    """Which of several workers this process is; None if it is the only one."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return None
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type is None:
        return None
    has_chief = "chief" in resolver.cluster_spec().as_dict()
    return 0 if resolver.task_type == "chief" else int(resolver.task_id) + has_chief


def worker_count(strategy: tf.distribute.Strategy) -> int:
    """How many processes share the work; one without a cluster."""
    if worker_index(strategy) is None:
        return 1
    jobs = strategy.cluster_resolver.cluster_spec().as_dict()
    return sum(len(jobs.get(name, ())) for name in ("chief", "worker"))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the files of the run: the first worker, or the only one."""
    return not worker_index(strategy)


def check_batch_size(strategy: tf.distribute.Strategy, batch_size: int, accumulation: int) -> None:
    """A `ConfigError` if the global batch cannot be cut into equal parts."""
    parts = strategy.num_replicas_in_sync * accumulation
    if batch_size % parts:
        raise ConfigError(
            "`batch_size` counts the rows of all replicas together, and each micro-batch of each replica "
            f"gets the same number. Received: batch_size={batch_size}, {strategy.num_replicas_in_sync} "
            f"replicas and accumulation={accumulation}. Use a multiple of {parts}."
        )


def _best() -> str:
    if os.environ.get("TF_CONFIG"):
        return "multiworker"
    if os.environ.get("TPU_NAME"):
        return "tpu"
    gpus = len(tf.config.list_logical_devices("GPU"))
    return "mirrored" if gpus > 1 else "gpu" if gpus else "cpu"


def _multiworker() -> tf.distribute.Strategy:
    form = '{"cluster": {"worker": ["host0:port", "host1:port"]}, "task": {"type": "worker", "index": 0}}'
    text = os.environ.get("TF_CONFIG", "")
    try:
        value = json.loads(text)
        addresses = value["cluster"][value["task"]["type"]]
        own = addresses[value["task"]["index"]]
        others = sorted({address for job in value["cluster"].values() for address in job} - {own})
        if others:  # TensorFlow waits for minutes, with nothing said, for one that never comes
            _log.warning("Waiting for the other workers of TF_CONFIG: %s", ", ".join(others))
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, KeyError, IndexError, TypeError, tf.errors.OpError) as error:
        raise ConfigError(
            f"`strategy=multiworker` reads the cluster from TF_CONFIG, which must look like {form}. "
            f"Received: TF_CONFIG={text!r} ({type(error).__name__}: {error}). Correct it, and see that the "
            "port of this worker is free."
        ) from None


def _tpu(name: str, seconds: float) -> tf.distribute.Strategy:
    """Resolver, connection and initialisation, each of which may wait for ever by itself."""
    outcome: dict[str, Any] = {}

    def connect() -> None:
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
            if name != "local":
                # TensorFlow waits for a silent address for ever, and lets no other thread run meanwhile.
                _check_listening(resolver.master(), seconds)
                tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            outcome["resolver"] = resolver
        except Exception as error:  # everything a resolver may raise ends in the message below
            outcome["error"] = error

    thread = threading.Thread(target=connect, name="tpu-connect", daemon=True)
    thread.start()
    thread.join(seconds)
    if "resolver" in outcome:
        return tf.distribute.TPUStrategy(outcome["resolver"])
    reason = outcome.get("error", f"no answer within {seconds:.0f} s")
    first_line = (str(reason).strip() or type(reason).__name__).splitlines()[0][:300]
    if name == "local":
        next_step = "Run this on a TPU VM with the TPU build of TensorFlow, or name the TPU with --tpu."
    elif "://" in name:
        next_step = "Check the address, that the TPU is READY, and that this machine may reach its port."
    else:
        next_step = (
            f"Check that it is READY with `gcloud compute tpus tpu-vm describe {name}`, in your project and "
            "zone, or give its address as grpc://host:8470."
        )
    raise ConfigError(f"The TPU must be reachable. Received: tpu={name!r} ({first_line}). {next_step}")


def _check_listening(master: str, seconds: float) -> None:
    """An `OSError` unless something accepts connections at `grpc://host:port`."""
    address = urllib.parse.urlsplit(master if "//" in master else f"//{master}")
    with socket.create_connection((address.hostname or "", address.port or 8470), timeout=seconds / 2):
        pass
