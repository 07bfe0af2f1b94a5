"""Sections 1.1 and 1.2: flags and exit statuses."""

from __future__ import annotations

from tensorflow_serving.config import model_server_config_pb2

from conformance.case import Needs, Section
from conformance.expectations import close, contains, equal, eventually, rpc_error
from conformance.launcher import (
    EXIT_STATUS_OF_FAILURE,
    START_TIMEOUT,
    Finished,
    Launcher,
    Process,
)
from conformance.server import Server, examples_input, model_spec
from tf_mlm.serving.server_process import accepts, free_ports

parsing = Section("1.1 Flags and exit statuses", Needs.PROCESS)
flags = Section("1.2 Flags in force", Needs.LAUNCHER)

NO_RETRIES = ("--max_num_load_retries=0", "--load_retry_interval_micros=0")


def failed(finished: Finished, *parts: str) -> None:
    """The start failed as documented: status 255, and the reason on standard output."""
    equal(finished.status, EXIT_STATUS_OF_FAILURE, f"exit status (stderr ends {finished.stderr[-300:]!r})")
    contains(finished.stdout, *parts, what="standard output")


def model_flags(launcher: Launcher) -> list[str]:
    return [f"--model_base_path={launcher.repository.models / 'half_plus_two'}", "--model_name=half_plus_two"]


# Command lines that must not start: title → flags, what standard output says.
REFUSED: dict[str, tuple[list[str], str]] = {
    "no port and no socket": (
        ["--port=0", "--model_base_path=/nowhere"],
        "Failed to start server. Error: INVALID_ARGUMENT: "
        "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set",
    ),
    "neither model nor config file": (
        [],
        "Failed to start server. Error: INVALID_ARGUMENT: "
        "Both server_options.model_base_path and server_options.model_config_file are empty!",
    ),
    "batching file without batching": (
        ["--model_base_path=/nowhere", "--batching_parameters_file=/nowhere/batching.config"],
        "INVALID_ARGUMENT: server_options.batching_parameters_file is set without setting "
        "server_options.enable_batching to true",
    ),
    "all three parallelism flags": (
        [
            "--model_base_path=/nowhere",
            "--tensorflow_session_parallelism=1",
            "--tensorflow_intra_op_parallelism=1",
            "--tensorflow_inter_op_parallelism=1",
        ],
        "INVALID_ARGUMENT: You cannot configure all",
    ),
    "model config file that does not exist": (["--model_config_file=/nowhere/models.config"], "NOT_FOUND"),
    "ALTS together with TLS": (
        [
            "--model_base_path=/nowhere",
            "--use_alts_credentials=true",
            "--ssl_config_file=/nowhere/ssl.config",
        ],
        "Failed to start server. Error: INVALID_ARGUMENT: ",
    ),
    "relative model base path": (
        ["--model_base_path=models/half", "--model_name=half"],
        "INVALID_ARGUMENT: Expected model half to have an absolute path or URI; got base_path()=models/half",
    ),
}


def refuses_to_start(launcher: Launcher, arguments: list[str], text: str) -> None:
    failed(launcher.run_with_ports(*arguments), text)


parsing.each(REFUSED, refuses_to_start, "refuses to start: {}")


@parsing.case("a value that does not parse: usage on standard output, status 255")
def _(launcher: Launcher) -> None:
    for flag in ("--port=many", "--enable_batching=perhaps", "--max_num_load_retries=1.5"):
        failed(launcher.run(flag, *model_flags(launcher)), "--model_base_path", "--rest_api_port")


@parsing.case("--help: usage on standard output")
def _(launcher: Launcher) -> None:
    finished = launcher.run("--help")
    # The original treats it as an unknown argument (255). A server that knows the word may exit with 0.
    assert finished.status in (0, EXIT_STATUS_OF_FAILURE), f"exit status {finished.status}"
    contains(finished.stdout, "--model_base_path", "--rest_api_port", "--enable_batching", what="usage")


@parsing.case("--version: two lines, status 0, whatever else is wrong")
def _(launcher: Launcher) -> None:
    finished = launcher.run("--version", "--port=0")
    equal(finished.status, 0, "exit status")
    contains(finished.stdout, "TensorFlow ModelServer: ", "TensorFlow Library: ")


