"""The life of every model version: wanted, loaded beside the old one, served, drained, unloaded.

The store is told which versions are *wanted* (`want`) and moves towards that, one model at a time,
without ever giving up the last version that works: while a new version loads, the old one keeps
answering, and if the new one fails, the old one stays. Requests take a lease on a version; a
version is unloaded only after its last lease is returned.

States and rules are those of TF-Serving's availability-preserving policy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tf_mlm.serving.errors import Code, ServingError, as_serving_error
from tf_mlm.serving.models.servable import Servable

_log = logging.getLogger(__name__)

Loader = Callable[[str, int, Path], Servable]


class State(enum.IntEnum):
    """Numbered as `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass(frozen=True)
class LoadOptions:
    """Threads and retries of loading. Times are in seconds."""

    num_load_threads: int = 0
    num_unload_threads: int = 0
    num_initial_load_threads: int = 4 * (os.cpu_count() or 1)
    max_num_load_retries: int = 5
    load_retry_interval: float = 60.0


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """What GetModelStatus tells of one version."""

    version: int
    state: State
    error: ServingError | None = None


class _Version:
    def __init__(self, name: str, number: int, path: Path) -> None:
        self.name, self.number, self.path = name, number, path
        self.state = State.START
        self.error: ServingError | None = None
        self.servable: Servable | None = None
        self.leases = 0
        self.cancelled = threading.Event()

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.number}}}"


def _start(work: Callable[[_Version], None], version: _Version) -> None:
    threading.Thread(target=work, args=(version,), name=f"{work.__name__} {version}", daemon=True).start()


class ModelStore:
    """Loads, leases and unloads versions.

    Args:
        load: opens one version directory; whatever it raises fails that version only.
        options: threads and retries.
    """

    def __init__(self, load: Loader, options: LoadOptions | None = None) -> None:
        self._load = load
        self._options = options or LoadOptions()
        self._changed = threading.Condition()
        self._versions: dict[str, dict[int, _Version]] = {}
        self._wanted: dict[str, dict[int, Path]] = {}
        self._serving: dict[str, list[_Version]] = {}  # AVAILABLE ones, ascending
        self._closing = threading.Event()
        # A version being loaded has a thread of its own, and takes a turn for each attempt: while it
        # waits to try again, others load.
        self._load_turns = threading.Semaphore(max(1, self._options.num_initial_load_threads))
        self._unload_turns = threading.Semaphore(max(1, self._options.num_unload_threads))

    # ---- what is wanted ------------------------------------------------------------------------

    def want(self, name: str, versions: Mapping[int, Path]) -> None:
        """Serve exactly these versions of a model (an empty mapping unloads them all)."""
        with self._changed:
            if not self._closing.is_set():
                self._wanted[name] = dict(versions)
                self._advance(name)

    def use_steady_load_threads(self) -> None:
        """After the first models are up, loads take turns (or use `num_load_threads`)."""
        self._load_turns = threading.Semaphore(max(1, self._options.num_load_threads))

    def _advance(self, name: str) -> None:
        """Applies the transition rules of one model until none does. Called with the lock held."""
        wanted = self._wanted.get(name, {})
        known = self._versions.setdefault(name, {})
        for number, path in wanted.items():
            version = known.get(number)
            if version is None or (version.state is State.END and version.cancelled.is_set()):
                known[number] = _Version(name, number, path)
        for version in known.values():
            if version.number in wanted:
                continue
            if version.state is State.START:
                version.state = State.END
                version.cancelled.set()
            elif version.state in (State.LOADING, State.END):
                version.cancelled.set()
        while self._step(known, wanted):
            pass
        self._serving[name] = sorted(
            (v for v in known.values() if v.state is State.AVAILABLE), key=lambda v: v.number
        )
        self._changed.notify_all()

    def _step(self, known: Mapping[int, _Version], wanted: Mapping[int, Path]) -> bool:
        ready = [version for version in known.values() if version.state is State.AVAILABLE]
        unwanted = sorted((v for v in ready if v.number not in wanted), key=lambda v: v.number)
        if unwanted and (not wanted or len(unwanted) < len(ready) or len(unwanted) > 1):
            version = unwanted[0]
            version.state = State.UNLOADING
            _log.info("Quiescing servable version %s", version)
            if version.leases == 0:
                _start(self._unload, version)
            return True
        waiting = [v for v in known.values() if v.number in wanted and v.state is State.START]
        if waiting:
            version = max(waiting, key=lambda v: v.number)
            version.state = State.LOADING
            _log.info("Successfully reserved resources to load servable %s", version)
            _start(self._load_with_retries, version)
            return True
        return False

    # ---- loading and unloading -----------------------------------------------------------------

    def _load_with_retries(self, version: _Version) -> None:
        servable, error = None, None
        tries = 1 + max(0, self._options.max_num_load_retries)
        for attempt in range(tries):
            if attempt:
                if version.cancelled.wait(max(0.0, self._options.load_retry_interval)):
                    break
                _log.info("Retrying of Loading servable: %s retry: %d", version, attempt)
            with self._load_turns:
                if version.cancelled.is_set():
                    error = error or ServingError(Code.CANCELLED, "Loading of servable cancelled")
                    break
                _log.info("Loading servable version %s", version)
                try:
                    servable, error = self._load(version.name, version.number, version.path), None
                    break
                except Exception as caught:
                    error = as_serving_error(caught)
                    _log.error("Loading servable: %s failed: %s", version, error)
        else:
            _log.error("Loading servable: %s exhausted max_num_retries: %d", version, tries - 1)
        with self._changed:
            too_late = version.cancelled.is_set()
            if servable is None:
                version.state, version.error = State.END, error
            elif too_late:
                version.state = State.END
                version.error = ServingError(Code.CANCELLED, "Loading of servable cancelled")
            else:
                version.servable, version.state = servable, State.AVAILABLE
                _log.info("Successfully loaded servable version %s", version)
            self._advance(version.name)
        if servable is not None and too_late:
            servable.close()

    def _unload(self, version: _Version) -> None:
        servable, version.servable = version.servable, None
        if servable is not None:
            with self._unload_turns:
                try:
                    servable.close()
                except Exception:
                    _log.exception("Unloading servable version %s failed", version)
        _log.info("Done unloading servable version %s", version)
        with self._changed:
            version.state = State.END
            version.cancelled.set()
            self._advance(version.name)

    # ---- requests ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lease(self, name: str, number: int | None = None) -> Iterator[Servable]:
        """The servable of a version (`None`: the highest), kept loaded until the block ends.

        Raises:
            ServingError: NOT_FOUND when no such version is available.
        """
        with self._changed:
            version = self._find(name, number)
            version.leases += 1
        try:
            assert version.servable is not None
            yield version.servable
        finally:
            with self._changed:
                version.leases -= 1
                if version.leases == 0 and version.state is State.UNLOADING:
                    _start(self._unload, version)

    def _find(self, name: str, number: int | None) -> _Version:
        serving = self._serving.get(name, ())
        if number is None:
            if serving:
                return serving[-1]
            raise ServingError(Code.NOT_FOUND, f"Servable not found for request: Latest({name})")
        for version in serving:
            if version.number == number:
                return version
        raise ServingError(Code.NOT_FOUND, f"Servable not found for request: Specific({name}, {number})")

    def is_available(self, name: str, number: int) -> bool:
        with self._changed:
            return any(version.number == number for version in self._serving.get(name, ()))

    # ---- status --------------------------------------------------------------------------------

    def statuses(self, name: str) -> list[VersionStatus]:
        """All versions ever known of a model, highest first."""
        with self._changed:
            known = self._versions.get(name, {})
            return [VersionStatus(n, known[n].state, known[n].error) for n in sorted(known, reverse=True)]

    def wait_until_decided(
        self, names: Iterable[str], stop: Sequence[threading.Event] = (), timeout: float | None = None
    ) -> dict[str, VersionStatus]:
        """Waits until each model has a version that is AVAILABLE or END, and returns the highest such.

        Returns early (without the undecided ones) when one of `stop` is set or `timeout` seconds passed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pending, decided = set(names), {}
        with self._changed:
            while True:
                for name in sorted(pending):
                    final = self._final(name)
                    if final:
                        decided[name] = VersionStatus(final[0].number, final[0].state, final[0].error)
                        pending.discard(name)
                expired = deadline is not None and time.monotonic() >= deadline
                if not pending or expired or self._closing.is_set() or any(event.is_set() for event in stop):
                    return decided
                self._changed.wait(0.1)

    def _final(self, name: str) -> list[_Version]:
        """Versions that are up, or failed and are still wanted; what was unloaded decides nothing."""
        known = sorted(self._versions.get(name, {}).values(), key=lambda v: v.number, reverse=True)
        return [
            v
            for v in known
            if v.state is State.AVAILABLE or (v.state is State.END and not v.cancelled.is_set())
        ]

    def close(self, timeout: float = 30.0) -> None:
        """Cancels loads, waits (bounded) for leases, unloads everything."""
        self._closing.set()
        with self._changed:
            for name in list(self._versions):
                self._wanted[name] = {}
                self._advance(name)
            deadline = time.monotonic() + timeout
            while time.monotonic() < deadline and any(
                version.state is not State.END
                for known in self._versions.values()
                for version in known.values()
            ):
                self._changed.wait(0.05)
