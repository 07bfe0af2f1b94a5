"""Shards of packed rows: what `train` reads of them is what it would have read of the text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import make_tiny_model

from corpus.outputs import OPTIONS, do, parts, sentences
from tf_mlm.corpus.plan import Job, make_job
from tf_mlm.corpus.run_unit import run_unit
from tf_mlm.corpus.tokenize import is_packed
from tf_mlm.errors import ConfigError, ConfigWarning
from tf_mlm.text.packed_rows import read_description
from tf_mlm.training.data.corpus import Corpus
from tf_mlm.training.data.shards import ShardRows, open_shards, packed_files
from tf_mlm.training.data.token_store import TokenStore, open_token_store
from tf_mlm.training.options import TrainConfig

Plan = Callable[..., Job]
SPECIAL = 5


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shards") / "text.txt"
    lines = sentences(120, 3)
    path.write_text("\n\n".join("\n".join(lines[n : n + 3]) for n in range(0, 120, 3)))
    return path


@pytest.fixture(scope="module")
def job(text: Path, model_dir: Path) -> Job:
    """Done once for all tests that only read what it wrote."""
    options = {"line_by_line": False, "length": 16, "held_out": 0.2}
    output = str(text.with_name("output"))
    job = make_job(
        [str(text)], output, verb="tokenize", target=str(model_dir), model="t", options={**OPTIONS, **options}
    )
    assert len(job.units) > 3
    assert [done.error for done in do(job)] == [None] * len(job.units)
    return job


@pytest.fixture(scope="module")
def apart(text: Path, model_dir: Path) -> list[Path]:
    """Shards of rows that keep their documents apart."""
    options = {"line_by_line": False, "length": 32, "held_out": 0.2, "packed": True}
    output = str(text.with_name("apart"))
    job = make_job(
        [str(text)], output, verb="tokenize", target=str(model_dir), model="t", options={**OPTIONS, **options}
    )
    do(job)
    return sorted(Path(output).glob("*.tfrecord"))


@pytest.fixture(scope="module")
def shards(job: Job) -> list[Path]:
    return sorted(Path(job.output).glob("*.tfrecord"))


def opened(files: list[Path], **options: int) -> TokenStore:
    corpus = Corpus(files, 0.2)
    vocabulary = make_tiny_model().preprocessor.vocabulary
    return open_shards(packed_files(corpus), corpus, vocabulary, length=16, **options)


def tokens(rows: object) -> list[int]:
    """All tokens that are not special, whatever row they stand in."""
    found = rows.take(slice(None)).token_ids  # type: ignore[attr-defined]
    return sorted(found[found >= SPECIAL].tolist())


def test_they_hold_the_documents_and_the_split_of_the_text(
    shards: list[Path], text: Path, tmp_path: Path
) -> None:
    store = opened(shards)
    of_text = open_token_store(
        tmp_path / "store", Corpus([text], 0.2), make_tiny_model().preprocessor, length=16
    )
    assert store.documents == of_text.documents
    assert store.unknown == of_text.unknown
    for side in ("train", "held_out"):
        assert tokens(getattr(store, side)) == tokens(getattr(of_text, side))
    counts = store.train.token_counts(21)
    assert counts[SPECIAL:].tolist() == of_text.train.token_counts(21)[SPECIAL:].tolist()


def test_they_are_tfrecords_and_the_same_to_the_byte(shards: list[Path], job: Job, tmp_path: Path) -> None:
    import tensorflow as tf

    again = dataclasses.replace(job, output=str(tmp_path))
    run_unit(again, 1)
    assert {name: parts(job.output)[name] for name in again.parts(1)} == parts(tmp_path)
    found = read_description(shards[-1])
    assert found is not None
    records = list(tf.data.TFRecordDataset(str(shards[-1])).as_numpy_iterator())  # checks every checksum
    assert len(records) == found.rows + 1
    row = tf.train.Example.FromString(records[1]).features.feature["row"].bytes_list.value[0]
    token_ids, lengths = found.take(np.array([0]))
    assert np.frombuffer(row, "<i4", 1)[0] == lengths[0]
    assert np.frombuffer(row, "<u2", offset=4).tolist() == token_ids[0].tolist()


def test_documents_that_are_kept_apart_are_those_of_the_text(
    apart: list[Path], text: Path, tmp_path: Path
) -> None:
    preprocessor = make_tiny_model().preprocessor
    corpus = Corpus(apart, 0.2)
    store = open_shards(packed_files(corpus), corpus, preprocessor.vocabulary, length=32)
    of_text = open_token_store(tmp_path / "store", Corpus([text], 0.2), preprocessor, length=32, packed=True)

    def documents(rows: object) -> list[tuple[int, ...]]:
        found = rows.take(slice(None))  # type: ignore[attr-defined]
        starts = found.position_ids == 0
        numbers = np.cumsum(starts.ravel()) - 1
        pieces = [found.token_ids.ravel()[numbers == number] for number in range(numbers[-1] + 1)]
        return sorted(tuple(piece.tolist()) for piece in pieces if len(piece) > 1)

    assert store.train.is_packed
    assert (store.train.take(slice(None)).position_ids == 0).sum() > 1.5 * store.train.total
    for side in ("train", "held_out"):
        assert documents(getattr(store, side)) == documents(getattr(of_text, side))
    one = store.train.take(3)
    assert one.token_ids.shape == one.position_ids.shape == (32,)
    np.testing.assert_array_equal(one.position_ids, store.train.take([3]).position_ids[0])


@pytest.mark.parametrize(
    ("model_type", "given", "apart"),
    [
        ("bert", None, False),
        ("bert", True, True),
        ("modernbert", None, True),
        ("modernbert", False, False),
        ("fnet", None, False),
    ],
)
def test_by_default_documents_are_kept_apart_as_in_training(
    model_type: str, given: bool | None, apart: bool, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
    assert is_packed(str(tmp_path), given) is apart
    if model_type == "fnet":
        with pytest.raises(ConfigError, match=r"which is fnet. Leave out --packed"):
            is_packed(str(tmp_path), True)


@pytest.mark.usefixtures("interpreted")
def test_a_run_keeps_apart_what_shards_keep_apart(
    apart: list[Path], shards: list[Path], model_dir: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    from tf_mlm.training.run.trainer import train

    config = TrainConfig(steps=1, batch_size=4, length=32, held_out=0.2, strategy="cpu", packed=True)
    train(apart, tmp_path / "apart", config, from_directory=model_dir, compile=False)
    assert not [each for each in recwarn if issubclass(each.category, ConfigWarning)]
    joined = dataclasses.replace(config, packed=None)
    with pytest.raises(ConfigError, match=r"tokenized so \(--packed\), and a run without `packed`"):
        train(apart, tmp_path / "joined", joined, from_directory=model_dir, compile=False)
    old = dataclasses.replace(config, length=16)
    with pytest.warns(ConfigWarning, match=r"end to end.*tokenize the text again with --packed"):
        train(shards, tmp_path / "old", old, from_directory=model_dir, compile=False)
    with pytest.raises(ConfigError, match="must all keep the documents of a row apart, or none"):
        packed_files(Corpus([*apart, *shards], 0.2))


def test_every_worker_reads_shards_of_its_own(shards: list[Path]) -> None:
    whole = opened(shards)
    halves = [opened(shards, worker=worker, workers=2) for worker in (0, 1)]
    assert sorted(tokens(halves[0].train) + tokens(halves[1].train)) == tokens(whole.train)
    assert halves[0].digest == halves[1].digest != whole.digest
    assert halves[0].held_out.total == whole.held_out.total


def test_workers_share_a_batch_and_draw_masks_of_their_own(shards: list[Path]) -> None:
    from tf_mlm.training.data.dataset import training_batches

    vocabulary = make_tiny_model().preprocessor.vocabulary
    config = TrainConfig(batch_size=8, length=16, held_out=0.2, mask_rate=0.3)

    def batches(worker: int, first: int = 0) -> list[np.ndarray]:
        rows = opened(shards, worker=worker, workers=2).train
        found = training_batches(rows, vocabulary, config, first_step=first, steps=4)
        return [batch.token_ids.numpy() for batch in found]

    one, other = batches(0), batches(1)
    assert [part.shape for part in one + other] == [(4, 16)] * 8
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(batches(1, first=2), other[2:])


@pytest.mark.parametrize("rows", [1, 2, 5, 64, 1000])
def test_an_epoch_is_a_permutation_that_nobody_holds(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShardRows, "total", rows)
    orders = [
        ShardRows([], 16).order(seed, epoch, np.arange(rows)) for seed, epoch in ((1, 0), (1, 1), (2, 0))
    ]
    assert all(sorted(order.tolist()) == list(range(rows)) for order in orders)
    if rows > 50:
        assert len({tuple(order) for order in orders}) == 3
        assert abs(np.corrcoef(orders[0], np.arange(rows))[0, 1]) < 0.3
    part = ShardRows([], 16).order(1, 0, np.arange(rows)[::2])
    assert part.tolist() == orders[0][::2].tolist()


def test_what_does_not_fit_is_refused(shards: list[Path], text: Path, tmp_path: Path) -> None:
    corpus = Corpus(shards, 0.2)
    vocabulary = make_tiny_model().preprocessor.vocabulary
    with pytest.raises(ConfigError, match=r"length 16, and a run with 8. Give that as --length"):
        open_shards(packed_files(corpus), corpus, vocabulary, length=8)
    with pytest.raises(ConfigError, match=r"held_out 0.2, and a run with 0.1. Give that share as --held-out"):
        open_shards(packed_files(corpus), dataclasses.replace(corpus, held_out=0.1), vocabulary, length=16)
    with pytest.raises(ConfigError, match=rf"{len(shards) - 1} of {len(shards)}; 1 are missing"):
        opened(shards[1:])
    with pytest.raises(ConfigError, match=r"text.txt`, which does not"):
        packed_files(Corpus([*shards, text], 0.2))
    torn = tmp_path / "torn.tfrecord"
    torn.write_bytes(shards[-1].read_bytes()[:-5])
    with pytest.raises(ConfigError, match="must be whole"):
        packed_files(Corpus([torn], 0.2))


def test_bad_rows_are_told_beside_the_shards(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "the cat sat"}\n{"text": 3}\n{"text": "a dog ran"}\n')
    (done,) = do(plan(path, verb="tokenize"))
    assert (done.rows, done.failed, done.tokens) == (3, 1, 6)
    errors = (tmp_path / "output" / "errors-00000-of-00001.jsonl").read_text()
    assert "a.jsonl:24" in errors


@pytest.mark.usefixtures("interpreted")
def test_a_run_on_shards_resumes_to_the_bit(shards: list[Path], model_dir: Path, tmp_path: Path) -> None:
    from tf_mlm.training.run import trainer

    config = TrainConfig(
        steps=4, batch_size=4, length=16, held_out=0.2, strategy="cpu", checkpoint_every=1, evaluate_every=100
    )

    def train(name: str) -> bytes:
        trainer.train(shards, tmp_path / name, config, from_directory=model_dir, compile=False)
        return (tmp_path / name / "model.safetensors").read_bytes()

    whole = train("whole")
    taken = trainer.Trainer._take_steps

    def stopped(self: trainer.Trainer, *arguments: object) -> None:
        if self._done >= 2:
            raise KeyboardInterrupt
        taken(self, *arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Trainer, "_take_steps", stopped)
        with pytest.raises(KeyboardInterrupt):
            train("resumed")
    assert not (tmp_path / "resumed" / "model.safetensors").exists()
    assert train("resumed") == whole
