"""The page's server, asked without a browser."""

from __future__ import annotations

import json
import math
from typing import Any

import httpx
import numpy as np
import pytest
from reference.page_texts import TORTURE

from tf_mlm.page.api import BODY_BYTES, TEXT_BYTES
from tf_mlm.page.server import PageServer
from tf_mlm.serving.client.client import Client
from tf_mlm.signatures import FILL

WORDS, BYTES = 0, 1


def ask(http: httpx.Client, question: str, **asked: Any) -> dict[str, Any]:
    response = http.post(f"/api/{question}", json=asked)
    assert response.status_code == 200, response.text
    return response.json()


def test_it_says_what_the_models_are_like(http: httpx.Client) -> None:
    assert http.get("/api/facts/0").json() == {
        "mask_token": "[MASK]",
        "special_tokens": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        "most_fills": 21,
        "length_limit": 64,
    }
    facts = http.get("/api/facts/1").json()
    assert (facts["mask_token"], facts["most_fills"], facts["length_limit"]) == ("<mask>", 25, 128)
    models = http.get("/api/models").json()["models"]
    assert [model["label"] for model in models] == ["words", "bytes"]
    assert {model["state"] for model in models} == {"AVAILABLE"}


def test_fills_are_those_of_the_client(http: httpx.Client, clients: dict[str, Client]) -> None:
    text = "the [MASK] sat on the [MASK] ."
    answer = ask(http, "fill", text=text, top_k=3)
    expected = next(iter(clients.values())).fill(text, top_k=3)
    for mask, fills in zip(answer["masks"], expected, strict=True):
        assert [fill["word"] for fill in mask["fills"]] == [fill["token_str"] for fill in fills]
        np.testing.assert_allclose(
            [fill["score"] for fill in mask["fills"]], [fill["score"] for fill in fills], atol=1e-6
        )
    assert [answer["tokens"]["pieces"][mask["position"]] for mask in answer["masks"]] == ["[MASK]"] * 2


def test_pieces_of_words_say_that_they_join(http: httpx.Client) -> None:
    (mask,) = ask(http, "fill", text="the cat [MASK]", top_k=21)["masks"]
    by_piece = {fill["piece"]: (fill["insert"], fill["joins"]) for fill in mask["fills"]}
    assert by_piece["##ing"] == ("ing", True)
    assert by_piece["."] == (".", True)
    assert by_piece["dog"] == ("dog", False)
    (mask,) = ask(http, "fill", model=BYTES, text="the cat <mask>", targets=["Ġof", "ing"])["masks"]
    assert {fill["insert"]: fill["joins"] for fill in mask["fills"]} == {"of": False, "ing": True}


@pytest.mark.filterwarnings("ignore::tf_mlm.ReplacedTargetWarning")
def test_targets_that_are_not_one_token_are_named(http: httpx.Client) -> None:
    answer = ask(http, "fill", text="the [MASK] .", targets=["dog", "cats"])
    assert answer["replaced"] == {"cats": "cat"}
    assert {fill["word"] for fill in answer["masks"][0]["fills"]} == {"dog", "cat"}


@pytest.mark.parametrize("model", [WORDS, BYTES])
def test_surprise_is_the_pseudo_log_likelihood_in_bits(
    http: httpx.Client, model: int, clients: dict[str, Client]
) -> None:
    text = "the cat sat, on a zebra."
    answer = ask(http, "score", model=model, text=text)
    bits = answer["tokens"]["bits"]
    assert bits[0] is bits[-1] is None
    assert answer["scored"] == sum(bit is not None for bit in bits) == len(bits) - 2
    score = list(clients.values())[model].score(text)["score"][0]
    assert sum(bit for bit in bits if bit is not None) == pytest.approx(-score / math.log(2), rel=1e-5)


@pytest.mark.parametrize("model", [WORDS, BYTES])
def test_surprise_is_what_a_fill_of_the_masked_token_says(http: httpx.Client, model: int) -> None:
    text = "the cat sat on the mat ."
    mask = http.get(f"/api/facts/{model}").json()["mask_token"]
    tokens = ask(http, "score", model=model, text=text)["tokens"]
    for piece, start, end, bits in zip(
        *(tokens[key] for key in ("pieces", "starts", "ends", "bits")), strict=True
    ):
        if bits is None:
            continue
        masked = (text.encode()[:start] + mask.encode() + text.encode()[end:]).decode()
        ((fill,),) = [
            one["fills"] for one in ask(http, "fill", model=model, text=masked, targets=[piece])["masks"]
        ]
        assert -math.log2(fill["score"]) == pytest.approx(bits, abs=1e-3)