@parsing.case("unknown flags and stray words: the first is named, the server starts", needs=Needs.LAUNCHER)
def _(launcher: Launcher) -> None:
    process = flag_server(launcher)
    contains(process.stdout, "unknown argument: --no_such_flag=1")
    assert "unknown argument: stray" not in process.stdout, "only the first unknown argument is named"


def flag_server(launcher: Launcher) -> Process:
    """One server for every flag that can be looked at together with the others."""

    def arguments() -> list[str]:
        return [
            "--no_such_flag=1",
            "stray",
            "--model_name=replaced_by_the_last",
            *model_flags(launcher),
            "--model_name",
            "not_understood",
            "-model_name=nor_this",
            "--enable_grpc_healthcheck_service",
            f"--grpc_socket_path={launcher.directory('socket') / 'grpc.sock'}",
            "--grpc_channel_arguments=grpc.max_connection_age_ms=600000,grpc.lb_policy_name=grpclb,grpc.so_reuseaddr=1",
            "--rest_api_enable_cors_support=TRUE",
            "--enable_signature_method_name_check=1",
            "--rest_api_timeout_in_ms=300",
            "--rest_api_num_threads=8",
            "--grpc_max_threads=8",
            "--prefer_tflite_model=true",
            "--num_request_iterations_for_warmup=2",
            "--allow_version_labels_for_unavailable_models=true",
            "--enable_serialization_as_tensor_content=true",
            # Accepted, with no effect that can be seen from outside:
            "--flush_filesystem_caches=false",
            "--tensorflow_session_parallelism=2",
            "--per_process_gpu_memory_fraction=0.5",
            "--remove_unused_fields_from_bundle_metagraph=true",
            "--num_tflite_pools=1",
            "--num_tflite_interpreters_per_pool=1",
            "--xla_cpu_compilation_enabled=true",
            "--enable_profiler=false",
            "--num_load_threads=1",
            "--num_unload_threads=1",
        ]

    return launcher.shared("flags", arguments)


@flags.case("a repeated flag: the last one wins; `--name value` and `-name=value` are not flags")
def _(launcher: Launcher) -> None:
    close(flag_server(launcher).predict("half_plus_two", {"x": [2.0]})["y"], [3.0])


@flags.case("grpc_socket_path: Predict over the Unix socket while TCP is open")
def _(launcher: Launcher) -> None:
    process = flag_server(launcher)
    path = next(part for part in process.popen.args if str(part).startswith("--grpc_socket_path="))  # type: ignore[union-attr]
    server = Server(f"unix:{str(path).split('=', 1)[1]}", process.rest_address)
    try:
        close(server.predict("half_plus_two", {"x": [2.0]})["y"], [3.0])
    finally:
        server.close()
    close(process.predict("half_plus_two", {"x": [2.0]})["y"], [3.0])


