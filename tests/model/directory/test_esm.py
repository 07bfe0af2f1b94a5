"""ESM's settings and files: positions of both kinds, dropped masks, what is kept, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from reference import small_tokenizers
from reference.model_directory import Tensors, assert_same, edit_json, edit_tensors

import tf_mlm
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.config_json import read_config, unknown_keys, write_config

SMALL: dict[str, Any] = {
    "model_type": "esm",
    "vocab_size": 33,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 20,
    "initializer_range": 0.4,
    "pad_token_id": 1,
}
ROTARY = {**SMALL, "position_embedding_type": "rotary", "token_dropout": True, "mask_token_id": 32}


def test_what_is_not_said_is_as_in_transformers() -> None:
    config = read_config(SMALL)
    assert (config.norm_position, config.embedding_norm, config.dropped_token_id) == ("pre", False, None)
    assert (config.rope_theta, config.position_offset, config.max_length) == (None, 2, 18)
    assert (config.type_vocab_size, config.hidden_act) == (0, "gelu")


@pytest.mark.parametrize(
    "values",
    [
        {"position_embedding_type": "rotary", "rope_theta": 50.0, "token_dropout": False},
        {"position_embedding_type": "absolute", "token_dropout": True, "mask_token_id": 32},
        {"emb_layer_norm_before": True, "mask_token_id": 32, "token_dropout": False},
    ],
    ids=str,
)
def test_settings_are_written_back(values: dict[str, Any]) -> None:
    config = read_config({**SMALL, **values})
    written = write_config(config)
    assert {name: written[name] for name in values} == values
    assert read_config(written) == config
    assert not unknown_keys(config)
    ours = {"dropped_token_id", "rope_stored", "embedding_norm", "kept_head", "norm_position"}
    assert not ours & set(written)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"position_embedding_type": "relative_key"}, r"must be absolute or rotary.*'relative_key'"),
        ({"token_dropout": True}, r"`mask_token_id` must be the id of the mask.*None"),
        ({"is_folding_model": True}, r"`is_folding_model` must be false"),
        ({"pad_token_id": None}, r"`pad_token_id` must be the id"),
        ({"position_embedding_type": "rotary", "hidden_size": 6}, r"an even size of each head"),
        ({"position_embedding_type": "rotary", "rope_theta": 0}, r"`rope_theta` must be positive"),
        ({"position_embedding_type": "rotary", "rope_theta": [1]}, r"`rope_theta` must be a number.*\[1\]"),
        (
            {"token_dropout": True, "mask_token_id": 33},
            r"`mask_token_id` must be an id of the vocabulary.*mask_token_id=33, vocab_size=33",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_computed_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config({**SMALL, **values})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    small_tokenizers.write_tokenizer(tmp_path, "esm")
    config = read_config(ROTARY)
    tf_mlm.save(tf_mlm.MaskedLM.from_config(config, seed=1), tmp_path)
    small_tokenizers.write_tokenizer(tmp_path, "esm")
    return tmp_path


def test_frequencies_of_each_layer_are_read_as_they_are(directory: Path) -> None:
    name = "esm.rotary_embeddings.inv_freq"

    def older(tensors: Tensors) -> None:
        del tensors[name]
        for layer in range(2):
            tensors[f"esm.encoder.layer.{layer}.attention.self.rotary_embeddings.inv_freq"] = np.array(
                [0.5, 0.25], np.float16
            )
        tensors["esm.embeddings.position_embeddings.weight"] = np.zeros([20, 8], np.float32)

    edit_tensors(directory, older)
    model = tf_mlm.load(directory)
    assert model.encoder.positions.rotary.stored.numpy().tolist() == [0.5, 0.25]
    tf_mlm.save(model, directory / "again")
    assert_same(model, tf_mlm.load(directory / "again"))


def test_what_is_not_computed_with_may_be_missing(directory: Path) -> None:
    before = tf_mlm.load(directory)
    ids, lengths = [[0, 5, 32, 6, 2]], [5]

    def drop(tensors: Tensors) -> Tensors:
        kept = {name: value for name, value in tensors.items() if "contact" not in name}
        return {name: value for name, value in kept.items() if "inv_freq" not in name}

    edit_tensors(directory, drop)
    after = tf_mlm.load(directory)
    np.testing.assert_array_equal(before.encoder(ids, lengths), after.encoder(ids, lengths))


def test_masks_are_taken_for_dropped_tokens_and_the_others_are_scaled() -> None:
    encoder = tf_mlm.MaskedLM.from_config(read_config({**ROTARY, "vocab_size": 40}), seed=0).encoder
    table = encoder.embedding.token.embeddings.numpy()
    ids = tf.constant([[0, 5, 32, 6, 2, 32], [0, 5, 7, 2, 1, 1]])
    mask = tf.sequence_mask([5, 4], 6)
    vectors = encoder.embedding(ids, mask=mask).numpy()
    np.testing.assert_allclose(vectors[0, 1], table[5] * 0.88 / (1 - 1 / 5), rtol=1e-5)
    np.testing.assert_array_equal(vectors[0, 2], 0)
    np.testing.assert_allclose(vectors[1, 1], table[5] * 0.88, rtol=1e-5)
    nothing = encoder.embedding(tf.constant([[32, 32]]), mask=tf.constant([[True, True]]))
    assert np.all(nothing.numpy() == 0)


def test_the_files_say_how_the_tokenizer_reads_them(directory: Path) -> None:
    model = tf_mlm.load(directory)
    assert model.preprocessor is not None
    assert model.preprocessor.vocabulary.config.sep_token == "<eos>"
    edit_json(directory, "tokenizer_config.json", eos_token="<null_1>")
    assert tf_mlm.load(directory).preprocessor("M").token_ids.numpy().tolist() == [[0, 20, 31]]
    edit_json(directory, "tokenizer_config.json", eos_token="<nothing>")
    with pytest.raises(ConfigError, match=r"vocab.txt` \(33 tokens\) lacks <nothing>"):
        tf_mlm.load(directory)
    token = {"content": "<null_1>", "single_word": True, "special": False}
    edit_json(directory, "tokenizer_config.json", eos_token="<eos>", added_tokens_decoder={"31": token})
    with pytest.raises(ConfigError, match=r"`single_word` of an added token must be false.*<null_1>"):
        tf_mlm.load(directory)
