"""`ModelServerConfig`: its rules, and the settings the server keeps of each model."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorflow_serving.config import model_server_config_pb2

from tf_mlm.serving.errors import Code, ServingError, invalid_argument
from tf_mlm.serving.models.versions import VersionPolicy

ModelServerConfig = model_server_config_pb2.ModelServerConfig
_PLATFORM = "tensorflow"
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """Where one model lives and which of its versions are served, under which labels."""

    name: str
    base_path: Path
    policy: VersionPolicy
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    platform: str = _PLATFORM
    wants_request_log: bool = False


def single_model_config(name: str, base_path: str) -> Any:
    """The config that `--model_name` and `--model_base_path` stand for."""
    config = ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=_PLATFORM)
    return config


def _platform(model: Any) -> str:
    if not model.model_platform and not model.model_type:
        raise invalid_argument(
            f"Illegal setting neither ModelServerConfig::model_type nor ModelServerConfig::model_platform. "
            f'For model {model.name} set model_platform: "{_PLATFORM}".'
        )
    if model.model_platform and model.model_type:
        raise invalid_argument(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            f"ModelServerConfig::model_platform. For model {model.name} keep only the latter."
        )
    if model.model_type:
        if model.model_type == model_server_config_pb2.ModelType.TENSORFLOW:
            return _PLATFORM
        raise invalid_argument(f"ModelServerConfig::model_type of model {model.name} is not supported")
    return str(model.model_platform)


def read_models(config: Any) -> dict[str, ModelSettings]:
    """The models of a `ModelServerConfig` by name.

    Raises:
        ServingError: INVALID_ARGUMENT for a name that is missing or listed twice, a relative path, a NUL
            character in either, or a platform that is missing, doubled or not `tensorflow`.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise ServingError(
            Code.INVALID_ARGUMENT,
            "custom_model_config is not supported by this server; use model_config_list",
        )
    models: dict[str, ModelSettings] = {}
    for model in config.model_config_list.config:
        if not model.name:
            raise invalid_argument(
                f"Expected a model to have a name; got none for base_path()={model.base_path}"
            )
        if "\0" in model.base_path or "\0" in model.name:
            raise invalid_argument(f"The name or base path of model {model.name!r} holds a NUL character")
        if model.name in models:
            raise invalid_argument(f"Illegal to list model {model.name} multiple times in config list")
        if not model.base_path.startswith("/") and not _URI.match(model.base_path):
            raise invalid_argument(
                f"Expected model {model.name} to have an absolute path or URI; "
                f"got base_path()={model.base_path}"
            )
        platform = _platform(model)
        if platform != _PLATFORM:
            raise invalid_argument(f"Model {model.name} requests unsupported platform {platform}")
        models[model.name] = ModelSettings(
            name=model.name,
            base_path=Path(model.base_path.removeprefix("file://")),
            policy=VersionPolicy.from_proto(model.model_version_policy),
            labels=dict(model.version_labels),
            platform=platform,
            wants_request_log=model.HasField("logging_config"),
        )
    return models
