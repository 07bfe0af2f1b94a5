"""The direction of imports, and what importing the package costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tf_mlm

PACKAGE = Path(tf_mlm.__file__).parent
# A folder may import itself and what stands below it here; nothing sideways, nothing upwards.
GROUND = {"arguments", "config", "decoder", "durable", "errors", "fills", "signatures", "texts"}
BELOW = {
    "arguments": set(),
    "config": set(),
    "durable": set(),
    "errors": set(),
    "decoder": set(),
    "signatures": set(),
    "texts": {"errors"},
    "fills": {"decoder", "errors", "signatures", "texts"},
    "layers": GROUND,
    "text": GROUND,
    "model": GROUND | {"layers", "text"},
    "keras": GROUND | {"layers", "text", "model"},
    "convert": GROUND | {"layers", "text", "model"},
    "export": GROUND | {"layers", "text", "model"},
    "training": GROUND | {"layers", "text", "model"},
    "bench": GROUND | {"layers", "text", "model", "export", "training", "serving"},
    "serving": set(),
    # A client knows what it asks, not what answers.
    "serving/client.py": {"decoder", "errors", "fills", "signatures", "texts"},
    "serving/client_error.py": {"errors"},
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in GROUND)


def imported_parts(path: Path) -> set[str]:
    """First components below `tf_mlm` of everything a file imports, type-checking imports included."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, *rest = name.split(".")
            if first == "tf_mlm" and rest and rest[0] != "__version__":
                parts.add(rest[0])
    return parts


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_the_pipeline(path: Path) -> None:
    relative = path.relative_to(PACKAGE).as_posix()
    folder = relative.split("/")[0].removesuffix(".py")
    if folder == "cli":
        return
    allowed = BELOW.get(relative, BELOW[folder]) | {folder}
    assert imported_parts(path) <= allowed


def test_the_rule_catches_an_upward_import(tmp_path: Path) -> None:
    file = tmp_path / "sneaky.py"
    file.write_text("def f():\n    from tf_mlm.model import encoder\n    import tf_mlm.serving.client\n")
    assert imported_parts(file) == {"model", "serving"}


@pytest.mark.parametrize("module", ["tf_mlm", "tf_mlm.config", "tf_mlm.signatures", "tf_mlm.cli"])
def test_importing_it_does_not_import_tensorflow(module: str) -> None:
    program = f"import sys, {module}; sys.exit('tensorflow' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_every_public_name_resolves_and_is_listed() -> None:
    assert set(tf_mlm.__all__) <= set(dir(tf_mlm))
    for name in tf_mlm.__all__:
        assert getattr(tf_mlm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = tf_mlm.Nonsense
