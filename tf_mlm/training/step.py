"""One training step: plain tensors in, updated variables out.

A step knows no strings, files or random state. Dropout is a function of (seed, step, shard), so the
same batch at the same step gives the same weights, now or after a resume. On one device the whole
step, optimizer included, is one XLA program; on several, gradient and update are one program each
with the sum over replicas between them; on TPU the strategy compiles all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tf_mlm.errors import ConfigError
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.batch_warmup import BatchWarmup
from tf_mlm.training.loss import LossSums, choose_sums
from tf_mlm.training.optimizer import Local, Optimizer
from tf_mlm.training.options import TrainConfig


class Batch(NamedTuple):
    """Masked rows of token ids, dense and of static shape.

    `token_ids` int32 [batch, length]; `lengths` int32 [batch]; `mask_positions` int32 [batch, masks];
    `mask_ids` int32 [batch, masks], the hidden tokens; `mask_weights` float32 [batch, masks], 0 where
    a row has fewer masks; `position_ids` int32 [batch, length], the place of each token in its own document,
    [batch, 0] or None where a row is read as one text.
    """

    token_ids: tf.Tensor
    lengths: tf.Tensor
    mask_positions: tf.Tensor
    mask_ids: tf.Tensor
    mask_weights: tf.Tensor
    position_ids: tf.Tensor | None = None

    @property
    def places(self) -> dict[str, tf.Tensor]:
        """The `position_ids` by their name, where there are any: what a model is to be given more."""
        has_any = self.position_ids is not None and self.position_ids.shape[1] != 0
        return {"position_ids": self.position_ids} if has_any else {}


METRICS = ("loss", "accuracy", "masks", "gradient_norm", "learning_rate")


class TrainStep(tf.Module):
    """`step(batch)` → float32 [5], the `METRICS` of the step, after updating the model.

    Args:
        model: encoder and head.
        optimizer: made for the variables that are to be trained.
        seed: of the dropout.
        loss: `auto`, `plain` or `fused`.
        accumulation: micro-batches that a batch is cut into; must divide it.
        dropout: False switches dropout off.
        batch_warmup: says how many of the micro-batches a step computes; the others are not looked at.

    Raises:
        ConfigError: if the head does not return logits.

    Example:
        >>> import tensorflow as tf
        >>> from tf_mlm.config import ModelConfig
        >>> from tf_mlm.model.masked_lm import MaskedLM
        >>> from tf_mlm.training.optimizer import Optimizer
        >>> from tf_mlm.training.options import TrainConfig
        >>> from tf_mlm.training.parameter_groups import parameters
        >>> from tf_mlm.training.step import Batch, TrainStep
        >>> sizes = ModelConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
        >>> model = MaskedLM.from_config(sizes, seed=0)
        >>> optimizer = Optimizer(parameters(model), lambda step: tf.constant(0.01), TrainConfig())
        >>> one = tf.ones([2, 1], tf.int32)
        >>> batch = Batch(tf.ones([2, 4], tf.int32), tf.constant([4, 4]), one, one, tf.ones([2, 1]))
        >>> TrainStep(model, optimizer, seed=0)(batch).shape
        TensorShape([5])
    """

    def __init__(
        self,
        model: MaskedLM,
        optimizer: Optimizer,
        *,
        seed: int,
        loss: str = "auto",
        accumulation: int = 1,
        dropout: bool = True,
        batch_warmup: BatchWarmup | None = None,
    ) -> None:
        super().__init__(name="train_step")
        check_trainable_head(model)
        self.model = model
        self.optimizer = optimizer
        self._seed, self._loss, self._accumulation, self._dropout = seed, loss, accumulation, dropout
        self._batch_warmup = batch_warmup
        self._variables = [parameter.variable for parameter in optimizer.parameters]

    @classmethod
    def from_config(cls, model: MaskedLM, optimizer: Optimizer, config: TrainConfig) -> TrainStep:
        """The step that `config` describes.

        Raises:
            ConfigError: if it asks for layers that are recomputed, of an encoder that cannot do that.
        """
        if config.recompute and not hasattr(model.encoder, "recompute"):
            raise ConfigError(
                "`recompute` needs an encoder that computes its layers again, as `BertEncoder` does. "
                f"Received: {type(model.encoder).__name__}. Leave it out, or use `tf_mlm.layers.recompute`."
            )
        if hasattr(model.encoder, "recompute"):
            model.encoder.recompute = config.recompute
        rates = model.config.hidden_dropout_prob, model.config.attention_probs_dropout_prob
        return cls(
            model,
            optimizer,
            seed=config.seed,
            loss=config.loss,
            accumulation=config.accumulation,
            dropout=config.dropout != 0 and any(rates),
            batch_warmup=config.rows_of_steps if config.batch_warmup else None,
        )

    @property
    def parts(self) -> int:
        """Micro-batches of which a step may take the first ones alone: of each, replicas need a share."""
        return 1 if self._batch_warmup is None else self._accumulation

    def __call__(self, batch: Batch) -> tf.Tensor:
        sums, gradients = self.sums(batch)
        return self.update(sums, gradients)

    def sums(self, batch: Batch, *, shard: int | tf.Tensor = 0) -> tuple[LossSums, list[tf.Tensor]]:
        """Loss sums of a shard and their gradients, dense, one per parameter; `shard` varies the dropout."""
        seed = tf.stack([tf.cast(self._seed, tf.int32), tf.cast(self.optimizer.step, tf.int32)])
        seed = tf.random.experimental.stateless_fold_in(seed, shard) if self._dropout else None
        if self._accumulation == 1:
            return self._micro_sums(batch, seed)
        return self._accumulate(batch, seed)

    def update(
        self, sums: LossSums, gradients: Sequence[tf.Tensor], *, local: Local = lambda variable: variable
    ) -> tf.Tensor:
        """Applies summed gradients, divided by the global number of masks; returns the `METRICS`."""
        masks = tf.maximum(sums.weight, 1.0)
        norm, rate = self.optimizer.apply(gradients, divisor=masks, local=local)
        return tf.stack([sums.loss / masks, sums.correct / masks, sums.weight, norm, rate])

    def _micro_sums(self, batch: Batch, seed: tf.Tensor | None) -> tuple[LossSums, list[tf.Tensor]]:
        head = self.model.head
        tied = _tied_table(self.model)
        with tf.GradientTape() as tape:
            # The tied table is read twice, by lookup and by projection. Held apart here, the second
            # gradient stays one dense tensor, and the few looked-up rows are added into it in place;
            # together TensorFlow would turn the dense one into [vocab] more rows to scatter.
            table = head.output_table if tied is None else tf.stop_gradient(head.output_table)
            tape.watch(table)
            states = self.model.masked_states(
                *(batch.token_ids, batch.lengths, None, batch.mask_positions),
                **batch.places,
                dropout_seed=seed,
            )
            rows = batch.mask_ids.shape.num_elements()
            sums = choose_sums(self._loss, rows or 0, table.shape[0])(
                tf.reshape(states, [-1, states.shape[-1]]),
                table,
                head.bias_of_scores,
                tf.reshape(batch.mask_ids, [-1]),
                tf.reshape(batch.mask_weights, [-1]),
            )
        *gradients, table_gradient = tape.gradient(sums.loss, [*self._variables, table])
        dense = []
        for variable, gradient in zip(self._variables, gradients, strict=True):
            if variable is tied:
                dense.append(_add_rows(table_gradient, gradient))
            elif gradient is None:
                dense.append(tf.zeros(variable.shape))
            else:
                dense.append(tf.convert_to_tensor(gradient))
        return sums, dense

    def _accumulate(self, batch: Batch, seed: tf.Tensor | None) -> tuple[LossSums, list[tf.Tensor]]:
        count = used = self._accumulation
        if self._batch_warmup is not None:
            step = tf.cast(self.optimizer.step, tf.int64)
            used = tf.cast(self._batch_warmup.micro_batches(step, tf.minimum), tf.int32)
        parts = Batch(
            *(x if x is None else tf.reshape(x, [count, x.shape[0] // count, *x.shape[1:]]) for x in batch)
        )

        def body(index, sums, gradients):  # type: ignore[no-untyped-def]
            micro_seed = None if seed is None else tf.random.experimental.stateless_fold_in(seed, index)
            more_sums, more = self._micro_sums(
                Batch(*(part if part is None else part[index] for part in parts)), micro_seed
            )
            sums = LossSums(*(a + b for a, b in zip(sums, more_sums, strict=True)))
            return index + 1, sums, [a + b for a, b in zip(gradients, more, strict=True)]

        start = (0, LossSums(*[tf.zeros([])] * 3), [tf.zeros(variable.shape) for variable in self._variables])
        _, sums, gradients = tf.while_loop(
            lambda index, *_: index < used, body, start, maximum_iterations=count
        )
        return sums, gradients


def check_trainable_head(model: MaskedLM) -> None:
    """A `ConfigError` if the loss, made from the head's table and bias, would miss a part of the head."""
    head = model.head
    if head.get_config()["activation"] not in (None, "linear"):
        raise ConfigError(
            "Training needs logits: the head must have no final `activation`. "
            f"Received: activation={head.get_config()['activation']!r}. Load the model without it."
        )
    if head.token_embedding is not None and head.token_embedding.logit_soft_cap is not None:
        raise ConfigError(
            "Training does not apply a soft cap to the logits. "
            f"Received: logit_soft_cap={head.token_embedding.logit_soft_cap}. Use an embedding without it."
        )


def _tied_table(model: MaskedLM) -> tf.Variable | None:
    """The embedding variable that is also the projection, if there is one."""
    embedding = model.head.token_embedding
    return None if embedding is None or embedding.reverse_embeddings is not None else embedding.embeddings


def _add_rows(dense: tf.Tensor, rows: tf.IndexedSlices | tf.Tensor | None) -> tf.Tensor:
    if rows is None:
        return dense
    if not isinstance(rows, tf.IndexedSlices):
        return dense + rows
    return tf.tensor_scatter_nd_add(dense, rows.indices[:, tf.newaxis], rows.values)
