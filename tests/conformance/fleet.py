"""Models of one long-lived server whose directories and list the cases change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import grpc
from tensorflow_serving.config import model_server_config_pb2

from conformance.case import Section
from conformance.expectations import close, contains, equal, eventually
from conformance.launcher import Launcher, Process
from conformance.server import model_spec

Config = model_server_config_pb2.ModelServerConfig
ModelConfig: TypeAlias = model_server_config_pb2.ModelConfig


class Fleet:
    """The models of one long-lived server, each in a directory that cases may change.

    Every case uses a model name of its own; the list that goes to the server always holds all of them.
    """

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher
        self.root = launcher.directory("fleet")
        self.config_file = self.root / "models.config"
        self.config = Config()
        self.put("resident", "1")
        self.set("resident")
        self.config_file.write_text(str(self.config))
        flags = (
            f"--model_config_file={self.config_file}",
            "--max_num_load_retries=0",
            "--file_system_poll_wait_seconds=1",
            "--num_load_threads=2",
        )
        self.server: Process = launcher.shared("life_cycle", lambda: flags)

    def path(self, name: str, version: str = "") -> Path:
        return self.root / "models" / name / version if version else self.root / "models" / name

    def put(self, name: str, version: str, like: str | None = None) -> Path:
        """A version that answers x + `like`; by default x + its own number."""
        source = like if like is not None else str(int(version))
        return self.launcher.repository.copy_model("counter", source, self.path(name, version))

    def set(self, name: str) -> ModelConfig:
        """The model's entry in the list, to be changed before `reload`."""
        for entry in self.config.model_config_list.config:
            if entry.name == name:
                return entry
        return self.config.model_config_list.config.add(
            name=name, base_path=str(self.path(name)), model_platform="tensorflow"
        )

    def drop(self, name: str) -> None:
        entries = self.config.model_config_list.config
        kept = [entry for entry in entries if entry.name != name]
        del entries[:]
        entries.extend(kept)

    def serve(self, name: str, *versions: str) -> None:
        """Adds a model with these versions and waits until the reload call says that it is there."""
        for version in versions:
            self.put(name, version)
        self.set(name)
        self.reload()

    def reload(self) -> None:
        self.server.reload(self.config)

    def expect_states(self, name: str, states: dict[int, str]) -> None:
        eventually(lambda: equal(self.server.states(name), states, f"states of {name}"))

    def expect_answer(self, name: str, answer: float, **choice: object) -> None:
        eventually(lambda: close(self.server.predict(name, {"x": [0.0]}, **choice)["y"], [answer], name))  # type: ignore[arg-type]

    def expect_failure(self, name: str, version: int, code: str, *parts: str) -> None:
        """The version ends with this error."""

        def check() -> None:
            status = self.server.status(model_spec(name, version=version)).model_version_status[0]
            equal(self.server.states(name)[version], "END", f"state of version {version}")
            equal(code_name(status.status.error_code), code, f"error code of version {version}")
            contains(status.status.error_message, *parts, what="error message")

        eventually(check)


def code_name(number: int) -> str:
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


_fleets: dict[int, Fleet] = {}


def fleet(launcher: Launcher) -> Fleet:
    if id(launcher) not in _fleets:
        _fleets[id(launcher)] = Fleet(launcher)
    return _fleets[id(launcher)]


Check = Callable[[Fleet], None]


def fleet_case(section: Section, title: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        section.add(title, lambda launcher: check(fleet(launcher)))
        return check

    return register
