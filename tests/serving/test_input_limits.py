"""Shapes and numbers that ask for more than they carry, at every way in of gRPC and REST."""

from __future__ import annotations

import random
import shutil

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

from tf_mlm.serving.errors import ServingError
from tf_mlm.serving.input_limits import MAX_RANK, InputLimits
from tf_mlm.serving.tensor_codec import TensorError, decode

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def proto(dtype: int, shape: list[int], **fields) -> tensor_pb2.TensorProto:
    made = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (proto(types_pb2.DT_FLOAT, [2**28], float_val=[1]), "--max_expanded_elements"),
        (proto(types_pb2.DT_STRING, [2**24], string_val=[b"a"]), "--max_expanded_elements"),
        (proto(types_pb2.DT_STRING, [20_000]), "--max_strings_per_request"),
        (proto(types_pb2.DT_STRING, [20_000], tensor_content=b"\0" * 20_000), "--max_strings_per_request"),
        (proto(types_pb2.DT_BOOL, [2**40]), "--max_expanded_elements"),
        (proto(types_pb2.DT_COMPLEX64, [2**21], scomplex_val=[1, 2]), "--max_expanded_elements"),
        (proto(types_pb2.DT_FLOAT, [0, 2**40]), "--max_expanded_elements"),
        (proto(types_pb2.DT_FLOAT, [2**62, 2**62, 2**62]), "--max_expanded_elements"),
        (proto(types_pb2.DT_STRING, [1] * 33), "33 dimensions; a tensor may have at most 8"),
        (proto(types_pb2.DT_FLOAT, [1] * 300), "300 dimensions; a tensor may have at most 8"),
        (proto(types_pb2.DT_FLOAT, [-1]), "fully known"),
    ],
    ids=range(11),
)
def test_a_shape_that_asks_for_too_much_is_refused_by_name(made, message: str) -> None:
    with pytest.raises(TensorError, match=message):
        decode(made)


def test_what_the_bytes_carry_is_no_expansion() -> None:
    tight = InputLimits(max_expanded_elements=4)
    whole = proto(types_pb2.DT_INT32, [200_000], int_val=range(200_000))
    np.testing.assert_array_equal(decode(whole, tight), np.arange(200_000))
    assert decode(proto(types_pb2.DT_FLOAT, [4], float_val=[7]), tight).tolist() == [7] * 4
    with pytest.raises(TensorError, match="stands for 5 elements, of which the request carries 1"):
        decode(proto(types_pb2.DT_FLOAT, [5], float_val=[7]), tight)


def random_shape(rng: random.Random) -> list[int]:
    rank = rng.choice([0, 1, 1, 2, 2, 3, 5, 8, 9, 16, 32, 33, 64, 254, 300])
    sizes = [0, 1, 1, 1, 2, 3] if rank < 6 else [1, 1, 1, 0]
    shape = [rng.choice(sizes) for _ in range(rank)]
    if shape and rng.random() < 0.2:
        shape[rng.randrange(rank)] = rng.choice([2**20, 2**31, 2**40, 2**62, -1])
    return shape


def test_no_shape_ends_the_server(served) -> None:
    """Shapes of every rank on every input of every signature: an answer, or INVALID_ARGUMENT."""
    rng = random.Random(0)
    with served.server.manager.lease("shapes") as servable:
        signatures = {name: sig for name, sig in servable.signatures.items() if sig.inputs}
    signatures.pop("slow")
    for _ in range(600):
        name = rng.choice(sorted(signatures))
        request = served.request("shapes", {}, name)
        for alias, info in signatures[name].inputs.items():
            request.inputs[alias].CopyFrom(proto(info.dtype, random_shape(rng)))
        code = served.prediction.Predict.future(request, timeout=30).code()
        assert code in (grpc.StatusCode.OK, INVALID), (name, request)
    assert served.predict("shapes", {"x": np.float32([1.0])})["x"].tolist() == [1.0]


