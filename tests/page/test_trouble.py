"""What a person sees when something goes wrong, and what the page does about it."""

from __future__ import annotations

import http.server
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tf_mlm.page.api import TEXT_BYTES
from tf_mlm.page.model import PageModel
from tf_mlm.page.server import PageServer
from tf_mlm.serving.client.client import Client
from tf_mlm.serving.server import ModelServer, ServerOptions
from tf_mlm.serving.server_process import free_ports
from tf_mlm.target.in_process import InProcess

if TYPE_CHECKING:
    from page.conftest import Look

    Start = Callable[..., Look]

pytestmark = pytest.mark.browser


def model_server(base_path: Path, port: int = 0) -> ModelServer:
    options = ServerOptions(
        model_name="mlm",
        model_base_path=str(base_path),
        rest_port=port,
        shutdown_grace=1.0,
        enable_model_warmup=False,
    )
    return ModelServer(options).start()


def page_of(target: str, **settings: Any) -> PageServer:
    """The page of a server, asked as `tf-mlm page` asks it."""
    settings = {"timeout": 30.0, "retries": 0, **settings}
    model = PageModel(target, Client(target, **settings), "server", Client(target, timeout=3, retries=0))
    return PageServer([model], port=0)


def test_a_server_dies_and_comes_back(base_path: Path, look_at: Start) -> None:
    (port,) = free_ports(1)
    with page_of(f"http://127.0.0.1:{port}/mlm") as page:
        look = look_at(page.url)
        look.open(v="fill", t="the [MASK] sat .")
        assert look.text("#problem h2") == "The model server does not answer"
        assert "tf-mlm serve" in look.text("#problem")
        assert "not reachable" in look.text("#models")
        server = model_server(base_path, port)
        look.page.wait_for_selector(".slot")  # it is asked again by itself
        look.answered()
        assert look.page.locator("#problem").is_hidden()
        assert "ready, version 1" in look.text("#models")
        server.stop()
        look.page.locator(".piece", has_text="sat").click()
        look.page.wait_for_selector("#problem:not([hidden])")
        assert look.page.input_value("#text-a") == "the [MASK] [MASK] ."  # nothing that was written is lost
        server = model_server(base_path, port)
        look.page.wait_for_selector(".slot >> nth=1")
        assert look.page.locator("#problem").is_hidden()
        server.stop()


class Held:
    """A model that answers when it is let."""

    def __init__(self, inner: InProcess) -> None:
        self._inner, self.let, self.asked = inner, threading.Event(), 0
        self.let.set()

    async def predict(self, inputs: Mapping[str, Any], signature: str, outputs: Any = None) -> Any:
        self.asked += 1
        assert self.let.wait(60)
        return await self._inner.predict(inputs, signature, outputs)

    async def close(self) -> None:
        """It is somebody else's."""


def held(client: Client) -> Client:
    """Another client of the same model."""
    transport: Any = Held(client._questions.transport)  # type: ignore[arg-type]
    return Client("grpc://in-process:1/mlm", transport=transport)


def test_a_slow_model_can_be_waited_for_or_not(clients: dict[str, Client], look_at: Start) -> None:
    (client, _) = clients.values()
    slow = held(client)
    model = PageModel("slow", slow, "directory")
    let = slow._questions.transport.let  # type: ignore[attr-defined]
    with PageServer([model], port=0) as page:
        look = look_at(page.url)
        look.open(v="fill", t="the cat sat .")
        let.clear()
        look.page.locator(".piece", has_text="cat").click()
        look.page.wait_for_selector("#stop:not([hidden])")
        look.page.wait_for_function("() => !document.querySelector('#waiting').innerText.includes(' 0.0 s')")
        assert re.fullmatch(r"Asking slow +\d+\.\d s", look.text("#waiting"))
        look.page.keyboard.press("Escape")
        assert look.page.locator("#stop").is_hidden()
        assert "stopped" in look.text("#latency")
        # The page goes on: another question waits its turn, and is answered.
        look.page.fill("#text-a", "the [MASK] ran .")
        look.page.keyboard.press("Control+Enter")
        look.page.wait_for_selector("#stop:not([hidden])")
        let.set()
        look.page.wait_for_selector(".slot")
        assert look.page.locator(".piece").all_text_contents() == ["the", "ran", "."]
        assert look.trouble == []


# ---- an error of each kind -----------------------------------------------------------------------


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes], str]]:
    """Servers that answer everything with one status and body, as a broken or a strict one does."""
    servers = []

    def start(status: int, body: bytes) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Tests are quiet."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/mlm"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


