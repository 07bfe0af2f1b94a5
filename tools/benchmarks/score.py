"""Pseudo-log-likelihood of 100 sentences, BERT-base: every masked copy in batched passes, or one by one."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.contest import OURS, Contender, Outcome, compete
from benchmarks.text_lines import bert_base, sentences
from tf_mlm.config import Buckets
from tf_mlm.model.directory.checkpoint import save
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.questions import Inference

SENTENCES, PARTS = 100, 4
BUCKETS = Buckets(batch=(8, 32), length=(16, 24, 32, 48), masks=(64,))


def outcomes(peers: bool) -> Iterator[Outcome]:
    """One row. The sentences come in four parts, so that contenders take turns; each part is a round."""
    model = bert_base()
    assert model.preprocessor is not None
    found = sentences(SENTENCES, least=8, most=24)
    size = SENTENCES // PARTS
    parts = [found[start : start + size] for start in range(0, SENTENCES, size)]
    tokens = int(tf.reduce_sum(model.preprocessor(found).lengths - 2)) // PARTS
    scores: dict[str, Callable[[list[str]], Any]] = {OURS: _ours(model)}
    if peers:
        scores["transformers, token by token"] = _loop(model)
    yield compete(
        f"pseudo-log-likelihood, {size} of {SENTENCES} sentences",
        {name: _in_turn(score, parts) for name, score in scores.items()},
        rounds=PARTS,
        seconds=3600.0,
        tolerance=2e-2,  # of sums over two dozen tokens
        items=tokens,
    )


def _in_turn(score: Callable[[list[str]], Any], parts: list[list[str]]) -> Contender:
    turns = itertools.cycle(parts)
    return lambda: score(next(turns))


def _ours(model: MaskedLM) -> Callable[[list[str]], np.ndarray]:
    inference = Inference(model, buckets=BUCKETS, top_k=1)
    score = tf.function(inference.pseudo_log_likelihood, [tf.TensorSpec([None], tf.string)], autograph=False)
    for length in BUCKETS.length:
        for copies in BUCKETS.batch:  # so many copies in all, each as long as the bucket
            score(tf.constant([" ".join(["the"] * copies + ["[MASK]"] * (length - 2 - copies))]))
    return lambda texts: score(tf.constant(texts))["score"].numpy()


def _loop(model: MaskedLM) -> Callable[[list[str]], np.ndarray]:
    """The usual way: mask one token, run the model, read that token's probability, go on."""
    import torch
    from transformers import AutoTokenizer

    from benchmarks.hugging_face_peer import HuggingFacePeer

    with tempfile.TemporaryDirectory() as directory:
        save(model, directory)
        peer, tokenizer = HuggingFacePeer(Path(directory)), AutoTokenizer.from_pretrained(directory)

    def run(texts: list[str]) -> np.ndarray:
        scores = []
        for text in texts:
            inputs = tokenizer(text, return_tensors="pt")
            ids, total = inputs["input_ids"][0], 0.0
            for position in range(1, len(ids) - 1):
                masked = ids.clone()
                masked[position] = tokenizer.mask_token_id
                with torch.inference_mode():
                    logits = peer.model(**{**inputs, "input_ids": masked[None]}).logits[0, position]
                total += float(logits.log_softmax(-1)[ids[position]])
            scores.append(total)
        return np.array(scores)

    return run
