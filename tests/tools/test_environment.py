"""Which Python `tools/environment` makes the environment of, and when it installs into it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "environment"
# Takes the place of an interpreter: it is told its version, and writes down what it is asked to do.
INTERPRETER = """#!{bash}
case "$1" in
  -c) [ {version} -ge 11 ] && [ {version} -le 13 ] ;;
  -m)
    echo "3.{version} $2" >>"{log}"
    if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; fi ;;
esac
"""


class Checkout:
    """A folder with the tool, and a PATH that holds only the interpreters it is given."""

    def __init__(self, root: Path) -> None:
        self.root, self.log, self.path = root, root / "log", root / "path"
        for folder in (self.path, root / "tools"):
            folder.mkdir()
        shutil.copy(TOOL, root / "tools")
        for name in ("pyproject.toml", "constraints.txt"):
            (root / name).write_text("")
        for name in ("bash", "cat", "cksum", "cp", "dirname", "mkdir"):
            (self.path / name).symlink_to(str(shutil.which(name)))

    def interpreter(self, name: str, version: int) -> None:
        file = self.path / name
        file.write_text(INTERPRETER.format(bash=shutil.which("bash"), version=version, log=self.log))
        file.chmod(0o755)

    def run(self, extras: str = "test", **environment: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.path), **environment}
        command = [str(self.path / "bash"), str(self.root / "tools" / "environment"), extras]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize(("here", "newest"), [((11, 12, 13, 14), 13), ((11, 12), 12), ((11,), 11)])
def test_the_newest_that_has_wheels_is_taken(checkout: Checkout, here: tuple[int, ...], newest: int) -> None:
    for version in here:
        checkout.interpreter(f"python3.{version}", version)
    assert checkout.run().returncode == 0
    assert checkout.log.read_text().splitlines() == [f"3.{newest} venv", f"3.{newest} pip"]


def test_the_oldest_of_all_have_an_environment_of_their_own(checkout: Checkout) -> None:
    for version in (11, 12, 13):
        checkout.interpreter(f"python3.{version}", version)
    assert checkout.run(TF_MLM_OLDEST="1").returncode == 0
    assert checkout.log.read_text().splitlines() == ["3.11 venv", "3.11 pip"]
    assert (checkout.root / ".venv-oldest" / "constraints.txt").exists()
    assert not (checkout.root / ".venv").exists()


def test_the_one_that_is_named_wins(checkout: Checkout) -> None:
    checkout.interpreter("python3.13", 13)
    checkout.interpreter("mine", 12)
    assert checkout.run(TF_MLM_PYTHON="mine").returncode == 0
    assert checkout.log.read_text().splitlines() == ["3.12 venv", "3.12 pip"]


def test_an_environment_that_is_there_is_kept(checkout: Checkout) -> None:
    checkout.interpreter("python3.11", 11)
    checkout.run()
    checkout.interpreter("python3.13", 13)
    assert checkout.run().stderr == ""
    (checkout.root / "constraints.txt").write_text("numpy==2")
    assert checkout.run().returncode == 0
    assert checkout.log.read_text().splitlines() == ["3.11 venv", "3.11 pip", "3.11 pip"]


def test_what_was_installed_with_others_is_there(checkout: Checkout) -> None:
    checkout.interpreter("python3.11", 11)

    def installs(extras: str) -> bool:
        before = checkout.log.read_text() if checkout.log.exists() else ""
        assert checkout.run(extras).returncode == 0
        return checkout.log.read_text() != before

    assert installs("test,docs,tpu-aot")
    for extras in ("test,docs,tpu-aot", "docs,test", "tpu-aot", "test"):
        assert not installs(extras), extras
    assert installs("test,bench")
    assert installs("bench,docs")  # each is there, but they were never chosen to fit together
    (checkout.root / "pyproject.toml").write_text("changed")
    assert installs("test")
    assert not installs("test")
    assert installs("test,docs")


@pytest.mark.parametrize("named", [None, "python3.14", "nowhere"])
def test_where_none_suits_the_message_says_why(checkout: Checkout, named: str | None) -> None:
    checkout.interpreter("python3.14", 14)
    done = checkout.run(**({"TF_MLM_PYTHON": named} if named else {}))
    assert done.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13 with its venv module" in done.stderr
    assert "tensorflow-text has no wheel for Python 3.14" in done.stderr
    assert (f"{named} is none" in done.stderr) == bool(named)
    assert not (checkout.root / ".venv").exists()
