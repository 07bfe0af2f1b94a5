"""New models of families beyond BERT: trained, resumed, evaluated, exported, and read by transformers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from reference.short_run import SHORT_RUN

import tf_mlm
from tf_mlm.config import Buckets
from tf_mlm.training.run.preemption import Preemption
from tf_mlm.training.run.trainer import train

pytestmark = pytest.mark.usefixtures("all_interpreted")

CONFIG = dataclasses.replace(SHORT_RUN, vocabulary_size=400, hidden_size=16, layers=2, heads=2)
MASKS = {"roberta": "<mask>", "modernbert": "[MASK]", "albert": "[MASK]"}
PADDING = {"roberta": 1, "modernbert": 1, "albert": 0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n\n".join(f"The list {n} is sorted in place: é, naïve.\n" for n in range(200)))
    return path


# The family's tokenizer is ModernBERT's, and its encoder BERT's.
SLOW = ("roberta",)


def all_but(*slow: str) -> list[Any]:
    """Every architecture as parameters of tests, those that are named as slow ones."""
    return [pytest.param(name, marks=pytest.mark.slow if name in slow else ()) for name in MASKS]


@pytest.fixture(scope="module", params=all_but(*SLOW))
def architecture(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def directory(architecture: str, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(architecture)
    config = dataclasses.replace(CONFIG, architecture=architecture)
    assert train([corpus], path, config).steps == 6
    return path


def test_a_new_model_is_one_of_its_family(architecture: str, directory: Path) -> None:
    model = tf_mlm.load(directory)
    assert model.preprocessor is not None
    config, vocabulary = model.config, model.preprocessor.vocabulary
    assert (config.model_type, config.max_length) == (architecture, 24)
    assert (config.pad_token_id, vocabulary.config.mask_token) == (PADDING[architecture], MASKS[architecture])
    found = (
        *(config.type_vocab_size, config.layer_norm_eps, config.hidden_dropout_prob),
        *(config.gated, config.norm_bias, config.num_hidden_groups),
    )
    assert (
        found
        == {
            "roberta": (1, 1e-5, 0.1, False, True, None),
            "modernbert": (0, 1e-5, 0.0, True, False, None),
            "albert": (2, 1e-12, 0.0, False, True, 1),
        }[architecture]
    )
    texts = [f"the list {MASKS[architecture]} is sorted"]
    assert len(tf_mlm.FillMask(model)(texts, top_k=3)[0]) == 3


# `families/test_training` resumes a run of ModernBERT's encoder.
@pytest.mark.parametrize("architecture", all_but(*SLOW, "modernbert"), indirect=True, scope="module")
def test_a_resumed_run_ends_with_the_same_bits(
    architecture: str, directory: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, architecture=architecture)
    asked: list[bool] = []
    with monkeypatch.context() as patch:
        patch.setattr(Preemption, "requested", lambda self: asked.append(True) or len(asked) > 1)
        assert 0 < train([corpus], tmp_path, config).steps < 6
    assert train([corpus], tmp_path, config).steps == 6
    one, other = (safetensors.numpy.load_file(path / "model.safetensors") for path in (directory, tmp_path))
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_it_is_evaluated_and_continued_as_any_model(
    architecture: str, directory: Path, corpus: Path, tmp_path: Path
) -> None:
    found = tf_mlm.evaluate(directory, corpus, dataclasses.replace(CONFIG, architecture="bert"))
    assert found.masks > 0
    config = dataclasses.replace(CONFIG, architecture=architecture, steps=2)
    assert train([corpus], tmp_path, config, from_directory=directory).finished


@pytest.mark.slow
def test_an_export_answers_as_the_model_does(architecture: str, directory: Path, tmp_path: Path) -> None:
    buckets = Buckets(batch=(2,), length=(24,), masks=(2,))
    path = tf_mlm.export(tf_mlm.load(directory), tmp_path / "mlm", buckets=buckets, top_k=3, xla=False)
    text = tf.constant([f"the {MASKS[architecture]} is sorted in place"])
    loaded = tf.saved_model.load(str(path))
    answer = loaded.signatures["serving_default"](text=text)
    wanted = tf_mlm.FillMask(tf_mlm.load(directory)).inference.fill(text)
    np.testing.assert_array_equal(answer["tokens"], wanted["tokens"][..., :3])


@pytest.mark.peers
def test_transformers_reads_it_with_the_same_ids_and_logits(architecture: str, directory: Path) -> None:
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    theirs, info = transformers.AutoModelForMaskedLM.from_pretrained(directory, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ours = tf_mlm.load(directory)
    assert ours.preprocessor is not None
    mask = MASKS[architecture]
    for text in (f"The list {mask} is sorted", "e\u0301, naïve  x", f"{mask}", f"a b c d e f g h i {mask}"):
        encoded = tokenizer(text, return_tensors="pt")
        inputs = ours.preprocessor([text])
        assert inputs.token_ids.numpy().tolist() == encoded["input_ids"].tolist()
        with torch.no_grad():
            wanted = theirs.eval()(**encoded).logits.numpy()
        positions = tf.range(inputs.token_ids.shape[1])[tf.newaxis]
        logits = ours(inputs.token_ids, inputs.lengths, inputs.segment_ids, positions)
        np.testing.assert_allclose(logits, wanted, atol=2e-5)
    pair = tokenizer("the list", "is sorted")["input_ids"]
    assert ours.preprocessor(["the list"], ["is sorted"]).token_ids.numpy().tolist() == [pair]
    assert (tokenizer.mask_token, tokenizer.pad_token_id) == (mask, ours.config.pad_token_id)
