"""What `import tf_mlm` gives: every name, its types, and a program that uses them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import user_code
from reference.untraced import untraced

import tf_mlm
from tf_mlm import errors

PROGRAM = Path(user_code.__file__)


@pytest.mark.parametrize("name", sorted(tf_mlm.__all__))
def test_a_public_name_resolves_and_says_what_it_is(name: str) -> None:
    value = getattr(tf_mlm, name)
    assert name in dir(tf_mlm)
    assert name == "__version__" or (inspect.getdoc(value) or "").strip()


def test_all_errors_and_warnings_are_public() -> None:
    kinds = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert kinds | {"ServingError", "ClientError"} <= set(tf_mlm.__all__)
    for name in kinds | {"ServingError", "ClientError"}:
        assert issubclass(getattr(tf_mlm, name), (tf_mlm.TfMlmError, tf_mlm.TfMlmWarning))
        assert name in errors.__doc__


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = tf_mlm.Nonsense


def test_export_is_a_function_and_a_package() -> None:
    import tf_mlm.export.calibration

    assert callable(tf_mlm.export)
    assert tf_mlm.export.calibration.calibrate


def test_a_users_program_passes_a_strict_type_checker(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-incremental"]
    found = subprocess.run(
        [*command, str(PROGRAM)],
        cwd=PROGRAM.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.usefixtures("interpreted")
def test_a_users_program_runs(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"the cat sat on mat {number} ." for number in range(60)))
    model = user_code.pretrain([text], tmp_path / "model")
    version = user_code.deploy(model, tmp_path / "models")
    words, score = user_code.ask(version.parent, "the [MASK] sat")
    with untraced():
        assert words == user_code.words(model, "the [MASK] sat")
    assert score < 0
