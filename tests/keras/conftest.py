"""A functional model, trained once."""

from __future__ import annotations

import keras
import pytest
from reference.keras_models import fit, functional


@pytest.fixture(scope="session")
def trained() -> keras.Model:
    model = functional()
    losses = fit(model)
    assert losses[-1] < losses[0] - 0.1
    return model