@flags.case("enable_grpc_healthcheck_service: the documented names are SERVING")
def _(launcher: Launcher) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(flag_server(launcher).channel)
    for service in ("", "ModelService", "PredictionService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        equal(answer.status, health_pb2.HealthCheckResponse.SERVING, f"health of {service!r}")
    unknown = health_pb2.HealthCheckRequest(service="tensorflow.serving.PredictionService")
    rpc_error(lambda: stub.Check(unknown, timeout=10), "NOT_FOUND")


@flags.case("enable_signature_method_name_check: classify and regress check the method")
def _(launcher: Launcher) -> None:
    process, data = flag_server(launcher), examples_input({"x": 2.0})
    rpc_error(
        lambda: process.classify(model_spec("half_plus_two", "regress_x_to_y"), data),
        "INVALID_ARGUMENT",
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/regress",
    )
    rpc_error(
        lambda: process.regress(model_spec("half_plus_two", "classify_x_to_y"), data),
        "INVALID_ARGUMENT",
        "Expected regression signature method_name to be tensorflow/serving/regress. "
        "Was: tensorflow/serving/classify",
    )
    equal(
        len(process.classify(model_spec("half_plus_two", "classify_x_to_y"), data).result.classifications), 1
    )


def with_more_models(launcher: Launcher) -> Process:
    """The flag server, after a reload that adds `shapes` and `slow` to its model."""
    process = flag_server(launcher)
    config = model_server_config_pb2.ModelServerConfig()
    for name in ("half_plus_two", "shapes", "slow"):
        path = str(launcher.repository.models / name)
        config.model_config_list.config.add(name=name, base_path=path, model_platform="tensorflow")
    process.reload(config)
    return process


@flags.case("enable_signature_method_name_check: Predict takes only the three known methods")
def _(launcher: Launcher) -> None:
    process = with_more_models(launcher)
    rpc_error(
        lambda: process.predict("shapes", {"x": [1.0]}, signature="odd_method"),
        "INTERNAL",
        "Expected prediction signature method_name to be one of {",
        "Was: tensorflow/serving/odd",
    )


@flags.case("rest_api_timeout_in_ms: 504 with the documented text, REST only")
def _(launcher: Launcher) -> None:
    process = with_more_models(launcher)
    body = {"inputs": {"x": [1.0], "steps": [3000]}}
    reply = process.post("/v1/models/slow:predict", body)
    equal(reply.status, 504, "HTTP status")
    contains(reply.error, "Timed out waiting for notification")


@flags.case(
    "allow_version_labels_for_unavailable_models: a new label may wait, an old one may not move to nothing"
)
def _(launcher: Launcher) -> None:
    process = with_more_models(launcher)
    config = model_server_config_pb2.ModelServerConfig()
    model = config.model_config_list.config.add(
        name="half_plus_two",
        base_path=str(launcher.repository.models / "half_plus_two"),
        model_platform="tensorflow",
    )
    model.version_labels["waiting"] = 9
    process.reload(config)
    rpc_error(
        lambda: process.predict("half_plus_two", {"x": [2.0]}, label="waiting"),
        "NOT_FOUND",
        "Servable not found for request: Specific(half_plus_two, 9)",
    )
    model.version_labels["waiting"] = 8
    rpc_error(
        lambda: process.reload(config),
        "FAILED_PRECONDITION",
        "Request to assign label to version 8 of model half_plus_two, "
        "which is not currently available for inference",
    )
    model.version_labels["waiting"] = 123
    process.reload(config)
    close(process.predict("half_plus_two", {"x": [2.0]}, label="waiting")["y"], [3.0])


@flags.case("enable_serialization_as_tensor_content: Predict answers with tensor_content")
def _(launcher: Launcher) -> None:
    import struct

    import tensorflow as tf

    process = flag_server(launcher)
    response = process.predict_protos(
        model_spec("half_plus_two"), {"x": tf.make_tensor_proto([2.0, 4.0], dtype=tf.float32)}
    )
    equal(response.outputs["y"].tensor_content, struct.pack("<2f", 3.0, 4.0), "tensor_content")
    equal(list(response.outputs["y"].float_val), [], "float_val")


@flags.case("rest_api_enable_cors_support: headers on answers, errors and OPTIONS")
def _(launcher: Launcher) -> None:
    process = flag_server(launcher)
    replies = [
        process.get("/v1/models/half_plus_two"),
        process.post("/v1/models/half_plus_two:predict", "{"),
        process.http(
            "OPTIONS", "/v1/models/half_plus_two:predict", headers={"Origin": "https://example.org"}
        ),
    ]
    for reply in replies:
        equal(reply.headers.get("access-control-allow-origin"), "*", "Access-Control-Allow-Origin")
        equal(reply.headers.get("access-control-allow-methods"), "POST, GET", "Access-Control-Allow-Methods")
        equal(
            reply.headers.get("access-control-allow-headers"), "Content-Type", "Access-Control-Allow-Headers"
        )


@flags.case("without a monitoring file there is no metrics page")
def _(launcher: Launcher) -> None:
    equal(flag_server(launcher).get("/monitoring/prometheus/metrics").status, 404, "HTTP status")


@flags.case("a REST port equal to the gRPC port is skipped, gRPC runs", needs=Needs.PROCESS)
def _(launcher: Launcher) -> None:
    with launcher.starting("--rest_api_port=0", *model_flags(launcher), rest=False) as process:
        process.wait_ready()
        close(process.predict("half_plus_two", {"x": [2.0]})["y"], [3.0])
    port = free_ports(1)[0]
    with launcher.starting(
        f"--port={port}", f"--rest_api_port={port}", *model_flags(launcher), rest=False
    ) as process:
        process.grpc_port, process.grpc_address = port, f"127.0.0.1:{port}"
        process.wait_ready()
        close(process.predict("half_plus_two", {"x": [2.0]})["y"], [3.0])


@flags.case("port=0 beside a socket: no TCP", needs=Needs.PROCESS)
def _(launcher: Launcher) -> None:
    path = launcher.directory("socket") / "only.sock"
    with launcher.starting("--port=0", f"--grpc_socket_path={path}", *model_flags(launcher)) as process:
        eventually(lambda: equal(accepts(process.rest_port), True, "REST port is open"), START_TIMEOUT)
        server = Server(f"unix:{path}", process.rest_address)
        try:
            close(server.predict("half_plus_two", {"x": [2.0]})["y"], [3.0])
        finally:
            server.close()
        assert not accepts(process.grpc_port), "a TCP port is open in spite of --port=0"


@flags.case("model_name defaults to `default`, and REST is off unless asked for", needs=Needs.PROCESS)
def _(launcher: Launcher) -> None:
    path = launcher.repository.models / "half_plus_two"
    with launcher.running(f"--model_base_path={path}", rest=False) as process:
        close(process.predict("default", {"x": [2.0]})["y"], [3.0])
        assert not accepts(process.rest_port), "no REST port was asked for"


@flags.case("saved_model_tags: another tag set is not found, the load fails", needs=Needs.PROCESS)
def _(launcher: Launcher) -> None:
    finished = launcher.run_with_ports(*model_flags(launcher), *NO_RETRIES, "--saved_model_tags=serve,gpu")
    failed(
        finished, "UNKNOWN: 1 servable(s) did not become available", "Could not find meta graph def matching"
    )


@flags.case("platform_config_file: its tags replace the flag's", needs=Needs.PROCESS)
def _(launcher: Launcher) -> None:
    text = """platform_configs { key: "tensorflow" value { source_adapter_config {
      [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {
        legacy_config { saved_model_tags: "tpu" } } } } }"""
    path = launcher.file(text, "platform.config")
    finished = launcher.run_with_ports(
        *model_flags(launcher), *NO_RETRIES, f"--platform_config_file={path}", "--saved_model_tags=serve"
    )
    failed(finished, "Could not find meta graph def matching supplied tags: { tpu }")


@flags.case("ssl_config_file: TLS with required client certificates on gRPC, plain REST", needs=Needs.PROCESS)
def _(launcher: Launcher) -> None:
    import grpc

    from conformance.certificates import make_certificates

    certificates = make_certificates()
    config = launcher.directory("tls") / "ssl.config"
    fields = {
        "server_key": certificates.key,
        "server_cert": certificates.certificate,
        "custom_ca": certificates.authority,
    }
    lines = [
        f'{name}: "{value.decode().encode("unicode_escape").decode()}"' for name, value in fields.items()
    ]
    config.write_text("\n".join([*lines, "client_verify: true"]))
    with launcher.starting(f"--ssl_config_file={config}", *model_flags(launcher)) as process:
        process._credentials = grpc.ssl_channel_credentials(
            certificates.authority, certificates.key, certificates.certificate
        )
        process.grpc_address = f"localhost:{process.grpc_port}"
        process.wait_ready()
        close(process.predict("half_plus_two", {"x": [2.0]})["y"], [3.0])
        equal(process.get("/v1/models/half_plus_two").status, 200, "HTTP status over plain REST")
        anonymous = Server(
            process.grpc_address,
            process.rest_address,
            credentials=grpc.ssl_channel_credentials(certificates.authority),
        )
        try:
            rpc_error(lambda: anonymous.predict("half_plus_two", {"x": [2.0]}), "UNAVAILABLE")
        finally:
            anonymous.close()


SECTIONS = (parsing, flags)
