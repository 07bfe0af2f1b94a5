"""The reference and the public names are the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml

import tf_mlm
from docs.blocks import ROOT

DESCRIBED = re.compile(r"^::: tf_mlm\.([\w.]+)$", re.MULTILINE)
NAMES = [
    name
    for page in sorted((ROOT / "docs" / "reference").glob("*.md"))
    for name in DESCRIBED.findall(page.read_text(encoding="utf-8"))
]


def test_every_public_name_is_described_once_and_nothing_else() -> None:
    described = [name for name in NAMES if not name.startswith("keras.") and name != "errors"]
    # A function and the package that holds it, by one name: the reference describes the function.
    described = ["export" if name == "export.saved_model.export" else name for name in described]
    assert sorted(described) == sorted(set(tf_mlm.__all__) - {"__version__"})


def test_every_keras_layer_is_described() -> None:
    """Its module is read, not imported, as it needs Keras's TensorFlow backend."""
    tree = ast.parse((Path(tf_mlm.__file__).parent / "keras" / "__init__.py").read_text())
    (names,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    assert sorted(name.removeprefix("keras.") for name in NAMES if name.startswith("keras.")) == sorted(names)


def test_every_page_is_in_the_navigation() -> None:
    """`mkdocs build --strict` says so too, where it is installed."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    navigation = yaml.safe_load(text.partition("\nnav:")[1] + text.partition("\nnav:")[2])

    def pages(entry: object) -> list[str]:
        if isinstance(entry, dict):
            entry = list(entry.values())
        return [page for one in entry for page in pages(one)] if isinstance(entry, list) else [str(entry)]

    files = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(pages(navigation["nav"])) == sorted(files)
