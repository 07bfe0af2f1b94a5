"""What a method and path mean: a model, and what to do with it."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse

from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.service import ModelSpec

_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_INFERENCE = re.compile(rf"{_MODEL}:(classify|regress|predict)", re.IGNORECASE | re.ASCII | re.DOTALL)
_ABOUT = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)


class BadVersionError(ServingError):
    """The one error whose body stays empty."""


@dataclasses.dataclass(frozen=True)
class ModelPath:
    """A model, and what is asked: `predict`, `classify`, `regress`, `metadata` or its status (empty)."""

    spec: ModelSpec
    action: str


def parse_path(method: str, path: str) -> ModelPath | None:
    """The meaning of a method and path, `None` if they have none.

    Raises:
        BadVersionError: for a version beyond 64 bits.

    Example:
        >>> from tf_mlm.serving.rest.path import parse_path
        >>> parse_path("POST", "/v1/models/mlm/versions/3:predict").spec
        ModelSpec(name='mlm', version=3, label=None, signature_name='serving_default')
    """
    pattern = {"POST": _INFERENCE, "GET": _ABOUT}.get(method)
    found = pattern.fullmatch(path) if pattern else None
    if found is None:
        return None
    name, version, label, action = found.groups()
    number = None if version is None else _int64(version)
    return ModelPath(ModelSpec(_unquote(name) or "", number, _unquote(label)), action or "")


def _unquote(text: str | None) -> str | None:
    if text is None:
        return None
    return urllib.parse.unquote_to_bytes(text.encode("latin-1")).decode("utf-8", "surrogateescape")


def _int64(digits: str) -> int:
    significant = digits.lstrip("0") or "0"
    # The length first: Python itself refuses to convert thousands of digits.
    if len(significant) > len(str(2**63)) or int(significant) >= 2**63:
        raise BadVersionError(Code.INVALID_ARGUMENT, f"Failed to convert version: {digits} to numeric.")
    return int(significant)
