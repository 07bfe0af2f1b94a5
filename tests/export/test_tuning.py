"""An export that runs the fastest program of each bucket: what is measured and chosen, what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from reference.platforms import needs_onednn

from export.stock import NAMES, PORTABLE, StockSession, assert_close
from tf_mlm import signatures
from tf_mlm.cli.inspect import needs
from tf_mlm.config import Buckets
from tf_mlm.export import saved_model, tuning
from tf_mlm.export.description import read_description
from tf_mlm.export.quantization import quantize, to_bfloat16
from tf_mlm.export.saved_model import export
from tf_mlm.export.tuning import FEWEST_ROUNDS, ROUNDS, Tuning, measure
from tf_mlm.model.graph_rewriting import graphs_as_written
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.programs import Programs
from tf_mlm.model.questions import Inference
from tf_mlm.model.tuned_programs import Choices, TunedPrograms, candidates

BUCKETS = Buckets(batch=(2,), length=(16, 32), masks=(4,))
TEXTS = tf.constant(["the [MASK] sat on a [MASK] .", "[MASK] dogs ran"])


@pytest.fixture(scope="module", params=[pytest.param("int8", marks=needs_onednn), "bfloat16"])
def arithmetic(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def rounded(arithmetic: str, tiny_model: MaskedLM) -> MaskedLM:
    return quantize(tiny_model) if arithmetic == "int8" else to_bfloat16(tiny_model)


@pytest.fixture(scope="module")
def found(rounded: MaskedLM, arithmetic: str) -> dict[str, Programs]:
    return candidates(rounded, top_k=5, xla=True, arithmetic=arithmetic)


def test_answers_are_the_same_whichever_is_chosen(
    rounded: MaskedLM, found: Mapping[str, Programs], arithmetic: str
) -> None:
    answers = {}
    for name in found:
        choices = Choices(dict.fromkeys([(2, 16), (2, 32)], name), {4: name})
        programs = TunedPrograms(found, BUCKETS, choices)
        assert programs.compilations(BUCKETS) == (6 if name == "xla" else 0)
        assert programs.arithmetic == (arithmetic if name == arithmetic else "float")
        inference = Inference(rounded, buckets=BUCKETS, top_k=5, programs=programs)
        scores = inference.score_targets(TEXTS, tf.constant([["cat", "dog"]] * 2))["scores"]
        embeddings = inference.encode(TEXTS)["embeddings"]
        answers[name] = np.concatenate([scores.numpy().ravel(), embeddings.numpy().ravel()])
    np.testing.assert_allclose(answers["xla"], answers["float"], atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(answers[arithmetic], answers["float"], atol=5e-2, rtol=5e-2)
    assert np.abs(answers[arithmetic] - answers["float"]).max() > 1e-5


@graphs_as_written()  # or some of what is compared would be rewritten, and round otherwise
def test_each_bucket_runs_what_the_table_names(found: Mapping[str, Programs], arithmetic: str) -> None:
    buckets = Buckets(batch=(1, 3), length=(4, 8), masks=(2, 5))
    of_states = {(1, 4): "float", (1, 8): arithmetic, (3, 4): arithmetic, (3, 8): "float"}
    choices = Choices(of_states, {2: arithmetic, 5: "float"})
    tuned = TunedPrograms(found, buckets, choices)

    @tf.function(autograph=False)
    def states(ids: tf.Tensor) -> tf.Tensor:
        return tuned.states(ids, tf.fill(tf.shape(ids)[:1], 3), tf.zeros_like(ids))[0]

    for (batch, length), name in choices.states.items():
        ids = 5 + tf.reshape(tf.range(batch * length), [batch, length]) % 16
        inputs = (ids, tf.fill([batch], 3), tf.zeros_like(ids))
        by = {one: found[one].states(*inputs)[0].numpy() for one in ("float", arithmetic)}
        assert not np.array_equal(by["float"], by[arithmetic])
        np.testing.assert_array_equal(states(ids), by[name])
    for masks, name in choices.rows.items():
        rows = [tf.random.stateless_normal([masks, spec.shape[-1]], [1, 2]) for spec in tuned.row_specs]
        np.testing.assert_array_equal(tuned.logits(*rows), found[name].logits(*rows))
        np.testing.assert_array_equal(tuned.top(*rows)[0], found[name].top(*rows)[0])
        other = "float" if name == arithmetic else arithmetic
        assert not np.array_equal(tuned.logits(*rows), found[other].logits(*rows))


def test_candidates_are_called_in_turn() -> None:
    calls: list[str] = []

    def named(name: str) -> Any:
        return lambda: calls.append(name) or tf.constant(0)

    found = tuning._medians({"a": named("a"), "b": named("b")}, ())
    assert calls == ["a", "b"] * (len(calls) // 2)
    assert FEWEST_ROUNDS <= len(calls) // 2 - 1 <= ROUNDS  # after one call of each that is not counted
    assert found.keys() == {"a", "b"}
    assert min(found.values()) > 0


WANTED = {(2, 16): "bfloat16", (2, 32): "xla", 4: "float"}


@pytest.fixture(scope="module")
def exported(tiny_model: MaskedLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As if another candidate had been the fastest in each bucket, which in so small a model is chance."""

    def forced(*arguments: Any) -> Tuning:
        measured = measure(*arguments)

        def times(of: Mapping[Any, Mapping[str, float]]) -> dict[Any, dict[str, float]]:
            return {shape: {**one, WANTED[shape]: min(one.values()) / 2} for shape, one in of.items()}

        return Tuning(times(measured.states), times(measured.rows))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_model, "measure", forced)
        base_path = tmp_path_factory.mktemp("tuned")
        model = to_bfloat16(tiny_model)
        return export(model, base_path, arithmetic="bfloat16", tune=True, buckets=BUCKETS, top_k=5)


