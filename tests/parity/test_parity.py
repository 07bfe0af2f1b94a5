"""Every claim of `tools/parity`: a subset of its cases by default, all of them under `slow`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

pytestmark = pytest.mark.peers


def names() -> list[str]:
    """The claims' places, without importing the peers while tests are collected."""
    return [f"{module}:{name}" for module, claims in PLACES.items() for name in claims]


PLACES = {
    "keras_layers": [
        "head_outputs",
        "head_gradients",
        "head_half_precision",
        "head_round_trips",
        "embedding",
    ],
    "mask_generator": ["certain", "counts", "shares"],
    "tokenizer": ["text", "classes", "outside"],
    "byte_level": ["byte_level_text", "byte_level_fills"],
    "sentencepiece": [
        *("xlm_roberta", "older_xlm_roberta", "camembert", "albert", "mmbert", "deberta"),
        "ties",
    ],
    "residues": ["residues"],
    "hugging_face": ["loads", "saves", "keys"],
    "spellings": ["spellings", "encoders", "trained"],
    "oddities": ["odd_tokens", "odd_fills"],
    "keras_hub_model": ["keras_hub", "keras_hub_families", "google", "training"],
    "fill_mask": ["fill_mask", "exported", "embeddings"],
    "family_fills": ["family_fills"],
}


# Each traces what it asks a few times; `fill_mask`, `classes` and SentencePiece's compare what is traced.
UNTRACED = {
    "tokenizer:text",
    "byte_level:byte_level_text",
    "byte_level:byte_level_fills",
    "oddities:odd_tokens",
    "oddities:odd_fills",
    "spellings:trained",
    "family_fills:family_fills",
}


def find(place: str) -> Any:
    import importlib

    module, name = place.split(":")
    return getattr(importlib.import_module(f"parity.{module}"), name)


@pytest.mark.parametrize("place", names())
def test_claim_holds_on_a_subset(place: str, request: pytest.FixtureRequest) -> None:
    if place in UNTRACED:
        request.getfixturevalue("untraced")
    row = find(place).run(quick=True)
    assert row.holds, row


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("place", names())
def test_claim_holds(place: str) -> None:
    row = find(place).run(quick=False)
    assert row.holds, row


def test_every_claim_is_tested() -> None:
    from parity.claims import CLAIMS

    assert [find(place) for place in names()] == CLAIMS


def test_the_tool_prints_the_claims_it_is_asked_for() -> None:
    from parity.command import main

    done = CliRunner().invoke(main, ["--quick", "--json", "--only", "many tokens are selected"])
    assert done.exit_code == 0, done.output
    [row] = json.loads(done.stdout)
    assert row["holds"]
    assert row["cases"] == 5
