"""Both clients over both protocols: any model, the exported signatures, errors."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tf_mlm.fills import ReplacedTargetWarning
from tf_mlm.serving.client.client import Client
from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.client.target import Target
from tf_mlm.serving.client.transport import SignatureSpec
from tf_mlm.serving.errors import Code


@pytest.fixture(scope="module")
def mlm(serve, plain_export: Path):
    """The tiny model, exported without XLA: what is tested here is the way to it."""
    return serve(model_name="mlm", model_base_path=str(plain_export.parent))


@pytest.fixture(scope="module", params=["grpc", "http"])
def client(request, mlm, connect) -> Iterator[Client]:
    port = mlm.server.grpc_port if request.param == "grpc" else mlm.server.rest_port
    with connect(f"{request.param}://127.0.0.1:{port}/mlm") as made:
        yield made


@pytest.fixture(params=["grpc", "http"])
def target(request, served) -> str:
    port = served.server.grpc_port if request.param == "grpc" else served.server.rest_port
    return f"{request.param}://127.0.0.1:{port}"


# ---- any model ---------------------------------------------------------------------------------


def test_predict_takes_and_gives_arrays(target: str, connect) -> None:
    with connect(f"{target}/half_plus_two") as client:
        found = client.predict({"x": [[1], [2]]})  # whole numbers take the signature's type
        assert found["y"].dtype == np.float32
        np.testing.assert_array_equal(found["y"], [[2.5], [3.0]])
        assert client.predict({"x": np.float32(2)}, "both").keys() == {"y", "y2"}


def test_every_type_and_shape_comes_back(target: str, connect) -> None:
    values = {
        "float32": np.float32([[1 / 3, np.inf], [-0.0, 1e-40]]),
        "float64": np.float64([[1 / 3]]),
        "int32": np.int32([]),
        "int64": np.int64(-(2**62)),
        "bool": np.array([True]),
        "string": np.array([["é".encode(), b"\xff"]], object),
        "uint8": np.uint8([200]),
        "uint32": np.uint32([2**32 - 1]),
        "uint64": np.uint64([2**64 - 1]),
    }
    with connect(f"{target}/shapes") as client:
        found = client.predict(values, "types")
    for alias, value in values.items():
        assert (found[alias].dtype, found[alias].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(found[alias], value)


def test_versions_labels_status_and_metadata(target: str, connect) -> None:
    for path, answer in (("versions", 4.0), ("versions/versions/1", 3.0), ("versions/labels/old", 3.0)):
        with connect(f"{target}/{path}") as client:
            assert client.predict({"x": [2.0]})["y"].tolist() == [answer]
    with connect(f"{target}/versions") as client:
        assert client.status() == [
            {"version": 2, "state": "AVAILABLE", "error": ""},
            {"version": 1, "state": "AVAILABLE", "error": ""},
        ]
        spec = client.metadata()["serving_default"]
    assert isinstance(spec, SignatureSpec)
    assert (spec.inputs["x"].dtype, spec.inputs["x"].shape) == ("float", (-1, 1))


def test_errors_carry_the_servers_words_and_a_next_step(target: str, connect) -> None:
    with connect(f"{target}/nobody") as client, pytest.raises(ClientError) as error:
        client.predict({"x": np.float32([1])})
    assert error.value.code is Code.NOT_FOUND
    assert error.value.message == "Servable not found for request: Latest(nobody)"
    assert "Check the model name" in str(error.value)
    with connect(f"{target}/shapes") as client, pytest.raises(ClientError, match="x must not be negative"):
        client.predict({"x": [-1.0]}, "refuse_negative")
    with connect(f"{target}/shapes", timeout=0.2) as client, pytest.raises(ClientError) as error:
        client.predict({"rounds": np.int32([2_000_000])}, "slow")
    assert error.value.code is Code.DEADLINE_EXCEEDED
    assert "longer `timeout`" in str(error.value)


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.NOT_FOUND])
def test_an_error_survives_the_way_to_another_process(code: Code) -> None:
    error = ClientError(
        code, "assertion failed: [x must be even. Received:] [3]\n\t [[{{node A}}]]", "grpc://h:1/m"
    )
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.code) == (type(error), str(error), code)
    assert again.message == "x must be even. Received: 3."
    assert isinstance(again, ValueError) == (code is Code.INVALID_ARGUMENT)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_no_server(scheme: str, connect) -> None:
    with connect(f"{scheme}://127.0.0.1:1/m", timeout=2) as client, pytest.raises(ClientError) as error:
        client.status()
    assert error.value.code is Code.UNAVAILABLE
    assert "`tf-mlm serve` starts one" in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "mlm", "grpc://host/mlm", "ftp://h:1/m", "grpc://h:1", "http://h:x/m", "http://h:1/m?x"]
)
def test_bad_targets(text: str) -> None:
    with pytest.raises(ValueError, match="A target must look like grpc://"):
        Target.parse(text)


def test_a_rest_client_needs_no_tensorflow() -> None:
    program = (
        "import sys; from tf_mlm import AsyncClient, Client; Client('http://127.0.0.1:1/m'); "
        "AsyncClient('http://127.0.0.1:1/m'); sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


# ---- an exported model -------------------------------------------------------------------------


def test_fill_errors(client: Client) -> None:
    with pytest.raises(ValueError, match="At least one text is needed"):
        client.fill([])
    with pytest.raises(ValueError, match="`top_k` must be at most 5, the number the model was exported with"):
        client.fill("the [MASK] sat", top_k=6)
    with pytest.raises(ClientError) as error:
        client.fill("no mask here")
    assert error.value.code is Code.INVALID_ARGUMENT


def test_fill(client: Client) -> None:
    alone = client.fill("the [MASK] sat", top_k=2)
    assert [fill.keys() for fill in alone] == [{"score", "token", "token_str", "sequence"}] * 2
    assert alone[0]["score"] >= alone[1]["score"]
    assert client.fill(["the [MASK] sat"], top_k=2) == [alone]
    chosen = client.fill("the [MASK] sat", targets=["cat", "dog"])
    assert {fill["token_str"] for fill in chosen} == {"cat", "dog"}


def test_a_warning_names_the_line_that_asked(client: Client) -> None:
    with pytest.warns(ReplacedTargetWarning) as caught:
        client.fill("the [MASK] sat", targets=["catdog", "cat"])
    if isinstance(client, Client):
        assert [warning.filename for warning in caught] == [__file__]


def test_the_other_signatures(client: Client) -> None:
    tokenized = client.tokenize("the cat sat")
    assert tokenized["tokens"].tolist() == [[b"[CLS]", b"the", b"cat", b"sat", b"[SEP]"]]
    assert tokenized["lengths"].tolist() == [5]
    scored = client.score(["the cat sat .", "a dog ran"])
    assert scored["score"].shape == (2,)
    assert (scored["score"] < 0).all()
    assert client.encode(["the cat", "a dog"]).shape == (2, 16)
