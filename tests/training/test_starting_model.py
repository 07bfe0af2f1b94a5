"""What a new model starts from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.config_json import read_config
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.token_store import Rows
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.starting_model import is_packed, new_model, start_from_frequencies

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


def test_a_bare_head_guesses_nothing_before_it_has_seen_a_text(small: TrainConfig) -> None:
    sizes = read_config({**SMALL, "model_type": "roformer_v2", "vocab_size": 8, "pad_token_id": 0})
    model = new_model(small, VOCABULARY, sizes)
    before = [variable.numpy() for variable in model.variables]
    start_from_frequencies(model, Rows(np.array([[2, 6, 3]], np.int32), np.array([3], np.int32)))
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


SMALL = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 40,
    "pad_token_id": 1,
}
ESM = {"model_type": "esm", "position_embedding_type": "rotary", "mask_token_id": 32}


@pytest.mark.parametrize(
    ("values", "by_default", "can_be"),
    [
        ({"model_type": "bert"}, False, True),
        ({"model_type": "modernbert"}, True, True),
        ({**ESM, "token_dropout": False}, True, True),
        ({**ESM, "token_dropout": True}, False, False),
        ({"model_type": "fnet"}, False, False),
    ],
    ids=["bert", "modernbert", "esm", "esm that counts masks", "fnet"],
)
def test_rows_are_packed_where_a_model_can_read_documents_apart(
    values: dict[str, object], by_default: bool, can_be: bool
) -> None:
    model = MaskedLM.from_config(read_config({**SMALL, **values}), seed=0)
    rows = {"position_ids": [[0, 1, 0, 1]]}
    assert is_packed(TrainConfig(), model) is by_default
    assert is_packed(TrainConfig(packed=False), model) is False
    if can_be:
        assert is_packed(TrainConfig(packed=True), model)
        assert model.encoder([[5, 6, 7, 8]], [4], **rows).shape == (1, 4, 8)
        return
    with pytest.raises(ConfigError, match="can read each document of a row by itself"):
        is_packed(TrainConfig(packed=True), model)
    with pytest.raises(ConfigError, match="reads each of them by itself"):
        model.encoder([[5, 6, 7, 8]], [4], **rows)


def test_a_base_of_angles_is_of_rotary_positions(small: TrainConfig) -> None:
    config = dataclasses.replace(small, rope_theta=5e4)
    with pytest.raises(ConfigError, match=r"rope_theta=50000.0 for a new bert, whose positions are learned"):
        new_model(config, VOCABULARY, None)
    model = new_model(dataclasses.replace(config, architecture="modernbert"), VOCABULARY, None)
    assert (model.config.rope_theta, model.config.local_rope_theta) == (5e4, 1e4)
