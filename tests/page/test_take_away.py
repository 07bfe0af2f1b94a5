"""The commands and programs that the page gives away, run as they are."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import json_format
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tf_mlm.page.model import PageModel
from tf_mlm.page.server import PageServer
from tf_mlm.serving.client.client import Client
from tf_mlm.serving.server import ModelServer, ServerOptions

if TYPE_CHECKING:
    from page.conftest import Look

pytestmark = pytest.mark.browser
TEXT = 'it\'s "the" \\ [MASK] $HOME `x` 東 .'


@pytest.fixture(scope="module")
def server(base_path: Path) -> Iterator[ModelServer]:
    options = ServerOptions(model_name="my model", model_base_path=str(base_path), enable_model_warmup=False)
    with ModelServer(options) as server:
        yield server


def snippet(look: Look, language: str) -> str:
    look.page.locator(f'#languages label:has([value="{language}"])').click()
    text = look.page.locator("#snippet").text_content() or ""
    return text.replace("\\\n", "")  # which a shell does, but `shlex` does not


@pytest.fixture(params=["http", "grpc"])
def look(request: pytest.FixtureRequest, server: ModelServer, look_at: Any) -> Iterator[Look]:
    """At the page of a server that is asked over REST or over gRPC, with the first version pinned."""
    port = server.rest_port if request.param == "http" else server.grpc_port
    target = f"{request.param}://127.0.0.1:{port}/my%20model/versions/1"
    model = PageModel(target, Client(target), "server", Client(target))
    with PageServer([model], port=0) as page:
        yield look_at(page.url)


def test_each_of_them_gives_the_answer_of_the_page(look: Look, server: ModelServer) -> None:
    look.open(v="fill", t=TEXT, k=3)
    shown = look.all(".fills .names span:first-child")
    # Which port the other protocol has is an assumption that the snippet names.
    ports = {":8501": f":{server.rest_port}", ":8500": f":{server.grpc_port}"}

    def real(text: str) -> str:
        for usual, port in ports.items():
            assert (usual in text) == ("is assumed" in text and usual in text)
            text = text.replace(usual, port)
        return text

    done = subprocess.run(["bash", "-c", real(snippet(look, "curl"))], capture_output=True, check=True)
    outputs = json.loads(done.stdout)["outputs"]
    assert [token.removeprefix("##") for token in outputs["tokens"][0][0][:3]] == shown
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(real(snippet(look, "Python")), {})
    fills = eval(printed.getvalue())
    assert [fill["token_str"].removeprefix("##") for fill in fills] == shown
    arguments = shlex.split(real(snippet(look, "grpcurl")), comments=True)
    body = arguments[arguments.index("-d") + 1]
    request = json_format.Parse(body, predict_pb2.PredictRequest())
    assert arguments[-1] == "tensorflow.serving.PredictionService/Predict"
    with grpc.insecure_channel(arguments[-2]) as channel:
        answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
    assert answer.model_spec.version.value == 1
    tokens = [token.decode().removeprefix("##") for token in answer.outputs["tokens"].string_val[:3]]
    assert tokens == shown


def test_other_questions_can_be_taken_too(look: Look, server: ModelServer) -> None:
    look.open(v="fill", t="the [MASK]", w="dog, cat")
    assert 'targets=["dog","cat"]' in snippet(look, "Python")
    body = json.loads(shlex.split(snippet(look, "grpcurl"), comments=True)[-3])
    assert body["inputs"]["targets"]["tensorShape"] == {"dim": [{"size": "1"}, {"size": "2"}]}
    for view, call in (("surprise", "client.score("), ("tokens", "client.tokenize(")):
        look.open(v=view, t="the cat")
        assert call in snippet(look, "Python")


def test_the_state_of_the_server_is_shown(look: Look) -> None:
    look.open(v="tokens", t="the cat")
    assert "my model" in look.text("#models")
    assert "ready, version 1" in look.text("#models")
    assert look.text("#latency").startswith("model ")
