"""Texts to compare tokenizers on, and the reference that says what is right."""

from __future__ import annotations

import collections
import importlib
import inspect
import pydoc_data.topics
import random
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from tf_mlm.config import TokenizerConfig
from tf_mlm.text.tokenizer import WordPieceTokenizer
from tf_mlm.text.vocabulary import Vocabulary, train_vocabulary

CONFIGS = {
    "uncased": TokenizerConfig(),
    "cased": TokenizerConfig(do_lower_case=False),
    "uncased-accents": TokenizerConfig(strip_accents=False),
    "cased-no-accents-no-cjk": TokenizerConfig(
        do_lower_case=False, strip_accents=True, tokenize_chinese_chars=False
    ),
}
MODULES = "argparse collections ctypes decimal difflib email.message inspect logging pathlib statistics"
SPECIALS = ["[MASK]", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[mask]", "[MASK", "MASK]", "[[MASK]]"]
SAMPLES = [
    *(
        "👩‍👩‍👧‍👦",
        "🏳️‍🌈",
        "👍🏽",
        "é",
        "e\u0301",
        "ệ",
        "e\u0323\u0302",
        "ﬁ",
        "İ",
        "ẞ",
        "ǅ",
        "ŉ",
        "ß",
        "œuvre",
        "Straße",
    ),
    *(
        "Σίσυφος",
        "한국어",
        "日本語",
        "中",
        "豈",
        "\U00020000",
        "\U0002f800",
        "ﷺ",
        "שלום",
        "العربية",
        "\u202eא",
        "क्षि",
        "ไทย",
    ),
    *(
        "ꦏ꧀",
        "\U0001d165\U0001d16d",
        "\u200b",
        "\u200d",
        "\ufeff",
        "\ufffd",
        "\x00",
        "\x7f",
        "\x85",
        "\u2028",
        "\u00a0",
    ),
]
NOUNS = ["café", "naïveté", "résumé", "Übung", "jalapeño", "façade", "piñata", "doppelgänger", "coöperation"]
WORDS = ["a", "the", "of", "that", "is", "used", "for", "small", "part", "animal", "act", "(esp.)", "don't"]


@pytest.fixture(scope="session")
def documentation() -> list[str]:
    """Lines of the documentation that comes with Python."""
    documents = list(pydoc_data.topics.topics.values())
    for name in MODULES.split():
        for member in vars(importlib.import_module(name)).values():
            documents.append(inspect.getdoc(member) or "")
            if inspect.isclass(member):
                documents += [inspect.getdoc(method) or "" for method in vars(member).values()]
    return [line for document in documents for line in document.splitlines()]


@pytest.fixture(scope="session")
def glosses() -> list[str]:
    """Short dictionary entries, generated."""
    rng = random.Random(3)
    marks = ["; ", ", ", " — ", "; “", "” ", " (", ") ", ": ", " / ", "… "]
    lines = []
    for _ in range(20000):
        words = [rng.choice(NOUNS if rng.random() < 0.2 else WORDS) for _ in range(rng.randint(3, 14))]
        lines.append(
            f"{rng.choice(NOUNS)}: "
            + "".join(w + (rng.choice(marks) if rng.random() < 0.2 else " ") for w in words)
        )
    return lines


class Torture:
    """Texts made to go wrong: every category of Unicode, marks in any order, masks anywhere."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        categories = collections.defaultdict(list)
        for point in range(0x110000):
            categories[unicodedata.category(chr(point))].append(chr(point))
        del categories["Cs"]  # no UTF-8 for lone surrogates
        self.categories = list(categories.values())
        self.marks = categories["Mn"] + categories["Mc"] + categories["Me"]
        self.letters = categories["Ll"] + categories["Lu"]

    def text(self) -> str:
        return "".join(self._part() for _ in range(self.rng.randint(0, 25)))

    def _part(self) -> str:
        rng = self.rng
        form = rng.choice(["NFC", "NFD", "NFKC", "NFKD"])
        return rng.choice(
            (
                lambda: rng.choice(rng.choice(self.categories)),
                lambda: rng.choice(rng.choice(self.categories)),
                lambda: rng.choice(SPECIALS),
                lambda: rng.choice(SAMPLES),
                lambda: rng.choice("aBz09.,!?[]#-_ \t\n\r\v"),
                lambda: "".join(rng.choices(self.marks, k=rng.randint(1, 5))),
                lambda: unicodedata.normalize(form, rng.choice(self.letters) + rng.choice(SAMPLES)),
                lambda: rng.choice([" ", "the", "Word", "running", "über", "don't"]),
                lambda: rng.choice("aé中🏽") * (rng.randint(98, 103) if rng.random() < 0.1 else 2),
            )
        )()


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
            {token: index for index, token in enumerate(vocabulary)},
            unk_token=config.unk_token,
            max_input_chars_per_word=100,
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.tokenize_chinese_chars,
        strip_accents=config.strip_accents,
        lowercase=config.do_lower_case,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in config.special_tokens]
    )
    return tokenizer


class Pair:
    """Our tokenizer and the reference, for the same vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.reference = reference_tokenizer(vocabulary)
        self.ours = WordPieceTokenizer(vocabulary)
        self.compiled = tf.function(self.ours, input_signature=[tf.TensorSpec([None], tf.string)])

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
