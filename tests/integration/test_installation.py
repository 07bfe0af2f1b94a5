"""The wheel, in an environment and a folder where there is no checkout: it exports, serves and fills."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import tf_mlm
from tf_mlm.model.masked_lm import MaskedLM

ROOT = Path(__file__).parents[2]
BUCKETS = ("--batch-buckets=1", "--length-buckets=16", "--mask-buckets=1")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, as building leaves folders beside the source."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "tf_mlm", source / "tf_mlm", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(target), str(source))
    [path] = target.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that holds the wheel, and sees the dependencies of this one."""
    root = tmp_path_factory.mktemp("environment")
    venv.create(root, with_pip=False)
    [packages] = root.glob("lib/python*/site-packages")
    pip("install", "--target", str(packages), str(wheel))
    # What this line adds is searched last; its own .pth files, an editable tf_mlm among them, are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return root / "bin"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder to be in."""
    path = tmp_path / "empty"
    path.mkdir()
    return path


def pip(verb: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", verb, "--quiet", "--no-deps", "--no-index", *arguments]
    subprocess.run(command, check=True)


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(installed: Path, folder: Path, *arguments: str) -> str:
    """What `python -m tf_mlm` of the environment prints."""
    done = subprocess.run(
        [str(installed / "python"), "-m", "tf_mlm", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def serving(installed: Path, folder: Path, base_path: Path) -> Iterator[str]:
    """Its gRPC address."""
    command = ["serve", str(base_path), "--embedded", "--port=0", "--rest-port=0"]
    with subprocess.Popen(
        [str(installed / "python"), "-m", "tf_mlm", *command],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            log = ""
            while "Entering the event loop" not in log:
                line = server.stdout.readline()
                assert line, log
                log += line
            port = re.search(r"--port=(\d+)", log)
            assert port is not None, log
            yield f"grpc://127.0.0.1:{port[1]}/mlm"
        finally:
            server.terminate()
            server.communicate()


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tf_mlm").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == source
    assert {
        "tf_mlm/py.typed",
        "tf_mlm/export/stock_operations.txt",
        "tf_mlm/page/static/index.html",
    } <= packed


def test_what_is_imported_is_the_wheel(installed: Path, empty: Path) -> None:
    program = "import tf_mlm; print(tf_mlm.__file__)"
    done = subprocess.run(
        [str(installed / "python"), "-c", program],
        cwd=empty,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(installed.parent)


def test_the_command_is_installed_and_knows_its_version(wheel: Path, installed: Path, empty: Path) -> None:
    assert "[console_scripts]\ntf-mlm = tf_mlm.cli:main" in (
        zipfile.ZipFile(wheel).read(f"tf_mlm-{tf_mlm.__version__}.dist-info/entry_points.txt").decode()
    )
    assert run(installed, empty, "--version").strip().endswith(tf_mlm.__version__)
    assert "Fill the masks of texts." in run(installed, empty, "--help")
    assert "needs a checkout" in run(installed, empty, "bench", "--help")


def test_export_serve_and_fill(tiny_model: MaskedLM, installed: Path, empty: Path, tmp_path: Path) -> None:
    tf_mlm.save(tiny_model, tmp_path / "model")
    base_path = tmp_path / "models" / "mlm"
    run(installed, empty, "export", str(tmp_path / "model"), str(base_path), "--no-xla", *BUCKETS)
    question = ("the [MASK] sat on a mat .", "--top-k=1", "--json")
    here = run(installed, empty, "fill", str(base_path), *question)
    with serving(installed, empty, base_path) as address:
        assert run(installed, empty, "fill", address, *question) == here
    assert '"token_str"' in here
    assert list(empty.iterdir()) == []
