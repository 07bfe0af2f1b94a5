"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf
from conftest import make_tiny_model

import tf_mlm

PACKAGES = (Path(tf_mlm.__file__).parent, Path(__file__).parents[1] / "tools" / "benchmarks")
MODULES = [
    ".".join(path.relative_to(package.parent).with_suffix("").parts)
    for package in PACKAGES
    for path in sorted(package.rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]
# The compiler for a TPU comes with the [tpu-aot] extra; tests/benchmarks runs it.
MODULES.remove("benchmarks.tpu_compiler")
BATCHES = [
    (
        tf.constant([[2, 7, 4, 9, 3], [2, 4, 8, 3, 0]]),
        tf.constant([5, 4]),
        tf.constant([[2], [1]]),
        tf.constant([[8], [6]]),
        tf.ones([2, 1]),
    )
]
"""Token ids, lengths, positions and ids of the masks, their weights."""


@pytest.fixture(scope="module")
def port(plain_export: Path) -> Iterator[int | None]:
    """Where a server of the tiny model, called `mlm`, listens for REST."""
    from tf_mlm.serving.server import ModelServer, ServerOptions

    base_path = str(plain_export.parent)
    with ModelServer(ServerOptions(model_name="mlm", model_base_path=base_path, rest_port=0)) as server:
        yield server.rest_port


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, request: pytest.FixtureRequest) -> None:
    """Examples may use `model`, a tiny one with a preprocessor, `batches` of masked text for it, and `port`,
    where it is served."""
    module = importlib.import_module(name)
    if name.startswith("tf_mlm.training"):
        request.getfixturevalue("interpreted")
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    given = {"model": make_tiny_model(), "batches": BATCHES}
    if "{port}" in source:
        given["port"] = request.getfixturevalue("port")
    results = doctest.testmod(module, extraglobs=given)
    assert results.failed == 0
    assert results.attempted > 0
