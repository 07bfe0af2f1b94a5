"""What rounding a model's matrices changes about its answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from tf_mlm.layers.compact_weight import multiplied
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.vocabulary import Vocabulary

PIECES = 96
"""How many pieces of text are scored as a whole."""
PIECE_LENGTH = 32
"""Tokens of each at most: every one of them is a row of its own."""

LogProbabilities = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""Ids [rows, length], lengths [rows] and positions [rows, masks] → [rows, masks, vocabulary]."""


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Answers of the rounded model beside those of the float one, at the same masks of held-out text.

    Attributes:
        masks: how many masked tokens were compared.
        top_1_agreement: share at which both put the same token first.
        kl: mean Kullback-Leibler divergence from the float distribution to the rounded one, in nats.
        loss, float_loss: mean negative log-probability of the hidden token, rounded and float.
        top_1, float_top_1: share at which the hidden token comes first.
        pieces: how many pieces of text were scored as a whole.
        pll, float_pll: mean pseudo-log-likelihood of a piece (Salazar et al., https://arxiv.org/abs/1910.14659),
            in nats, rounded and float; 0 without pieces.
        pll_rank_correlation: Spearman's, of the pieces' scores, rounded beside float; 1 for less than two.
    """

    masks: int
    top_1_agreement: float
    kl: float
    loss: float
    float_loss: float
    top_1: float
    float_top_1: float
    pieces: int
    pll: float
    float_pll: float
    pll_rank_correlation: float


def compare(
    model: MaskedLM,
    rounded: MaskedLM,
    batches: Iterable[tuple[tf.Tensor, ...]],
    arithmetic: str = "float",
) -> Accuracy:
    """Runs both on the same masks, and on pieces of the same text.

    Args:
        model: the float model.
        rounded: what `quantize` or `to_bfloat16` made of it.
        batches: tuples of `token_ids`, `lengths`, `mask_positions`, `mask_ids` (the hidden tokens) and
            `mask_weights` (0 at unused slots), as `tf_mlm.training` prepares held-out text.
        arithmetic: `"int8"` or `"bfloat16"` multiplies weights that are stored so as they are.

    Raises:
        ValueError: if nothing is hidden.

    Example:
        >>> from tf_mlm.export.quantization import quantize
        >>> compare(model, quantize(model), batches, "int8").pll_rank_correlation > 0.9
        True
    """

    def distribution(one: MaskedLM) -> LogProbabilities:
        def log_probabilities(ids: tf.Tensor, lengths: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
            with multiplied(arithmetic):
                return tf.nn.log_softmax(one(ids, lengths, None, positions))

        return tf.function(log_probabilities, autograph=False, reduce_retracing=True)

    both = distribution(model), distribution(rounded)
    sums = np.zeros(7)
    pieces: list[np.ndarray] = []
    for ids, lengths, positions, mask_ids, weights, *_ in batches:
        real = weights.numpy() > 0
        one, other = (answer(ids, lengths, positions).numpy()[real] for answer in both)
        hidden = mask_ids.numpy()[real][:, np.newaxis]
        first, other_first = one.argmax(-1), other.argmax(-1)
        sums += [
            len(one),
            (first == other_first).sum(),
            (np.exp(one) * (one - other)).sum(),
            -np.take_along_axis(other, hidden, -1).sum(),
            -np.take_along_axis(one, hidden, -1).sum(),
            (other_first == hidden[:, 0]).sum(),
            (first == hidden[:, 0]).sum(),
        ]
        if len(pieces) < PIECES:
            pieces += _pieces(ids.numpy(), lengths.numpy(), positions.numpy(), mask_ids.numpy(), real)
    if not sums[0]:
        raise ValueError(
            "A comparison needs hidden tokens to guess. Received: rows without one: none of their tokens "
            "could be masked. Give other text."
        )
    agreement, kl, loss, float_loss, top_1, float_top_1 = (sums[1:] / sums[0]).tolist()
    scores = _pseudo_log_likelihoods(model, both, pieces[:PIECES])
    masks = int(sums[0])
    return Accuracy(masks, agreement, kl, loss, float_loss, top_1, float_top_1, *scores)


def _pieces(
    ids: np.ndarray, lengths: np.ndarray, positions: np.ndarray, mask_ids: np.ndarray, real: np.ndarray
) -> list[np.ndarray]:
    """The starts of rows as they were before tokens were hidden; a row that fills a batch is left out."""
    whole = ids.copy()
    rows, slots = np.nonzero(real)
    whole[rows, positions[rows, slots]] = mask_ids[rows, slots]
    return [whole[row, : min(lengths[row], PIECE_LENGTH)] for row in np.unique(rows)]


def _pseudo_log_likelihoods(
    model: MaskedLM, both: Sequence[LogProbabilities], pieces: list[np.ndarray]
) -> tuple[int, float, float, float]:
    """How many pieces were scored, the mean score, rounded and float, and the correlation of their ranks."""
    if model.preprocessor is None:
        return 0, 0.0, 0.0, 1.0
    vocabulary, longest = model.preprocessor.vocabulary, max(map(len, pieces))
    scores = np.array([[_score(one, piece, longest, vocabulary) for piece in pieces] for one in both])
    ranks = scores.argsort(-1).argsort(-1)
    correlation = np.asarray(np.corrcoef(ranks))[0, 1] if len(pieces) > 1 else 1.0
    mean, rounded_mean = scores.mean(-1).tolist()
    return len(pieces), rounded_mean, mean, float(correlation)


def _score(one: LogProbabilities, piece: np.ndarray, longest: int, vocabulary: Vocabulary) -> float:
    """The sum of each token's log-probability where it alone is hidden, as a server scores text."""
    places = np.arange(longest)
    ids = np.full(longest, vocabulary.pad_id, np.int32)
    ids[: len(piece)] = piece
    copies = np.where(np.eye(longest, dtype=bool), vocabulary.mask_id, ids).astype(np.int32)
    lengths = tf.fill([longest], len(piece))
    answer = one(tf.constant(copies), lengths, tf.constant(places[:, np.newaxis], tf.int32))
    scored = (places < len(piece)) & ~np.isin(ids, vocabulary.unscored_ids)
    return float(answer.numpy()[places, 0, ids][scored].sum())
