"""The manual as a site: built strictly, and complete without a network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.blocks import ROOT

# A link to read on is no part of a page; whatever the browser would fetch by itself is.
_FETCHED = re.compile(r'<(?:script|img|source|iframe)[^>]*\bsrc="(https?:)?//|<link[^>]*\bhref="(https?:)?//')


def test_nothing_is_fetched_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="tools/check installs the [docs] extra")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        assert not _FETCHED.search(page.read_text(encoding="utf-8")), page


def test_a_script_from_elsewhere_is_found() -> None:
    assert _FETCHED.search('<script async src="https://example.com/x.js">')
    assert _FETCHED.search('<link rel="stylesheet" href="//example.com/x.css">')
    assert not _FETCHED.search('<a href="https://example.com/"><img src="curve.png">')
