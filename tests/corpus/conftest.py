"""A small corpus of every kind of file, a model directory, and jobs done in this process."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import make_tiny_model

from corpus.outputs import OPTIONS, sentences
from tf_mlm.corpus import run_unit
from tf_mlm.corpus.plan import Job, make_job


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tf_mlm.model.directory.checkpoint import save

    path = tmp_path_factory.mktemp("corpus-model") / "model"
    save(make_tiny_model(), path)
    return path


class Kept(dict[Any, Any]):
    """What a process keeps of its job's model, for several jobs: they have few models between them."""

    def clear(self) -> None:
        pass


@pytest.fixture(scope="session", autouse=True)
def _models_are_kept() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_unit, "_models", Kept())
        yield


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 rows: text, JSON lines with ids, gzip, and Parquet with ids."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path_factory.mktemp("corpus-files")
    lines = sentences(120, 0)
    (path / "a.txt").write_text("".join(f"{line}\n" for line in lines[:40]))
    rows = [json.dumps({"id": f"b{n}", "text": line}) for n, line in enumerate(lines[40:80])]
    (path / "b.jsonl").write_text("\n".join(rows))
    with gzip.open(path / "c.txt.gz", "wt") as stream:
        stream.writelines(f"{line}\n" for line in lines[80:100])
    table = pa.table({"id": [f"d{n}" for n in range(20)], "text": lines[100:]})
    pq.write_table(table, path / "d.parquet", row_group_size=8)
    return path


@pytest.fixture
def plan(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Job]:
    """`plan(*patterns, verb=..., **options)`: a job that writes to `output` in the test's folder."""

    def planned(
        *patterns: object, verb: str = "score", output: object = None, model: str = "tiny", **options: Any
    ) -> Job:
        of_verb: dict[str, dict[str, Any]] = {
            "score": {"method": "salazar"},
            "fill": {"top_k": 2, "targets": None},
            "embed": {"pooling": "mean", "normalize": False},
            "tokenize": {"line_by_line": True, "length": 16, "held_out": 0.2},
        }
        return make_job(
            [str(pattern) for pattern in patterns],
            str(output or tmp_path / "output"),
            verb=verb,
            target=str(model_dir),
            model=model,
            options={**OPTIONS, **of_verb[verb], **options},
        )

    return planned
