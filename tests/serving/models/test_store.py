"""States and transitions of versions, with a loader the test controls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from waiting import eventually

from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.models.servable import Servable
from tf_mlm.serving.models.store import LoadOptions, ModelStore, State


class Constant:
    """A runner that answers its version and remembers being closed."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.closed = False

    def run(self, feeds, fetches, timeout=None) -> list[np.ndarray]:
        return [np.array(self.version)]

    def close(self) -> None:
        self.closed = True


class Directory:
    """Loads versions; those in `broken` fail, those in `held` wait to be released."""

    def __init__(self) -> None:
        self.broken: set[int] = set()
        self.held: dict[int, threading.Event] = {}
        self.loads: list[int] = []
        self.runners: dict[int, Constant] = {}

    def __call__(self, name: str, version: int, path: Path) -> Servable:
        self.loads.append(version)
        if version in self.held:
            assert self.held[version].wait(30)
        if version in self.broken:
            raise ServingError(Code.NOT_FOUND, f"version {version} is broken")
        self.runners[version] = Constant(version)
        return Servable(name, version, {}, self.runners[version])


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def store(directory: Directory) -> Iterator[ModelStore]:
    made = ModelStore(directory, LoadOptions(max_num_load_retries=0))
    yield made
    made.close(5)


def want(store: ModelStore, *versions: int) -> None:
    store.want("m", {version: Path(str(version)) for version in versions})


def states(store: ModelStore) -> dict[int, str]:
    return {status.version: status.state.name for status in store.statuses("m")}


def reaches(store: ModelStore, **expected: str) -> None:
    wanted = {int(version.removeprefix("v")): state for version, state in expected.items()}
    eventually(lambda: states(store) == wanted)


def answer(store: ModelStore, version: int | None = None) -> int:
    with store.lease("m", version) as servable:
        return int(servable.run({}, ["y"])[0])


def test_loads_what_is_wanted(store: ModelStore) -> None:
    want(store, 1, 3)
    reaches(store, v1="AVAILABLE", v3="AVAILABLE")
    assert (answer(store), answer(store, 1)) == (3, 1)
    with pytest.raises(ServingError, match=r"Servable not found for request: Specific\(m, 2\)"):
        answer(store, 2)
    with (
        pytest.raises(ServingError, match=r"Servable not found for request: Latest\(other\)"),
        store.lease("other"),
    ):
        pass


def test_the_old_version_serves_until_the_new_one_is_up(store: ModelStore, directory: Directory) -> None:
    want(store, 1)
    reaches(store, v1="AVAILABLE")
    directory.held[2] = threading.Event()
    want(store, 2)
    reaches(store, v1="AVAILABLE", v2="LOADING")
    assert answer(store) == 1
    directory.held[2].set()
    reaches(store, v1="END", v2="AVAILABLE")
    assert answer(store) == 2
    assert directory.runners[1].closed


def test_a_broken_new_version_leaves_the_old_one(store: ModelStore, directory: Directory) -> None:
    want(store, 1)
    reaches(store, v1="AVAILABLE")
    directory.broken.add(2)
    want(store, 2)
    reaches(store, v1="AVAILABLE", v2="END")
    assert store.statuses("m")[0].error.message == "version 2 is broken"
    assert answer(store) == 1
    want(store, 2)
    assert directory.loads == [1, 2]  # not tried again while it stays wanted
    directory.broken.clear()
    want(store, 1)
    want(store, 2)
    reaches(store, v1="END", v2="AVAILABLE")


def test_a_lease_keeps_its_version(store: ModelStore, directory: Directory) -> None:
    want(store, 1)
    reaches(store, v1="AVAILABLE")
    with store.lease("m") as servable:
        want(store, 2)
        reaches(store, v1="UNLOADING", v2="AVAILABLE")
        assert int(servable.run({}, ["y"])[0]) == 1
        assert not directory.runners[1].closed
        assert answer(store) == 2
    reaches(store, v1="END", v2="AVAILABLE")


def test_nothing_wanted_unloads_everything(store: ModelStore) -> None:
    want(store, 1, 2)
    reaches(store, v1="AVAILABLE", v2="AVAILABLE")
    want(store)
    reaches(store, v1="END", v2="END")
    assert all(status.error is None for status in store.statuses("m"))


def test_a_dropped_version_can_come_back(store: ModelStore) -> None:
    for _ in range(2):
        want(store, 1)
        reaches(store, v1="AVAILABLE")
        want(store)
        reaches(store, v1="END")


def test_dropped_while_loading(store: ModelStore, directory: Directory) -> None:
    directory.held[1] = threading.Event()
    want(store, 1)
    eventually(lambda: directory.loads == [1])
    want(store)
    directory.held[1].set()
    reaches(store, v1="END")
    error = store.statuses("m")[0].error
    assert (error.code, error.message) == (Code.CANCELLED, "Loading of servable cancelled")
    eventually(lambda: directory.runners[1].closed)


def test_retries_stop_when_the_version_is_dropped(directory: Directory) -> None:
    store = ModelStore(directory, LoadOptions(max_num_load_retries=5, load_retry_interval=60))
    directory.broken.add(1)
    want(store, 1)
    eventually(lambda: directory.loads == [1])
    assert states(store) == {1: "LOADING"}
    want(store)
    reaches(store, v1="END")
    store.close(5)
    assert directory.loads == [1]


def test_retries_until_it_works(directory: Directory) -> None:
    store = ModelStore(directory, LoadOptions(max_num_load_retries=3, load_retry_interval=-1))
    directory.broken.add(1)
    want(store, 1)
    reaches(store, v1="END")
    assert directory.loads == [1] * 4
    store.close(5)


def test_a_load_that_waits_to_be_retried_holds_up_no_other(directory: Directory) -> None:
    store = ModelStore(directory, LoadOptions(max_num_load_retries=5, load_retry_interval=60))
    store.use_steady_load_threads()
    directory.broken.add(1)
    want(store, 1)
    eventually(lambda: directory.loads == [1])
    store.want("other", {2: Path("2")})
    eventually(lambda: store.is_available("other", 2))
    assert states(store) == {1: "LOADING"}
    store.close(5)


def test_a_lease_may_outlast_the_store(directory: Directory) -> None:
    store = ModelStore(directory)
    want(store, 1)
    reaches(store, v1="AVAILABLE")
    with store.lease("m"):
        store.close(timeout=0.05)
        assert not directory.runners[1].closed
    eventually(lambda: directory.runners[1].closed)


def test_waiting_for_a_decision(store: ModelStore, directory: Directory) -> None:
    directory.broken.add(1)
    assert store.wait_until_decided(["m"], timeout=0.05) == {}
    want(store, 1)
    decided = store.wait_until_decided(["m"], timeout=20)
    assert (decided["m"].version, decided["m"].state) == (1, State.END)
    want(store, 2)
    reaches(store, v1="END", v2="AVAILABLE")
    assert store.wait_until_decided(["m"], timeout=20)["m"].version == 2


def test_swapping_under_load_never_misses(store: ModelStore) -> None:
    """Readers always find a version, and it is always the one they leased."""
    want(store, 1)
    reaches(store, v1="AVAILABLE")
    failures: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                with store.lease("m") as servable:
                    assert int(servable.run({}, ["y"])[0]) == servable.version
            except BaseException as error:
                failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for version in range(2, 30):
        want(store, version)
        eventually(lambda version=version: store.is_available("m", version))
    stop.set()
    for reader in readers:
        reader.join()
    assert not failures
