"""The tiny model as a directory, and questions of models as an export holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tf_mlm.model.directory.checkpoint import save
from tf_mlm.model.graph_rewriting import graphs_as_written
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.questions import Inference


@pytest.fixture(scope="module")
def quick_to_trace() -> Iterator[None]:
    """Each graph is run a few times here; rewriting it would take far longer."""
    with graphs_as_written():
        yield


@pytest.fixture
def directory(tiny_model: MaskedLM, tmp_path: Path) -> Path:
    """The tiny model, saved."""
    save(tiny_model, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def ask() -> Callable[[Inference, str, list[Any], bool], Any]:
    """Asks a question eagerly, or in a graph: traced once, for inputs of every shape, as an export has it."""
    traced: dict[tuple[Inference, str], Any] = {}

    def asked(inference: Inference, question: str, arguments: list[Any], graph: bool) -> Any:
        answer, tensors = getattr(inference, question), [tf.constant(argument) for argument in arguments]
        if graph:
            if (inference, question) not in traced:
                specs = [tf.TensorSpec(None, tensor.dtype) for tensor in tensors]
                traced[inference, question] = tf.function(answer, specs, autograph=False)
            answer = traced[inference, question]
        return answer(*tensors)

    return asked
