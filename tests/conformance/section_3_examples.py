"""Section 3.5: Classify, Regress and MultiInference over gRPC."""

from __future__ import annotations

from tensorflow_serving.apis import classification_pb2, input_pb2

from conformance.case import Needs, Section
from conformance.expectations import close, equal, rpc_error
from conformance.models_tf1 import CLASSIFY, REGRESS
from conformance.server import Server, examples_input, model_spec

classify = Section("3.5 Classify", Needs.SERVER)
regress = Section("3.5 Regress", Needs.SERVER)
multi = Section("3.5 MultiInference", Needs.SERVER)

TWO = examples_input({"x": 2.0})
BATCH = examples_input({"x": 2.0}, {"x": 4.0})


def classes(response: classification_pb2.ClassificationResponse) -> list[list[tuple[str, float]]]:
    rows = response.result.classifications
    return [[(item.label, item.score) for item in row.classes] for row in rows]


def values(response) -> list[float]:  # type: ignore[no-untyped-def]
    return [item.value for item in response.result.regressions]


for _model in ("half_plus_two", "half_plus_two_tf2"):

    @classify.case(f"{_model}: scores without classes have empty labels")
    def _(server: Server, model: str = _model) -> None:
        response = server.classify(model_spec(model, "classify_x_to_y"), TWO)
        equal(classes(response), [[("", 3.0)]], "classes")
        equal(response.model_spec, model_spec(model, "classify_x_to_y", version=123), "model_spec")

    @regress.case(f"{_model}: x=2.0 answers 3.0")
    def _(server: Server, model: str = _model) -> None:
        response = server.regress(model_spec(model, "regress_x_to_y"), TWO)
        equal(values(response), [3.0], "regressions")
        equal(response.model_spec, model_spec(model, "regress_x_to_y", version=123), "model_spec")

    @multi.case(f"{_model}: results in the order of the tasks, each with its model_spec")
    def _(server: Server, model: str = _model) -> None:
        tasks = [
            (model_spec(model, "regress_x_to_y"), REGRESS),
            (model_spec(model, "classify_x_to_y"), CLASSIFY),
        ]
        first, second = server.multi_inference(tasks, TWO).results
        equal([item.value for item in first.regression_result.regressions], [3.0], "regressions")
        equal(first.model_spec, model_spec(model, "regress_x_to_y", version=123), "model_spec of the first")
        close(
            [[c.score for c in row.classes] for row in second.classification_result.classifications], [[3.0]]
        )
        equal(
            second.model_spec, model_spec(model, "classify_x_to_y", version=123), "model_spec of the second"
        )


@classify.case("classes and scores for several examples")
def _(server: Server) -> None:
    response = server.classify(model_spec("examples"), BATCH)
    equal(classes(response), [[("low", 2.0), ("high", 4.0)], [("low", 4.0), ("high", 8.0)]], "classes")
    equal(response.model_spec, model_spec("examples", "serving_default", version=1), "model_spec")


@classify.case("classes without scores score 0")
def _(server: Server) -> None:
    response = server.classify(model_spec("examples", "classes_only"), TWO)
    equal(classes(response), [[("low", 0.0), ("high", 0.0)]], "classes")


@classify.case("bytes and integer features; features that are missing take the model's defaults")
def _(server: Server) -> None:
    data = examples_input({"name": b"cat", "count": 3}, {})
    labels = [
        [label for label, _ in row]
        for row in classes(server.classify(model_spec("examples", "features"), data))
    ]
    equal(labels, [["cat", "3"], ["none", "-1"]], "labels")


@classify.case("context features are shared, an example's own feature wins")
def _(server: Server) -> None:
    data = examples_input({"count": 1}, {"count": 2, "name": b"own"}, context={"name": b"shared"})
    labels = [
        [label for label, _ in row]
        for row in classes(server.classify(model_spec("examples", "features"), data))
    ]
    equal(labels, [["shared", "1"], ["own", "2"]], "labels")


@regress.case("context features reach Regress too")
def _(server: Server) -> None:
    data = examples_input({}, {"x": 5.0}, context={"x": 2.0})
    equal(values(server.regress(model_spec("examples", "vector"), data)), [2.0, 5.0], "regressions")


@regress.case("outputs of shape [N] and [N, 1]")
def _(server: Server) -> None:
    for signature in ("vector", "column"):
        equal(values(server.regress(model_spec("examples", signature), BATCH)), [2.0, 4.0], signature)


@regress.case("another regression signature of the same graph")
def _(server: Server) -> None:
    equal(values(server.regress(model_spec("half_plus_two", "regress_x_to_y2"), TWO)), [4.0], "regressions")


@regress.case("the method name is not checked by default, the shape of the signature is")
def _(server: Server) -> None:
    equal(values(server.regress(model_spec("examples", "no_method"), TWO)), [2.0], "regressions")


EMPTY = {
    "no input at all": input_pb2.Input(),
    "an empty example list": input_pb2.Input(example_list=input_pb2.ExampleList()),
    "an empty list with context": input_pb2.Input(
        example_list_with_context=input_pb2.ExampleListWithContext()
    ),
}
for _title, _data in EMPTY.items():
    classify.add(
        f"Input is empty: {_title}",
        lambda server, data=_data: rpc_error(
            lambda: server.classify(model_spec("examples"), data), "INVALID_ARGUMENT", "Input is empty."
        ),
    )
    regress.add(
        f"Input is empty: {_title}",
        lambda server, data=_data: rpc_error(
            lambda: server.regress(model_spec("examples", "vector"), data),
            "INVALID_ARGUMENT",
            "Input is empty.",
        ),
    )

