"""The command line that stands in for `tensorflow_model_server`, as a process."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tf_mlm.serving.command_line import flags
from tf_mlm.serving.command_line.flag_options import channel_arguments, server_options
from tf_mlm.serving.errors import ServingError
from tf_mlm.serving.server_process import ServerProcess, free_ports

COMMAND = [sys.executable, "-m", "tf_mlm.serving.model_server"]


def run(*arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    command = [COMMAND[0], *python, *COMMAND[1:], *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def options(*arguments: str):
    parsed = flags.parse(["--model_base_path=/m", *arguments])
    return server_options(parsed.values)


# ---- parsing -----------------------------------------------------------------------------------


def test_every_flag_of_the_original_is_known() -> None:
    assert [flag.name for flag in flags.FLAGS].index("host") == 48  # the first of ours
    assert "--port=8500" in flags.usage("x")


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--enable_batching"], "enable_batching", True),
        (["--enable_batching=TRUE"], "enable_batching", True),
        (["--enable_batching=0"], "enable_batching", False),
        (["--port=1", "--port=2"], "port", 2),
        (["--port", "1"], "port", 8500),
        (["-port=1"], "port", 8500),
        (["--model_name=a=b"], "model_name", "a=b"),
        (["--load_retry_interval_micros=-5"], "load_retry_interval_micros", -5),
    ],
)
def test_parsing(arguments: list[str], name: str, value: object) -> None:
    assert flags.parse(arguments).values[name] == value


def test_the_first_unknown_argument_is_reported() -> None:
    assert flags.parse(["--port", "1", "--x=2"]).unknown == "--port"


@pytest.mark.parametrize("argument", ["--port=x", "--port=", "--port=2147483648", "--enable_batching=yes"])
def test_values_that_do_not_parse(argument: str) -> None:
    with pytest.raises(ValueError, match="Couldn't interpret value"):
        flags.parse([argument])


def test_defaults_follow_the_original() -> None:
    made = options()
    assert (made.grpc_port, made.rest_port, made.grpc_host) == (8500, None, "0.0.0.0")
    assert (made.max_num_load_retries, made.load_retry_interval, made.rest_api_timeout) == (5, 60.0, 30.0)
    assert made.batching is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--port=0"],
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set",
        ),
        (["--use_alts_credentials", "--ssl_config_file=/x"], "ssl_config_file"),
        (
            ["--model_base_path="],
            "Both server_options.model_base_path and server_options.model_config_file are empty!",
        ),
        (["--batching_parameters_file=/x"], "without setting server_options.enable_batching to true"),
        (
            [f"--tensorflow_{name}_parallelism=1" for name in ("session", "intra_op", "inter_op")],
            "You cannot configure all",
        ),
        (["--grpc_channel_arguments=a"], "key=value"),
        (["--ssl_config_file=/nowhere"], "/nowhere"),
    ],
)
def test_combinations(arguments: list[str], message: str) -> None:
    with pytest.raises(ServingError) as error:
        options(*arguments)
    assert message in error.value.message


def test_files_named_by_flags(tmp_path: Path) -> None:
    def file(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    batching = file(
        "batching",
        "max_batch_size { value: 8 } batch_timeout_micros { value: 1500 } allowed_batch_sizes: [2, 8]\n"
        "pad_variable_length_inputs: true",
    )
    made = options("--enable_batching", f"--batching_parameters_file={batching}").batching
    assert (made.max_batch_size, made.batch_timeout, made.allowed_batch_sizes) == (8, 0.0015, (2, 8))
    assert made.pad_variable_length_inputs
    monitoring = file("monitoring", "prometheus_config { enable: true, path: '/metrics' }")
    assert (
        options(f"--monitoring_config_file={monitoring}", "--rest_api_port=1").prometheus_path == "/metrics"
    )
    ssl = file("ssl", 'server_key: "k" server_cert: "c" client_verify: true')
    assert options(f"--ssl_config_file={ssl}").ssl.client_verify
    session = file("session", "intra_op_parallelism_threads: 3")
    assert options(f"--tensorflow_session_config_file={session}").session_config == b"\x10\x03"
    platform = file(
        "platform",
        """platform_configs { key: "tensorflow" value { source_adapter_config {
          [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {
            legacy_config { enable_model_warmup: true saved_model_tags: "gpu"
              batching_parameters { max_batch_size { value: 3 } } } } } } }""",
    )
    made = options(f"--platform_config_file={platform}")
    assert (made.saved_model_tags, made.batching.max_batch_size) == (("gpu",), 3)


def test_channel_arguments() -> None:
    found = channel_arguments("grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb")
    assert found == (("grpc.max_connection_age_ms", 2000), ("grpc.lb_policy_name", "grpclb"))


# ---- as a process ------------------------------------------------------------------------------


def test_help_and_version_do_not_wait_for_tensorflow() -> None:
    python = ("-X", "importtime")
    shown, version = run("--help", python=python), run("--version", python=python)
    assert shown.returncode == version.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in (shown.stderr + version.stderr).split("\n")}
    assert "tf_mlm.serving.command_line.flags" in imported
    assert not {name for name in imported if name.split(".")[0] in ("tensorflow", "tensorflow_text", "numpy")}
    assert "--rest_api_port=0" in shown.stdout
    assert version.stdout.startswith("TensorFlow ModelServer: ")
    assert "\nTensorFlow Library: " in version.stdout


def test_failures_are_one_line_and_exit_with_255(tmp_path: Path) -> None:
    bad = run("--port=x")
    assert bad.returncode == 255
    assert "usage: " in bad.stdout
    (tmp_path / "bad.config").write_text("garbage")
    failed = run(f"--model_config_file={tmp_path / 'bad.config'}", f"--port={free_ports(1)[0]}", "--nonsense")
    assert failed.returncode == 255
    assert failed.stdout.startswith("unknown argument: --nonsense\n")
    assert failed.stdout.splitlines()[-1].startswith(
        "Failed to start server. Error: INVALID_ARGUMENT: Invalid protobuf file: "
    )
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in failed.stderr
    failed = run(f"--model_base_path={tmp_path}", f"--access_log={tmp_path / 'no' / 'log'}")
    assert failed.returncode == 255
    assert failed.stdout == (
        "Failed to start server. Error: INVALID_ARGUMENT: The access log must be a file that can be written. "
        f"Received: {tmp_path / 'no' / 'log'} (No such file or directory). "
        "Create its directory, or use - for standard error\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_in_flight_finish(models: Path, tmp_path: Path, number: int) -> None:
    shutil.copytree(models / "shapes", tmp_path / "m" / "1")
    flags = ["--model_name=m", f"--model_base_path={tmp_path / 'm'}", "--host=127.0.0.1"]
    with ServerProcess(COMMAND, flags, tmp_path / "log") as server:
        server.wait()
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/m"
        assert httpx.post(f"{url}:predict", json={"inputs": [1.0]}).json() == {"outputs": [1.0]}
        asker = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=120)
        asker.request("POST", "/v1/models/m:predict", b'{"inputs": [100000], "signature_name": "slow"}')
        # All of it is sent: it has been read once the status page, asked for later, is answered.
        assert httpx.get(url).status_code == 200
        server.popen.send_signal(number)
        assert server.popen.wait(60) == 0
        assert json.loads(asker.getresponse().read()) == {"outputs": [100_000]}
        asker.close()
    assert "Entering the event loop ..." in (tmp_path / "log").read_text()


def test_a_crash_leaves_the_stack_of_every_thread_in_the_log(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "shapes", tmp_path / "m" / "1")
    flags = ["--model_name=m", f"--model_base_path={tmp_path / 'm'}", "--host=127.0.0.1"]
    with ServerProcess(COMMAND, flags, tmp_path / "log") as server:
        server.wait()
        server.popen.send_signal(signal.SIGSEGV)
        assert server.popen.wait(60) == -signal.SIGSEGV
    log = (tmp_path / "log").read_text()
    assert "Fatal Python error: Segmentation fault" in log
    assert "model_server.py" in log
    assert log.count("Thread 0x") > 1


def test_every_flag_in_the_page_of_limits_exists() -> None:
    text = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
    named = set(re.findall(r"--(\w+)", text))
    assert "rest_max_connections" in named
    assert named <= {flag.name for flag in flags.FLAGS}
