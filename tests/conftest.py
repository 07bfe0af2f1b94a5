"""What several folders of tests share: a tiny model, and one export of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tf_mlm.config import Buckets, ModelConfig

if TYPE_CHECKING:
    from tf_mlm.model.masked_lm import MaskedLM

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    "the",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "a",
    "mat",
    "log",
    "fast",
    "slow",
    ".",
    ",",
    "##s",
    "##ing",
    "?",
)
BUCKETS = Buckets(batch=(1, 4), length=(8, 16, 32), masks=(1, 4, 16))


def make_tiny_model() -> MaskedLM:
    """A layer of 16, with a vocabulary of a few words; the same weights in every run."""
    from tf_mlm.model.masked_lm import MaskedLM
    from tf_mlm.text.preprocessor import TextPreprocessor
    from tf_mlm.text.vocabulary import Vocabulary

    vocabulary = Vocabulary(SPECIAL + WORDS)
    config = ModelConfig(
        vocab_size=vocabulary.size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,  # far from uniform answers, so that a wrong row would show
    )
    return MaskedLM.from_config(config, seed=7, preprocessor=TextPreprocessor(vocabulary, 64))


# These folders take longest. They begin first, so that all processes end at about the same time.
LONG = ("training", "parity", "docs", "export", "integration", "cli")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        return LONG.index(folder) if folder in LONG else len(LONG)

    items.sort(key=place)


@pytest.fixture(scope="session")
def tiny_model() -> MaskedLM:
    """`make_tiny_model`, once."""
    return make_tiny_model()


@pytest.fixture(scope="session")
def tiny_export(tiny_model: MaskedLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version directory with XLA and portable signatures, in a base path of its own."""
    from tf_mlm.export.saved_model import export

    base_path = tmp_path_factory.mktemp("tiny") / "mlm"
    return export(tiny_model, base_path, buckets=BUCKETS, top_k=5)
