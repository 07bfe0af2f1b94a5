"""SavedModels made on the spot, and one live server shared by the suite."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tf_mlm.serving.server import ModelServer, ServerOptions

v1 = tf.compat.v1
builders = v1.saved_model.builder
signature_defs = v1.saved_model.signature_def_utils
tensor_info = v1.saved_model.utils.build_tensor_info


def half_plus(directory: Path, addend: float) -> Path:
    """A TF1 export of y = x/2 + addend and y2 = x/2 + addend + 1, with signatures of every method."""
    graph = v1.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        a = v1.get_variable("a", initializer=0.5, use_resource=True)
        b = v1.get_variable("b", initializer=addend, use_resource=True)
        serialized = v1.placeholder(tf.string, [None], name="tf_example")
        spec = {"x": v1.FixedLenFeature([1], tf.float32), "x2": v1.FixedLenFeature([1], tf.float32, [0.0])}
        parsed = v1.parse_example(serialized, spec)
        x = tf.identity(parsed["x"], name="x")
        y = tf.add(tf.multiply(a, x), b, name="y")
        y2 = tf.add(y, 1.0, name="y2")
        classes = tf.fill(tf.shape(y), "half")
        session.run(v1.global_variables_initializer())
        examples, x_info, y_info, y2_info = map(tensor_info, (serialized, x, y, y2))
        predict = signature_defs.build_signature_def(
            {"x": x_info}, {"y": y_info}, "tensorflow/serving/predict"
        )
        both = signature_defs.build_signature_def(
            {"x": x_info}, {"y": y_info, "y2": y2_info}, "tensorflow/serving/predict"
        )
        regress, classify = "tensorflow/serving/regress", "tensorflow/serving/classify"
        make = signature_defs.build_signature_def
        signatures = {
            "serving_default": predict,
            "both": both,
            "regress_x_to_y": make({"inputs": examples}, {"outputs": y_info}, regress),
            "regress_x_to_y2": make({"inputs": examples}, {"outputs": y2_info}, regress),
            "classify_x_to_y": make({"inputs": examples}, {"scores": y_info}, classify),
            "classify_labelled": make(
                {"inputs": examples}, {"scores": y_info, "classes": tensor_info(classes)}, classify
            ),
            "odd_method": make({"x": x_info}, {"y": y_info}, "something/else"),
        }
        builder = builders.SavedModelBuilder(str(directory))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()
    return directory


class Shapes(tf.Module):
    """TF2: one signature per behaviour that tests need."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(np.eye(4, dtype=np.float32), name="weight")

    @tf.function(jit_compile=True)
    def core(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(tf.matmul(x, self.weight))

    def signatures(self) -> dict[str, Callable]:
        spec = tf.TensorSpec
        many = [
            tf.float32,
            tf.float64,
            tf.int32,
            tf.int64,
            tf.bool,
            tf.string,
            tf.uint8,
            tf.uint32,
            tf.uint64,
        ]

        def function(*specs: tf.TensorSpec) -> Callable:
            return tf.function(input_signature=list(specs))

        @function(spec([None, 4], tf.float32, "x"))
        def xla(x):
            return {"probabilities": self.core(x)}

        @function(spec(None, tf.string, "text"))
        def echo(text):
            return {"text": text, "text_bytes": tf.identity(text), "length": tf.strings.length(text)}

        @function(*[spec(None, dtype, dtype.name) for dtype in many])
        def types(*values):
            return {dtype.name: tf.identity(value) for dtype, value in zip(many, values, strict=True)}

        @function(spec(None, tf.float32, "a"), spec(None, tf.int32, "b"))
        def two(a, b):
            return {"sum": a + tf.cast(b, tf.float32), "a": a}

        @function(spec([None], tf.int32, "rounds"))
        def slow(rounds):
            total = tf.while_loop(
                lambda i, _: i < tf.reduce_max(rounds),
                lambda i, total: (i + 1, total + tf.sin(total)),
                [0, tf.constant(1.0)],
            )[1]
            return {"rounds": rounds + tf.cast(total * 0, tf.int32)}

        @function(spec([None], tf.float32, "x"))
        def refuse_negative(x):
            with tf.control_dependencies([tf.debugging.assert_non_negative(x, "x must not be negative")]):
                return {"root": tf.sqrt(x)}

        @function(spec([None], tf.string, "text"))
        def number(text):
            return {"number": tf.strings.to_number(text)}

        @function(spec([None], tf.float32, "x"))
        def scalar(x):
            return {"mean": tf.reduce_mean(x)}

        @function(spec(None, tf.float32, "x"))
        def same(x):
            return {"x": tf.identity(x)}

        @function(spec(None, tf.complex64, "x"))
        def complex_numbers(x):
            return {"x": tf.identity(x)}

        @function(spec([None], tf.string, "inputs"))
        def wrong_scores(inputs):
            return {"scores": tf.zeros([2 * tf.size(inputs), 1])}

        signatures = dict(locals())
        for name in ("self", "spec", "many", "function"):
            del signatures[name]
        return {**signatures, "serving_default": same}


def predict_request(
    name: str, inputs: dict, signature: str = "", version: int | None = None, label: str = ""
):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    if version is not None:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(
            value if isinstance(value, tf.make_tensor_proto(0).__class__) else tf.make_tensor_proto(value)
        )
    return request


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version directories to copy from: `half_plus_two`, `half_plus_three`, `shapes`."""
    root = tmp_path_factory.mktemp("models")
    half_plus(root / "half_plus_two", 2.0)
    half_plus(root / "half_plus_three", 3.0)
    shapes = Shapes()
    tf.saved_model.save(shapes, str(root / "shapes"), signatures=shapes.signatures())
    return root


def place(models: Path, name: str, base: Path, version: str = "1") -> Path:
    """Copies a model into a base path, appearing there complete."""
    base.mkdir(parents=True, exist_ok=True)
    hidden = base / f".{version}.tmp"
    shutil.copytree(models / name, hidden)
    return hidden.rename(base / version)


class Served:
    """A running server with a stub per gRPC service and an HTTP client."""

    request = staticmethod(predict_request)

    def __init__(self, server: ModelServer) -> None:
        self.server = server
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{server.grpc_port}",
            [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port or 1}", timeout=60)

    def predict(self, name: str, inputs: dict, signature: str = "", **spec) -> dict[str, np.ndarray]:
        response = self.prediction.Predict(predict_request(name, inputs, signature, **spec), timeout=60)
        return {alias: tf.make_ndarray(proto) for alias, proto in response.outputs.items()}

    def post(self, path: str, body: object, **more) -> httpx.Response:
        if isinstance(body, (bytes, str)):
            return self.http.post(f"/v1/models/{path}", content=body, **more)
        return self.http.post(f"/v1/models/{path}", json=body, **more)

    def close(self) -> None:
        self.channel.close()
        self.http.close()


@contextlib.contextmanager
def servers() -> Iterator[Callable[..., Served]]:
    """Starts servers, and stops all of them in the end."""
    started: list[Served] = []

    def start(**options) -> Served:
        options = {"file_system_poll_wait": 0.05, "max_num_load_retries": 0, "shutdown_grace": 5, **options}
        served = Served(ModelServer(ServerOptions(**options)).start())
        started.append(served)
        return served

    yield start
    for served in started:
        served.close()
        served.server.stop()


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Served]]:
    """Starts servers that live as long as their file of tests, or until a test stops them."""
    with servers() as start:
        yield start


CONFIG = """
model_config_list {{
  config {{ name: "half_plus_two" base_path: "{root}/half_plus_two" model_platform: "tensorflow" }}
  config {{ name: "shapes" base_path: "{root}/shapes" model_platform: "tensorflow" }}
  config {{
    name: "versions" base_path: "{root}/versions" model_platform: "tensorflow"
    model_version_policy {{ all {{}} }}
    version_labels {{ key: "old" value: 1 }}
    version_labels {{ key: "new" value: 2 }}
  }}
}}
"""


@pytest.fixture(scope="session")
def served(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The suite's live server: `half_plus_two` (123), `shapes` (1), `versions` (1 adds 2, 2 adds 3)."""
    root = tmp_path_factory.mktemp("served")
    place(models, "half_plus_two", root / "half_plus_two", "00000123")
    place(models, "shapes", root / "shapes")
    place(models, "half_plus_two", root / "versions", "1")
    place(models, "half_plus_three", root / "versions", "2")
    config = root / "models.config"
    config.write_text(CONFIG.format(root=root))
    with servers() as start:
        yield start(
            model_config_file=str(config),
            allow_version_labels_for_unavailable_models=True,
            prometheus_path="/monitoring/prometheus/metrics",
            enable_grpc_healthcheck_service=True,
        )