# signature of `examples` → what the error says; all INVALID_ARGUMENT.
CLASSIFY_ERRORS = {
    "nothing": "No signature was found with the name: nothing",
    "classify_two_inputs": "Expected one input Tensor.",
    "classify_wrong_input": "No classification inputs found in SignatureDef: ",
    "classify_three_outputs": "Expected one or two output Tensors, found 3",
    "classify_wrong_outputs": 'to contain at least one of "classes" or "scores"',
    "classify_rank_one": "Expected Tensor shape: [batch_size num_classes] but got ",
    "classify_float_classes": "Expected classes Tensor of DT_STRING. Got: ",
    "classify_double_scores": "Expected scores Tensor of DT_FLOAT. Got: ",
    "classify_half_batch": "output batch size of 2. Got: 1",
    "classify_uneven": "Tensors class and score should match in dim_size(1). Got 2 vs. 1",
}
REGRESS_ERRORS = {
    "nothing": "No signature was found with the name: nothing",
    "regress_two_inputs": "Expected one input Tensor.",
    "regress_wrong_input": "No regression inputs found ",
    "regress_two_outputs": "Expected one output Tensor.",
    "regress_wrong_output": "No regression outputs found ",
    "regress_wide": "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got ",
    "regress_double": "Expected output Tensor of DT_FLOAT.  Got: ",
    "regress_half_batch": "Input batch size did not match output batch size: 2 vs. 1",
}


def classify_refuses(server: Server, signature: str, text: str) -> None:
    spec = model_spec("examples", signature)
    rpc_error(lambda: server.classify(spec, BATCH), "INVALID_ARGUMENT", text)


def regress_refuses(server: Server, signature: str, text: str) -> None:
    spec = model_spec("examples", signature)
    rpc_error(lambda: server.regress(spec, BATCH), "INVALID_ARGUMENT", text)


classify.each(
    {key: (key, text) for key, text in CLASSIFY_ERRORS.items()}, classify_refuses, "error of signature {}"
)
regress.each(
    {key: (key, text) for key, text in REGRESS_ERRORS.items()}, regress_refuses, "error of signature {}"
)


@regress.case("an input that is not strings fails when it runs")
def _(server: Server) -> None:
    rpc_error(
        lambda: server.regress(model_spec("half_plus_two", "regress_x2_to_y3"), TWO),
        "INVALID_ARGUMENT",
        "Expects arg[0] to be float but string is provided",
    )


@classify.case("models, versions and labels are looked up as for Predict")
def _(server: Server) -> None:
    rpc_error(lambda: server.classify(None, TWO), "INVALID_ARGUMENT", "Missing ModelSpec")
    rpc_error(
        lambda: server.classify(model_spec(""), TWO), "INVALID_ARGUMENT", "ModelSpec has no name specified."
    )
    rpc_error(
        lambda: server.classify(model_spec("nobody"), TWO),
        "NOT_FOUND",
        "Servable not found for request: Latest(nobody)",
    )
    rpc_error(
        lambda: server.regress(model_spec("counter", label="nobody"), TWO),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: nobody",
    )


# ---- multi-inference -----------------------------------------------------------------------------

HALF = "half_plus_two"
REGRESS_TASK = (model_spec(HALF, "regress_x_to_y"), REGRESS)
CLASSIFY_TASK = (model_spec(HALF, "classify_x_to_y"), CLASSIFY)

# title → tasks, code, text.
MULTI_ERRORS = {
    "no tasks": ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    "an empty name in a later task": (
        [REGRESS_TASK, (model_spec("", "classify_x_to_y"), CLASSIFY)],
        "INVALID_ARGUMENT",
        "Found ModelSpec with an empty model name.",
    ),
    "two models": (
        [REGRESS_TASK, (model_spec("half_plus_three", "classify_x_to_y"), CLASSIFY)],
        "INVALID_ARGUMENT",
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    ),
    "a signature twice": (
        [REGRESS_TASK, REGRESS_TASK],
        "INVALID_ARGUMENT",
        "Duplicate evaluation of signature: regress_x_to_y",
    ),
    "an unknown signature": (
        [(model_spec(HALF, "nothing"), REGRESS)],
        "INVALID_ARGUMENT",
        "Requested signature not found in model graph: nothing",
    ),
    "a method that is neither classify nor regress": (
        [(model_spec(HALF, "regress_x_to_y"), "tensorflow/serving/predict")],
        "UNIMPLEMENTED",
        "Unsupported signature method_name: tensorflow/serving/predict",
    ),
    "an unknown model": (
        [(model_spec("nobody", "regress_x_to_y"), REGRESS)],
        "NOT_FOUND",
        "Servable not found for request: Latest(nobody)",
    ),
}
multi.each(
    MULTI_ERRORS,
    lambda server, tasks, code, text: rpc_error(lambda: server.multi_inference(tasks, TWO), code, text),
    "error: {}",
)


@multi.case("versions and labels of later tasks are ignored")
def _(server: Server) -> None:
    odd = (model_spec(HALF, "classify_x_to_y", version=77), CLASSIFY)
    equal(len(server.multi_inference([REGRESS_TASK, odd], TWO).results), 2, "results")


@multi.case("an empty input")
def _(server: Server) -> None:
    rpc_error(
        lambda: server.multi_inference([REGRESS_TASK, CLASSIFY_TASK], input_pb2.Input()),
        "INVALID_ARGUMENT",
        "Input is empty.",
    )


SECTIONS = (classify, regress, multi)
