"""An export, loaded again as a server loads it, beside the model that it was made from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mlm import signatures
from tf_mlm.errors import ExportMismatchError
from tf_mlm.layers.compact_weight import multiplied
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.saved_model_loader import load_into

Outputs = Mapping[str, np.ndarray]
_INITIALISES = "__saved_model_init_op"  # the loader has run it


class _Question(NamedTuple):
    """Inputs of a signature, and what of its outputs has to equal what."""

    inputs: dict[str, tf.Tensor]
    pair: Callable[[Outputs], tuple[np.ndarray, np.ndarray]]


def check_reloaded(
    model: MaskedLM, directory: Path, arithmetic: str = "float", *, is_mixed: bool = False
) -> None:
    """Compares every signature of an export with the model it came from, on a few texts.

    The model's side goes through its plain call: no buckets, no chunks, no XLA; products in integers are
    those of floats with the same values there. Where some shapes are multiplied as `arithmetic` says
    and others as floats (`is_mixed`), either will do.

    Raises:
        ExportMismatchError: naming the first signature that answers differently.
    """
    questions = {"float": _questions(model)}
    if arithmetic != "float":
        with multiplied(arithmetic):
            questions[arithmetic] = _questions(model)
    low = model.head.precision.compute in ("bfloat16", "float16")
    # `tf.saved_model.load` would build each function anew in Python, which takes longer than all else.
    with contextlib.closing(_session()) as session:
        for name, signature in sorted(load_into(session, directory).signature_def.items()):
            if name == _INITIALISES:
                continue
            kind = name.removesuffix(signatures.PORTABLE)
            as_called = arithmetic if kind == name else "float"
            rounds = (low or as_called != "float") and kind != signatures.TOKENIZE.name
            asked = ("float", as_called) if is_mixed and rounds else (as_called,)
            outputs = _answers(session, signature, questions[as_called][kind].inputs)
            pairs = [questions[how][kind].pair(outputs) for how in asked]
            _compare(name, pairs, rounds)


def _session() -> tf.compat.v1.Session:
    """An empty one that runs graphs as they are written: once each, and rewriting takes longer."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0
    return tf.compat.v1.Session(graph=tf.Graph(), config=config)


def _answers(session: tf.compat.v1.Session, signature: Any, inputs: Mapping[str, tf.Tensor]) -> Outputs:
    feeds = {signature.inputs[alias].name: tensor.numpy() for alias, tensor in inputs.items()}
    return session.run({alias: tensor.name for alias, tensor in signature.outputs.items()}, feeds)


def _questions(model: MaskedLM) -> dict[str, _Question]:
    preprocessor = model.preprocessor
    assert preprocessor is not None
    mask, word = preprocessor.vocabulary.config.mask_token, _word(model)
    text = tf.constant([f"{word} {mask}", f"{mask} {word} {word} {mask} {word}"])
    inputs = preprocessor.untraced(text)
    ids, positions = inputs[:3], tf.maximum(inputs.mask_positions, 0)
    real = inputs.mask_positions.numpy() >= 0
    probabilities = tf.nn.softmax(model(*ids, positions)).numpy()[real]
    hidden = tf.cast(model.hidden(*model.states(*ids)), tf.float32)
    means = np.stack([row[:n].mean(0) for row, n in zip(hidden.numpy(), inputs.lengths.numpy(), strict=True)])

    def at(token_ids: np.ndarray) -> np.ndarray:
        return np.take_along_axis(probabilities, token_ids, -1)

    def filled(outputs: Outputs) -> tuple[np.ndarray, np.ndarray]:
        return at(outputs["token_ids"][real]), outputs["scores"][real]

    def scored(outputs: Outputs) -> tuple[np.ndarray, np.ndarray]:
        return at(outputs["target_ids"][np.nonzero(real)[0]]), outputs["scores"][real]

    def projected(outputs: Outputs) -> tuple[np.ndarray, np.ndarray]:
        return probabilities, tf.nn.softmax(outputs["logits"]).numpy()[real]

    texts, targets = {"text": text}, {"targets": tf.constant([[word, mask], [word, word]])}
    named = {"token_ids": ids[0], "lengths": ids[1], "segment_ids": ids[2], "mask_positions": positions}
    states = {"hidden_states": hidden, "mask_positions": positions}
    twice = preprocessor.untraced(tf.constant([f"{word} {word}"]))
    hidden_places = tf.range(1, twice.token_ids.shape[1] - 1)[:, tf.newaxis]  # one in each copy of the text
    token_ids, lengths, segment_ids = (
        tf.repeat(tensor, tf.size(hidden_places), axis=0) for tensor in twice[:3]
    )
    token_ids = tf.tensor_scatter_nd_update(
        token_ids,
        tf.concat([hidden_places - 1, hidden_places], 1),
        tf.fill([tf.size(hidden_places)], preprocessor.vocabulary.mask_id),
    )
    predicted = tf.nn.log_softmax(model(token_ids, lengths, segment_ids, hidden_places))[:, 0]
    likelihood = tf.gather(predicted, twice.token_ids[0, 1:-1], batch_dims=1).numpy()
    return {
        signatures.FILL.name: _Question(texts, filled),
        signatures.SCORE_TARGETS.name: _Question({**texts, **targets}, scored),
        signatures.PSEUDO_LOG_LIKELIHOOD.name: _Question(
            {"text": tf.constant([f"{word} {word}"])},
            lambda outputs: (likelihood.sum(keepdims=True), outputs["score"]),
        ),
        signatures.ENCODE.name: _Question(texts, lambda outputs: (means, outputs["embeddings"])),
        signatures.TOKENIZE.name: _Question(
            texts, lambda outputs: (inputs.token_ids.numpy(), outputs["token_ids"])
        ),
        signatures.PREDICT_MASKED.name: _Question(named, projected),
        signatures.MASKED_LM_HEAD.name: _Question(states, projected),
    }


def _word(model: MaskedLM) -> str:
    """A whole word of the vocabulary, which must come back as that one token."""
    vocabulary = model.preprocessor.vocabulary  # type: ignore[union-attr]
    words = (token for token in reversed(vocabulary.tokens) if token.isascii() and token.isalnum())
    return next(words, vocabulary.config.mask_token)


def _compare(signature: str, pairs: list[tuple[np.ndarray, np.ndarray]], low_precision: bool) -> None:
    tolerance = 5e-2 if low_precision else 1e-4
    for ours, reloaded in pairs:
        if ours.shape == reloaded.shape and np.allclose(ours, reloaded, rtol=tolerance, atol=tolerance):
            return
    difference = np.abs(ours - reloaded).max() if ours.shape == reloaded.shape else "another shape"
    raise ExportMismatchError(
        f"Signature `{signature}` of the reloaded export must answer as the model does (within {tolerance}). "
        f"Received: a difference of {difference}. Nothing was written; please report it with your config."
    )
