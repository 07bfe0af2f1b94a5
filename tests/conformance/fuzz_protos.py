"""Generated and mutated gRPC requests, as the bytes that go over the wire."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from conformance.fuzz_rest import MODELS, NAMES, SIGNATURES, characters, edits, splice


def proto_requests() -> st.SearchStrategy[tuple[str, bytes]]:
    """(method, bytes): well-formed requests with odd contents, and the same with bytes changed."""
    sizes = st.one_of(st.integers(-2, 4), st.sampled_from((2**31, 2**40, 2**62, 2**63 - 1)))
    dimensions = st.lists(sizes, max_size=4).map(lambda sizes: {"dim": [{"size": size} for size in sizes]})
    shapes: st.SearchStrategy[Any] = st.one_of(st.builds(dict, unknown_rank=st.booleans()), dimensions)
    floats = st.lists(st.floats(width=32), max_size=4)
    tensors = st.fixed_dictionaries(
        {"dtype": st.one_of(st.integers(0, 30), st.sampled_from((1, 3, 7, 9, 101, 999)))},
        optional={
            "tensor_shape": shapes,
            "tensor_content": st.binary(max_size=32),
            "float_val": floats,
            "double_val": floats,
            "int_val": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
            "string_val": st.lists(st.binary(max_size=8), max_size=3),
            "int64_val": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
            "bool_val": st.lists(st.booleans(), max_size=3),
            "half_val": st.lists(st.integers(0, 70_000), max_size=3),
        },
    ).map(lambda fields: tensor_pb2.TensorProto(**fields))

    def spec(name: str, signature: str, version: int | None, label: str | None) -> model_pb2.ModelSpec:
        result = model_pb2.ModelSpec(name=name, signature_name=signature)
        if label is not None:
            result.version_label = label
        elif version is not None:
            result.version.value = version
        return result

    specs = st.builds(
        spec,
        st.sampled_from((*MODELS, "")),
        st.sampled_from(SIGNATURES),
        st.sampled_from((None, None, None, 0, 1, 123, -1, 2**63 - 1)),
        st.sampled_from((None, None, None, None, "stable", "missing", "no")),
    )
    features = st.dictionaries(
        st.sampled_from(NAMES),
        st.one_of(
            st.builds(lambda v: feature_pb2.Feature(float_list={"value": v}), floats),
            st.builds(
                lambda v: feature_pb2.Feature(int64_list={"value": v}),
                st.lists(st.integers(-9, 9), max_size=2),
            ),
            st.builds(
                lambda v: feature_pb2.Feature(bytes_list={"value": v}),
                st.lists(st.binary(max_size=4), max_size=2),
            ),
        ),
        max_size=3,
    )
    examples = features.map(lambda each: example_pb2.Example(features={"feature": each}))
    inputs = st.one_of(
        st.builds(lambda e: input_pb2.Input(example_list={"examples": e}), st.lists(examples, max_size=3)),
        st.builds(
            lambda e, c: input_pb2.Input(example_list_with_context={"examples": e, "context": c}),
            st.lists(examples, max_size=3),
            examples,
        ),
        st.just(input_pb2.Input()),
    )
    tasks = st.builds(
        lambda s, m: inference_pb2.InferenceTask(model_spec=s, method_name=m),
        specs,
        st.sampled_from(
            ("tensorflow/serving/classify", "tensorflow/serving/regress", "tensorflow/serving/predict", "")
        ),
    )
    values_by_dtype = {
        1: ("float_val", floats),
        2: ("double_val", floats),
        3: ("int_val", st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)),
        7: ("string_val", st.lists(st.binary(max_size=8), max_size=3)),
        9: ("int64_val", st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)),
    }
    fitting = {
        dtype: st.builds(
            lambda value, size, dtype=dtype, field=field: tensor_pb2.TensorProto(
                dtype=dtype, tensor_shape={"dim": [{"size": size}]}, **{field: value}
            ),
            each,
            st.integers(0, 6),
        )
        for dtype, (field, each) in values_by_dtype.items()
    }
    calls = {  # model and signature → inputs that fit
        ("half_plus_two", ""): {"x": 1},
        ("pair", ""): {"a": 1, "b": 1},
        ("mixed", ""): {"ints": 3, "texts": 7, "floats": 1, "doubles": 2},
        ("dtypes", "int64"): {"x": 9},
        ("strings", ""): {"text": 7},
        ("half_plus_two", "regress_x_to_y"): {"inputs": 7},
        ("tf_text", ""): {"text": 7},
    }
    likely = st.one_of(
        *(
            st.builds(
                lambda inputs, name=name, signature=signature: (
                    "/tensorflow.serving.PredictionService/Predict",
                    predict_pb2.PredictRequest(
                        model_spec={"name": name, "signature_name": signature}, inputs=inputs
                    ).SerializeToString(),
                ),
                st.fixed_dictionaries({alias: fitting[dtype] for alias, dtype in inputs.items()}),
            )
            for (name, signature), inputs in calls.items()
        )
    )
    prediction, model = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
    well_formed = st.one_of(
        st.builds(
            lambda s, i, f: (
                prediction + "Predict",
                predict_pb2.PredictRequest(model_spec=s, inputs=i, output_filter=f),
            ),
            specs,
            st.dictionaries(st.sampled_from(NAMES), tensors, max_size=3),
            st.lists(st.sampled_from(NAMES), max_size=2),
        ),
        st.builds(
            lambda s, i: (
                prediction + "Classify",
                classification_pb2.ClassificationRequest(model_spec=s, input=i),
            ),
            specs,
            inputs,
        ),
        st.builds(
            lambda s, i: (prediction + "Regress", regression_pb2.RegressionRequest(model_spec=s, input=i)),
            specs,
            inputs,
        ),
        st.builds(
            lambda t, i: (
                prediction + "MultiInference",
                inference_pb2.MultiInferenceRequest(tasks=t, input=i),
            ),
            st.lists(tasks, max_size=3),
            inputs,
        ),
        st.builds(
            lambda s, f: (
                prediction + "GetModelMetadata",
                get_model_metadata_pb2.GetModelMetadataRequest(model_spec=s, metadata_field=f),
            ),
            specs,
            st.lists(st.sampled_from(("signature_def", "other", "")), max_size=2),
        ),
        st.builds(
            lambda s: (model + "GetModelStatus", get_model_status_pb2.GetModelStatusRequest(model_spec=s)),
            specs,
        ),
        # Reloads are fuzzed only where they must be refused: anything else would take the models away.
        st.builds(
            lambda n: (
                model + "HandleReloadConfigRequest",
                model_management_pb2.ReloadConfigRequest(
                    config={"model_config_list": {"config": [{"name": n, "base_path": "relative"}]}}
                ),
            ),
            st.text(characters, max_size=4),
        ),
    ).map(lambda pair: (pair[0], pair[1].SerializeToString()))
    mutated = st.builds(lambda pair, changes: (pair[0], splice(pair[1], changes)), well_formed, edits)

    def is_harmless(pair: tuple[str, bytes]) -> bool:
        if not pair[0].endswith("HandleReloadConfigRequest"):
            return True
        try:
            config = model_management_pb2.ReloadConfigRequest.FromString(
                pair[1]
            ).config.model_config_list.config
        except Exception:
            return True
        return any(not entry.base_path.startswith("/") for entry in config) and "://" not in str(config)

    likely_mutated = st.builds(lambda pair, changes: (pair[0], splice(pair[1], changes)), likely, edits)
    return st.one_of(well_formed, mutated.filter(is_harmless), likely, likely_mutated)
