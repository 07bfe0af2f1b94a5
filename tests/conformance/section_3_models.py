"""Sections 3.6 and 3.7: metadata and status over gRPC."""

from __future__ import annotations

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from conformance.case import Needs, Section
from conformance.expectations import contains, equal, rpc_error
from conformance.models_tf1 import CLASSIFY, PREDICT, REGRESS
from conformance.server import Server, model_spec

metadata = Section("3.6 GetModelMetadata", Needs.SERVER)
status = Section("3.7 GetModelStatus", Needs.SERVER)


def signatures(server: Server, model: str) -> dict[str, object]:
    response = server.metadata(model_spec(model), "signature_def")
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found), "metadata must hold a packed SignatureDefMap"
    return dict(found.signature_def)


@metadata.case("name and version come back, and nothing but signature_def")
def _(server: Server) -> None:
    response = server.metadata(model_spec("half_plus_two", "classify_x_to_y"), "signature_def")
    equal(response.model_spec, model_spec("half_plus_two", version=123), "model_spec")
    equal(list(response.metadata), ["signature_def"], "metadata keys")
    equal(
        response.metadata["signature_def"].type_url,
        "type.googleapis.com/tensorflow.serving.SignatureDefMap",
        "type URL",
    )


@metadata.case("every signature with its method, inputs and outputs")
def _(server: Server) -> None:
    found = signatures(server, "half_plus_two")
    equal(
        {name: definition.method_name for name, definition in found.items()},  # type: ignore[attr-defined]
        {
            "serving_default": PREDICT,
            "classify_x_to_y": CLASSIFY,
            "regress_x_to_y": REGRESS,
            "regress_x_to_y2": REGRESS,
            "classify_x2_to_y3": CLASSIFY,
            "regress_x2_to_y3": REGRESS,
        },
        "methods",
    )
    default = found["serving_default"]
    equal(default.inputs["x"].name, "x:0", "feed name")  # type: ignore[attr-defined]
    equal([dim.size for dim in default.inputs["x"].tensor_shape.dim], [-1, 1], "shape of x")  # type: ignore[attr-defined]
    equal(list(default.outputs), ["y"], "outputs")  # type: ignore[attr-defined]


@metadata.case("TF2 exports: __saved_model_init_op is listed")
def _(server: Server) -> None:
    equal(
        set(signatures(server, "scale")),
        {"serving_default", "custom_signature_key", "__saved_model_init_op"},
        "signatures",
    )


@metadata.case("defaults of a signature are kept")
def _(server: Server) -> None:
    definition = signatures(server, "pair")["with_default"]
    equal(list(definition.defaults), ["b"], "names with defaults")  # type: ignore[attr-defined]


@metadata.case("by version and by label")
def _(server: Server) -> None:
    response = server.metadata(model_spec("counter", version=2), "signature_def")
    equal(response.model_spec, model_spec("counter", version=2), "model_spec")
    response = server.metadata(model_spec("counter", label="stable"), "signature_def")
    equal(response.model_spec, model_spec("counter", version=1), "model_spec")


# title → spec, fields, code, text; the order of the table is the order of the checks.
METADATA_ERRORS = {
    "no model_spec": (None, ("signature_def",), "INVALID_ARGUMENT", "Missing ModelSpec"),
    "no metadata field": (
        model_spec("nobody"),
        (),
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    ),
    "an unknown field": (
        model_spec("nobody"),
        ("signature_def", "other"),
        "INVALID_ARGUMENT",
        "Metadata field other is not supported",
    ),
    "a model without name": (
        model_spec(""),
        ("signature_def",),
        "INVALID_ARGUMENT",
        "ModelSpec has no name specified.",
    ),
    "an unknown model": (
        model_spec("nobody"),
        ("signature_def",),
        "NOT_FOUND",
        "Servable not found for request: Latest(nobody)",
    ),
    "an unknown version": (
        model_spec("counter", version=77),
        ("signature_def",),
        "NOT_FOUND",
        "Servable not found for request: Specific(counter, 77)",
    ),
    "an unknown label": (
        model_spec("counter", label="nobody"),
        ("signature_def",),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: nobody",
    ),
}
metadata.each(
    METADATA_ERRORS,
    lambda server, spec, fields, code, text: rpc_error(lambda: server.metadata(spec, *fields), code, text),
    "error: {}",
)


@status.case("one version: AVAILABLE, OK, no message")
def _(server: Server) -> None:
    (entry,) = server.status(model_spec("half_plus_two")).model_version_status
    equal(entry.version, 123, "version")
    equal(entry.state, get_model_status_pb2.ModelVersionStatus.AVAILABLE, "state")
    equal(int(entry.state), 30, "number of AVAILABLE")
    equal((entry.status.error_code, entry.status.error_message), (0, ""), "status")


@status.case("all versions, newest first")
def _(server: Server) -> None:
    equal(list(server.states("counter")), [3, 2, 1, 0], "versions")


@status.case("one version by number, 0 included")
def _(server: Server) -> None:
    for version in (0, 2):
        entries = server.status(model_spec("counter", version=version)).model_version_status
        equal([entry.version for entry in entries], [version], "versions")


@status.case("labels are neither honoured nor checked")
def _(server: Server) -> None:
    for label in ("stable", "nobody"):
        entries = server.status(model_spec("counter", label=label)).model_version_status
        equal([entry.version for entry in entries], [3, 2, 1, 0], f"versions for label {label}")


STATUS_ERRORS = {
    "no model_spec": (None, "INVALID_ARGUMENT", "Missing ModelSpec"),
    "an unknown model": (model_spec("nobody"), "NOT_FOUND", "Could not find any versions of model nobody"),
    "an empty name": (model_spec(""), "NOT_FOUND", "Could not find any versions of model "),
    "an unknown version": (
        model_spec("counter", version=77),
        "NOT_FOUND",
        "Could not find version 77 of model counter",
    ),
}
status.each(
    STATUS_ERRORS,
    lambda server, spec, code, text: rpc_error(lambda: server.status(spec), code, text),
    "error: {}",
)


@status.case("a failing request changes no state")
def _(server: Server) -> None:
    before = server.states("half_plus_two")
    contains(rpc_error(lambda: server.predict("half_plus_two", {}), "INVALID_ARGUMENT"), "input size")
    equal(server.states("half_plus_two"), before, "states")


SECTIONS = (metadata, status)
