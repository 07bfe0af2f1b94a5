"""Every signature answers alike in Python, from the SavedModel and served, and no request is compiled for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from compilations import Requests, serving
from tf_mlm.export.description import read_description
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.questions import Inference
from tf_mlm.serving.client.client import Client, ClientError
from tf_mlm.signatures import PORTABLE, SIGNATURES

TEXTS = ["the [MASK] sat on a mat .", "a [MASK] cat [MASK] ?", "[MASK]"]
QUESTIONS: dict[str, dict[str, Any]] = {
    "serving_default": {"text": TEXTS},
    "score_targets": {"text": TEXTS, "targets": [["cat", "dog"]] * 3},
    "pseudo_log_likelihood": {"text": ["the cat sat .", "dogs", ""]},
    "encode": {"text": TEXTS},
    "tokenize": {"text": ["The cats,  sat", ""]},
    "predict_masked": {
        "token_ids": [[2, 5, 4, 3], [2, 4, 3, 0]],
        "lengths": [4, 3],
        "segment_ids": [[0, 0, 0, 0], [0, 0, 0, 0]],
        "mask_positions": [[2, 1], [1, 0]],
    },
    "masked_lm_head": {
        "hidden_states": np.linspace(-1, 1, 2 * 3 * 16, dtype=np.float32).reshape(2, 3, 16).tolist(),
        "mask_positions": [[2, 0], [1, 1]],
    },
}


@dataclasses.dataclass(frozen=True)
class Server:
    """A process that serves.

    Attributes:
        addresses: by protocol.
        dump: where XLA leaves files of each program that it compiles there.
        compiled_before_ready: how many those were.
    """

    addresses: dict[str, str]
    dump: Path
    compiled_before_ready: int


def compiled_in(dump: Path) -> int:
    return len(list(dump.glob("*before_optimizations.txt")))


@pytest.fixture(scope="module")
def server(tiny_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    dump = tmp_path_factory.mktemp("dump")
    with serving(tiny_export.parent, dump) as (grpc, http):
        yield Server({"grpc": grpc, "http": http}, dump, compiled_in(dump))


@pytest.fixture(scope="module", params=["grpc", "http"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Client]:
    with Client(server.addresses[request.param]) as client:
        yield client


def as_arrays(inputs: dict[str, Any]) -> dict[str, tf.Tensor]:
    return {alias: tf.constant(value) for alias, value in inputs.items()}


@pytest.fixture(scope="module")
def in_python(tiny_model: MaskedLM) -> dict[str, dict[str, np.ndarray]]:
    from conftest import BUCKETS

    answers = Inference(tiny_model, buckets=BUCKETS, top_k=5, xla=False).answers
    return {
        name: {alias: value.numpy() for alias, value in answers[name](**as_arrays(inputs)).items()}
        for name, inputs in QUESTIONS.items()
    }


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for alias, value in one.items():
        assert np.shape(value) == np.shape(other[alias]), alias
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, other[alias], atol=1e-5, err_msg=alias)
        else:
            np.testing.assert_array_equal(value, other[alias], err_msg=alias)


def test_every_signature_is_asked() -> None:
    assert set(QUESTIONS) == {signature.name for signature in SIGNATURES}


@pytest.mark.parametrize("suffix", ["", PORTABLE])
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_served_signature_answers_as_python_does(
    client: Client, in_python: dict[str, dict[str, np.ndarray]], name: str, suffix: str
) -> None:
    assert_same(in_python[name], client.predict(QUESTIONS[name], name + suffix))


def test_requests_after_ready_compile_nothing(client: Client, server: Server, tiny_export: Path) -> None:
    description = read_description(tiny_export)
    requests = Requests(description, ["the", "cat", "dog"], hidden=16, seed=0)
    for _ in range(2):
        for name in QUESTIONS:
            client.predict(requests.inputs(name), name)
    assert server.compiled_before_ready == description["programs"] == 18
    assert compiled_in(server.dump) == 18


@pytest.fixture(scope="module")
def loaded(tiny_export: Path) -> Any:
    """In this process, as Python users load it."""
    return tf.saved_model.load(str(tiny_export))


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_saved_model_answers_as_python_does(
    loaded: Any, in_python: dict[str, dict[str, np.ndarray]], name: str
) -> None:
    function = loaded.signatures[name + PORTABLE]
    answer = {alias: value.numpy() for alias, value in function(**as_arrays(QUESTIONS[name])).items()}
    assert_same(in_python[name], answer)


@pytest.mark.parametrize(
    ("inputs", "signature", "message"),
    [
        ({"text": ["no mask"]}, "serving_default", r"must contain the mask token \[MASK\]"),
        ({"text": ["the " * 40 + "[MASK]"]}, "serving_default", "No mask may lie beyond the length limit"),
        (
            {**QUESTIONS["predict_masked"], "mask_positions": [[9, 0], [0, 0]]},
            "predict_masked",
            "`mask_positions` must lie in",
        ),
    ],
)
def test_bad_input_is_an_invalid_argument_and_the_server_stays_up(
    client: Client, inputs: dict[str, Any], signature: str, message: str
) -> None:
    with pytest.raises(ClientError, match=message) as caught:
        client.predict(inputs, signature)
    assert caught.value.code.name == "INVALID_ARGUMENT"
    assert client.fill("the [MASK] sat", top_k=1)


def test_an_empty_batch_has_an_empty_answer(client: Client) -> None:
    assert client.predict({"text": []}, "encode")["embeddings"].shape[0] == 0
    assert client.encode([]).shape[0] == 0


def test_status_and_metadata(client: Client) -> None:
    assert [entry["state"] for entry in client.status()] == ["AVAILABLE"]
    metadata = client.metadata()
    assert {signature.name for signature in SIGNATURES} <= set(metadata)
    assert metadata["serving_default"].inputs["text"].dtype == "string"
