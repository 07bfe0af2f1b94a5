"""`MaskedLMHead` and `ReversibleEmbedding` beside the layers of KerasHub and Keras, with the same weights."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf
from parity.claim import Measurements, claim, difference, relative

from tf_mlm.layers.keras_copy import head_pairs
from tf_mlm.layers.masked_lm_head import MaskedLMHead
from tf_mlm.layers.reversible_embedding import ReversibleEmbedding

# `glu` halves its axis and `threshold` needs arguments: neither works in KerasHub's head.
ACTIVATIONS = [
    name
    for name in (*sorted(dir(keras.activations)), "swish", "hard_swish")  # two names that only `get` knows
    if not name.startswith("_") and name not in ("deserialize", "get", "glu", "serialize", "threshold")
]
MASKS = (1, 2, 5, 16, 33, 64)
VOCAB = 37
MODES = ("eager", "graph", "xla")


@dataclasses.dataclass(frozen=True)
class HeadCase:
    """A head and its inputs.

    `table` is what projects to the vocabulary: the embedding's "tied" table, the "reverse" one of an
    embedding that has two, or the "own" kernel of a head without an embedding.
    """

    table: str = "tied"
    sizes: tuple[int, int] = (16, 16)
    intermediate: str = "relu"
    activation: str | None = None
    soft_cap: float | None = None
    epsilon: float = 1e-5
    masks: int = 5
    mode: str = "eager"
    dtype: str = "float32"

    @property
    def hidden(self) -> int:
        """Width of the hidden states; the other one of `sizes` is that of the embedding."""
        return self.sizes[1]

    def keras_layer(self) -> keras_hub.layers.MaskedLMHead:
        embedding = None
        if self.table != "own":
            embedding = keras_hub.layers.ReversibleEmbedding(
                VOCAB,
                self.sizes[0],
                tie_weights=self.table == "tied",
                logit_soft_cap=self.soft_cap,
                dtype=self.dtype,
            )
            embedding.build()
        layer = keras_hub.layers.MaskedLMHead(
            VOCAB, embedding, self.intermediate, self.activation, self.epsilon, dtype=self.dtype
        )
        layer.build((None, None, self.hidden), (None, None))
        rng = np.random.default_rng(0)
        for weight in (*layer.weights, *(embedding.weights if embedding else ())):
            weight.assign(rng.normal(1.0 if "gamma" in weight.name else 0.0, 0.3, weight.shape))
        return layer

    def inputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Hidden states of three texts of 9 tokens, and positions: with 64 masks most are repeated."""
        rng = np.random.default_rng(1)
        states = rng.normal(size=(3, 9, self.hidden)).astype(np.float32)
        return states, rng.integers(0, 9, (3, self.masks), np.int32)


def _grid(quick: bool) -> Iterator[HeadCase]:
    """Every pair of values, and 200 more; when quick every value once, and each table in each mode."""
    settings: dict[str, Sequence[Any]] = {
        "table": ("tied", "reverse", "own"),
        "sizes": ((16, 16), (8, 24), (24, 8)),
        "intermediate": ACTIVATIONS,
        "activation": (None, "softmax"),
        "soft_cap": (None, 5.0),
        "epsilon": (1e-5, 1e-2),
        "masks": MASKS,
        "mode": MODES,
    }
    cases = [
        HeadCase(**dict(zip(settings, values, strict=True)))
        for values in itertools.product(*settings.values())
    ]
    cases = [case for case in cases if case.table != "own" or not case.soft_cap]
    random.Random(0).shuffle(cases)
    if quick:
        cases.sort(key=lambda case: case.mode != "eager")

    def covered(case: HeadCase) -> set[Any]:
        values = dataclasses.asdict(case).items()
        return {*values, (case.table, case.mode)} if quick else set(itertools.combinations(values, 2))

    unseen = set().union(*map(covered, cases))
    for index, case in enumerate(cases):
        if (not quick and index < 200) or covered(case) & unseen:
            unseen -= covered(case)
            yield case


def _run(mode: str, function: Any, *inputs: Any) -> Any:
    if mode != "eager":
        function = tf.function(function, jit_compile=mode == "xla", autograph=False)
    return function(*map(tf.constant, inputs))


@claim("MaskedLMHead = KerasHub's: outputs, float32", 1e-5)
def head_outputs(quick: bool) -> Measurements:
    for case in _grid(quick):
        layer = case.keras_layer()
        head = MaskedLMHead.from_keras(layer)
        ours = _run(case.mode, head, *case.inputs())
        yield str(case), relative(ours, layer(*case.inputs()))


