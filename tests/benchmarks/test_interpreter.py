"""Another interpreter finds what this one finds, and its failure is not taken for an answer."""

from __future__ import annotations

import subprocess

import pytest

from benchmarks import interpreter


def test_it_answers_in_json() -> None:
    assert interpreter.call("benchmarks.interpreter.echo", "a 'quoted' path", 2) == ["a 'quoted' path", 2]


def test_a_failure_is_raised() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        interpreter.call("benchmarks.interpreter.no_such_function")
