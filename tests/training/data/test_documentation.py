"""The corpus every installation carries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tf_mlm.reading.documents import read_documents
from tf_mlm.training.data.documentation import write_documentation_corpus


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    path = tmp_path_factory.mktemp("documentation") / "documentation.jsonl"
    return path, write_documentation_corpus(path, packages=())


def test_the_standard_library_is_documented(written: tuple[Path, int]) -> None:
    path, words = written
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    documents = {record["name"]: record["text"] for record in records}
    assert len(documents) == len(records)
    assert "filling text" in documents[next(name for name in documents if name.endswith("/textwrap.py"))]
    assert not any("site-packages" in name for name in documents)
    assert words == sum(len(text.split()) for text in read_documents([path])) > 200_000


def test_the_order_is_fixed(written: tuple[Path, int]) -> None:
    names = [json.loads(line)["name"] for line in written[0].read_text(encoding="utf-8").splitlines()]
    topics = [name for name in names if name.startswith("topic/")]
    assert names[: len(topics)] == sorted(topics)
    paths = [Path(name) for name in names[len(topics) :]]
    assert paths == sorted(paths)


def test_no_paragraph_stands_in_two_documents(tmp_path: Path) -> None:
    package = tmp_path / "wrapped"
    package.mkdir()
    text = "Shared words that both modules say, and that must be held back once. " * 4
    for name in ("a", "b"):
        (package / f"{name}.py").write_text(f'"""{text}\n\nOnly {name}: {name * 220}.\n"""\n')
    (package / "broken.py").write_text("def (:\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tf_mlm.training.data.documentation import documentation_corpus\n"
        "found = dict(documentation_corpus(['wrapped', 'no_such_package']))\n"
        "print(sum('Shared words' in text for text in found.values()), 'wrapped/b.py' in found)\n"
        "assert 'wrapped' not in sys.modules and 'tensorflow' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "True"]
