"""One client for every kind of target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tf_mlm.errors import ConfigError
from tf_mlm.version_directory import newest

if TYPE_CHECKING:
    from tf_mlm.serving.client.client import Client

ADDRESS, EXPORT, MODEL = "a server's address", "an export", "a model directory"


def kind_of(target: str) -> tuple[str, Path]:
    """Which of the three it is, and the directory that holds the model (of an address: nothing that exists).

    Raises:
        ConfigError: for a path that holds neither a model nor an export of one.
    """
    if "://" in target:
        return ADDRESS, Path(target)
    path = Path(target)
    if (path / "config.json").is_file():
        return MODEL, path
    if version := path if (path / "saved_model.pb").is_file() else newest(path):
        return EXPORT, version
    raise ConfigError(
        "A target must be a model directory (config.json), a version directory (saved_model.pb), a base "
        f"path with versions, or an address such as grpc://127.0.0.1:8500/mlm. Received: `{target}`."
    )


def open_target(target: str, top_k: int = 1, *, bounded: bool = False) -> Client:
    """A client of the server at an address, or of the model in a directory, loaded into this process.

    Args:
        target: what the user named.
        top_k: how many fills will be asked for; only a model directory can still choose.
        bounded: take a `top_k` beyond the vocabulary for all of it.

    Raises:
        ConfigError: for a path that holds neither a model nor an export of one.
        ValueError: for a `top_k` beyond the vocabulary of a model directory.
    """
    from tf_mlm.serving.client.client import Client
    from tf_mlm.target.in_process import of_export, of_model

    kind, path = kind_of(target)
    if kind == ADDRESS:
        return Client(target)
    transport = of_model(path, top_k, bounded) if kind == MODEL else of_export(path)
    # The address is only a label here: every question goes to the transport.
    return Client("grpc://in-process:1/mlm", transport=transport)
