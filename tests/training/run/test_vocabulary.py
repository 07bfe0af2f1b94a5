"""Which vocabulary a new model gets, and what does not belong to its architecture."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tf_mlm.config import ModelConfig, TokenizerConfig
from tf_mlm.config.architectures import ARCHITECTURES
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.write_tokenizer import write_vocabulary
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.text.vocabulary_training import learn_vocabulary
from tf_mlm.training.data.corpus import Corpus
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run import vocabulary as vocabularies
from tf_mlm.training.run.open import Source
from tf_mlm.training.run.trainer import train
from tf_mlm.training.run.vocabulary import given_vocabulary, learnt_vocabulary

pytestmark = pytest.mark.usefixtures("all_interpreted")

TEXTS = ["the cat and the dog"] * 3


def learnt(architecture: str) -> Vocabulary:
    return learn_vocabulary(TEXTS, 300, ARCHITECTURES[architecture].tokenizer)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """RoBERTa's tokenizer files, as transformers states a limit in them."""
    write_vocabulary(learnt("roberta"), tmp_path, 512)
    return tmp_path


def test_a_directory_and_the_file_in_it_are_the_same(directory: Path) -> None:
    for path in (directory, directory / "tokenizer.json", str(directory)):
        given = given_vocabulary(path, "roberta", None)
        assert given == learnt("roberta")
        assert "model_max_length" not in given.config.extra  # that is for the new model to say


def test_a_directory_of_word_pieces_serves_too(tmp_path: Path) -> None:
    vocabulary = learn_vocabulary(TEXTS, 40, TokenizerConfig(do_lower_case=False))
    write_vocabulary(vocabulary, tmp_path)
    assert given_vocabulary(tmp_path, "bert", None) == vocabulary
    assert given_vocabulary(tmp_path / "vocab.txt", "bert", vocabulary.config) == vocabulary


def test_another_kind_than_the_architectures_is_refused(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"bert reads .* the kind wordpiece\. Received: `.*` of the kind byte"
    ):
        given_vocabulary(directory, "bert", None)
    with pytest.raises(ConfigError, match=r"kind wordpiece\. .*another architecture \(bert\)"):
        given_vocabulary(learnt("bert"), "modernbert", None)
    with pytest.raises(ConfigError, match=r"byte-bpe vocabulary is a directory .*Received: `.*vocab\.txt`"):
        given_vocabulary(tmp_path / "vocab.txt", "roberta", None)
    with pytest.raises(ConfigError, match="settings of a tokenizer of the kind wordpiece"):
        learnt_vocabulary(
            Corpus([directory / "a.txt"], 0.1), directory, 300, "roberta", TokenizerConfig(), write=False
        )


def test_a_directory_states_its_settings_itself(directory: Path) -> None:
    with pytest.raises(ConfigError, match="states normalisation and special tokens itself"):
        given_vocabulary(directory, "roberta", ARCHITECTURES["roberta"].tokenizer)


def test_a_directory_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must hold a tokenizer\.json .*which has none"):
        given_vocabulary(tmp_path, "roberta", None)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer"}))
    with pytest.raises(ConfigError, match="tokenizer_class='T5Tokenizer'"):
        given_vocabulary(tmp_path, "roberta", None)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_run_learns_its_vocabulary_once(
    architecture: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(size: int) -> Vocabulary:
        return learnt_vocabulary(Corpus([corpus], 0.1), tmp_path, size, architecture, None, write=True)

    calls: list[int] = []
    monkeypatch.setattr(
        vocabularies, "learn_vocabulary", lambda *given: calls.append(1) or learn_vocabulary(*given)
    )
    first = ask(300)
    assert ask(300) == first
    assert len(calls) == 1
    assert ask(299).config == first.config
    assert len(calls) == 2


def test_sizes_and_architecture_must_agree() -> None:
    sizes = ModelConfig(model_type="roberta")
    assert Source(model_config=sizes).architecture(TrainConfig()) == "roberta"
    assert Source().architecture(TrainConfig()) == "bert"
    with pytest.raises(ConfigError, match="architecture='bert', model_type='roberta'"):
        Source(model_config=sizes).architecture(TrainConfig(architecture="bert"))


def test_a_resume_with_another_architecture_is_refused_before_anything_is_learnt(
    corpus: Path, small: TrainConfig, tmp_path: Path
) -> None:
    small = dataclasses.replace(small, steps=5, evaluate_every=5)
    train([corpus], tmp_path, small, compile=False)
    before = (tmp_path / "training" / "vocabulary.json").read_bytes()
    other = dataclasses.replace(small, architecture="roberta", vocabulary_size=300)
    with pytest.raises(ConfigError, match=r"`architecture` was 'bert' and is now 'roberta'.*from step 5"):
        train([corpus], tmp_path, other, compile=False)
    assert (tmp_path / "training" / "vocabulary.json").read_bytes() == before
    stated = dataclasses.replace(small, architecture="bert")
    assert train([corpus], tmp_path, stated, compile=False).finished
    with pytest.raises(
        ConfigError, match=r"keeps its architecture\. Received: architecture='roberta' .*bert"
    ):
        train([corpus], tmp_path / "next", other, from_directory=tmp_path, compile=False)
