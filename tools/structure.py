#!/usr/bin/env python3
"""Draws the package from its imports, and writes the picture into CONTRIBUTING.md.

tools/structure.py           writes it
tools/structure.py --check   exits with 1 if the picture there is not what the imports say
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tf_mlm"
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- structure -->\n", "<!-- /structure -->\n"
FILES = "files"
"""The node of the files that lie in no folder: everything may import them."""


def folders(package: Path = PACKAGE) -> list[Path]:
    """Every folder of modules below the package, outer ones first."""
    return sorted(path.parent for path in package.rglob("__init__.py") if path.parent != package)


def imports(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Folder directly below the package → those that its files import; the files outside folders are one."""
    found: dict[str, set[str]] = {FILES: set()}
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package).parts
        if inside in (("__init__.py",), ("__main__.py",)):
            continue
        own = inside[0] if len(inside) > 1 else FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            parts = [name.split(".") for name in names if name.startswith(f"{package.name}.")]
            targets = {part[1] if (package / part[1]).is_dir() else FILES for part in parts}
            found.setdefault(own, set()).update(targets - {own})
    return found


def without_shortcuts(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same order with the fewest arrows: none that a longer path implies."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(graph.get(start, ()))
        while waiting:
            if (name := waiting.pop()) not in seen:
                seen.add(name)
                waiting += graph.get(name, ())
        return seen

    return {
        name: {other for other in others if not any(other in reachable(way) for way in others - {other})}
        for name, others in graph.items()
    }


def what(path: Path) -> str:
    """The first line of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".")


def picture(package: Path = PACKAGE) -> str:
    """A Mermaid diagram of the folders, and a list of what lies in each."""
    graph = without_shortcuts(imports(package))
    single = [path.stem for path in sorted(package.glob("*.py")) if not path.stem.startswith("__")]
    lines = ["```mermaid", "flowchart TD", f'  {FILES}["files: {", ".join(single)}"]']
    lines += [f"  {name} --> {other}" for name in sorted(graph) for other in sorted(graph[name])]
    lines += ["```", "", "| folder | what it holds |", "|---|---|"]
    for folder in folders(package):
        lines.append(f"| `{folder.relative_to(package).as_posix()}/` | {what(folder / '__init__.py')} |")
    lines += [
        f"| `{path.name}` | {what(path)} |" for path in sorted(package.glob("*.py")) if path.stem in single
    ]
    return "\n".join(lines) + "\n"


def drawn(text: str, package: Path = PACKAGE) -> str:
    """A page with the picture between its two marks."""
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"The page must hold the lines {BEGIN.strip()} and {END.strip()}.")
    return f"{before}{BEGIN}{picture(package)}{END}{after}"


def main() -> int:
    """Writes the page, or says whether it is stale."""
    text = PAGE.read_text(encoding="utf-8")
    now = drawn(text)
    if "--check" in sys.argv[1:]:
        if now != text:
            print("The picture in CONTRIBUTING.md is not what the imports say. Run tools/structure.py.")
        return int(now != text)
    PAGE.write_text(now, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
