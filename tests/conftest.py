"""What several folders of tests share: a tiny model, and two exports of it."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from reference.untraced import untraced
from reference.without_xla import without_xla

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
SMALL_BUCKETS = Buckets(batch=(1, 4), length=(32,), masks=(1, 4))


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


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector would look at all of it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def left_behind() -> None:
    """What earlier files left alive is not looked at again: servers collect garbage at every unload."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and evaluation without XLA or graphs; what wider fixtures have trained before is compiled."""
    without_xla(monkeypatch)


@pytest.fixture(scope="module")
def all_interpreted() -> Iterator[None]:
    """The same for all tests of a file, and for what they share."""
    with pytest.MonkeyPatch.context() as patch:
        without_xla(patch)
        yield


@pytest.fixture(name="untraced")
def functions_untraced() -> Iterator[None]:
    """Functions run operation by operation."""
    with untraced():
        yield


@pytest.fixture(scope="session")
def tiny_model() -> MaskedLM:
    """`make_tiny_model`, once."""
    return make_tiny_model()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`made_once(name, make)` → a folder that `make` has filled, for all processes of this run together.

    Whoever asks first makes it, and the others wait; nobody may change what is in it.
    """

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        root = tmp_path_factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            root = root.parent  # each process has a folder of its own in that of the run
        path, made = root / name, root / f"{name}.made"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                shutil.rmtree(path, ignore_errors=True)  # of somebody who failed
                path.mkdir()
                make(path)
                made.touch()
        return path

    return folder


@pytest.fixture(scope="session")
def tiny_export(tiny_model: MaskedLM, made_once: Callable[..., Path]) -> Path:
    """A version directory with XLA and portable signatures, in a base path of its own; not to be changed."""
    from tf_mlm.export.saved_model import export

    def make(folder: Path) -> None:
        export(tiny_model, folder / "mlm", buckets=BUCKETS, top_k=5)

    return made_once("tiny_export", make) / "mlm" / "1"


@pytest.fixture(scope="session")
def plain_export(tiny_model: MaskedLM, made_once: Callable[..., Path]) -> Path:
    """The same without XLA, for tests of something else than the export: quick to make and to serve."""
    from tf_mlm.export.saved_model import export

    def make(folder: Path) -> None:
        export(tiny_model, folder / "mlm", buckets=SMALL_BUCKETS, top_k=5, xla=False)

    return made_once("plain_export", make) / "mlm" / "1"