@pytest.mark.parametrize("model", [WORDS, BYTES])
def test_places_are_bytes_of_the_text(http: httpx.Client, model: int) -> None:
    text = "".join(TORTURE)
    tokens = ask(http, "tokenize", model=model, text=text)["tokens"]
    size = len(text.encode())
    assert all(0 <= start <= end <= size for start, end in zip(tokens["starts"], tokens["ends"], strict=True))
    assert max(tokens["ends"]) == size
    assert {len(column) for column in tokens.values()} == {len(tokens["ids"])}


def test_exchanges_are_what_a_server_would_be_sent(http: httpx.Client) -> None:
    exchange = ask(http, "fill", text="a [MASK]", top_k=2)["exchanges"][-1]
    assert exchange["request"] == {"signature_name": "serving_default", "inputs": {"text": ["a [MASK]"]}}
    assert set(exchange["response"]["outputs"]) == set(FILL.outputs)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("fill", {"text": "no mask"}, 400, "Every text must contain the mask token [MASK]"),
        ("fill", {"text": 3}, 400, "`text` must be a string. Received: 3"),
        ("fill", {"text": "a [MASK]", "top_k": 0}, 400, "`top_k` must be a whole number from 1 to 50"),
        ("fill", {"text": "a [MASK]", "top_k": True}, 400, "`top_k` must be"),
        ("fill", {"text": "a [MASK]", "targets": []}, 400, "`targets` must be a list of 1 to 50 words"),
        ("fill", {"text": "a [MASK]", "targets": [" "]}, 400, "A target must contain at least one token"),
        ("fill", {"text": "a [MASK]", "model": 2}, 400, "`model` must be a number below 2"),
        ("fill", {"text": "a [MASK]", "model": "0"}, 400, "`model` must be a number below 2"),
        ("score", {"text": "é" * TEXT_BYTES}, 400, f"at most {TEXT_BYTES} bytes here"),
        ("nothing", {}, 404, "There is nothing at '/api/nothing'"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(
    http: httpx.Client, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    response = http.post(f"/api/{path}", json=body)
    error = response.json()["error"]
    assert response.status_code == status
    assert words in error["message"]
    assert error["code"] == ("NOT_FOUND" if status == 404 else "INVALID_ARGUMENT")


@pytest.mark.parametrize("index", ["2", "-1", "²", "", "9" * 5000])
def test_a_model_that_is_not_there_has_no_facts(http: httpx.Client, index: str) -> None:
    response = http.get(f"/api/facts/{index}")
    assert response.status_code == 400
    assert "`model` must be a number below 2" in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"text": "\xff"}', b"[" * 100_000])
def test_what_is_no_json_object_is_refused(http: httpx.Client, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    response = http.post("/api/tokenize", content=body, headers=headers)
    assert response.status_code == 400
    assert "must be a JSON object" in response.json()["error"]["message"]


def test_a_request_has_a_size_and_a_type(http: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    response = http.post("/api/tokenize", content=b" " * (BODY_BYTES + 1), headers=headers)
    assert response.status_code == 413
    assert f"limit of {BODY_BYTES} bytes" in response.json()["error"]["message"]
    response = http.post("/api/tokenize", content=b'{"text": "a"}', headers={"content-type": "text/plain"})
    assert response.status_code == 415
    assert http.get("/api/fill").status_code == 405
    assert http.post("/").status_code == 405


@pytest.mark.parametrize("path", ["/", "/main.js", "/api/models", "/api/nothing"])
def test_every_answer_binds_the_browser(http: httpx.Client, path: str) -> None:
    for headers in ({}, {"origin": "http://evil.example"}):
        response = http.get(path, headers=headers)
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert (response.status_code == 403) == bool(headers)
        assert "access-control-allow-origin" not in response.headers


def test_no_path_leads_out_of_the_files(http: httpx.Client) -> None:
    for path in ("/../api.py", "/..%2fapi.py", "/static/main.js", "//etc/passwd", "/__init__.py"):
        assert http.get(path).status_code == 404


def test_texts_are_answered_as_they_are(http: httpx.Client) -> None:
    lone = json.dumps({"text": "a \ud800 b"}).encode()
    response = http.post("/api/tokenize", content=lone, headers={"content-type": "application/json"})
    assert response.status_code == 200
    assert len(response.json()["tokens"]["ids"]) >= 4


def test_a_port_in_use_is_an_error(served: PageServer) -> None:
    with pytest.raises(OSError, match=r"[Aa]ddress"):
        PageServer([], port=served.port)
