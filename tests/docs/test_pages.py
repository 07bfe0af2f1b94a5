"""Every Python and shell block of the README and the manual is run, page by page, with a tiny model."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from docs.blocks import PAGES, ROOT, Block, blocks, name, of
from docs.page import opened

RUN = ("python", "sh")
CHECKED = ("bash", "go", "java", "js", "json", "mermaid", "text", "yaml", "proto", "Containerfile")


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in RUN and not block.not_run]


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=name)
def test_blocks_run(page: Path, materials: Path, tmp_path: Path) -> None:
    """The directory holds what the manual speaks of, but not what the page itself makes."""
    made = re.findall(r"--output (\S+)|output=\"(\S+)\"|tf_mlm\.train\([^)]*\"(\S+)\", ", page.read_text())
    shutil.copytree(materials, tmp_path, dirs_exist_ok=True)
    for path in {Path(each) for group in made for each in group if each}:
        if (tmp_path / path).is_dir():
            shutil.rmtree(tmp_path / path)
    with opened(tmp_path) as directory:
        for block in runnable(page):
            directory.run(block)


@pytest.mark.parametrize("block", of(*RUN), ids=str)
def test_what_is_not_run_is_at_least_its_language(block: Block) -> None:
    if block.language == "python":
        compile(block.text, str(block.page), "exec")
    else:
        done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_says_what_it_is(page: Path) -> None:
    """A block without a language would be neither run nor checked."""
    for block in blocks(page):
        assert block.language in (*RUN, *CHECKED), f"{block}: ```{block.language}"


def test_a_page_that_is_wrong_fails(tmp_path: Path) -> None:
    wrong = ROOT / "docs" / "wrong.md"
    for text, language in (
        ("assert 1 == 2\n", "python"),
        ("tf-mlm fill nowhere\n", "sh"),
        ("false\n", "sh"),
        ("head nowhere\ntf-mlm --help\n", "sh"),
    ):
        with opened(tmp_path) as directory, pytest.raises(AssertionError):
            directory.run(Block(wrong, language, 1, text, None))


def test_blocks_are_found_in_tabs_and_behind_comments(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    tab = '=== "A"\n\n    ```python\n    x = 1\n    ```\n\n'
    page.write_text(tab + "<!-- not run: it takes a day -->\n```sh\nsleep 1d\n```\n")
    one, other = blocks(page)
    assert (one.language, one.text, one.line, one.not_run) == ("python", "x = 1\n", 4, None)
    assert (other.language, other.not_run) == ("sh", "it takes a day")
