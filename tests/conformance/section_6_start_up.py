"""Section 6: when ports open, why a start fails, and the log lines people wait for."""

from __future__ import annotations

from conformance.case import Needs, Section
from conformance.expectations import close, contains, equal, eventually, remains
from conformance.launcher import EXIT_STATUS_OF_FAILURE, Launcher
from conformance.section_1_command_line import NO_RETRIES, failed, model_flags
from tf_mlm.serving.server_process import accepts

start = Section("6 Start-up", Needs.PROCESS)


@start.case("a model that cannot load: all retries, then UNKNOWN on standard output and status 255")
def _(launcher: Launcher) -> None:
    base = launcher.directory("hopeless") / "m"
    (base / "1").mkdir(parents=True)
    finished = launcher.run_with_ports(
        f"--model_base_path={base}",
        "--model_name=m",
        "--max_num_load_retries=2",
        "--load_retry_interval_micros=1000",
    )
    equal(finished.status, EXIT_STATUS_OF_FAILURE, "exit status")
    contains(
        finished.stdout,
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
        "{{name: m version: 1} due to error: ",
        "Specified file path does not appear to contain a SavedModel bundle",
        what="standard output",
    )
    contains(
        finished.stderr,
        "Retrying of Loading servable: {name: m version: 1} retry: 2",
        "exhausted max_num_retries: 2",
        what="stderr",
    )


@start.case("an older version that works does not save a start whose newest fails")
def _(launcher: Launcher) -> None:
    base = launcher.directory("newest") / "m"
    launcher.repository.copy_model("counter", "1", base / "1")
    (base / "2").mkdir()
    finished = launcher.run_with_ports(f"--model_base_path={base}", "--model_name=m", *NO_RETRIES)
    failed(finished, "{name: m version: 2} due to error: ")


@start.case("an empty base path: the ports stay shut until a version appears")
def _(launcher: Launcher) -> None:
    base = launcher.directory("waiting") / "m"
    base.mkdir()
    with launcher.starting(f"--model_base_path={base}", "--model_name=m") as process:

        def waits() -> None:
            equal(process.popen.poll(), None, "exit status of the waiting process")
            assert not accepts(process.grpc_port), "the gRPC port is open before there is a model"
            assert not accepts(process.rest_port), "the REST port is open before there is a model"

        eventually(
            lambda: contains(
                process.stderr, "No versions of servable m found under base path", what="stderr"
            ),
            90,
        )
        remains(waits, duration=1.0)
        launcher.repository.copy_model("counter", "1", base / "1")
        process.wait_ready()
        close(process.predict("m", {"x": [0.0]})["y"], [1.0])


@start.case("log lines of a start that goes well")
def _(launcher: Launcher) -> None:
    base = launcher.repository.models / "half_plus_two"
    servable = "{name: half_plus_two version: 123}"
    with launcher.running(*model_flags(launcher)) as process:
        for line in (
            "Building single TensorFlow model file config:  "
            f"model_name: half_plus_two model_base_path: {base}",
            "Adding/updating models.",
            " (Re-)adding model: half_plus_two",
            f"Successfully reserved resources to load servable {servable}",
            f"Loading servable version {servable}",
            f"Successfully loaded servable version {servable}",
            f"Running gRPC ModelServer at 0.0.0.0:{process.grpc_port} ...",
            f"Exporting HTTP/REST API at:localhost:{process.rest_port} ...",
            "Entering the event loop ...",
        ):
            eventually(lambda line=line: contains(process.stderr, line, what="stderr"), timeout=5)  # type: ignore[misc]


@start.case("a gRPC port that is taken: status 255")
def _(launcher: Launcher) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = (f"--port={port}", "--grpc_channel_arguments=grpc.so_reuseport=0", *model_flags(launcher))
        finished = launcher.run(*flags)
    failed(finished, "INVALID_ARGUMENT: Failed to BuildAndStart gRPC server")


@start.case("a REST port that is taken: gRPC runs without it")
def _(launcher: Launcher) -> None:
    import socket

    with socket.socket(socket.AF_INET6) as taken:
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        taken.bind(("::", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with launcher.starting(f"--rest_api_port={port}", *model_flags(launcher), rest=False) as process:
            process.wait_ready()
            close(process.predict("half_plus_two", {"x": [2.0]})["y"], [3.0])


SECTIONS = (start,)
