"""Jobs: the same bytes however often units are done, what may not change, and what bad input gets."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.outputs import do, parts, rows
from tf_mlm.corpus import run_unit as unit_module
from tf_mlm.corpus.plan import Job, finish
from tf_mlm.corpus.run import Shard, run_job
from tf_mlm.corpus.run_unit import Done, run_unit
from tf_mlm.errors import ConfigError

Plan = Callable[..., Job]


def in_process(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lets the local engine do its units here; the units it did."""
    from tf_mlm.corpus.engines import local

    done: list[int] = []

    def run(job: Job, units: list[int], workers: int):  # type: ignore[no-untyped-def]
        for index in units:
            done.append(index)
            yield unit_module.run_unit(job, index)

    monkeypatch.setattr(local, "run", run)
    return done


def test_every_row_once_and_the_answers_of_the_client(
    plan: Plan, files: Path, tmp_path: Path, model_dir: Path
) -> None:
    from tf_mlm.target.open import open_target

    job = plan(files / "*")
    assert len(job.units) > 6
    assert sum(done.rows for done in do(job)) == 120
    found = rows(tmp_path / "output")
    assert len({row["id"] for row in found}) == 120
    assert {f"b{n}" for n in range(40)} | {f"d{n}" for n in range(20)} < {row["id"] for row in found}
    texts = (files / "a.txt").read_text().splitlines()
    with open_target(str(model_dir)) as client:
        expected = client.score(texts)["score"]
    own = [row["score"] for row in found if str(files / "a.txt") in row["id"]]
    assert own == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("verb", ["score", "fill", "embed"])
def test_done_again_in_another_order_it_is_the_same_to_the_byte(
    plan: Plan, files: Path, tmp_path: Path, verb: str, kind: str
) -> None:
    text = tmp_path / "masks.txt"
    lines = (files / "a.txt").read_text().splitlines()[:20]
    text.write_text("\n".join(f"{line} [MASK]" + " [MASK]" * (n % 2) for n, line in enumerate(lines)))
    one, other = (
        plan(text, verb=verb, format=kind, unit_bytes=300, output=tmp_path / name)
        for name in ("one", "other")
    )
    do(one)
    for index in reversed(range(len(other.units))):
        unit_module.run_unit(other, index)
    assert parts(tmp_path / "one") == parts(tmp_path / "other")
    assert len(one.units) > 1
    if kind == "parquet":
        import pyarrow.parquet as pq

        table = pq.read_table([tmp_path / "one" / name for name in parts(tmp_path / "one")])
        assert table.num_rows == 20
        assert table["error"].null_count == 20
        assert {"fill": "fills", "embed": "embedding"}.get(verb, verb) in table.column_names
        assert table.column(1).null_count == 0


def test_what_is_done_is_not_done_again(
    plan: Plan, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = in_process(monkeypatch)
    job = plan(files / "*")
    run_job(job)
    whole = parts(tmp_path / "output")
    assert json.loads((tmp_path / "output" / "_SUCCESS").read_text()) == {"units": len(job.units)}
    (tmp_path / "output" / job.part(2)).unlink()
    (tmp_path / "output" / "_SUCCESS").unlink()
    done.clear()
    found = run_job(plan(files / "*"))
    assert done == [2]
    assert (found.before, found.finished) == (len(job.units) - 1, True)
    assert parts(tmp_path / "output") == whole


def test_shards_share_a_job_and_the_last_one_says_so(
    plan: Plan, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process(monkeypatch)
    for number in (2, 0, 1):
        assert not (tmp_path / "output" / "_SUCCESS").exists()
        found = run_job(plan(files / "*"), shard=Shard(number, 3))
        assert found.finished == (number == 1)
    do(plan(files / "*", output=tmp_path / "alone"))
    assert parts(tmp_path / "output") == parts(tmp_path / "alone")
    assert (tmp_path / "output" / "_SUCCESS").exists()


def test_a_part_that_is_there_is_not_made_again(plan: Plan, files: Path) -> None:
    job = plan(files / "a.txt")
    assert run_unit(job, 0).rows > 0
    assert run_unit(job, 0) == Done(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 9}, "`batch` was 8 and is now 9"),
        ({"verb": "embed"}, "it was `score` and is now `embed`"),
        ({"model": "other"}, "the model is another one"),
        ({"unit_bytes": 900}, "`unit_bytes` was 700 and is now 900"),
        ({"format": "parquet"}, "`format` was 'jsonl' and is now 'parquet'"),
    ],
)
def test_another_job_in_the_same_directory_is_refused(
    plan: Plan, files: Path, change: dict[str, object], message: str
) -> None:
    plan(files / "a.txt")
    with pytest.raises(ConfigError, match=message):
        plan(files / "a.txt", **change)


