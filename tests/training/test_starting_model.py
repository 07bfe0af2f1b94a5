"""What a new model starts from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.token_store import Rows
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.starting_model import new_model, start_from_frequencies

VOCABULARY = Vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "rare", "often", "never"])


@pytest.mark.parametrize("hidden_size", [16, 30])
def test_near_positions_start_alike_and_as_large_as_random_ones(small: TrainConfig, hidden_size: int) -> None:
    model = new_model(dataclasses.replace(small, hidden_size=hidden_size, length=32), VOCABULARY, None)
    table = model.encoder.embedding.position.embeddings.numpy()
    likeness = table @ table.T
    assert likeness[0, 0] > likeness[0, 1] > likeness[0, 2]
    # The same distance is the same likeness, wherever it is measured.
    for distance in (1, 5):
        diagonal = np.diagonal(likeness, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-4)
    size = np.sqrt(np.mean(np.square(table)))
    assert size == pytest.approx(model.config.initializer_range, rel=1e-4)


def test_a_new_model_guesses_by_frequency(small: TrainConfig) -> None:
    model = new_model(small, VOCABULARY, None)
    ids = np.array([[2, 6, 6, 5, 3, 0], [2, 6, 6, 6, 3, 0]], np.int32)
    start_from_frequencies(model, Rows(ids, np.array([5, 5], np.int32)))
    bias = model.head.output_bias.numpy()
    share = np.exp(bias) / np.exp(bias).sum()
    # Counts with one added: [CLS] and [SEP] are not guesses, however often they stand.
    np.testing.assert_allclose(share, np.array([1, 1, 1, 1, 1, 2, 6, 1]) / 14, rtol=1e-5)
