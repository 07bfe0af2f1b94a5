"""Flags to `ServerOptions`: the combination rules, and the files that flags name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.config import platform_config_pb2

from tf_mlm.serving.batching.parameters_file import batching_options, read_batching_options
from tf_mlm.serving.command_line.config_protos import (
    MonitoringConfig,
    SavedModelBundleSourceAdapterConfig,
    SSLConfig,
    read_text_proto,
)
from tf_mlm.serving.command_line.flags import Value
from tf_mlm.serving.errors import invalid_argument
from tf_mlm.serving.options import BatchingOptions, ServerOptions, SslOptions
from tf_mlm.serving.rest.api import PROMETHEUS_PATH

_PARALLELISM = ("session", "intra_op", "inter_op")


def _check_combinations(flags: Mapping[str, Any]) -> None:
    if not flags["port"] and not flags["grpc_socket_path"]:
        raise invalid_argument(
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set"
        )
    if flags["use_alts_credentials"] and flags["ssl_config_file"]:
        raise invalid_argument("Either use_alts_credentials or ssl_config_file may be set, not both")
    if not flags["model_base_path"] and not flags["model_config_file"]:
        raise invalid_argument(
            "Both server_options.model_base_path and server_options.model_config_file are empty!"
        )
    if flags["batching_parameters_file"] and not flags["enable_batching"]:
        raise invalid_argument(
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true"
        )
    if all(flags[f"tensorflow_{name}_parallelism"] > 0 for name in _PARALLELISM):
        raise invalid_argument(
            "You cannot configure all of --tensorflow_session_parallelism, "
            "--tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism; drop the first"
        )


def channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """`k=v,k=v`; values that are 32-bit integers become integers."""
    pairs: list[tuple[str, int | str]] = []
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise invalid_argument(f"--grpc_channel_arguments must be key=value pairs; received: {item!r}")
        is_int32 = re.fullmatch(r"[+-]?[0-9]{1,10}", value) and -(2**31) <= int(value) < 2**31
        pairs.append((key, int(value) if is_int32 else value))
    return tuple(pairs)


def _ssl(path: str) -> SslOptions:
    config = read_text_proto(path, SSLConfig())
    return SslOptions(
        config.server_key.encode(),
        config.server_cert.encode(),
        config.custom_ca.encode(),
        config.client_verify,
    )


def _prometheus_path(path: str) -> str:
    config = read_text_proto(path, MonitoringConfig()).prometheus_config
    return (config.path or PROMETHEUS_PATH) if config.enable else ""


def _batching(flags: Mapping[str, Any]) -> BatchingOptions | None:
    if not flags["enable_batching"]:
        return None
    if flags["batching_parameters_file"]:
        return read_batching_options(flags["batching_parameters_file"])
    return BatchingOptions()


def _platform(path: str) -> dict[str, Any]:
    """What a platform config says about tags, session, batching and warm-up."""
    configs = read_text_proto(path, platform_config_pb2.PlatformConfigMap()).platform_configs
    if "tensorflow" not in configs:
        raise invalid_argument(f"The platform config {path} has no entry for the platform `tensorflow`")
    adapter = SavedModelBundleSourceAdapterConfig()
    if not configs["tensorflow"].source_adapter_config.Unpack(adapter):
        raise invalid_argument(
            f"The platform config {path} must hold a {adapter.DESCRIPTOR.full_name} for `tensorflow`"
        )
    bundle = adapter.legacy_config
    iterations = bundle.model_warmup_options.num_request_iterations.value
    return {
        "saved_model_tags": tuple(bundle.saved_model_tags) or ("serve",),
        "session_config": bundle.session_config.SerializeToString(),
        "session_parallelism": 0,
        "intra_op_parallelism": 0,
        "inter_op_parallelism": 0,
        "batching": batching_options(bundle.batching_parameters)
        if bundle.HasField("batching_parameters")
        else None,
        "enable_per_model_batching_parameters": bundle.enable_per_model_batching_params,
        "enable_model_warmup": bundle.enable_model_warmup,
        "num_request_iterations_for_warmup": iterations,
    }


def server_options(flags: Mapping[str, Value]) -> ServerOptions:
    """Options for a parsed command line.

    Raises:
        ServingError: for combinations that contradict each other and files that cannot be read.
        ValueError: for values out of range.
    """
    given: Mapping[str, Any] = flags
    _check_combinations(given)
    session_config = b""
    if given["tensorflow_session_config_file"]:
        proto = read_text_proto(given["tensorflow_session_config_file"], config_pb2.ConfigProto())
        session_config = proto.SerializeToString()
    rest_on = given["rest_api_port"] != 0
    monitoring = given["monitoring_config_file"] if rest_on else ""
    host = given["host"]
    values: dict[str, Any] = {
        "saved_model_tags": tuple(filter(None, given["saved_model_tags"].split(","))),
        "session_config": session_config,
        "session_parallelism": given["tensorflow_session_parallelism"],
        "intra_op_parallelism": given["tensorflow_intra_op_parallelism"],
        "inter_op_parallelism": given["tensorflow_inter_op_parallelism"],
        "batching": _batching(given),
        "enable_per_model_batching_parameters": given["enable_per_model_batching_parameters"],
        "enable_model_warmup": given["enable_model_warmup"],
        "num_request_iterations_for_warmup": given["num_request_iterations_for_warmup"],
    }
    if given["platform_config_file"]:
        values.update(_platform(given["platform_config_file"]))
    return ServerOptions(
        **values,
        model_name=given["model_name"],
        model_base_path=given["model_base_path"],
        model_config_file=given["model_config_file"],
        model_config_file_poll_wait=given["model_config_file_poll_wait_seconds"],
        allow_version_labels_for_unavailable_models=given["allow_version_labels_for_unavailable_models"],
        grpc_host=host,
        grpc_port=given["port"] or None,
        grpc_socket_path=given["grpc_socket_path"],
        grpc_max_threads=max(0, given["grpc_max_threads"]),
        grpc_channel_arguments=channel_arguments(given["grpc_channel_arguments"]),
        ssl=_ssl(given["ssl_config_file"]) if given["ssl_config_file"] else None,
        enable_grpc_healthcheck_service=given["enable_grpc_healthcheck_service"],
        enable_serialization_as_tensor_content=given["enable_serialization_as_tensor_content"],
        rest_host="::" if host == "0.0.0.0" else host,
        rest_port=given["rest_api_port"] or None,
        rest_api_num_threads=max(0, given["rest_api_num_threads"]),
        rest_api_timeout=given["rest_api_timeout_in_ms"] / 1000,
        rest_api_enable_cors_support=given["rest_api_enable_cors_support"],
        prometheus_path=_prometheus_path(monitoring) if monitoring else "",
        file_system_poll_wait=given["file_system_poll_wait_seconds"],
        num_load_threads=given["num_load_threads"],
        num_unload_threads=given["num_unload_threads"],
        max_num_load_retries=given["max_num_load_retries"],
        load_retry_interval=given["load_retry_interval_micros"] / 1e6,
        enable_signature_method_name_check=given["enable_signature_method_name_check"],
        max_request_bytes=given["max_request_bytes"],
        max_strings_per_request=given["max_strings_per_request"],
        max_expanded_elements=given["max_expanded_elements"],
        max_request_seconds=given["max_request_seconds"],
        max_concurrent_requests=given["max_concurrent_requests"],
        grpc_receive_timeout=given["grpc_receive_timeout_seconds"],
        grpc_answer_timeout=given["grpc_answer_timeout_seconds"],
        grpc_idle_timeout=given["grpc_idle_timeout_seconds"],
        shutdown_grace=given["shutdown_grace_seconds"],
        access_log=given["access_log"],
        rest_max_header_bytes=given["rest_max_header_bytes"],
        rest_max_body_bytes=given["rest_max_body_bytes"],
        rest_max_json_values=given["rest_max_json_values"],
        rest_max_buffered_bytes=given["rest_max_buffered_bytes"],
        rest_max_connections=given["rest_max_connections"],
        rest_max_connections_per_address=given["rest_max_connections_per_address"],
        rest_header_timeout=given["rest_header_timeout_seconds"],
        rest_body_timeout=given["rest_body_timeout_seconds"],
        rest_idle_timeout=given["rest_idle_timeout_seconds"],
        rest_write_timeout=given["rest_write_timeout_seconds"],
    )
