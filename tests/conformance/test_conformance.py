"""The embedded server against the contract: every case of the suite.

Cases that start a server for themselves are marked slow: each costs seconds, and together minutes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.case import Case, Needs
from conformance.launcher import Launcher
from conformance.repository import Repository
from conformance.suite import SECTIONS, cases

CASES = cases()


def parameter(case: Case) -> Any:
    marks = [pytest.mark.slow] if case.needs is Needs.PROCESS else []
    return pytest.param(case, id=case.name, marks=marks)


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    repository = Repository(tmp_path_factory.mktemp("conformance") / "repository").write()
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).parents[2]))
    launcher = Launcher([sys.executable, "-m", "tf_mlm.serving.model_server"], repository)
    yield launcher
    launcher.close()


@pytest.mark.parametrize("case", [parameter(case) for case in CASES])
def test_case(case: Case, launcher: Launcher) -> None:
    targets = {
        Needs.SERVER: lambda: launcher.standard,
        Needs.BATCHING: lambda: launcher.batching,
        Needs.LAUNCHER: lambda: launcher,
        Needs.PROCESS: lambda: launcher,
    }
    case.check(targets[case.needs]())


def test_suite_is_as_large_as_promised() -> None:
    assert len(cases(needs=frozenset({Needs.SERVER}))) >= 150
    assert len({case.name for case in CASES}) == len(CASES)
    assert {section.title.split()[0].split(".")[0] for section in SECTIONS} == set("123456")
