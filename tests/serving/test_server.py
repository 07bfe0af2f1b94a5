"""What a server can be told: TLS, sockets, CORS, limits, the access log, tensor_content, method names."""

from __future__ import annotations

import json
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from conformance.certificates import make_certificates
from tensorflow_serving.apis import classification_pb2, prediction_service_pb2_grpc
from waiting import eventually

from tf_mlm.serving.options import ServerOptions, SslOptions

X = {"x": np.float32([2.0])}


@pytest.fixture
def base(models: Path, tmp_path: Path) -> str:
    shutil.copytree(models / "half_plus_two", tmp_path / "m" / "1")
    return str(tmp_path / "m")


def test_tls_and_client_certificates(serve, base: str) -> None:
    made = make_certificates()
    authority = made.authority
    ssl = SslOptions(made.key, made.certificate, authority, client_verify=True)
    served = serve(model_name="m", model_base_path=base, ssl=ssl)

    def predict(*client: bytes) -> list[float]:
        credentials = grpc.ssl_channel_credentials(authority, *client)
        with grpc.secure_channel(f"localhost:{served.server.grpc_port}", credentials) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            response = stub.Predict(served.request("m", X), timeout=10)
            return list(response.outputs["y"].float_val)

    assert predict(made.key, made.certificate) == [3.0]
    with pytest.raises(grpc.RpcError) as error:
        predict()
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.RpcError):
        served.prediction.Predict(served.request("m", X), timeout=5)  # not encrypted
    assert served.post("m:predict", {"instances": [2.0]}).json() == {"predictions": [3.0]}  # REST stays plain
    served.server.stop()


def test_unix_socket_beside_tcp(serve, base: str, tmp_path: Path) -> None:
    served = serve(model_name="m", model_base_path=base, grpc_socket_path=str(tmp_path / "s"))
    with grpc.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert list(stub.Predict(served.request("m", X), timeout=10).outputs["y"].float_val) == [3.0]
    assert served.predict("m", X)["y"].tolist() == [3.0]
    served.server.stop()


def test_cors_headers_on_every_reply(serve, base: str) -> None:
    served = serve(model_name="m", model_base_path=base, rest_api_enable_cors_support=True)
    headers = {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "POST, GET",
        "access-control-allow-headers": "Content-Type",
    }
    replies = [
        served.http.get("/v1/models/m"),
        served.http.get("/v1/nothing"),
        served.http.options("/v1/models/m", headers={"Origin": "https://a"}),
    ]
    for reply in replies:
        assert headers.items() <= dict(reply.headers).items()
    served.server.stop()


def test_tensor_content(serve, base: str) -> None:
    served = serve(model_name="m", model_base_path=base, enable_serialization_as_tensor_content=True)
    proto = served.prediction.Predict(served.request("m", X)).outputs["y"]
    assert (proto.tensor_content, list(proto.float_val)) == (np.float32([3.0]).tobytes(), [])
    assert tf.make_ndarray(proto).tolist() == [3.0]
    assert served.post("m:predict", {"instances": [2.0]}).json() == {"predictions": [3.0]}
    served.server.stop()


def test_method_names_are_checked_if_asked(serve, base: str) -> None:
    served = serve(model_name="m", model_base_path=base, enable_signature_method_name_check=True)
    with pytest.raises(grpc.RpcError, match="Was: something/else") as error:
        served.prediction.Predict(served.request("m", X, "odd_method"))
    assert error.value.code() is grpc.StatusCode.INTERNAL
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", "regress_x_to_y"
    with pytest.raises(grpc.RpcError, match="method_name to be tensorflow/serving/classify"):
        served.prediction.Classify(request)
    served.server.stop()


def test_rest_time_limit(serve, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "shapes", tmp_path / "shapes" / "1")
    served = serve(model_name="shapes", model_base_path=str(tmp_path / "shapes"), rest_api_timeout=0.2)
    reply = served.post("shapes:predict", {"inputs": [2_000_000_000], "signature_name": "slow"})
    assert (reply.status_code, reply.json()["error"]) == (504, "Timed out waiting for notification")
    served.server.stop()


def test_limits_refuse_a_flood_and_the_server_stays_up(serve, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "shapes", tmp_path / "shapes" / "1")
    served = serve(
        model_name="shapes",
        model_base_path=str(tmp_path / "shapes"),
        max_concurrent_requests=4,
        max_request_bytes=10_000,
        rest_api_num_threads=2,
        grpc_max_threads=2,
        rest_api_timeout=1.0,
    )
    reply = served.post("shapes:predict", b" " * 10_001)
    assert (reply.status_code, "larger than the limit of 10000 bytes" in reply.json()["error"]) == (413, True)
    big = served.request("shapes", {"x": np.zeros(10_000, np.float32)})
    with pytest.raises(grpc.RpcError) as error:
        served.prediction.Predict(big)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    slow = {"inputs": [2_000_000_000], "signature_name": "slow"}
    request = served.request("shapes", {"rounds": np.int32([2_000_000_000])}, "slow")

    def rest(_: int) -> int:
        return httpx.post(
            f"{served.http.base_url}/v1/models/shapes:predict", json=slow, timeout=60
        ).status_code

    def rpc(_: int) -> grpc.StatusCode:
        return served.prediction.Predict.future(request, timeout=1).code()

    with ThreadPoolExecutor(24) as threads:
        http_codes, codes = list(threads.map(rest, range(12))), list(threads.map(rpc, range(12)))
    assert set(http_codes) == {429, 504}
    assert set(codes) == {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}
    one = served.request("shapes", {"x": np.float32([1.0])})
    deadline = time.monotonic() + 20
    while served.prediction.Predict.future(one).code() is not grpc.StatusCode.OK:  # the last ones are ending
        assert time.monotonic() < deadline
    assert served.post("shapes:predict", {"inputs": [1.0]}).json() == {"outputs": [1.0]}
    served.server.stop()