@claim("MaskedLMHead = KerasHub's: gradients of weights and inputs, float32", 1e-5)
def head_gradients(quick: bool) -> Measurements:
    for case in _grid(quick):
        layer = case.keras_layer()
        head = MaskedLMHead.from_keras(layer)
        states, positions = case.inputs()
        pairs = [*head_pairs(head, layer), *_tables(head.token_embedding, layer.token_embedding)]
        cotangent = np.random.default_rng(2).normal(size=(*positions.shape, VOCAB)).astype(np.float32)

        def gradients(call: Any, weights: list[Any], states: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(states)
                loss = tf.reduce_sum(call(states, positions) * cotangent)  # noqa: B023 - used in this turn
            nothing = tf.UnconnectedGradients.ZERO  # of an embedding table whose reverse one projects
            found = tape.gradient(loss, [*weights, states], unconnected_gradients=nothing)
            return [tf.convert_to_tensor(gradient) for gradient in found]

        ours = _run(case.mode, lambda x: gradients(head, [pair[0] for pair in pairs], x), states)  # noqa: B023
        theirs = gradients(layer, [pair[1].value for pair in pairs], tf.constant(states))
        turned = [*(pair[2] for pair in pairs), False]
        ours = [tf.transpose(a) if turn else a for a, turn in zip(ours, turned, strict=True)]
        yield str(case), max(relative(a, b) for a, b in zip(ours, theirs, strict=True))


@claim("MaskedLMHead = KerasHub's: outputs, bfloat16 and mixed_bfloat16 (share of the largest)", 0.03)
def head_half_precision(quick: bool) -> Measurements:
    for dtype, table, sizes, mode, activation in itertools.product(
        ("bfloat16", "mixed_bfloat16"),
        ("tied", "reverse", "own"),
        [(16, 16), (8, 24)],
        MODES,
        ("relu", "gelu", "tanh"),
    ):
        if quick and (activation != "gelu" or sizes == (8, 24)):
            continue
        case = HeadCase(table, sizes, activation, mode=mode, dtype=dtype)
        layer = case.keras_layer()
        ours = _run(mode, MaskedLMHead.from_keras(layer), *case.inputs())
        theirs = tf.cast(layer(*case.inputs()), tf.float32)
        yield str(case), difference(tf.cast(ours, tf.float32), theirs) / float(tf.reduce_max(abs(theirs)))


@claim("Head weights and configs, to Keras and back: outputs", 1e-6)
def head_round_trips(quick: bool) -> Measurements:
    dtypes = ("float32",) if quick else ("float32", "bfloat16", "mixed_bfloat16")
    for case, dtype in itertools.product(list(_grid(True))[:: 3 if quick else 1], dtypes):
        case = dataclasses.replace(case, dtype=dtype)
        layer = case.keras_layer()
        head = MaskedLMHead.from_keras(layer)
        theirs, ours = layer(*case.inputs()), head(*case.inputs())
        yield f"weights {case}", difference(head.to_keras()(*case.inputs()), theirs)

        there = keras_hub.layers.MaskedLMHead.from_config(head.get_config())
        back = MaskedLMHead.from_config(layer.get_config())
        for other, is_ours in ((there, False), (back, True)):
            inputs = [tf.constant(x) for x in case.inputs()]
            other(*inputs)  # makes the variables
            if is_ours:
                pairs = [(*pair, False) for pair in zip(head.variables, back.variables, strict=True)]
            else:
                pairs = [*head_pairs(head, there), *_tables(head.token_embedding, there.token_embedding)]
            for variable, copy, transposed in pairs:
                copy.assign(tf.transpose(variable) if transposed else variable)
            yield (
                f"config {'from' if is_ours else 'to'} Keras {case}",
                difference(other(*inputs), ours if is_ours else theirs),
            )


def _tables(ours: ReversibleEmbedding | None, theirs: Any) -> list[tuple[tf.Variable, Any, bool]]:
    """The tables of two embeddings, side by side, and that they are not transposed."""
    if ours is None:
        return []
    pairs = [(ours.embeddings, theirs.embeddings, False)]
    if not ours.tie_weights:
        pairs.append((ours.reverse_embeddings, theirs.reverse_embeddings, False))
    return pairs


@claim("ReversibleEmbedding = Keras's: both directions and gradients, float32", 1e-5)
def embedding(quick: bool) -> Measurements:
    ids = np.array([[1, 5, 5], [0, 36, 2]])
    states = np.random.default_rng(1).normal(size=(2, 3, 12)).astype(np.float32)
    for tied, soft_cap, reverse_dtype, mode in itertools.product(
        (True, False), (None, 2.0), (None, "float32"), MODES
    ):
        layer = keras.layers.ReversibleEmbedding(
            VOCAB, 12, tied, reverse_dtype=reverse_dtype, logit_soft_cap=soft_cap
        )
        layer.build()
        ours = ReversibleEmbedding.from_keras(layer)
        name = f"tied={tied} soft_cap={soft_cap} reverse_dtype={reverse_dtype} {mode}"

        def outputs(module: Any, weights: list[Any]) -> list[Any]:
            with tf.GradientTape() as tape:
                forward = module(tf.constant(ids))
                backward = module(tf.constant(states), reverse=True)
                loss = tf.reduce_sum(backward**2) + tf.reduce_sum(forward**3)
            gradients = tape.gradient(loss, weights)
            return [forward, backward, *map(tf.convert_to_tensor, gradients)]

        found = _run(mode, lambda: outputs(ours, list(ours.variables)))  # noqa: B023 - used in this turn
        expected = outputs(layer, [weight.value for weight in layer.weights])
        yield name, max(relative(a, b) for a, b in zip(found, expected, strict=True))
        copy = ours.to_keras()
        yield f"to_keras {name}", difference(copy(states, reverse=True), layer(states, reverse=True))
        same = type(layer).from_config(ours.get_config()).get_config()
        theirs = ReversibleEmbedding.from_config(layer.get_config()).get_config()
        kept = all(same[key] == value for key, value in theirs.items() if key not in ("dtype", "name"))
        yield f"configs {name}", 0.0 if kept else 1.0


CLAIMS = [head_outputs, head_gradients, head_half_precision, head_round_trips, embedding]
