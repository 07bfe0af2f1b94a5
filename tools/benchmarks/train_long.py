"""Training steps of long texts: ModernBERT's shape beside transformers in torch, and what a token costs.

Six layers of 384, heads of 64, a gated feed-forward of 2×576 (1.5 times the width, as in ModernBERT-base), a
window of 128 and every third layer without one, 30 % masks, float32, AdamW. One row of each length; both
sides start from the same weights and take the same batch, and the losses of the first call are compared
before anything is timed: of several steps where texts are short, so that the updates are compared too.

Transformers computes its head at the masked places only (`sparse_prediction`), with torch's fused AdamW and
one thread per core. Its attentions are contenders of their own: `sdpa`, the same compiled by `torch.compile`,
and `eager`, which keeps all scores and so is asked up to 2,048 tokens. `flex_attention`, which would skip
what no window reaches, has no backward pass on CPUs in torch 2.13.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.contest import OURS, Contender, Outcome, compete
from benchmarks.training_loop import random_batch, steps_of
from tf_mlm.config import ModelConfig
from tf_mlm.model.directory.checkpoint import save
from tf_mlm.model.directory.config_json import read_config
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.options import TrainConfig

STEPS: Mapping[int, int] = {512: 4, 2048: 2, 8192: 1}
"""Length to the steps of a call."""
LONGEST_EAGER = 2048
LAYERS, HIDDEN, HEADS, INNER, WINDOW, GLOBAL_EVERY = 6, 384, 6, 576, 128, 3
VOCABULARY, MASK_RATE = 30522, 0.3
SPECIAL_IDS = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 1)
"""Left out, transformers takes those of a larger vocabulary."""
ROUNDS, SECONDS = 7, 60.0
TOLERANCE = 1e-3
"""Of the mean loss, which is about 10."""


def outcomes(peers: bool) -> Iterator[Outcome]:
    """A row for each length; with peers, the same model for everybody. Then the growth in banded layers."""
    for length, steps in STEPS.items():
        yield _contest(length, steps, peers)
        gc.collect()
    yield _growth()


def _contest(length: int, steps: int, peers: bool) -> Outcome:
    model = MaskedLM.from_config(_config(banded=False), seed=0)
    settings = _settings(1, length)
    batch = random_batch(VOCABULARY, 1, length, settings.masks)
    contenders: dict[str, Contender] = {}
    if peers:
        from benchmarks.hugging_face_peer import HuggingFaceTraining

        with tempfile.TemporaryDirectory() as directory:
            save(model, directory)  # before a step changes it
            for name, attention, compiled in (
                ("transformers sdpa", "sdpa", False),
                ("transformers sdpa, compiled", "sdpa", True),
                ("transformers eager", "eager", False),
            ):
                if attention != "eager" or length <= LONGEST_EAGER:
                    peer = HuggingFaceTraining(Path(directory), settings, attention, compiled=compiled)
                    contenders[name] = peer.steps_of(batch, steps)
    return compete(
        f"{steps} training step{'s' * (steps > 1)}, ModernBERT {LAYERS}×{HIDDEN}, 1×{length:,}",
        {OURS: steps_of(model, batch, settings, steps), **contenders},
        rounds=ROUNDS,
        seconds=SECONDS,
        tolerance=TOLERANCE,
        items=steps * length,
    )


def _growth() -> Outcome:
    """The same tokens in each step, in rows of each length: a ratio is a token's cost over the shortest's.

    So a token in a short row pays for as much of an update as one in a long row.
    """
    shortest, *_, longest = STEPS
    contenders = {}
    for length in STEPS:
        rows = longest // length
        settings = _settings(rows, length)
        model = MaskedLM.from_config(_config(banded=True), seed=0)
        batch = random_batch(VOCABULARY, rows, length, settings.masks)
        name = OURS if length == shortest else f"{OURS}, rows of {length:,}"
        contenders[name] = steps_of(model, batch, settings, 1)
    return compete(
        f"a training step of {longest:,} tokens, all layers banded, in rows of {shortest}; ratio: growth",
        contenders,
        rounds=ROUNDS,
        seconds=SECONDS,
        tolerance=None,  # other rows
        items=longest,
    )


def _settings(rows: int, length: int) -> TrainConfig:
    """AdamW as torch has it: decay in step with the rate, epsilon behind the bias correction."""
    return TrainConfig(
        batch_size=rows, length=length, mask_rate=MASK_RATE, clip_norm=0.0, epsilon=1e-8, learning_rate=1e-4
    )


def _config(*, banded: bool) -> ModelConfig:
    """As `tf-mlm train --architecture modernbert` makes it, or with a window in every layer."""
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": max(STEPS),
        "local_attention": WINDOW,
        "pad_token_id": 0,
    }
    kinds = ["sliding_attention" if banded or i % GLOBAL_EVERY else "full_attention" for i in range(LAYERS)]
    return read_config({"model_type": "modernbert", **sizes, "layer_types": kinds, **SPECIAL_IDS})
