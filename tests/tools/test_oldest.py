"""The oldest versions that are allowed, as pip reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from oldest import oldest

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_every_dependency_has_its_lower_bound() -> None:
    found = [Requirement(line) for line in oldest(PYPROJECT.read_text())]
    assert {"tensorflow", "keras", "numpy", "protobuf", "h5py"} <= {one.name for one in found}
    assert all([each.operator for each in one.specifier] == ["=="] for one in found)


def test_one_without_is_named() -> None:
    with pytest.raises(ValueError, match=r"lower bound\. Received: 'numpy<3'"):
        oldest('[project]\ndependencies = ["numpy<3"]')
