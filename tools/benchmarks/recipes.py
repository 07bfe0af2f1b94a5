"""What the old and the new way to pretrain learn of the same text in the same time, with as many weights.

Old is BERT's: post-norm, learned positions, 15 % masks, AdamW, a linear schedule, rows of 128 tokens. New is
ModernBERT's: rotary positions, pre-norm, gated, packed rows, masks from 30 to 15 %, StableAdamW, a plateau
with a decay by 1 - √. A gated layer has fewer weights, so there are more of them; the two differ by a few in
a hundred, which a row says. The new one is the demo's; a step sees as many tokens in both.

The text is the documentation in this Python installation, one document in twenty held out. Both read it by
one vocabulary, learnt from the rest, of the kind that ModernBERT has; so the old model is of RoBERTa's
family, which is BERT's in all else that is named here. They are trained one after the other in this process,
on its cores, for `TF_MLM_RECIPE_MINUTES` each (8 if it is not set), compilation included; then both are asked
for the same 15 % of the held-out documents, in the same rows.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.contest import Outcome, Ratio
from benchmarks.machine import cores
from tf_mlm.cli.demo import SMALL, SMALL_MODERNBERT
from tf_mlm.model.directory.checkpoint import load
from tf_mlm.training.data.corpus import Corpus
from tf_mlm.training.data.documentation import write_documentation_corpus
from tf_mlm.training.evaluation import Evaluation, compare
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import parameters
from tf_mlm.training.recipes import recipe_of
from tf_mlm.training.run.result import TrainResult
from tf_mlm.training.run.trainer import train
from tf_mlm.training.run.vocabulary import learnt_vocabulary

MINUTES = float(os.environ.get("TF_MLM_RECIPE_MINUTES", "8"))
OLD, NEW = "old: BERT's", "new: ModernBERT's"
TOKENS, EVALUATION_ROWS, NEVER = 2048, 100_000, 1_000_000
RECIPES: Mapping[str, Mapping[str, Any]] = {
    OLD: {**SMALL, **recipe_of("bert"), "architecture": "roberta", "layers": 2},
    NEW: SMALL_MODERNBERT,
}


@dataclasses.dataclass(frozen=True)
class Learnt:
    """How a run ended, what it saw, and what its model makes of the held-out documents."""

    result: TrainResult
    tokens: int
    weights: int
    evaluation: Evaluation


def outcomes(peers: bool) -> Iterator[Outcome]:
    """Of both: time, steps, tokens and weights; then what they have learnt. There are no peers."""
    with tempfile.TemporaryDirectory(prefix="recipes-") as folder:
        corpus = Path(folder, "corpus.jsonl")
        write_documentation_corpus(corpus)
        found = learnt(corpus, Path(folder))
    old, new = found[OLD].evaluation, found[NEW].evaluation
    assert old.bits_per_byte is not None
    assert new.bits_per_byte is not None
    given = f"{MINUTES:g} minutes each on {cores()} cores"
    yield _figures(f"{given}: training", found, lambda one: one.result.seconds, "s")
    yield _figures(f"{given}: steps", found, lambda one: one.result.steps, "steps")
    yield _figures(f"{given}: tokens seen", found, lambda one: one.tokens, "tokens")
    yield _figures("size", found, lambda one: one.weights, "weights")
    bits = _figures("held-out bits per byte", found, lambda one: one.evaluation.bits_per_byte, "bits")
    yield dataclasses.replace(bits, ratios={OLD: Ratio(*[old.bits_per_byte / new.bits_per_byte] * 3)})
    for name, share in (("top-1", "top_1"), ("top-5", "top_5")):
        work = f"held-out {name} of {new.masks:,} masks"
        yield _figures(work, found, lambda one, share=share: 100 * getattr(one.evaluation, share), "%")


def learnt(corpus: Path, folder: Path) -> dict[str, Learnt]:
    """Trains both on a corpus, in new directories inside `folder`, and evaluates both on the same masks."""
    settings = {name: _settings(recipe) for name, recipe in RECIPES.items()}
    text = Corpus.from_config([corpus], settings[NEW])
    size = settings[NEW].vocabulary_size
    vocabulary = learnt_vocabulary(text, folder, size, "modernbert", None, write=False)
    results = {
        name: train([corpus], folder / str(index), config, vocabulary=vocabulary)
        for index, (name, config) in enumerate(settings.items())
    }
    # Each document by itself, as a model is asked: in rows that both have positions for.
    length = min(config.length for config in settings.values())
    same = TrainConfig(length=length, mask_rate=0.15, packed=True, evaluation_rows=EVALUATION_ROWS)
    directories = [result.directory for result in results.values()]
    evaluations = compare(directories, [corpus], same, only_held_out=True)
    return {
        name: Learnt(
            result,
            result.steps * settings[name].batch_size * settings[name].length,
            sum(one.variable.shape.num_elements() or 0 for one in parameters(load(result.directory))),
            evaluation,
        )
        for (name, result), evaluation in zip(results.items(), evaluations, strict=True)
    }


def _settings(recipe: Mapping[str, Any]) -> TrainConfig:
    """For the time there is, and without evaluations on the way, which would take some of it."""
    return TrainConfig(
        **recipe,
        minutes=MINUTES,
        within_minutes=MINUTES,
        batch_size=TOKENS // recipe["length"],
        evaluation_rows=64,
        evaluate_every=NEVER,
        checkpoint_every=NEVER,
    )


def _figures(work: str, found: Mapping[str, Learnt], figure: Any, unit: str) -> Outcome:
    return Outcome(work, {name: float(figure(one)) for name, one in found.items()}, {}, 0.0, unit=unit)