def test_it_says_what_was_measured_and_chosen(exported: Path) -> None:
    description = read_description(exported)
    chosen = {"batch 2, length 16": "bfloat16", "batch 2, length 32": "xla", "masks 4": "float"}
    assert {bucket: found["chosen"] for bucket, found in description["tuning"].items()} == chosen
    for found in description["tuning"].values():
        times = found["milliseconds"]
        assert times.keys() == {"xla", "float", "bfloat16"}
        assert min(times, key=times.__getitem__) == found["chosen"]
    assert (description["xla"], description["programs"]) == (True, 1)
    assert description["arithmetic"] == "bfloat16"
    assert description["signatures"] == sorted([*NAMES, *PORTABLE])
    for part in ("--xla_cpu_compilation_enabled=true", "with bfloat16 products", "`_portable`"):
        assert part in needs(description)


def test_a_server_compiles_what_was_chosen_and_no_more(
    exported: Path, stock_server: StockSession, server_without_xla: StockSession
) -> None:
    found = stock_server(exported, warmup=True, random_requests=3, signatures=[*NAMES, *PORTABLE])
    assert found["errors"] == {}
    assert found["after_warmup"] == found["after_requests"] == read_description(exported)["programs"]
    without = server_without_xla(exported, signatures=PORTABLE)
    assert without["errors"] == {}
    for name in NAMES:
        portable = found["answers"][name + signatures.PORTABLE]
        for alias, value in found["answers"][name].items():
            if np.asarray(value).dtype.kind == "f" and alias not in ("scores", "score"):
                np.testing.assert_allclose(value, portable[alias], atol=5e-2, rtol=5e-2)
        assert_close(without["answers"][name + signatures.PORTABLE], portable)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"xla": False}, r"xla=False, arithmetic='float', which leaves one"),
        ({"top_k": 999}, "`top_k` must lie in"),
        ({"buckets": Buckets(length=(999,))}, "no length bucket may be larger"),
        ({"arithmetic": "bfloat16"}, "needs bfloat16 weights"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else None,
)
def test_what_cannot_be_is_refused_before_anything_is_measured(
    settings: dict[str, Any],
    message: str,
    tiny_model: MaskedLM,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(saved_model, "measure", lambda *_: pytest.fail("measured"))
    with pytest.raises(ValueError, match=message):
        export(tiny_model, tmp_path, tune=True, **settings)
    assert not list(tmp_path.iterdir())
