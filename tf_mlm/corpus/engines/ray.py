"""Ray: units as remote calls that it repeats when their worker dies. Its dashboard is the page to watch.

On a cluster by its address (`RAY_ADDRESS`, as everywhere in Ray), else on this machine.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from tf_mlm.corpus.engines.local import ONE_CORE
from tf_mlm.corpus.plan import Job
from tf_mlm.corpus.run_unit import Done, run_unit
from tf_mlm.errors import ConfigError

RETRIES = 20
"""How often a unit is repeated: workers may die for reasons of their machine's, many times."""


def run(job: Job, units: Sequence[int], workers: int) -> Iterator[Done]:
    """Does units, and says what became of each as it is done.

    Raises:
        ConfigError: without the package, or if nobody answers at the address.
    """
    ray = _connected(workers)
    call = ray.remote(max_retries=RETRIES, num_cpus=1)(run_unit)
    shared = ray.put(job)
    waiting = {call.remote(shared, unit): unit for unit in units}
    try:
        while waiting:
            for done in ray.wait(list(waiting))[0]:
                unit = waiting.pop(done)
                try:
                    yield ray.get(done)
                except ray.exceptions.RayError as error:
                    said = " ".join(str(error).split())[:300]
                    yield Done(unit, error=f"{RETRIES} workers died of `{job.units[unit].file}`: {said}")
    finally:
        ray.shutdown()


def check() -> None:
    """What can be known before there are units.

    Raises:
        ConfigError: as `run`.
    """
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"--runner ray needs Ray. Received: {error}. Install it: pip install 'tf-mlm[ray]'."
        ) from error
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.removeprefix("ray://").partition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ConfigError(
            f"A Ray cluster must answer at RAY_ADDRESS. Received: {address}, where nobody does ({error}). "
            "Start one with `ray start --head`, mend the address, or unset it to run on this machine."
        ) from error


def _connected(workers: int) -> Any:
    check()
    import ray

    address = os.environ.get("RAY_ADDRESS")
    ray.init(
        address=address,
        num_cpus=None if address else workers,
        ignore_reinit_error=True,
        logging_level=logging.ERROR,
        log_to_driver=False,
        runtime_env={"env_vars": {**ONE_CORE, "TF_CPP_MIN_LOG_LEVEL": "3"}},
    )
    return ray