@pytest.mark.parametrize(("shape", "fits"), [([], True), ([2], True), ([1, 2], False), ([1, 0], False)])
def test_a_rank_above_the_declared_one_is_refused(served, shape: list[int], fits: bool) -> None:
    request = served.request(
        "shapes", {"text": proto(types_pb2.DT_STRING, shape, string_val=[b"1"])}, "number"
    )
    answer = served.prediction.Predict.future(request, timeout=30)
    assert answer.code() is (grpc.StatusCode.OK if fits else INVALID)
    if not fits:
        assert "The input text is declared with [-1], 1 dimensions" in answer.details()
        assert "too many pairs of brackets" in answer.details()


@pytest.mark.parametrize("rank", [MAX_RANK, MAX_RANK + 1, 33])
def test_nested_lists_over_rest(served, rank: int) -> None:
    body = {"inputs": "a", "signature_name": "echo"}
    for _ in range(rank):
        body["inputs"] = [body["inputs"]]  # type: ignore[assignment]
    reply = served.post("shapes:predict", body)
    assert reply.status_code == (200 if rank <= MAX_RANK else 400)
    assert rank <= MAX_RANK or f"at most {MAX_RANK} deep" in reply.text


@pytest.fixture
def strict(serve, models, tmp_path):
    shutil.copytree(models / "half_plus_two", tmp_path / "m" / "1")
    shutil.copytree(models / "shapes", tmp_path / "s" / "1")
    config = tmp_path / "models.config"
    listed = (
        f'config {{ name: "{name}" base_path: "{tmp_path / name}" model_platform: "tensorflow" }}'
        for name in ("m", "s")
    )
    config.write_text(f"model_config_list {{ {' '.join(listed)} }}")
    served = serve(
        model_config_file=str(config),
        max_strings_per_request=3,
        max_expanded_elements=10,
        max_request_bytes=2000,
    )
    yield served
    served.server.stop()


def fails(call, request, message: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        call(request, timeout=30)
    assert error.value.code() is INVALID
    assert message in error.value.details()


def test_texts_and_examples_are_counted_at_every_way_in(strict) -> None:
    text = "The request has 4 strings (texts, or examples); at most 3 are taken at once (--max_strings_per"
    assert strict.post("s:predict", {"inputs": ["a"] * 3, "signature_name": "echo"}).status_code == 200
    reply = strict.post("s:predict", {"inputs": ["a"] * 4, "signature_name": "echo"})
    assert (reply.status_code, text in reply.text) == (400, True)
    body = {"examples": [{"x": 1.0}] * 4, "signature_name": "regress_x_to_y"}
    reply = strict.post("m:regress", body)
    assert (reply.status_code, text in reply.text) == (400, True)
    fails(strict.prediction.Predict, strict.request("s", {"text": ["a"] * 4}, "echo"), text)
    many = [tf.train.Example()] * 4
    classify = classification_pb2.ClassificationRequest()
    regress = regression_pb2.RegressionRequest()
    several = inference_pb2.MultiInferenceRequest()
    several.tasks.add(method_name="tensorflow/serving/regress")
    for request, spec, call in (
        (classify, classify.model_spec, strict.prediction.Classify),
        (regress, regress.model_spec, strict.prediction.Regress),
        (several, several.tasks[0].model_spec, strict.prediction.MultiInference),
    ):
        spec.name = "m"
        spec.signature_name = "classify_x_to_y" if request is classify else "regress_x_to_y"
        request.input.example_list.examples.extend(many)
        fails(call, request, text)


def test_a_context_is_not_multiplied_beyond_a_request(strict) -> None:
    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", "regress_x_to_y"
    given = request.input.example_list_with_context
    given.context.features.feature["x"].float_list.value.extend([1.0])
    given.context.features.feature["y"].bytes_list.value.append(b"y" * 900)
    given.examples.extend([tf.train.Example()] * 2)
    assert len(strict.prediction.Regress(request).result.regressions) == 2
    given.examples.extend([tf.train.Example()])
    fails(strict.prediction.Regress, request, "of the largest request (--max_request_bytes)")


def test_limits_are_checked_without_making_what_they_refuse() -> None:
    with pytest.raises(ServingError, match="stands for"):
        InputLimits().check_shape([2**60] * 8, carried=1)
