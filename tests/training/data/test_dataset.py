"""Order and masks are pure functions of (seed, step), and shares add up to the global batch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.errors import ConfigError
from tf_mlm.reading.documents import read_documents
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.corpus import Corpus
from tf_mlm.training.data.dataset import RowOrder, evaluation_batches, share_of, training_batches
from tf_mlm.training.data.split import is_held_out
from tf_mlm.training.data.token_store import Rows, TokenStore, open_token_store
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.step import Batch

CONFIG = TrainConfig(batch_size=4, length=12, mask_rate=0.25, seed=3)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = Vocabulary([*SPECIAL, *(f"w{i}" for i in range(40)), *(f"##p{i}" for i in range(15))])


def _rows(count: int = 11) -> Rows:
    ids = np.random.default_rng(0).integers(5, VOCABULARY.size, (count, CONFIG.length)).astype(np.uint16)
    ids[:, 0], ids[:, -1] = VOCABULARY.cls_id, VOCABULARY.sep_id
    return Rows(ids, np.full(count, CONFIG.length, np.int32))


def _batches(config: TrainConfig = CONFIG, first: int = 0, last: int = 8) -> list[Batch]:
    dataset = training_batches(_rows(), VOCABULARY, config, first_step=first, steps=last)
    return [Batch(*(x.numpy() for x in batch)) for batch in dataset]


def _same(first: Any, second: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_every_epoch_is_another_permutation() -> None:
    order = RowOrder(_rows(10), batch_size=4, seed=1)
    places = np.concatenate([order(step) for step in range(10)])
    epochs = places.reshape(4, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4
    np.testing.assert_array_equal(order(7), RowOrder(_rows(10), 4, 1)(7))
    assert not np.array_equal(order(0), RowOrder(_rows(10), 4, 2)(0))


def test_too_few_rows_for_a_batch() -> None:
    with pytest.raises(ConfigError, match="3 rows and batch_size=4"):
        RowOrder(_rows(3), 4, 0)


@pytest.mark.parametrize("masking", ["dynamic", "static"])
def test_a_resumed_run_sees_what_an_uninterrupted_one_does(masking: str) -> None:
    config = dataclasses.replace(CONFIG, masking=masking)
    whole, resumed = _batches(config), _batches(config, first=5)
    assert all(_same(a, b) for a, b in zip(whole[5:], resumed, strict=True))
    other = _batches(dataclasses.replace(config, seed=4))
    assert not _same(whole[0], other[0])


def test_batches_hide_real_tokens_and_nothing_else() -> None:
    rows = {tuple(row) for row in _rows().token_ids.tolist()}
    for batch in _batches():
        assert batch.token_ids.shape == (4, 12)
        assert batch.mask_positions.shape == (4, CONFIG.masks) == (4, 3)
        assert (batch.mask_weights == 1).all()
        assert ((batch.mask_positions > 0) & (batch.mask_positions < 11)).all()
        restored = batch.token_ids.copy()
        np.put_along_axis(restored, batch.mask_positions.astype(int), batch.mask_ids, axis=1)
        assert all(tuple(row) in rows for row in restored.tolist())


def test_static_masks_return_with_their_rows_and_dynamic_ones_do_not() -> None:
    for masking, same in (("static", True), ("dynamic", False)):
        config = dataclasses.replace(CONFIG, masking=masking, batch_size=11)
        seen: dict[bytes, bytes] = {}
        repeats = []
        for batch in _batches(config, last=2):  # two epochs
            restored = batch.token_ids.copy()
            np.put_along_axis(restored, batch.mask_positions.astype(int), batch.mask_ids, axis=1)
            for row, positions in zip(restored, batch.mask_positions, strict=True):
                before = seen.setdefault(row.tobytes(), positions.tobytes())
                repeats.append(before == positions.tobytes())
        assert all(repeats) is same


def test_whole_words_are_masked_together() -> None:
    continues = set(VOCABULARY.continuation_ids)
    for batch in _batches(dataclasses.replace(CONFIG, whole_word=True, random_token_rate=0.0)):
        for row in range(4):
            chosen = batch.mask_weights[row] > 0
            positions = set(batch.mask_positions[row][chosen].tolist())
            restored = batch.token_ids[row].copy()
            restored[batch.mask_positions[row][chosen]] = batch.mask_ids[row][chosen]
            for place in range(2, 11):  # a piece is hidden if and only if the piece before it is
                if restored[place] in continues:
                    assert (place in positions) == (place - 1 in positions)


@pytest.mark.parametrize(("workers", "replicas"), [(1, 1), (1, 2), (2, 2), (2, 4)])
def test_shares_add_up_to_the_global_batch(workers: int, replicas: int) -> None:
    whole = _batches(last=2)
    shares = [
        list(
            share_of(
                training_batches(_rows(), VOCABULARY, CONFIG, first_step=0, steps=2),
                tf.distribute.InputContext(workers, worker, replicas),
            )
        )
        for worker in range(workers)
    ]
    own = replicas // workers
    for step, batch in enumerate(whole):
        parts = [share[step * own + index] for share in shares for index in range(own)]
        assert all(part.token_ids.shape == (4 // replicas, 12) for part in parts)
        joined = Batch(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        assert _same(batch, joined)


def test_evaluation_counts_each_row_once_and_pads_with_weight_0() -> None:
    batches = list(evaluation_batches(_rows(6), VOCABULARY, CONFIG))
    assert [int(batch.mask_weights.numpy().sum()) for batch in batches] == [12, 6]
    again = list(evaluation_batches(_rows(6), VOCABULARY, dataclasses.replace(CONFIG, seed=99)))
    assert all(_same(a, b) for a, b in zip(batches, again, strict=True))
    few = list(evaluation_batches(_rows(11), VOCABULARY, dataclasses.replace(CONFIG, evaluation_rows=4)))
    assert len(few) == 1


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("documents") / "words.txt"
    draw = np.random.default_rng(1)
    lines = [" ".join(f"w{i}" for i in draw.integers(0, 40, 9)) for _ in range(300)]
    path.write_text("\n\n".join("\n".join(lines[i : i + 3]) for i in range(0, 300, 3)))
    return path


def _store(directory: Path, path: Path, **options: Any) -> TokenStore:
    settings = {"length": 12, **options}
    return open_token_store(directory, Corpus([path], 0.2), TextPreprocessor(VOCABULARY, 64), **settings)


def test_the_store_holds_every_token_once_on_the_right_side(documents: Path, tmp_path: Path) -> None:
    store = _store(tmp_path / "tokens", documents)
    texts = list(read_documents([documents]))
    for rows, side in ((store.train, False), (store.held_out, True)):
        wanted = [
            VOCABULARY.id_of(word)
            for text in texts
            if is_held_out(text, 0.2) is side
            for word in text.split()
        ]
        found = [i for i in rows.token_ids.ravel().tolist() if i not in VOCABULARY.special_ids]
        assert found == wanted
        assert (rows.token_ids[:, 0] == VOCABULARY.cls_id).all()
    assert sum(store.documents) == 100


def test_the_store_is_made_once(documents: Path, tmp_path: Path) -> None:
    counted: list[int] = []
    first = _store(tmp_path / "tokens", documents, progress=counted.append)
    again = _store(tmp_path / "tokens", documents, progress=counted.append)
    assert sum(counted) == 100
    assert first.digest == again.digest
    other = _store(tmp_path / "tokens", documents, length=16, progress=counted.append)
    assert sum(counted) == 200
    assert other.train.token_ids.shape[1] == 16


def test_a_torn_store_is_made_again(documents: Path, tmp_path: Path) -> None:
    first = _store(tmp_path / "tokens", documents)
    ids = tmp_path / "tokens" / "train.ids"
    ids.write_bytes(ids.read_bytes()[:-2])
    again = _store(tmp_path / "tokens", documents)
    assert again.digest == first.digest


def test_text_without_a_token(tmp_path: Path) -> None:
    path = tmp_path / "blank.txt"
    path.write_text(" \n\n \n")
    with pytest.raises(ConfigError, match="without one word"):
        _store(tmp_path / "tokens", path)
