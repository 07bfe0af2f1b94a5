"""Texts to compare tokenizers on, and the reference that says what is right."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import tensorflow as tf
from reference.texts import CONFIGS, SAMPLES, Torture, documentation_lines, generated_glosses
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.text.wordpiece import WordPieceTokenizer
from tf_mlm.text.wordpiece_training import train_vocabulary


@pytest.fixture(scope="session")
def documentation() -> list[str]:
    return documentation_lines()


@pytest.fixture(scope="session")
def glosses() -> list[str]:
    return generated_glosses()


@pytest.fixture(scope="session")
def torture() -> Torture:
    return Torture(seed=11)


@pytest.fixture(scope="session")
def texts(documentation: list[str], glosses: list[str], torture: Torture) -> list[str]:
    """Over 100,000 lines of all sorts."""
    lines = documentation + glosses
    return lines + [torture.text() for _ in range(max(60000, 105000 - len(lines)))]


@pytest.fixture(scope="session")
def sample(documentation: list[str], glosses: list[str], torture: Torture) -> list[str]:
    """A part of such lines that is small enough for every run."""
    rng = random.Random(5)
    return rng.sample(documentation, 4000) + rng.sample(glosses, 2000) + [torture.text() for _ in range(6000)]


def reference_tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """What `BertTokenizerFast` is inside, built from the `tokenizers` library."""
    config = vocabulary.config
    tokenizer = Tokenizer(
        models.WordPiece(
            {token: index for index, token in enumerate(vocabulary.tokens[: vocabulary.pieces])},
            unk_token=config.unk_token,
            max_input_chars_per_word=config.max_input_chars_per_word,
            continuing_subword_prefix=config.continuing_subword_prefix,
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=config.clean_text,
        handle_chinese_chars=config.tokenize_chinese_chars,
        strip_accents=config.strip_accents,
        lowercase=config.do_lower_case,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found = {token.content: token for token in config.found_tokens}
    listed = [found[token] for token in vocabulary if token in found]  # in the order of ids
    tokenizer.add_tokens([AddedToken(**dataclasses.asdict(token)) for token in listed])
    return tokenizer


class Pair:
    """Our tokenizer and the reference, for the same vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.reference = reference_tokenizer(vocabulary)
        self.ours = WordPieceTokenizer(vocabulary)
        self.compiled = tf.function(
            self.ours, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
        )

    def differences(self, texts: list[str], batch_size: int = 1000) -> list[str]:
        """A description of each text whose ids or offsets differ."""
        found = []
        for first in range(0, len(texts), batch_size):
            batch = texts[first : first + batch_size]
            wanted = [
                expected(encoding, text)
                for encoding, text in zip(self.reference.encode_batch(batch), batch, strict=True)
            ]
            got = rows(self.compiled(tf.constant([text.encode() for text in batch])))
            found += [
                f"{text!a}: got {ours}, wanted {theirs}"
                for text, ours, theirs in zip(batch, got, wanted, strict=True)
                if ours != theirs
            ]
        return found


def expected(encoding, text: str) -> list[tuple[int, int, int]]:
    """Id, start and end of each token, with offsets in bytes instead of characters."""
    places = [0, *np.cumsum([len(character.encode()) for character in text]).tolist()]
    return [
        (index, places[start], places[end])
        for index, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
    ]


def rows(tokens) -> list[list[tuple[int, int, int]]]:
    """Id, start and end of each token of each text."""
    flat = list(
        zip(
            tokens.token_ids.numpy().tolist(),
            tokens.starts.numpy().tolist(),
            tokens.ends.numpy().tolist(),
            strict=True,
        )
    )
    firsts, counts = tokens.firsts.numpy().tolist(), tokens.counts.numpy().tolist()
    return [flat[first : first + count] for first, count in zip(firsts, counts, strict=True)]


@pytest.fixture(scope="session", params=CONFIGS)
def pair(request: pytest.FixtureRequest, documentation: list[str], glosses: list[str]) -> Pair:
    config = CONFIGS[request.param]
    texts = documentation + glosses[:3000] + SAMPLES * 3 + Torture(seed=1).letters
    return Pair(train_vocabulary(texts, 8000, config))


@pytest.fixture(scope="session")
def make_pair() -> type[Pair]:
    return Pair


@pytest.fixture(scope="session")
def token_rows():
    return rows
