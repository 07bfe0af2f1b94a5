"""The text-proto files `tensorflow_model_server` reads, and one function that reads any of them.

`tensorflow-serving-api` ships most of its messages as generated code, but not the four files
below: they describe the server, not its API. Their descriptors are therefore built here at
import, field by field, under the original full names (which appear in parse errors) and with the
original field numbers (a `PlatformConfigMap` carries `SessionBundleConfig` inside an `Any`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message
from tensorflow.core.protobuf import config_pb2

from tf_mlm.serving.errors import Code, ServingError, invalid_argument

_log = logging.getLogger(__name__)
_PACKAGE = "tensorflow.serving"
_WRAP = "google.protobuf"
_SCALARS = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
}

# message -> field -> (number, type); a leading "*" marks a repeated field.
_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, f"{_PACKAGE}.PrometheusConfig")},
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
    "BatchingParameters": {
        "max_batch_size": (1, f"{_WRAP}.Int64Value"),
        "batch_timeout_micros": (2, f"{_WRAP}.Int64Value"),
        "max_enqueued_batches": (3, f"{_WRAP}.Int64Value"),
        "num_batch_threads": (4, f"{_WRAP}.Int64Value"),
        "thread_pool_name": (5, f"{_WRAP}.StringValue"),
        "allowed_batch_sizes": (6, "*int64"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, f"{_WRAP}.BoolValue"),
        "max_execution_batch_size": (9, f"{_WRAP}.Int64Value"),
    },
    "ModelWarmupOptions": {
        "num_request_iterations": (1, f"{_WRAP}.Int32Value"),
        "num_model_warmup_threads": (2, f"{_WRAP}.Int32Value"),
        "model_name": (3, "string"),
        "model_version": (4, "int64"),
        "enable_all_batch_sizes_warmup": (5, "bool"),
    },
    "SessionBundleConfig": {
        "session_target": (1, "string"),
        "session_config": (2, "tensorflow.ConfigProto"),
        "batching_parameters": (3, f"{_PACKAGE}.BatchingParameters"),
        "session_run_load_threadpool_index": (4, f"{_WRAP}.Int32Value"),
        "experimental_transient_ram_bytes_during_load": (5, "uint64"),
        "saved_model_tags": (6, "*string"),
        "enable_model_warmup": (779, "bool"),
        "model_warmup_options": (780, f"{_PACKAGE}.ModelWarmupOptions"),
        "enable_session_metadata": (781, "bool"),
        "remove_unused_fields_from_bundle_metagraph": (782, "bool"),
        "prefer_tflite_model": (783, "bool"),
        "resource_estimation_uses_validation_result": (784, "bool"),
        "num_tflite_interpreters_per_pool": (786, "int32"),
        "num_tflite_pools": (787, "int32"),
        "wrap_session_with_no_threading_params": (788, "bool"),
        "enable_per_model_batching_params": (789, "bool"),
        "enable_saved_model_config": (790, "bool"),
        "mixed_precision": (791, "string"),
    },
    "SavedModelBundleSourceAdapterConfig": {"legacy_config": (1000, f"{_PACKAGE}.SessionBundleConfig")},
}


def _file_descriptor() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="tf_mlm/serving/config_protos.proto", package=_PACKAGE, syntax="proto3"
    )
    file.dependency.extend([wrappers_pb2.DESCRIPTOR.name, config_pb2.DESCRIPTOR.name])
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for field_name, (number, kind) in fields.items():
            field = message.field.add(name=field_name, number=number)
            repeated = kind.startswith("*")
            field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            kind = kind.removeprefix("*")
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type, field.type_name = field.TYPE_MESSAGE, f".{kind}"
    return file


descriptor_pool.Default().AddSerializedFile(_file_descriptor().SerializeToString())


def _message_class(name: str) -> Any:
    return message_factory.GetMessageClass(
        descriptor_pool.Default().FindMessageTypeByName(f"{_PACKAGE}.{name}")
    )


MonitoringConfig = _message_class("MonitoringConfig")
SSLConfig = _message_class("SSLConfig")
BatchingParameters = _message_class("BatchingParameters")
SessionBundleConfig = _message_class("SessionBundleConfig")
SavedModelBundleSourceAdapterConfig = _message_class("SavedModelBundleSourceAdapterConfig")

AnyMessage = TypeVar("AnyMessage", bound=Message)


def read_text_proto(path: str | Path, message: AnyMessage) -> AnyMessage:
    """`message`, filled from a text-format file.

    Raises:
        ServingError: NOT_FOUND when the file is missing, INVALID_ARGUMENT when it does not parse
            (the position of the mistake is logged).
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ServingError(Code.NOT_FOUND, f"{path}; {error.strerror or error}") from error
    try:
        return text_format.Parse(text, message)
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        _log.error("Error parsing text-format %s: %s", message.DESCRIPTOR.full_name, error)
        raise invalid_argument(f"Invalid protobuf file: '{path}'") from error
