"""Names as memory: models, labels and signatures that nobody has, by the thousand and by the megabyte."""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from conformance.attacks.attack import Kind
from conformance.attacks.shapes import varint
from conformance.attacks.site import Site
from conformance.server import model_spec

KIND = Kind("names as memory")
METRICS = "/monitoring/prometheus/metrics"
MEGABYTE = 1_000_000
PREDICTION, MODEL = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"


def requests(name: str, signature: str = "", label: str | None = None) -> list[tuple[str, bytes]]:
    """Every method that names a model, with this name."""
    spec = model_spec(name, signature, label=label)
    task = inference_pb2.InferenceTask(model_spec=spec, method_name="tensorflow/serving/regress")
    messages: dict[str, Any] = {
        PREDICTION + "Predict": predict_pb2.PredictRequest(model_spec=spec),
        PREDICTION + "Classify": classification_pb2.ClassificationRequest(
            model_spec=spec, input={"example_list": {"examples": [{}]}}
        ),
        PREDICTION + "Regress": regression_pb2.RegressionRequest(
            model_spec=spec, input={"example_list": {"examples": [{}]}}
        ),
        PREDICTION + "MultiInference": inference_pb2.MultiInferenceRequest(
            tasks=[task], input={"example_list": {"examples": [{}]}}
        ),
        PREDICTION + "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=spec, metadata_field=["signature_def"]
        ),
        MODEL + "GetModelStatus": get_model_status_pb2.GetModelStatusRequest(model_spec=spec),
    }
    return [(method, message.SerializeToString()) for method, message in messages.items()]


def page(site: Site) -> str:
    reply = site.target.get(METRICS)
    site.expect(reply.status == 200, f"the metrics page was answered {reply.status}")
    site.expect(len(reply.body) < MEGABYTE, f"the metrics page has {len(reply.body):,} bytes")
    return reply.text


@KIND.attack("600 models of a megabyte, gRPC")
def _(site: Site) -> int:
    for number in range(site.many(100)):
        for method, data in requests(f"{number}" + "a" * MEGABYTE):
            code = site.call(method, data)
            site.expect(code != "OK", f"{method} of a model that nobody has was answered OK")
    page(site)
    return MEGABYTE


@KIND.attack("600 models of 50 kB, REST")
def _(site: Site) -> None:
    for number in range(site.many(150)):
        path = f"/v1/models/{number}" + "a" * 50_000
        for method, more in (("GET", ""), ("GET", "/metadata"), ("POST", ":predict"), ("POST", ":classify")):
            site.http(method, path + more, b"{}" if method == "POST" else None)
    page(site)


@KIND.attack("ten thousand invented names")
def _(site: Site) -> None:
    def count() -> float:
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in page(site).splitlines()
            if line.startswith(":tensorflow:serving:request_count{") and '"half_plus_two"' in line
        )

    for number in range(site.many(5_000)):
        site.http("GET", f"/v1/models/invented{number}")
        data = predict_pb2.PredictRequest(model_spec=model_spec(f"another{number}"))
        site.call(PREDICTION + "Predict", data.SerializeToString())
    before = count()
    for _ in range(10):
        site.post("half_plus_two", {"instances": [1.0]})
    counted = count() - before
    site.expect(counted >= 10, f"of ten requests for a real model {counted:.0f} were counted")
    site.expect("invented" not in page(site), "an invented name stands in the metrics page")


@KIND.attack("names in odd letters")
def _(site: Site) -> None:
    odd = (
        "\U0001f600" * 1024,
        "\u0301" * 1024,
        "\x00" * 10,
        "\r\nx: y",
        '"} 1\n',
        "%s%n",
        "a\\",
        "\u202e" * 99,
    )
    for name in odd:
        for method, data in requests(name):
            code = site.call(method, data)
            site.expect(code in ("NOT_FOUND", "INVALID_ARGUMENT"), f"{method} of {name[:9]!r}: {code}")
        for signature, label in ((name, None), ("", name)):
            for method, data in requests("half_plus_two", signature, label):
                site.call(method, data)
        site.post("half_plus_two", {"signature_name": name, "instances": [1.0]})
        site.post("strings", {name: 1, "instances": ["a"]})
        site.post("pair", {"instances": [{name: 1, "a": 1, "b": 2}]})
    for path in (
        b"\xff",
        b"%FF%FE",
        b"%00",
        b"%0D%0Ax: y",
        b"%F0%9F%98%80" * 200,
        "\U0001f600".encode() * 200,
    ):
        raw_path(site, b"/v1/models/" + path)
        raw_path(site, b"/v1/models/half_plus_two/labels/" + path + b"/metadata")
    page(site)