def test_changed_files_and_foreign_directories_are_refused(plan: Plan, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("the cat")
    plan(text)
    text.write_text("the cat sat")
    with pytest.raises(ConfigError, match=r"a.txt` has changed"):
        plan(text)
    (tmp_path / "b.txt").write_text("a dog")
    with pytest.raises(ConfigError, match=r"b.txt` is new"):
        plan(text, tmp_path / "b.txt")
    with pytest.raises(ConfigError, match=r"which holds `a.txt` and no plan.json"):
        plan(text, output=tmp_path)
    (tmp_path / "output" / "plan.json").write_text("{")
    with pytest.raises(ConfigError, match=r"its plan.json cannot be read"):
        plan(text)


def test_a_row_that_the_model_refuses_costs_only_itself(plan: Plan, tmp_path: Path) -> None:
    text = tmp_path / "a.jsonl"
    given = ["the [MASK] sat", "no mask", "the cat " * 60 + "[MASK]", "a [MASK] ran"]
    text.write_text("".join(json.dumps({"id": n, "text": line}) + "\n" for n, line in enumerate(given)))
    (done,) = do(plan(text, verb="fill"))
    assert (done.rows, done.failed, done.error) == (4, 2, None)
    found = rows(tmp_path / "output")
    assert [sorted(row) for row in found] == [
        ["fills", "id"],
        ["error", "id"],
        ["error", "id"],
        ["fills", "id"],
    ]
    assert "mask token [MASK]" in found[1]["error"]
    assert "limit is 64" in found[2]["error"]


def test_a_damaged_file_costs_only_its_unit(
    plan: Plan, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process(monkeypatch)
    damaged = tmp_path / "x.txt.gz"
    damaged.write_bytes(gzip.compress(b"the cat\n" + b" \n" * 99999)[:-20])
    with pytest.raises(ConfigError, match=r"x.txt.gz` is a damaged gzip file.*the same command goes on"):
        run_job(plan(files / "a.txt", damaged))
    assert len(parts(tmp_path / "output")) == len(plan(files / "a.txt", damaged).units) - 1
    assert not (tmp_path / "output" / "_SUCCESS").exists()


def test_leftovers_of_killed_workers_go_when_all_is_done(plan: Plan, files: Path, tmp_path: Path) -> None:
    job = plan(files / "a.txt")
    do(job)
    (tmp_path / "output" / ".part-00000.unfinished-1-ab").write_text("half")
    finish(job)
    assert not list((tmp_path / "output").glob(".*"))


def test_within_a_word_later_tokens_are_hidden(plan: Plan, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("the cats sat\nthe cat sat\n")
    for method in ("salazar", "within-word-l2r"):
        do(plan(text, method=method, output=tmp_path / method))
    one, other = (rows(tmp_path / method) for method in ("salazar", "within-word-l2r"))
    assert one[1] == other[1]
    assert one[0]["score"] != other[0]["score"]
    assert one[0]["tokens"] == other[0]["tokens"] == 4
