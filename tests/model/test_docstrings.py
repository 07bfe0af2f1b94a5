"""Every example in the docstrings of layers, model and conversion runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import tf_mlm.convert
import tf_mlm.layers
import tf_mlm.model
from tf_mlm.model.masked_lm import MaskedLM

MODULES = sorted(
    module.name
    for package in (tf_mlm.layers, tf_mlm.model, tf_mlm.convert)
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, tiny_model: MaskedLM) -> None:
    """Examples may use `model`, a tiny one with a preprocessor."""
    module = importlib.import_module(name)
    results = doctest.testmod(module, extraglobs={"model": tiny_model})
    assert results.failed == 0


def test_there_are_examples(tiny_model: MaskedLM) -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    counts = [len(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name))]
    assert sum(counts) >= 20