KINDS = {
    400: ("INVALID_ARGUMENT", "This cannot be asked", "`metadata()` shows what"),
    404: ("NOT_FOUND", "The server does not have this model", "Check the model name"),
    429: ("RESOURCE_EXHAUSTED", "This is too much at once", "Send fewer or smaller requests"),
    401: ("UNAUTHENTICATED", "The model server asks who you are", "credentials"),
    503: ("UNAVAILABLE", "The model server does not answer", "asked again by itself"),
    500: ("INTERNAL", "Something went wrong", "Try again"),
}


@pytest.mark.parametrize("status", KINDS)
def test_a_server_is_shown_with_its_own_words(
    answering: Callable[[int, bytes], str], look_at: Start, status: int
) -> None:
    words = f"the words of {status} <b>as they are</b>"
    target = answering(status, json.dumps({"error": words}).encode())
    code, title, advice = KINDS[status]
    with page_of(target) as page:
        look = look_at(page.url)
        look.open(v="fill", t="the [MASK]")
        assert look.text("#problem h2") == title
        assert look.text("#problem blockquote") == words
        assert look.text("#problem code") == code
        assert advice in look.text("#problem")


def test_an_answer_of_something_else_is_told(answering: Callable[[int, bytes], str], look_at: Start) -> None:
    with page_of(answering(200, b"<html>a router</html>")) as page:
        look = look_at(page.url)
        look.open(v="tokens", t="the cat")
        assert look.text("#problem h2") == "The answer cannot be read"
        assert "Check that a TF-Serving of this model listens there" in look.text("#problem")


def test_a_server_that_never_answers_is_given_up(look_at: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"http://127.0.0.1:{silent.getsockname()[1]}/mlm"
        with page_of(target, timeout=0.5) as page:
            look = look_at(page.url)
            look.open(v="tokens", t="the cat")
            assert look.text("#problem h2") == "The model server took too long"
            assert "`timeout`" in look.text("#problem")


def test_what_a_model_refuses_can_be_mended(look_at: Start, served: PageServer) -> None:
    look = look_at(served.url)
    look.open(v="fill", t="the cat " * 62 + "[MASK]")
    assert look.text("#problem h2") == "This cannot be asked"
    assert "No mask may lie beyond the length limit" in look.text("#problem")
    look.page.fill("#text-a", "the [MASK]")
    look.page.get_by_role("button", name="Try again").click()
    look.page.wait_for_selector(".slot")
    assert look.page.locator("#problem").is_hidden()


def test_the_pages_own_server_may_go_and_come_back(clients: dict[str, Client], look_at: Start) -> None:
    (client, _) = clients.values()
    model = PageModel(
        "words", Client("grpc://x:1/x", transport=Held(client._questions.transport)), "directory"
    )  # type: ignore[arg-type]
    page = PageServer([model], port=0)
    look = look_at(page.url)
    look.open(v="fill", t="the cat .")
    page.stop()
    look.page.locator(".piece", has_text="cat").click()
    look.page.wait_for_selector("#problem:not([hidden])")
    assert look.text("#problem h2") == "The page's server is away"
    with PageServer([model], port=page.port):
        look.page.wait_for_selector(".slot")
        assert look.page.input_value("#text-a") == "the [MASK] ."


# ---- too much ------------------------------------------------------------------------------------


def test_a_megabyte_is_pasted(look: Look) -> None:
    look.open(v="fill")
    look.page.evaluate("navigator.clipboard.writeText('the cat sat on the mat . '.repeat(42_000))")
    look.page.focus("#text-a")
    look.page.keyboard.press("Control+v")
    look.page.wait_for_selector(".size.over")
    assert f"at most {TEXT_BYTES:,} can be asked about at once" in look.text("#size-a")
    asked = len([url for url in look.requests if "/api/fill" in url or "/api/tok" in url])
    look.page.keyboard.press("Control+Enter")
    look.page.wait_for_selector("#problem:not([hidden])")
    assert look.text("#problem h2") == "This is too much at once"
    assert len([url for url in look.requests if "/api/fill" in url or "/api/tok" in url]) == asked
    look.page.fill("#text-a", "the [MASK]")
    look.page.keyboard.press("Control+Enter")
    look.page.wait_for_selector(".slot")
    assert look.page.locator("#problem").is_hidden()


def test_a_text_at_the_limit_is_listed_in_part(look: Look) -> None:
    text = "the cat sat . " * (TEXT_BYTES // 14)
    look.open(v="tokens")
    look.page.fill("#text-a", text)
    look.page.keyboard.press("Control+Enter")
    look.page.wait_for_selector("tbody tr >> nth=999")
    look.answered()
    assert "The first 1,000 are shown" in look.text("#result")