def raw_path(site: Site, path: bytes) -> None:
    """Paths that `http.client` would not send."""
    with site.connect("rest") as connection:
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        reply = b""
        try:
            while piece := connection.recv(65536):
                reply += piece
        except OSError as error:
            site.violated(f"GET {path[:40]!r}: {type(error).__name__}")
        status = reply.split(b" ", 2)[1:2]
        site.answered(f"HTTP {status[0].decode()}" if status else "closed")
        if status:
            site.expect(int(status[0]) < 500, f"GET {path[:40]!r}: {reply[:80]!r}")


@KIND.attack("signatures and labels of a megabyte")
def _(site: Site) -> int:
    long = "s" * MEGABYTE
    for _ in range(site.many(20)):
        for signature, label in ((long, None), ("", long)):
            for method, data in requests("half_plus_two", signature, label):
                site.call(method, data)
        site.post("half_plus_two", {"signature_name": long, "instances": [1.0]})
    page(site)
    return MEGABYTE


@KIND.attack("aliases, fields and features of a megabyte")
def _(site: Site) -> int:
    long = "s" * MEGABYTE
    for _ in range(site.many(10)):
        request = predict_pb2.PredictRequest(model_spec=model_spec("half_plus_two"), output_filter=[long])
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
        site.call(PREDICTION + "Predict", request.SerializeToString())
        request.inputs[long].CopyFrom(request.inputs["x"])
        site.call(PREDICTION + "Predict", request.SerializeToString())
        metadata = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=model_spec("half_plus_two"), metadata_field=[long]
        )
        site.call(PREDICTION + "GetModelMetadata", metadata.SerializeToString())
        site.post("half_plus_two", {"instances": [{long: 1.0}]})
        site.post("half_plus_two", {"inputs": {long: 1.0}})
        site.post("examples", {"examples": [{long: 1.0}]}, "classify")
    return MEGABYTE


@KIND.attack("reloads that name a megabyte")
def _(site: Site) -> int:
    for _ in range(site.many(10)):
        request = model_management_pb2.ReloadConfigRequest()
        request.config.model_config_list.config.add(name="a" * MEGABYTE, base_path="relative")
        site.call(MODEL + "HandleReloadConfigRequest", request.SerializeToString())
        request = model_management_pb2.ReloadConfigRequest(metric_names=["m" * MEGABYTE] * 5)
        request.config.model_config_list.config.add(name="a", base_path="r" * MEGABYTE)
        site.call(MODEL + "HandleReloadConfigRequest", request.SerializeToString())
    page(site)
    return 6 * MEGABYTE


@KIND.attack("health of services that nobody has")
def _(site: Site) -> None:
    for number in range(site.many(3000)):
        name = f"service {number} ".encode() * 50
        site.call("/grpc.health.v1.Health/Check", b"\x0a" + varint(len(name)) + name)
    for number in range(site.many(2000)):
        site.call(f"/no.such.Service{number}/Method", b"")


@KIND.attack("numbers of versions")
def _(site: Site) -> None:
    for digits in ("0" * 5000, "9" * 5000, str(2**63 - 1), str(2**63), str(2**64), "-1", "1e5", "１２"):
        for more in ("", "/metadata", ":predict"):
            path = f"/v1/models/half_plus_two/versions/{digits}{more}".encode()
            raw_path(site, path)
    for version in (-1, 0, 2**63 - 1, -(2**63)):
        for method in ("Predict", "GetModelMetadata"):
            message = predict_pb2.PredictRequest(model_spec=model_spec("half_plus_two", version=version))
            site.call(PREDICTION + method, message.SerializeToString())
    site.post("half_plus_two", json.dumps({"instances": [1.0]}).encode())


KINDS = (KIND,)
