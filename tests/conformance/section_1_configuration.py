"""Section 1.3: configuration files, and the model lists that are refused."""

from __future__ import annotations

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from conformance.case import Needs, Section
from conformance.expectations import close, contains, equal, rpc_error
from conformance.launcher import Launcher
from conformance.section_1_command_line import NO_RETRIES, failed, model_flags
from conformance.server import Server

files = Section("1.3 Configuration files", Needs.PROCESS)
reload = Section("1.3 Model lists over RPC", Needs.SERVER)


def model_list(*entries: str) -> str:
    return "model_config_list {" + " ".join(f"config {{ {entry} }}" for entry in entries) + "}"


@files.case("malformed model config: protobuf's message, INVALID_ARGUMENT, status 255")
def _(launcher: Launcher) -> None:
    path = launcher.file("this is not a model config")
    finished = launcher.run_with_ports(f"--model_config_file={path}")
    failed(finished, f"INVALID_ARGUMENT: Invalid protobuf file: '{path}'")
    contains(finished.stderr, "Error parsing text-format tensorflow.serving.ModelServerConfig", what="stderr")


@files.case("an empty model config starts a server without models")
def _(launcher: Launcher) -> None:
    with launcher.running(f"--model_config_file={launcher.file('')}") as process:
        rpc_error(
            lambda: process.predict("half_plus_two", {"x": [2.0]}),
            "NOT_FOUND",
            "Servable not found for request: Latest(half_plus_two)",
        )


@files.case("text format tolerates `field: { }`, commas and semicolons; the file wins over model flags")
def _(launcher: Launcher) -> None:
    models = launcher.repository.models
    text = (
        "model_config_list: { config: { name: 'half_plus_three', base_path: "
        f"'{models / 'half_plus_three'}'; model_platform: 'tensorflow' }}, }}"
    )
    path = launcher.file(text)
    with launcher.running(f"--model_config_file={path}", *model_flags(launcher)) as process:
        close(process.predict("half_plus_three", {"x": [2.0]})["y"], [4.0])
        equal(process.states("half_plus_two"), {}, "models of the overruled flags")


@files.case("labels in the initial config fail without the flag that allows them")
def _(launcher: Launcher) -> None:
    path = launcher.repository.models / "half_plus_two"
    entry = (
        f'name: "m" base_path: "{path}" model_platform: "tensorflow" version_labels {{ key: "a" value: 123 }}'
    )
    failed(
        launcher.run_with_ports(f"--model_config_file={launcher.file(model_list(entry))}"),
        "FAILED_PRECONDITION: Request to assign label to version 123 of model m, "
        "which is not currently available for inference",
    )


@files.case("logging_config: refused after the models have loaded")
def _(launcher: Launcher) -> None:
    path = launcher.repository.models / "half_plus_two"
    logging = "logging_config { sampling_config { } }"
    entry = f'name: "m" base_path: "{path}" model_platform: "tensorflow" {logging}'
    failed(
        launcher.run_with_ports(f"--model_config_file={launcher.file(model_list(entry))}"),
        "INVALID_ARGUMENT: No request-logger-creator provided.",
    )


@files.case("malformed monitoring config: refused when REST is about to start")
def _(launcher: Launcher) -> None:
    path = launcher.file("prometheus {", "monitoring.config")
    failed(
        launcher.run_with_ports(f"--monitoring_config_file={path}", *model_flags(launcher)),
        f"INVALID_ARGUMENT: Invalid protobuf file: '{path}'",
    )


@files.case("malformed batching parameters: refused")
def _(launcher: Launcher) -> None:
    path = launcher.file("max_batch_size: 8", "batching.config")
    failed(
        launcher.run_with_ports(
            "--enable_batching", f"--batching_parameters_file={path}", *NO_RETRIES, *model_flags(launcher)
        ),
        f"Invalid protobuf file: '{path}'",
    )


@files.case("a session config that does not parse: refused")
def _(launcher: Launcher) -> None:
    path = launcher.file("no_such_field: 1", "session.config")
    failed(
        launcher.run_with_ports(f"--tensorflow_session_config_file={path}", *model_flags(launcher)),
        f"Invalid protobuf file: '{path}'",
    )


# Lists that a reload must refuse before it changes anything: title → text config, message.
LISTS = {
    "a name twice": (
        model_list(
            'name: "m" base_path: "/a" model_platform: "tensorflow"',
            'name: "m" base_path: "/b" model_platform: "tensorflow"',
        ),
        "Illegal to list model m multiple times in config list",
    ),
    "a relative path": (
        model_list('name: "m" base_path: "a/b" model_platform: "tensorflow"'),
        "Expected model m to have an absolute path or URI; got base_path()=a/b",
    ),
    "neither platform nor type": (model_list('name: "m" base_path: "/a"'), "Illegal setting neither"),
    "both platform and type": (
        model_list('name: "m" base_path: "/a" model_platform: "tensorflow" model_type: TENSORFLOW'),
        "Illegal setting both",
    ),
    "an unknown platform": (
        model_list('name: "m" base_path: "/a" model_platform: "other"'),
        "Model m requests unsupported platform other",
    ),
    "no model list at all": (
        "",
        "ServerModelConfig type not supported by HandleReloadConfigRequest. "
        "Only ModelConfigList is currently supported",
    ),
}


def refuses_list(server: Server, text: str, message: str) -> None:
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    rpc_error(lambda: server.reload(config), "INVALID_ARGUMENT", message)
    close(server.predict("half_plus_two", {"x": [2.0]})["y"], [3.0], "a model that was there before")


reload.each(LISTS, refuses_list, "refused, old models stay: {}")

SECTIONS = (files, reload)
