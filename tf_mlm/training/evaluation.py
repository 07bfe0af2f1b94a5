"""Loss, perplexity and accuracy on masked text, always on the same masks for the same seed and text."""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich.console import Console

from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.checkpoint import read_config
from tf_mlm.model.directory.read_tokenizer import read_preprocessor
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.corpus import Corpus
from tf_mlm.training.data.corpus_rows import open_rows
from tf_mlm.training.data.dataset import evaluation_batches
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.per_replica import PerReplica
from tf_mlm.training.starting_model import is_packed, loaded_model
from tf_mlm.training.step import Batch

LOGIT_BYTES = 64 * 2**20
TOP = 5
ROW_LENGTH, BATCH_SIZE = 128, 32
"""The rows of an evaluation that no configuration describes."""
Model = MaskedLM | str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a model makes of masked held-out tokens.

    Attributes:
        loss: mean cross-entropy in nats.
        perplexity: its exponential.
        top_1, top_5: share of hidden tokens that rank first, or among the first five.
        most_frequent: share that is the most frequent hidden token: what a constant answer would reach.
        masks: number of hidden tokens.
        bits_per_byte: the loss in bits, times the tokens of a byte of text: what models with other
            vocabularies can be compared by. None where the text came as ids.
    """

    loss: float
    perplexity: float
    top_1: float
    top_5: float
    most_frequent: float
    masks: int
    bits_per_byte: float | None = None

    @property
    def lift(self) -> float:
        """How many times better than the constant answer the first guess is."""
        return self.top_1 / max(self.most_frequent, 1e-9)


def evaluate(
    model: Model,
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    config: TrainConfig | None = None,
    *,
    only_held_out: bool = False,
    console: Console | None = None,
) -> Evaluation:
    """How well a model guesses hidden tokens of a text: loss, perplexity, top-1 and top-5.

    The masks depend on text, vocabulary and settings alone, so two calls can be compared.

    Args:
        model: a model with a preprocessor, or a model directory.
        files: one or more paths or globs, of any kind that `train` reads.
        config: `length`, `batch_size`, `mask_rate` and the other settings of masks, `evaluation_rows` (the
            most rows read), `held_out`, `text_field` and `line_by_line` count here. Without it: rows of 128
            tokens, or as many as the model has positions, in batches of 32, and the defaults of
            `TrainConfig`.
        only_held_out: leave out the documents that training with the same `held_out` share reads.
        console: for progress; None prints nothing.

    Warns:
        UnknownTokensWarning: if the vocabulary has no name for much of the text.

    Raises:
        ConfigError: for files without text, a model without a tokenizer or with fewer positions than
            `length`, or one whose loss is not finite.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from tf_mlm.training.evaluation import evaluate
        >>> text = Path(tempfile.mkdtemp()) / "news.txt"
        >>> _ = text.write_text("the cat sat on the mat .\\n\\na dog ran fast .")
        >>> found = evaluate(model, text)
        >>> found.masks, found.perplexity > 1
        (2, True)
    """
    return compare([model], files, config, only_held_out=only_held_out, console=console)[0]


def compare(
    models: Sequence[Model],
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    config: TrainConfig | None = None,
    *,
    only_held_out: bool = False,
    console: Console | None = None,
) -> list[Evaluation]:
    """`evaluate` for several models, on the same masks; one after the other, so that one is in memory.

    Raises:
        ConfigError: as `evaluate`, and for models with different vocabularies: their masks, and so
            their losses, could not be compared.
    """
    config = config or TrainConfig(length=row_length(models), batch_size=BATCH_SIZE)
    config = dataclasses.replace(config, dropout=None, architecture=None)  # an evaluation has none
    _check_same_vocabulary(models)
    corpus = Corpus.from_config(files, config, held_out=None if only_held_out else 1.0)
    results: list[Evaluation] = []
    packed: bool | None = config.packed
    for given in models:
        model = given if isinstance(given, MaskedLM) else loaded_model(given, config)
        if model.preprocessor is None:
            raise ConfigError(
                "Text needs a tokenizer. Received: a model without a `preprocessor`. Give it one."
            )
        if packed is None or not results:  # the first one decides, so that all see the same rows
            packed = is_packed(config, model)
        with tempfile.TemporaryDirectory() as temporary:
            directory = Path(temporary) / "tokens"
            store = open_rows(corpus, directory, model, length=config.length, packed=packed, console=console)
            batches = evaluation_batches(store.held_out, model.preprocessor.vocabulary, config)
            result = Evaluator(model, tokens_per_byte=store.tokens_per_byte)(batches)
        if not math.isfinite(result.loss):
            raise ConfigError(
                f"A model must answer with numbers. Received: {_name(given)}, whose loss is "
                f"{result.loss}. Its weights are damaged, or its training diverged. Write it again."
            )
        results.append(result)
    return results


def row_length(models: Sequence[Model]) -> int:
    """Tokens of a row that all these models have positions for; 128 where that is less."""
    configs = [model.config if isinstance(model, MaskedLM) else read_config(Path(model)) for model in models]
    return min(ROW_LENGTH, *(config.max_length for config in configs))


def _check_same_vocabulary(models: Sequence[Model]) -> None:
    vocabularies = [_vocabulary(model) for model in models]
    first = vocabularies[0]
    for model, vocabulary in zip(models, vocabularies, strict=True):
        if vocabulary and first and vocabulary != first:
            raise ConfigError(
                "Models that are compared must have the same vocabulary, else they would not see the same "
                f"masks. Received: {_name(models[0])} ({first.size:,} tokens) and {_name(model)} "
                f"({vocabulary.size:,} tokens), which differ. Evaluate each on its own; their losses count "
                "different tokens."
            )


def _vocabulary(model: Model) -> Vocabulary | None:
    if isinstance(model, MaskedLM):
        preprocessor = model.preprocessor
    else:
        preprocessor = read_preprocessor(Path(model), read_config(Path(model)))
    return None if preprocessor is None else preprocessor.vocabulary


def _name(model: Model) -> str:
    return "a model in memory" if isinstance(model, MaskedLM) else f"`{model}`"


class Evaluator:
    """Evaluates the current weights of a model, compiled once; `ConfigError` where nothing is hidden.

    Args:
        model: encoder and head.
        tokens_per_byte: of the text, for `bits_per_byte`.
        strategy: splits each batch over its replicas; None means the local device.
        compile: whether XLA compiles the computation.

    Example:
        >>> import tensorflow as tf
        >>> from tf_mlm.config import ModelConfig
        >>> from tf_mlm.model.masked_lm import MaskedLM
        >>> from tf_mlm.training.evaluation import Evaluator
        >>> from tf_mlm.training.step import Batch
        >>> sizes = ModelConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
        >>> ones = tf.ones([2, 1], tf.int32)
        >>> batch = Batch(tf.ones([2, 4], tf.int32), tf.constant([4, 4]), ones, ones, tf.ones([2, 1]))
        >>> result = Evaluator(MaskedLM.from_config(sizes, seed=0))([batch])
        >>> result.masks, result.most_frequent
        (2, 1.0)
    """

    def __init__(
        self,
        model: MaskedLM,
        strategy: tf.distribute.Strategy | None = None,
        *,
        tokens_per_byte: float | None = None,
        compile: bool = True,
    ) -> None:
        self._model, self._tokens_per_byte = model, tokens_per_byte
        self._strategy = strategy or tf.distribute.get_strategy()
        self._sums = PerReplica(lambda _, batch: self._batch_sums(batch), self._strategy, compile=compile)
        self._run = tf.function(self._distributed, autograph=False)

    def __call__(self, batches: Iterable[Batch]) -> Evaluation:
        totals = np.zeros(4)
        counts = np.zeros(self._model.config.vocab_size)
        replicas = self._strategy.num_replicas_in_sync
        for batch in batches:
            real = batch.mask_weights.numpy() > 0
            counts += np.bincount(batch.mask_ids.numpy()[real], minlength=len(counts))
            if replicas == 1:
                part = batch
            else:
                part = self._strategy.experimental_distribute_values_from_function(
                    lambda context, batch=batch: Batch(
                        *(
                            np.array_split(x.numpy(), replicas)[context.replica_id_in_sync_group]
                            for x in batch
                        )
                    )
                )
            totals += self._run(part).numpy()
        if not totals[1]:
            raise ConfigError(
                "An evaluation needs hidden tokens to guess. Received: rows without one: none of their "
                "tokens could be masked, because all are special or unknown, or `mask_rate` leaves no "
                "room for a whole word. Give other text, or raise the rate."
            )
        loss, masks, top_1, top_5 = totals / [totals[1], 1, totals[1], totals[1]]
        return Evaluation(
            loss=float(loss),
            perplexity=math.exp(min(loss, 700.0)),
            top_1=float(top_1),
            top_5=float(top_5),
            most_frequent=float(counts.max() / masks),
            masks=int(masks),
            bits_per_byte=None
            if self._tokens_per_byte is None
            else float(loss) / math.log(2) * self._tokens_per_byte,
        )

    def _distributed(self, batch: Batch) -> tf.Tensor:
        sums = self._strategy.run(self._sums.__call__, args=(batch,))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _batch_sums(self, batch: Batch) -> tf.Tensor:
        """float32 [4]: sums of loss, masks, first ranks and ranks below five."""
        model = self._model
        states = model.masked_states(
            batch.token_ids, batch.lengths, None, batch.mask_positions, **batch.places
        )
        states = tf.cast(tf.reshape(states, [-1, states.shape[-1]]), tf.float32)
        table = tf.cast(model.head.output_table, tf.float32)
        bias = tf.cast(model.head.bias_of_scores, tf.float32)
        targets, weights = tf.reshape(batch.mask_ids, [-1]), tf.reshape(batch.mask_weights, [-1])
        # A few rows at a time, so that a large vocabulary needs no more memory than a small one.
        rows, vocab = states.shape[0], table.shape[0]
        size = max(1, min(rows, LOGIT_BYTES // (4 * vocab)))
        count = -(-rows // size)

        def cut(x: tf.Tensor) -> tf.Tensor:
            padded = tf.pad(x, [[0, count * size - rows], *[[0, 0]] * (x.shape.rank - 1)])
            return tf.reshape(padded, [count, size, *x.shape[1:]])

        def sums(part: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
            states, targets, weights = part
            logits = tf.matmul(states, table, transpose_b=True) + bias
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            target_logits = tf.gather(logits, targets, batch_dims=1)[:, tf.newaxis]
            # What is not below or equal is above: a NaN must not win.
            rank = tf.reduce_sum(tf.cast(~(logits <= target_logits), tf.int32), axis=1)
            columns = [
                losses,
                tf.ones_like(losses),
                tf.cast(rank < 1, tf.float32),
                tf.cast(rank < TOP, tf.float32),
            ]
            # Where nothing is hidden, an infinite loss counts nothing either.
            return tf.reduce_sum(tf.math.multiply_no_nan(tf.stack(columns), weights), axis=1)

        parts = (cut(states), cut(targets), cut(weights))
        return tf.reduce_sum(
            tf.map_fn(sums, parts, fn_output_signature=tf.TensorSpec([4], tf.float32)), axis=0
        )
