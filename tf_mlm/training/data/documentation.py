"""A corpus that every installation carries: the documentation of Python and of the installed packages.

One document per module (its docstrings, in source order) and one per topic of Python's own
language reference. Sources are parsed, never imported.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from tf_mlm.durable import appearing

PACKAGES = ("numpy", "keras", "tensorflow")
LEAST_CHARACTERS = 200  # shorter documents say little and make many rows of padding


def documentation_corpus(packages: Sequence[str] = PACKAGES) -> Iterator[tuple[str, str]]:
    """Pairs of module or topic name and its documentation text, in a fixed order.

    Paragraphs that were seen before are left out (wrappers repeat the docstrings of what they
    wrap), so that no document holds text of another one.

    Args:
        packages: installed packages to read beside the standard library; missing ones are skipped.

    Example:
        >>> from tf_mlm.training.data.documentation import documentation_corpus
        >>> name, text = next(documentation_corpus(packages=()))
        >>> name, "assert" in text
        ('topic/assert', True)
    """
    seen: set[str] = set()
    for name, text in _sources(packages):
        fresh = []
        for paragraph in text.split("\n\n"):
            key = " ".join(paragraph.split())
            if key and key not in seen:
                seen.add(key)
                fresh.append(paragraph.strip("\n"))
        document = "\n".join(fresh)
        if len(document) >= LEAST_CHARACTERS:
            yield name, document


def write_documentation_corpus(path: Path, packages: Sequence[str] = PACKAGES) -> int:
    """Writes the corpus as JSON lines of `name` and `text`; returns the number of words."""
    words = 0
    with appearing(path) as beside, beside.open("w", encoding="utf-8") as stream:
        for name, text in documentation_corpus(packages):
            stream.write(json.dumps({"name": name, "text": text}, ensure_ascii=False) + "\n")
            words += len(text.split())
    return words


def _sources(packages: Sequence[str]) -> Iterator[tuple[str, str]]:
    from pydoc_data.topics import topics

    for topic, text in sorted(topics.items()):
        yield f"topic/{topic}", text
    roots = [Path(sysconfig.get_path("stdlib"))]
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            roots.append(Path(next(iter(spec.submodule_search_locations))))
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            inside = path.relative_to(root)
            # Tests document nothing, and site-packages below the standard library belong to others.
            if not {"test", "tests", "idle_test", "lib2to3", "site-packages", "dist-packages"} & set(
                inside.parts
            ):
                yield f"{root.name}/{inside}", _docstrings(path)


def _docstrings(path: Path) -> str:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # templates and files of other Python versions
        return ""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented))
    return "\n\n".join(inspect.cleandoc(text) for text in texts if text)
