"""Every example in the docstrings of `tf_mlm.text` runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import tf_mlm.text

MODULES = sorted(module.name for module in pkgutil.iter_modules(tf_mlm.text.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(f"tf_mlm.text.{name}")
    results = doctest.testmod(module)
    assert results.failed == 0
    assert results.attempted > 0
