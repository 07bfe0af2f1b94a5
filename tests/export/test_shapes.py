"""Shapes that no client should send: an export answers or refuses them, and its process lives on."""

from __future__ import annotations

import itertools
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tf_mlm import signatures

OK, INVALID_ARGUMENT = 0, 3
GOOD: dict[str, tuple[list[int], Any]] = {
    "text": ([2], "the [MASK] sat"),
    "targets": ([2, 3], "cat"),
    "token_ids": ([2, 4], 2),
    "lengths": ([2], 3),
    "segment_ids": ([2, 4], 0),
    "mask_positions": ([2, 2], 1),
    "hidden_states": ([2, 4, 16], 0.5),
}
RANKS = (*range(41), 100, 254)  # TensorFlow's own limit; a tensor of a higher rank cannot be made


def question(name: str, signature: signatures.Signature, **changed: Any) -> dict[str, Any]:
    good = {alias: {"shape": GOOD[alias][0], "value": GOOD[alias][1]} for alias in signature.inputs}
    return {"signature": name, "inputs": {**good, **changed}}


def bad_shapes(axes: int) -> Iterator[list[int]]:
    random.seed(axes)
    for rank in RANKS:
        if rank != axes:
            yield [1] * rank
        if rank:
            yield [
                0 if axis == random.randrange(rank) else random.choice([1, 1, 2, 3]) for axis in range(rank)
            ][:12] + [1] * (rank - 12)
    yield [0] * max(axes - 1, 1) + [2**40]
    yield [0, 2**40]


_FUNCTION = re.compile(r"\{\{function_node __inference_[^ }]*\}\} ")


def ask(directory: Path, questions: list[dict[str, Any]], *switches: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("native_session.py")), *switches, str(directory)],
        input="".join(json.dumps(one) + "\n" for one in questions),
        capture_output=True,
        text=True,
        check=False,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    last = questions[min(len(answers), len(questions) - 1)]
    assert done.returncode == 0, f"died of {done.returncode} at {last}: {done.stderr[-2000:]}"
    if not switches:  # graphs as they are written say in which of their functions it was
        for answer in answers:
            if "message" in answer:
                answer["message"] = _FUNCTION.sub("", answer["message"])
    return answers


SUFFIXES = ("", signatures.PORTABLE)
INVALID = [
    ("predict_masked", "token_ids", [-1, 21, 2**31 - 1, -(2**31)]),
    ("predict_masked", "lengths", [-1, 5, 2**31 - 1]),
    ("predict_masked", "segment_ids", [-1, 2]),
    ("predict_masked", "mask_positions", [-2, 3, 2**31 - 1, -(2**31)]),
    ("masked_lm_head", "mask_positions", [-2, 4, 2**31 - 1, -(2**31)]),
]


def good(suffix: str) -> list[dict[str, Any]]:
    return [question(signature.name + suffix, signature) for signature in signatures.SIGNATURES]


def badly_shaped(suffix: str) -> list[tuple[str, int, dict[str, Any]]]:
    """(input, axes that it should have, question) for each."""
    asked = []
    for signature in signatures.SIGNATURES:
        name = signature.name + suffix
        for alias, tensor in signature.inputs.items():
            for shape in bad_shapes(len(tensor.shape)):
                changed = {"shape": shape, "value": GOOD[alias][1]}
                asked.append((alias, len(tensor.shape), question(name, signature, **{alias: changed})))
    return asked


def with_invalid_values() -> list[dict[str, Any]]:
    """With and without XLA in turn."""
    by_name = {signature.name: signature for signature in signatures.SIGNATURES}
    return [
        question(name + suffix, by_name[name], **{alias: {"shape": GOOD[alias][0], "value": value}})
        for name, alias, values in INVALID
        for value in values
        for suffix in SUFFIXES
    ]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((), id="as written"),
        pytest.param(("--rewrite",), id="rewritten", marks=pytest.mark.slow),
    ],
)
def answers(request: pytest.FixtureRequest, tiny_export: Path) -> dict[str, list[dict[str, Any]]]:
    """One process is asked everything: whatever comes early must leave it as it was for what comes late."""
    asked = {
        suffix: [*good(suffix), *(one for _, _, one in badly_shaped(suffix)), *good(suffix)]
        for suffix in SUFFIXES
    }
    asked["values"] = with_invalid_values()
    questions = [one for questions in asked.values() for one in questions]
    found = iter(ask(tiny_export, questions, *request.param))
    return {name: list(itertools.islice(found, len(questions))) for name, questions in asked.items()}


@pytest.mark.parametrize("suffix", SUFFIXES, ids=["xla", "portable"])
def test_every_shape_is_answered_or_refused_by_the_name_of_its_input(
    answers: dict[str, list[dict[str, Any]]], suffix: str
) -> None:
    found, count = answers[suffix], len(signatures.SIGNATURES)
    for first, last in zip(found[:count], found[-count:], strict=True):
        assert first["code"] == OK, first["message"]
        assert last["shapes"] == first["shapes"]
    for (alias, rank, one), answer in zip(badly_shaped(suffix), found[count:-count], strict=True):
        shape = one["inputs"][alias]["shape"]
        assert answer["code"] in (OK, INVALID_ARGUMENT), (one, answer)
        if len(shape) != rank or max(shape, default=0) >= 2**31:
            assert answer["code"] == INVALID_ARGUMENT, (one, answer)
            assert alias in answer["message"]


def test_invalid_values_have_the_same_outcome_with_and_without_xla(
    answers: dict[str, list[dict[str, Any]]],
) -> None:
    found = answers["values"]
    for one, answer in zip(with_invalid_values(), found, strict=True):
        assert answer["code"] == INVALID_ARGUMENT, (one, answer)
        assert "must lie in" in answer["message"]
    for with_xla, without in zip(found[::2], found[1::2], strict=True):
        assert with_xla["message"].split(" | ")[0].splitlines()[0] == without["message"].splitlines()[0]
