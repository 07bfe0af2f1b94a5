"""The picture of the package in CONTRIBUTING.md."""

from __future__ import annotations

from pathlib import Path

import pytest

import structure


def test_the_picture_is_what_the_imports_say() -> None:
    text = structure.PAGE.read_text(encoding="utf-8")
    assert structure.drawn(text) == text, "run tools/structure.py"


def test_arrows_that_follow_from_others_are_left_out() -> None:
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert structure.without_shortcuts(graph) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_a_new_import_changes_the_picture(tmp_path: Path) -> None:
    for name in ("upper", "lower"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f'"""What {name} is."""\n')
    (tmp_path / "config.py").write_text('"""Settings."""\n')
    before = structure.picture(tmp_path)
    assert "| `lower/` | What lower is |" in before
    assert "| `config.py` | Settings |" in before
    (tmp_path / "upper" / "file.py").write_text(f"from {tmp_path.name}.lower import x\n")
    assert "  upper --> lower\n" in structure.picture(tmp_path)
    assert "  upper --> lower\n" not in before


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(SystemExit, match="must hold the lines"):
        structure.drawn("# A page\n")
