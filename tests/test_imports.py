"""The direction of imports, and what importing the package costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import tf_mlm

PACKAGE = Path(tf_mlm.__file__).parent
# A folder may import itself and what stands below it here; nothing sideways, nothing upwards.
GROUND = {
    "arguments",
    "config",
    "decoder",
    "durable",
    "errors",
    "fills",
    "lean_import",
    "saved_model_loader",
    "signatures",
    "texts",
    "version_directory",
}
BELOW = {
    "arguments": set(),
    "durable": set(),
    "errors": set(),
    "config": {"durable", "errors"},
    "decoder": {"errors"},
    "signatures": {"errors"},
    "texts": {"errors"},
    "version_directory": {"durable", "errors"},
    "fills": {"decoder", "errors", "signatures", "texts"},
    "lean_import": set(),
    "saved_model_loader": set(),
    "layers": GROUND,
    "text": GROUND,
    "model": GROUND | {"layers", "text"},
    "keras": GROUND | {"layers", "text", "model"},
    "convert": GROUND | {"layers", "text", "model"},
    "export": GROUND | {"layers", "text", "model"},
    "reading": {"errors"},
    "training": GROUND | {"layers", "text", "model", "reading"},
    "target": GROUND | {"layers", "text", "model", "serving"},
    "corpus": GROUND | {"layers", "text", "model", "serving", "reading", "target"},
    "serving": {"errors", "lean_import", "saved_model_loader", "version_directory"},
    "page": GROUND | {"serving"},
    # A client knows what it asks, not what answers.
    "serving/client": {"decoder", "errors", "fills", "signatures", "texts"},
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in GROUND)


MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imported_modules(path: Path) -> set[str]:
    """The modules of `tf_mlm` that a file imports, anywhere in it, type-checking imports included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            while name and name not in MODULES:
                name = name.rpartition(".")[0]
            found.add(name)
    return {name for name in found if name.startswith("tf_mlm.")}


def imported_parts(path: Path) -> set[str]:
    """Their first components below `tf_mlm`."""
    return {name.split(".")[1] for name in imported_modules(path)}


def circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, in groups; none when imports form no circle."""
    left = {name: set(others) & set(imports) for name, others in imports.items()}
    while done := {name for name, others in left.items() if not others & set(left)}:
        for name in done:
            del left[name]
    groups = []
    while left:
        path = [min(left)]
        while (following := min(left[path[-1]] & set(left))) not in path:
            path.append(following)
        groups.append(path[path.index(following) :])
        for name in groups[-1]:
            del left[name]
        while done := {name for name, others in left.items() if not others & set(left)}:
            for name in done:
                del left[name]
    return groups


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_the_pipeline(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    folder = relative.parts[0].removesuffix(".py")
    if folder == "cli":
        return
    rules = [BELOW.get(parent.as_posix()) for parent in (relative, *relative.parents)]
    allowed = next((rule for rule in rules if rule is not None), BELOW.get(folder))
    assert imported_parts(path) <= allowed | {folder}


def test_files_import_each_other_in_no_circle() -> None:
    assert circles({name: imported_modules(path) - {name} for name, path in MODULES.items()}) == []


def test_a_circle_is_found() -> None:
    imports = {"a": {"b"}, "b": {"c", "e"}, "c": {"a"}, "d": {"d1"}, "d1": set(), "e": set()}
    assert circles(imports) == [["a", "b", "c"]]


def test_the_rule_catches_an_upward_import(tmp_path: Path) -> None:
    file = tmp_path / "sneaky.py"
    file.write_text("def f():\n    from tf_mlm.model import encoder\n    import tf_mlm.serving.server\n")
    assert imported_parts(file) == {"model", "serving"}


@pytest.mark.parametrize("module", ["tf_mlm", "tf_mlm.config", "tf_mlm.signatures", "tf_mlm.cli"])
def test_importing_it_does_not_import_tensorflow(module: str) -> None:
    program = f"import sys, {module}; sys.exit('tensorflow' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
