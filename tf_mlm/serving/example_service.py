"""Classify, Regress and MultiInference: examples in, labelled scores or values out.

All three feed one string vector of serialized `tf.Example`s into a graph that parses them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

from tf_mlm.serving.call import Call
from tf_mlm.serving.errors import Code, ServingError, invalid_argument
from tf_mlm.serving.input_limits import InputLimits
from tf_mlm.serving.models.served_signature import ServedSignature
from tf_mlm.serving.service import CLASSIFY_METHOD, REGRESS_METHOD, ModelSpec, Service
from tf_mlm.serving.tensor_codec import data_type

Values = Mapping[str, np.ndarray]


def serialized_examples(request_input: Any, limits: InputLimits) -> np.ndarray:
    """The examples of an `Input` as a string vector; a shared context is put before each.

    Protobuf merges repeated occurrences, later ones winning, so prepending the context's bytes
    gives every example its features without parsing either.

    Raises:
        ServingError: INVALID_ARGUMENT when there is none, or more than the limits.
    """
    kind = request_input.WhichOneof("kind")
    if kind == "example_list":
        examples = request_input.example_list.examples
        limits.check_examples(0, examples)
        found = [example.SerializeToString() for example in examples]
    elif kind == "example_list_with_context":
        with_context = request_input.example_list_with_context
        context = with_context.context.SerializeToString()
        limits.check_examples(len(context), with_context.examples)
        found = [context + example.SerializeToString() for example in with_context.examples]
    else:
        found = []
    if not found:
        raise invalid_argument("Input is empty.")
    vector = np.empty(len(found), object)
    vector[:] = found
    return vector


def _check_method(signature: ServedSignature, noun: str, method: str) -> None:
    if signature.method_name != method:
        raise invalid_argument(
            f"Expected {noun} signature method_name to be {method}. Was: {signature.method_name}"
        )


def classification_tensors(signature: ServedSignature, check_method_name: bool) -> tuple[str, list[str]]:
    """The input and output tensor names of a classification signature, or the rule it breaks."""
    if check_method_name:
        _check_method(signature, "classification", CLASSIFY_METHOD)
    inputs, outputs = signature.inputs, signature.outputs
    if len(inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(outputs)}")
    if "inputs" not in inputs:
        raise invalid_argument(f"No classification inputs found in SignatureDef: {signature}")
    names = [outputs[alias].name for alias in ("classes", "scores") if alias in outputs]
    if not names:
        raise invalid_argument(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature}"
        )
    return inputs["inputs"].name, names


def regression_tensors(signature: ServedSignature, check_method_name: bool) -> tuple[str, list[str]]:
    """The input and output tensor names of a regression signature, or the rule it breaks."""
    if check_method_name:
        _check_method(signature, "regression", REGRESS_METHOD)
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise invalid_argument(f"No regression inputs found in SignatureDef: {signature}")
    if "outputs" not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {signature}")
    return signature.inputs["inputs"].name, [signature.outputs["outputs"].name]


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _type(array: np.ndarray) -> str:
    return types_pb2.DataType.Name(data_type(array))


def _check_class_tensor(array: np.ndarray, what: str, wanted: int, examples: int) -> None:
    if array.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if data_type(array) != wanted:
        name = types_pb2.DataType.Name(wanted)
        raise invalid_argument(f"Expected {what} Tensor of {name}. Got: {_type(array)}")
    if array.shape[0] != examples:
        raise invalid_argument(f"Expected {what} output batch size of {examples}. Got: {array.shape[0]}")


def classification_result(signature: ServedSignature, values: Values, examples: int) -> Any:
    """A `ClassificationResult` from the fetched tensors by name."""
    classes, scores = (
        values[signature.outputs[alias].name] if alias in signature.outputs else None
        for alias in ("classes", "scores")
    )
    if classes is not None:
        _check_class_tensor(classes, "classes", types_pb2.DT_STRING, examples)
    if scores is not None:
        _check_class_tensor(scores, "scores", types_pb2.DT_FLOAT, examples)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument(
            "Tensors class and score should match in dim_size(1). "
            f"Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    result = classification_pb2.ClassificationResult()
    width = next(array.shape[1] for array in (classes, scores) if array is not None)
    for row in range(examples):
        entry = result.classifications.add()
        for column in range(width):
            item = entry.classes.add()
            if classes is not None:
                item.label = classes[row, column].decode("utf-8", "replace")
            if scores is not None:
                item.score = scores[row, column]
    return result


def regression_result(signature: ServedSignature, values: Values, examples: int) -> Any:
    """A `RegressionResult` from the fetched tensors by name."""
    outputs = values[signature.outputs["outputs"].name]
    if outputs.ndim not in (1, 2) or (outputs.ndim == 2 and outputs.shape[1] != 1):
        raise invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            + _shape(outputs)
        )
    if outputs.shape[0] != examples:
        raise invalid_argument(
            f"Input batch size did not match output batch size: {examples} vs. {outputs.shape[0]}"
        )
    if data_type(outputs) != types_pb2.DT_FLOAT:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {_type(outputs)}")
    result = regression_pb2.RegressionResult()
    for value in outputs.ravel().tolist():
        result.regressions.add(value=value)
    return result


class ExampleService:
    """Classify, Regress and MultiInference on top of the core's leases and runs."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def classify(self, request: Any, call: Call | None = None) -> Any:
        response = classification_pb2.ClassificationResponse()
        result = self._one(request, response, "Classify", classification_tensors, classification_result, call)
        response.result.CopyFrom(result)
        return response

    def regress(self, request: Any, call: Call | None = None) -> Any:
        response = regression_pb2.RegressionResponse()
        result = self._one(request, response, "Regress", regression_tensors, regression_result, call)
        response.result.CopyFrom(result)
        return response

    def _one(
        self,
        request: Any,
        response: Any,
        api: str,
        tensors: Callable[[ServedSignature, bool], tuple[str, list[str]]],
        make_result: Callable[[ServedSignature, Values, int], Any],
        call: Call | None,
    ) -> Any:
        spec = ModelSpec.from_request(request)
        with self._service.lease(spec) as servable:
            signature = servable.signatures.get(spec.signature_name)
            if signature is None:
                raise invalid_argument(f"No signature was found with the name: {spec.signature_name}")
            input_name, output_names = tensors(signature, self._service.check_method_names)
            examples = serialized_examples(request.input, self._service.limits)
            values = self._service.run(servable, api, {input_name: examples}, output_names, call)
            fill_model_spec(response.model_spec, spec, servable.version)
            return make_result(signature, dict(zip(output_names, values, strict=True)), len(examples))

    def multi_inference(self, request: Any, call: Call | None = None) -> Any:
        """All tasks of one model in one run of its graph."""
        if not request.tasks:
            raise invalid_argument("ModelSpec has no name specified.")
        spec = ModelSpec.from_request(request.tasks[0])
        response = inference_pb2.MultiInferenceResponse()
        with self._service.lease(spec) as servable:
            plans = self._plan_tasks(servable.signatures, request.tasks)
            input_names = sorted({plan[1] for plan in plans.values()})
            output_names = sorted({name for plan in plans.values() for name in plan[2]})
            examples = serialized_examples(request.input, self._service.limits)
            self._service.metrics.example_counts.observe(len(examples), spec.name)
            self._service.metrics.example_count_total.add(spec.name, by=len(examples))
            feeds = dict.fromkeys(input_names, examples)
            fetched = self._service.run(servable, "MultiInference", feeds, output_names, call)
            values = dict(zip(output_names, fetched, strict=True))
            for task in request.tasks:
                task_spec = ModelSpec.from_proto(task.model_spec)
                signature = plans[task_spec.signature_name][0]
                result = response.results.add()
                fill_model_spec(result.model_spec, task_spec, servable.version)
                if task.method_name == CLASSIFY_METHOD:
                    found = classification_result(signature, values, len(examples))
                    result.classification_result.CopyFrom(found)
                else:
                    found = regression_result(signature, values, len(examples))
                    result.regression_result.CopyFrom(found)
        return response

    def _plan_tasks(
        self, signatures: Mapping[str, ServedSignature], tasks: Any
    ) -> dict[str, tuple[ServedSignature, str, list[str]]]:
        """Signature name to (signature, input tensor, output tensors), checked task by task."""
        plans: dict[str, tuple[ServedSignature, str, list[str]]] = {}
        for task in tasks:
            if not task.model_spec.name:
                raise invalid_argument("Found ModelSpec with an empty model name.")
            if task.model_spec.name != tasks[0].model_spec.name:
                raise invalid_argument(
                    "All ModelSpecs in a MultiInferenceRequest must access the same model name."
                )
            name = ModelSpec.from_proto(task.model_spec).signature_name
            if name in plans:
                raise invalid_argument(f"Duplicate evaluation of signature: {name}")
            if name not in signatures:
                raise invalid_argument(f"Requested signature not found in model graph: {name}")
            if task.method_name == CLASSIFY_METHOD:
                tensors = classification_tensors
            elif task.method_name == REGRESS_METHOD:
                tensors = regression_tensors
            else:
                raise ServingError(
                    Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}"
                )
            plans[name] = (signatures[name], *tensors(signatures[name], self._service.check_method_names))
        return plans


def fill_model_spec(proto: Any, spec: ModelSpec, version: int) -> None:
    """The spec of a response: the name as asked, the version and signature actually used."""
    proto.name = spec.name
    proto.version.value = version
    proto.signature_name = spec.signature_name
