"""Two tiny models, the page in front of them, and a real browser that looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import pytest
from reference import byte_level

import tf_mlm
from chromium import ANSWERED, MINUTE, chromium, open_page
from tf_mlm.config import Buckets, ModelConfig
from tf_mlm.export.saved_model import export
from tf_mlm.model.directory.read_tokenizer import read_preprocessor
from tf_mlm.page.model import PageModel
from tf_mlm.page.server import PageServer
from tf_mlm.serving.client.client import Client
from tf_mlm.target.open import open_target

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tf_mlm.model.masked_lm import MaskedLM


@pytest.fixture(scope="session")
def base_path(tiny_model: MaskedLM, made_once: Callable[..., Path]) -> Path:
    """An export with a vocabulary of a few words, and `[MASK]`, for any server."""
    buckets = Buckets(batch=(8,), length=(64,), masks=(8,))

    def make(folder: Path) -> None:
        export(tiny_model, folder / "words", buckets=buckets, top_k=21, xla=False)

    return made_once("page_export", make) / "words"


@pytest.fixture(scope="session")
def bytes_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with byte-level BPE, whose tokens may be parts of a character, and `<mask>`."""
    path = tmp_path_factory.mktemp("models") / "bytes"
    path.mkdir()
    tokenizer = byte_level.write_tokenizer(path, "roberta")
    config = ModelConfig(
        model_type="roberta",
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=130,
        type_vocab_size=1,
        pad_token_id=1,
        initializer_range=0.5,
    )
    preprocessor = read_preprocessor(path, config)
    tf_mlm.save(tf_mlm.MaskedLM.from_config(config, seed=1, preprocessor=preprocessor), path)
    return path


@pytest.fixture(scope="session")
def clients(base_path: Path, bytes_model: Path) -> dict[str, Client]:
    """Both in this process, as `tf-mlm page` opens them."""
    return {str(path): open_target(str(path), 25, bounded=True) for path in (base_path, bytes_model)}


@pytest.fixture(scope="session")
def served(clients: dict[str, Client]) -> Iterator[PageServer]:
    """The page of both models."""
    kinds = ("export", "directory")
    models = [PageModel(*one, kind) for one, kind in zip(clients.items(), kinds, strict=True)]
    with PageServer(models, port=0) as server:
        yield server


@pytest.fixture(scope="session")
def http(served: PageServer) -> Iterator[httpx.Client]:
    """A client of the page's server that is no browser."""
    with httpx.Client(base_url=served.url, timeout=MINUTE / 1000) as client:
        yield client


# ---- the browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for a file of tests: while it runs, nothing else may run an event loop in this thread."""
    with chromium() as browser:
        yield browser


class Look:
    """One tab that looks at a page.

    Attributes:
        page: the tab.
        trouble: what it wrote to its console, and scripts that failed.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.trouble: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(MINUTE)
        page.on("console", lambda message: self.trouble.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, **state: object) -> None:
        """Goes to a state of the page, as a link does, and waits for its answer."""
        open_page(self.page, f"{self.url}#{urlencode(state)}")

    def answered(self) -> None:
        """Waits until nothing is asked any more and something is shown."""
        self.page.wait_for_function(ANSWERED)

    def text(self, selector: str) -> str:
        """What an element says."""
        return self.page.locator(selector).inner_text()

    def all(self, selector: str) -> list[str]:
        """What all such elements say."""
        return self.page.locator(selector).all_text_contents()


@pytest.fixture
def look(browser: Browser, served: PageServer) -> Iterator[Look]:
    """A tab with an empty memory, at the page of both models; nothing may go wrong in it unnoticed."""
    yield from _look(browser, served.url)


@pytest.fixture
def look_at(browser: Browser) -> Iterator[Callable[..., Look]]:
    """The same for any page, by its address and options of the tab; what goes wrong is the test's affair."""
    open_ones = []

    def start(url: str, **options: Any) -> Look:
        context = browser.new_context(**options)
        open_ones.append(context)
        return Look(context.new_page(), url)

    yield start
    for context in open_ones:
        context.close()


def _look(browser: Browser, url: str) -> Iterator[Look]:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    look = Look(context.new_page(), url)
    yield look
    context.close()
    assert look.trouble == []
    assert [request for request in look.requests if not request.startswith((url, "about:"))] == []
