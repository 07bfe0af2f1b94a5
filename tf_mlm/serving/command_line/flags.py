"""The command line of `tensorflow_model_server`, parsed the way it parses it. Standard library only.

Only `--name=value` is understood, bare `--name` for booleans; the last of repeated flags wins;
unknown flags are reported but do not stop the server. Flags that mean nothing to a CPU server in
Python are accepted and ignored.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence

_CPUS = os.cpu_count() or 1
_RANGES = {"int32": range(-(2**31), 2**31), "int64": range(-(2**63), 2**63)}

Value = bool | int | float | str


@dataclasses.dataclass(frozen=True)
class Flag:
    """One flag: its type (`bool`, `int32`, `int64`, `float`, `string`), default and meaning."""

    name: str
    kind: str
    default: Value
    help: str

    def parse(self, text: str | None) -> Value:
        """The value of `--name=text` (or of a bare `--name`).

        Raises:
            ValueError: when the text is no such value.
        """
        if text is None:
            if self.kind == "bool":
                return True
            raise ValueError
        if self.kind == "bool":
            return {"true": True, "1": True, "false": False, "0": False}.get(text.lower()) or _must_be_false(
                text
            )
        if self.kind == "string":
            return text
        if self.kind == "float":
            return float(text)
        if not re.fullmatch(r"[+-]?[0-9]+", text) or int(text) not in _RANGES[self.kind]:
            raise ValueError
        return int(text)


def _must_be_false(text: str) -> bool:
    if text.lower() not in ("false", "0"):
        raise ValueError
    return False


def _ignored(what: str) -> str:
    return f"accepted and ignored: {what}"


FLAGS = (
    Flag("port", "int32", 8500, "TCP port for gRPC; 0 disables TCP"),
    Flag("grpc_socket_path", "string", "", "also listen on this Unix socket"),
    Flag("rest_api_port", "int32", 0, "port for REST; 0 disables REST"),
    Flag("rest_api_num_threads", "int32", 0, "REST requests to one model answered at once; 0: by CPUs"),
    Flag("rest_api_timeout_in_ms", "int32", 30000, "time limit of a run for REST; 0 or less for none"),
    Flag("rest_api_enable_cors_support", "bool", False, "add CORS headers to REST replies"),
    Flag("enable_batching", "bool", False, "merge concurrent requests into batches"),
    Flag("batching_parameters_file", "string", "", "text BatchingParameters; needs --enable_batching"),
    Flag(
        "enable_per_model_batching_parameters",
        "bool",
        False,
        "take batching parameters from batching_params.pbtxt in each version directory",
    ),
    Flag(
        "allow_version_labels_for_unavailable_models",
        "bool",
        False,
        "let a new label point to a version that is not loaded yet",
    ),
    Flag(
        "model_config_file", "string", "", "text ModelServerConfig; wins over --model_name, --model_base_path"
    ),
    Flag("model_config_file_poll_wait_seconds", "int32", 0, "re-read the model config this often; 0: once"),
    Flag("model_name", "string", "default", "name of the single model"),
    Flag("model_base_path", "string", "", "its absolute base path, holding numbered version directories"),
    Flag("num_load_threads", "int32", 0, "threads for loading; 0: one load at a time after the first models"),
    Flag("num_unload_threads", "int32", 0, "threads for unloading; 0: one at a time"),
    Flag("max_num_load_retries", "int32", 5, "further attempts after a failed load"),
    Flag("load_retry_interval_micros", "int64", 60_000_000, "wait between load attempts"),
    Flag(
        "file_system_poll_wait_seconds", "int32", 1, "look for versions this often; 0: once; negative: never"
    ),
    Flag("flush_filesystem_caches", "bool", True, _ignored("a page-cache hint")),
    Flag("tensorflow_session_parallelism", "int64", 0, "intra- and inter-op threads; 0: automatic"),
    Flag("tensorflow_intra_op_parallelism", "int64", 0, "threads within one op"),
    Flag("tensorflow_inter_op_parallelism", "int64", 0, "threads between ops"),
    Flag("tensorflow_session_config_file", "string", "", "text ConfigProto for the sessions"),
    Flag("use_alts_credentials", "bool", False, _ignored("Google ALTS")),
    Flag("ssl_config_file", "string", "", "text SSLConfig: TLS for gRPC"),
    Flag(
        "platform_config_file",
        "string",
        "",
        "text PlatformConfigMap; replaces session, batching, warm-up flags",
    ),
    Flag("per_process_gpu_memory_fraction", "float", 0.0, _ignored("GPU only")),
    Flag("saved_model_tags", "string", "serve", "comma-separated tags of the graph to load"),
    Flag("grpc_channel_arguments", "string", "", "comma-separated key=value pairs for the gRPC server"),
    Flag("grpc_max_threads", "int32", 0, "gRPC requests to one model answered at once; 0: by CPUs"),
    Flag("enable_model_warmup", "bool", True, "replay a version's warm-up requests before it serves"),
    Flag("num_request_iterations_for_warmup", "int32", 0, "replay each warm-up record this often; 0: once"),
    Flag("version", "bool", False, "print the version and exit"),
    Flag("monitoring_config_file", "string", "", "text MonitoringConfig: the Prometheus page"),
    Flag("remove_unused_fields_from_bundle_metagraph", "bool", True, _ignored("saves memory only")),
    Flag("prefer_tflite_model", "bool", False, _ignored("SavedModels are served")),
    Flag("num_tflite_pools", "int32", _CPUS, _ignored("TFLite only")),
    Flag("num_tflite_interpreters_per_pool", "int32", 1, _ignored("TFLite only")),
    Flag("enable_signature_method_name_check", "bool", False, "enforce SignatureDef.method_name"),
    Flag("xla_cpu_compilation_enabled", "bool", False, _ignored("XLA is always available here")),
    Flag("xla_gpu_compilation_enabled", "bool", False, _ignored("GPU only")),
    Flag("enable_profiler", "bool", True, _ignored("use TensorFlow's profiler in-process")),
    Flag("thread_pool_factory_config_file", "string", "", _ignored("plug-in thread pools")),
    Flag("mixed_precision", "string", "", _ignored("export in the precision you want")),
    Flag("skip_initialize_tpu", "bool", False, _ignored("TPU only")),
    Flag("enable_grpc_healthcheck_service", "bool", False, "serve grpc.health.v1.Health"),
    Flag("enable_serialization_as_tensor_content", "bool", False, "answer Predict with tensor_content bytes"),
    # Ours, beyond TF-Serving's.
    Flag(
        "host",
        "string",
        "0.0.0.0",
        "address of both ports (TF-Serving: all); 127.0.0.1 for this machine only",
    ),
    Flag("max_request_bytes", "int64", 64 * 2**20, "refuse larger requests"),
    Flag("max_strings_per_request", "int64", 10_000, "refuse requests of more texts or serialized examples"),
    Flag(
        "max_expanded_elements",
        "int64",
        2**20,
        "refuse tensors whose shape asks for more elements than this and than their bytes carry",
    ),
    Flag("max_request_seconds", "float", 60.0, "stop work on a request after this time; 0: never"),
    Flag(
        "max_concurrent_requests",
        "int32",
        1024,
        "refuse requests beyond so many in progress, per port; 0: no limit",
    ),
    Flag("grpc_receive_timeout_seconds", "float", 60.0, "the whole message of a gRPC call must come in"),
    Flag(
        "grpc_answer_timeout_seconds", "float", 60.0, "end a gRPC call whose client has not taken its answer"
    ),
    Flag("grpc_idle_timeout_seconds", "float", 600.0, "close gRPC connections without calls after"),
    Flag("shutdown_grace_seconds", "int32", 30, "after SIGTERM, let requests in flight finish this long"),
    Flag("rest_max_header_bytes", "int64", 32 * 1024, "refuse longer heads of HTTP requests (414, 431)"),
    Flag("rest_max_body_bytes", "int64", 32 * 2**20, "refuse longer HTTP bodies, inflated ones too (413)"),
    Flag(
        "rest_max_json_values",
        "int64",
        4 * 2**20,
        "refuse JSON bodies of more values; a list counts for 8",
    ),
    Flag(
        "rest_max_buffered_bytes",
        "int64",
        256 * 2**20,
        "bodies and answers held at once; beyond it long bodies are refused (429), old answers dropped",
    ),
    Flag(
        "rest_max_connections",
        "int32",
        4096,
        "REST connections; beyond it the one waiting longest is closed",
    ),
    Flag(
        "rest_max_connections_per_address",
        "int32",
        2048,
        "the same for one client address (a proxy is one address)",
    ),
    Flag("rest_header_timeout_seconds", "float", 20.0, "the whole head of a request must come in (408)"),
    Flag("rest_body_timeout_seconds", "float", 60.0, "the whole body of a request must come in (408)"),
    Flag("rest_idle_timeout_seconds", "float", 60.0, "close connections without a request after"),
    Flag("rest_write_timeout_seconds", "float", 60.0, "drop a client that has not taken its answer in"),
    Flag("access_log", "string", "", "one JSON line per request into this file; - for standard error"),
)
_BY_NAME = {flag.name: flag for flag in FLAGS}


@dataclasses.dataclass(frozen=True)
class Parsed:
    """The flags of a command line by name, and the first argument that is none (or `None`)."""

    values: dict[str, Value]
    unknown: str | None


def parse(arguments: Sequence[str]) -> Parsed:
    """A command line without the program's name.

    Raises:
        ValueError: when a flag's value does not parse.

    Example:
        >>> from tf_mlm.serving.command_line.flags import parse
        >>> parse(["--port=9000", "--enable_batching", "--nonsense=1"]).unknown
        '--nonsense=1'
    """
    values = {flag.name: flag.default for flag in FLAGS}
    unknown = None
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        flag = _BY_NAME.get(name) if argument.startswith("--") else None
        if flag is None or (not equals and flag.kind != "bool"):
            unknown = unknown if unknown is not None else argument
            continue
        try:
            values[name] = flag.parse(text if equals else None)
        except ValueError:
            raise ValueError(f"Couldn't interpret value {text!r} for flag --{name} ({flag.kind})") from None
    return Parsed(values, unknown)


def usage(program: str) -> str:
    """Every flag with its default, type and meaning."""
    lines = [f"usage: {program}", "Flags:"]
    for flag in FLAGS:
        default = f'"{flag.default}"' if flag.kind == "string" else str(flag.default).lower()
        lines.append(f"\t{f'--{flag.name}={default}':<58}\t{flag.kind}\t{flag.help}")
    lines.append(
        f"Example: {program} --port=8500 --rest_api_port=8501 --model_name=mlm --model_base_path=/models/mlm"
    )
    return "\n".join(lines)
