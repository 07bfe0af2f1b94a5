"""Settings to and from JSON objects, and the files that hold them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from tf_mlm.config.rules import require
from tf_mlm.durable import write_durably
from tf_mlm.errors import ConfigError


def to_json(config: Any) -> dict[str, Any]:
    """A dataclass of `tf_mlm.config` as a JSON object; `extra` keys are put back where they came from."""
    values = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(config).items()
    }
    extra: dict[str, Any] = dict(values.pop("extra", {}))
    return {**extra, **values}


Config = TypeVar("Config")


def from_json(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """The dataclass that `to_json` wrote; keys it does not know are kept in `extra`."""
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    known = {key: value for key, value in values.items() if key in names and key != "extra"}
    if "extra" in names:
        known["extra"] = {key: value for key, value in values.items() if key not in names}
    return kind(**known)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or a `ConfigError` that names the file, line and column."""
    check_not_a_pointer(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"`{path}` does not exist. Give a directory that holds a {path.name}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"`{path}` cannot be read: {error}.") from error
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"`{path}` is not valid JSON (line {error.lineno}, column {error.colno}): {error.msg}."
        ) from error
    except (ValueError, RecursionError) as error:  # a number of too many digits, lists too deep in each other
        raise ConfigError(f"`{path}` cannot be read: {error}.") from error
    require(isinstance(value, dict), f"`{path}` must hold a JSON object.", type=type(value).__name__)
    return value


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a JSON object durably, in the form that Hugging Face writes: sorted, two spaces."""
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    write_durably(path, text.encode("utf-8"))


def check_not_a_pointer(path: Path) -> None:
    """Raises a `ConfigError` for a file that only names its content, as git-lfs leaves it, or has none."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_POINTER))
    except OSError:
        return  # whoever reads the file says so
    if start == _POINTER:
        raise ConfigError(
            f"`{path}` is a git-lfs pointer, not the file itself. Run `git lfs pull` in its directory, or "
            "download the file again."
        )
    if not start:
        raise ConfigError(f"`{path}` is empty. Copy or download it again.")


_POINTER = b"version https://git-lfs.github.com/spec/"