def test_access_log(serve, base: str, tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    served = serve(model_name="m", model_base_path=base, access_log=str(log))
    served.predict("m", X)
    served.post("m:predict", b"{")
    served.server.stop()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["protocol"], line["method"], line["model"], line["code"]) for line in lines] == [
        ("grpc", "Predict", "m", "OK"),
        ("rest", "POST", "m", "INVALID_ARGUMENT"),
    ]
    assert all(line["milliseconds"] > 0 and line["peer"] for line in lines)


def test_an_access_log_that_cannot_be_written_fails_no_request(serve, base: str, caplog) -> None:
    served = serve(model_name="m", model_base_path=base, access_log="/dev/full")
    for _ in range(2):
        assert served.predict("m", X)["y"].tolist() == [3.0]
        assert served.post("m:predict", {"instances": [2.0]}).status_code == 200
    served.server.stop()
    assert [record.message for record in caplog.records if "access log" in record.message] == [
        "The access log cannot be written: [Errno 28] No space left on device"
    ]


def test_a_call_cancelled_while_it_waits_is_not_run(serve, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "shapes", tmp_path / "shapes" / "1")
    served = serve(model_name="shapes", model_base_path=str(tmp_path / "shapes"), grpc_max_threads=1)
    limit = served.server._grpc._calls._places
    request = served.request("shapes", {"rounds": np.int32([2_000_000_000])}, "slow")
    running = served.prediction.Predict.future(request, timeout=5)
    eventually(lambda: limit.working)
    waiting = served.prediction.Predict.future(served.request("shapes", {"x": np.float32([1.0])}))
    eventually(lambda: limit.waiting == 1)
    waiting.cancel()
    eventually(lambda: not limit.waiting)
    assert running.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert served.predict("shapes", {"x": np.float32([1.0])})["x"].tolist() == [1.0]
    assert served.server.metrics.graph_runs.first_value() == 1
    served.server.stop()


def test_a_body_that_stops_coming_is_not_waited_for(serve, base: str) -> None:
    served = serve(model_name="m", model_base_path=base, rest_body_timeout=0.3)
    with socket.create_connection(("127.0.0.1", served.server.rest_port), timeout=20) as half:
        half.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n{")
        answer = half.makefile("rb").read()  # to the end: the headers and the body may come apart
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body did not come within 0.3 seconds (--rest_body_timeout_seconds)" in answer
    assert served.post("m:predict", {"instances": [2.0]}).json() == {"predictions": [3.0]}
    served.server.stop()


def test_ipv6_loopback(serve, base: str) -> None:
    served = serve(model_name="m", model_base_path=base, grpc_host="::1", rest_host="::1")
    with grpc.insecure_channel(f"[::1]:{served.server.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert list(stub.Predict(served.request("m", X)).outputs["y"].float_val) == [3.0]
    assert httpx.get(f"http://[::1]:{served.server.rest_port}/v1/models/m").status_code == 200
    served.server.stop()


@pytest.mark.parametrize("port", [-1, 65536])
def test_port_numbers_out_of_range(port: int) -> None:
    with pytest.raises(ValueError, match="`grpc_port` must be a port number from 0 to 65535"):
        ServerOptions(grpc_port=port)


def test_keras_and_text_models(serve, tmp_path: Path) -> None:
    import tensorflow_text as tf_text

    model = tf.keras.Sequential([tf.keras.Input([1]), tf.keras.layers.Dense(1, kernel_initializer="ones")])
    model.export(str(tmp_path / "keras" / "1"), verbose=False)

    class Words(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
        def __call__(self, text):
            return {"words": tf_text.WhitespaceTokenizer().tokenize(text).to_tensor()}

    words = Words()
    tf.saved_model.save(words, str(tmp_path / "text" / "01"), signatures=words.__call__)
    config = tmp_path / "models.config"
    listed = (
        f'config {{ name: "{name}" base_path: "{tmp_path / name}" model_platform: "tensorflow" }}'
        for name in ("keras", "text")
    )
    config.write_text(f"model_config_list {{ {' '.join(listed)} }}")
    served = serve(model_config_file=str(config))
    assert served.post("keras:predict", {"instances": [[2.0]]}).json() == {"predictions": [[2.0]]}
    assert served.predict("text", {"text": ["a bc"]})["words"].tolist() == [[b"a", b"bc"]]
    served.server.stop()
