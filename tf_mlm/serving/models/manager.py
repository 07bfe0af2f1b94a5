"""Configuration to loaded models: applies model lists, polls the file system, lends servables."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from tf_mlm.serving.errors import Code, ServingError, invalid_argument
from tf_mlm.serving.models.config import ModelSettings, read_models
from tf_mlm.serving.models.servable import Servable
from tf_mlm.serving.models.store import ModelStore, State, VersionStatus
from tf_mlm.serving.models.versions import BasePathError, VersionLabels, find_versions

_log = logging.getLogger(__name__)


def _raise_if(given_up: Sequence[threading.Event]) -> None:
    if any(event.is_set() for event in given_up):
        raise ServingError(Code.CANCELLED, "The server is shutting down, or the client has gone")


class ModelManager:
    """Keeps the store's wanted versions equal to the configuration and to what is on disk.

    Args:
        store: loads and unloads.
        poll_wait: seconds between looks at the base paths; 0 looks only when the configuration
            changes, a negative number never looks.
        labels_for_unavailable: lets a new label point to a version that is not loaded yet.
    """

    def __init__(
        self, store: ModelStore, poll_wait: float = 1.0, labels_for_unavailable: bool = False
    ) -> None:
        self.store = store
        self._poll_wait = poll_wait
        self._models: dict[str, ModelSettings] = {}
        self._labels = VersionLabels(may_wait=labels_for_unavailable)
        self._apply_lock = threading.Lock()
        self._poll_lock = threading.Lock()
        self._closed = threading.Event()
        self._poller = threading.Thread(target=self._poll_forever, name="poll", daemon=True)

    def apply(self, config: Any, abandoned: threading.Event | None = None) -> None:
        """Makes a `ModelServerConfig` the one in force and waits for its new models.

        Args:
            config: the whole list of models.
            abandoned: set when nobody waits for the outcome any more. A model without a version
                would else hold this call, and every later one, for ever.

        Raises:
            ServingError: the config breaks a rule (nothing changes), a label points to a version
                that is not available, or a new model failed to load.
        """
        given_up = (self._closed, *([abandoned] if abandoned else []))
        with self._turn(given_up):
            models = read_models(config)
            for name, model in models.items():
                previous = self._models.get(name)
                if previous and previous.platform != model.platform:
                    raise invalid_argument(
                        f"Illegal to change a model's platform. For model {name} platform was "
                        f"{previous.platform} and new platform requested is {model.platform}"
                    )
            labels = {name: model.labels for name, model in models.items()}
            self._labels.assign(labels, self.store.is_available)
            _log.info("Adding/updating models.")
            for name in sorted(models):
                _log.info(" (Re-)adding model: %s", name)
            first = self._poller.ident is None  # never started
            added = set(models) - set(self._models)
            # Not while a poll is under way: it would want a removed model's versions again.
            with self._poll_lock:
                removed = set(self._models) - set(models)
                self._models = models
                for name in removed:
                    self.store.want(name, {})
            if first:
                self._poller.start()
            elif self._poll_wait >= 0:
                self._poll()
            self._await(added, "servable(s)" if first else "model(s)", given_up)
            _log.info("Finished adding/updating models")
            if first:
                self.store.use_steady_load_threads()
            if any(model.wants_request_log for model in models.values()):
                raise invalid_argument("No request-logger-creator provided.")

    @contextlib.contextmanager
    def _turn(self, given_up: Sequence[threading.Event]) -> Iterator[None]:
        """One configuration at a time; the wait for it ends when one of the events is set."""
        while not self._apply_lock.acquire(timeout=0.1):
            _raise_if(given_up)
        try:
            _raise_if(given_up)  # while it waited, too: what its client took back does not come into force
            yield
        finally:
            self._apply_lock.release()

    def _await(self, names: set[str], noun: str, given_up: Sequence[threading.Event]) -> None:
        decided = self.store.wait_until_decided(names, given_up)
        _raise_if(given_up)
        failed = {name: status for name, status in decided.items() if status.state is State.END}
        if failed:
            details = "".join(
                f"{{name: {name} version: {status.version}}} due to error: {status.error}, "
                for name, status in sorted(failed.items())
            )
            raise ServingError(Code.UNKNOWN, f"{len(failed)} {noun} did not become available: {{{details}}}")

    # ---- requests ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lease(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[Servable]:
        """The servable a model spec means, kept loaded until the block ends."""
        if label is not None:
            version = self._labels.version(name, label)
        with self.store.lease(name, version) as servable:
            yield servable

    # ---- the file system -----------------------------------------------------------------------

    def _poll(self) -> None:
        """Looks at every base path; nothing is changed if one of them cannot be read."""
        with self._poll_lock:
            models = self._models
            try:
                found = {name: find_versions(name, model.base_path) for name, model in models.items()}
            except BasePathError as error:
                _log.error("FileSystemStoragePathSource encountered a filesystem access error: %s", error)
                return
            for name, versions in found.items():
                self.store.want(name, models[name].policy.select(name, versions))

    def _poll_forever(self) -> None:
        if self._poll_wait < 0:
            return
        while not self._closed.is_set():
            try:
                self._poll()
            except Exception:
                _log.exception("Polling the base paths failed; trying again")
            if self._poll_wait == 0 or self._closed.wait(self._poll_wait):
                return

    def knows(self, name: str) -> bool:
        """Whether the configuration in force lists a model of this name."""
        return name in self._models

    def statuses(self, name: str) -> list[VersionStatus]:
        return self.store.statuses(name)

    def close(self, timeout: float = 30.0) -> None:
        self._closed.set()
        if self._poller.is_alive():
            self._poller.join(timeout)
        self.store.close(timeout)
