"""Everything that can be asked of a masked language model with raw strings, in the graph.

`FillMask` answers from it in Python and the exporter saves it: one implementation for both.

Strings and row bookkeeping run as ordinary TensorFlow. The arithmetic runs in a handful of numeric
programs whose shapes are rounded up to `Buckets`: the encoder by (batch, length), the rows of masked
positions by their number. As rows are counted over the whole request, the two do not multiply, and
`len(batch) * len(length) + len(masks) * 4` compilations cover every question (`programs`).
Texts are sorted by length and run in chunks, so short ones are not padded to the longest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_mlm import signatures
from tf_mlm.config import Buckets
from tf_mlm.layers.int8_weight import traced_for_xla
from tf_mlm.layers.positions import gather_positions
from tf_mlm.layers.self_attention import length_mask
from tf_mlm.model.bucketing import cheapest_chunk, in_chunks, pad_rows, round_up
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.rules import Rule, checked, within
from tf_mlm.text.detokenizer import decoder_of
from tf_mlm.text.preprocessor import Preprocessed, TextPreprocessor

_INT = tf.int32
Rows = tuple[tf.Tensor, ...]


class Inference(tf.Module):
    """The questions of `tf_mlm.signatures`, one method each, as tensors in and out.

    Args:
        model: a `MaskedLM` with a preprocessor.
        buckets: the shapes of the compiled programs; texts are truncated to the largest length.
        top_k: how many fills `fill` returns per mask (at most the vocabulary).
        xla: compile the numeric programs (`jit_compile=True`); without, they run as plain
            TensorFlow under the same shapes.
        preprocessor: one that cuts at the largest length bucket already; made unless given.

    Raises:
        ValueError: when the model has no preprocessor, or buckets are longer than its positions.

    Example:
        >>> inference = Inference(model, top_k=3, xla=False)
        >>> inference.fill(tf.constant(["the [MASK] runs"]))["scores"].shape
        TensorShape([1, 1, 3])
    """

    def __init__(
        self,
        model: MaskedLM,
        *,
        buckets: Buckets | None = None,
        top_k: int = 10,
        xla: bool = True,
        preprocessor: TextPreprocessor | None = None,
    ) -> None:
        super().__init__(name="inference" if xla else "inference_portable")
        if model.preprocessor is None:
            raise ValueError(
                "The model must have a preprocessor, as the questions come as text. "
                "Received: preprocessor=None. Pass MaskedLM(..., preprocessor=TextPreprocessor(...))."
            )
        self.model = model
        self.buckets = buckets or default_buckets(model.config.max_length)
        limit = self.buckets.length[-1]
        if limit > model.config.max_length:
            raise ValueError(
                f"The model has positions for {model.config.max_length} tokens, so no length bucket may be "
                f"larger. Received: length buckets {self.buckets.length}."
            )
        vocab = model.head.vocabulary_size
        if not 1 <= top_k <= vocab:
            raise ValueError(
                f"`top_k` must lie in [1, {vocab}], the vocabulary's size. Received: top_k={top_k}."
            )
        self.top_k = top_k
        self.xla = xla
        self.preprocessor = preprocessor or TextPreprocessor(
            model.preprocessor.vocabulary, limit, tokenizer=model.preprocessor.tokenizer
        )
        self._make_programs()

    @property
    def programs(self) -> int:
        """How many programs XLA compiles before nothing is left to compile."""
        return compilations(self.buckets)

    def portable(self) -> Inference:
        """The same without XLA, sharing variables and vocabulary, for servers that refuse XLA."""
        return Inference(
            self.model,
            buckets=self.buckets,
            top_k=self.top_k,
            xla=False,
            preprocessor=self.preprocessor,
        )

    def _make_programs(self) -> None:
        """The numeric core. Ids only in, numbers only out."""
        model, jit = self.model, self.xla or None
        ids = tf.TensorSpec([None, None], _INT)
        lengths = tf.TensorSpec([None], _INT)

        def states(token_ids: tf.Tensor, lengths: tf.Tensor, segment_ids: tf.Tensor) -> Rows:
            return model.states(token_ids, lengths, segment_ids)

        def hidden(*rows: tf.Tensor) -> tf.Tensor:
            return tf.cast(model.hidden(*rows), tf.float32)

        def project(features: tf.Tensor) -> tf.Tensor:
            with traced_for_xla(self.xla):
                return tf.cast(model.head.project(features), tf.float32)

        def logits(*rows: tf.Tensor) -> tf.Tensor:
            return project(model.features(*rows))

        def top(*rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            scores = logits(*rows)
            best, token_ids = tf.math.top_k(scores, self.top_k)
            return tf.exp(best - tf.reduce_logsumexp(scores, -1, keepdims=True)), token_ids

        def head(rows: tf.Tensor) -> tf.Tensor:
            return project(model.head.transform(rows))

        self._states = tf.function(states, [ids, lengths, ids], jit_compile=jit, autograph=False)
        self._row_specs = [
            tf.TensorSpec([None, spec.shape[-1]], spec.dtype)
            for spec in self._states.get_concrete_function().structured_outputs
        ]
        self._hidden = tf.function(hidden, self._row_specs, jit_compile=jit, autograph=False)
        self.hidden_size = self._hidden.get_concrete_function().structured_outputs.shape[-1]
        self._hidden_row = tf.TensorSpec([None, self.hidden_size], tf.float32)
        self._logits = tf.function(logits, self._row_specs, jit_compile=jit, autograph=False)
        self._top = tf.function(top, self._row_specs, jit_compile=jit, autograph=False)
        self._head = tf.function(head, [self._hidden_row], jit_compile=jit, autograph=False)

    # The questions.

    @property
    def answers(self) -> dict[str, Callable[..., dict[str, tf.Tensor]]]:
        """The method that answers each signature of `tf_mlm.signatures`, by its name."""
        return {
            signatures.FILL.name: self.fill,
            signatures.SCORE_TARGETS.name: self.score_targets,
            signatures.PSEUDO_LOG_LIKELIHOOD.name: self.pseudo_log_likelihood,
            signatures.ENCODE.name: self.encode,
            signatures.TOKENIZE.name: self.tokenize,
            signatures.PREDICT_MASKED.name: self.predict_masked,
            signatures.MASKED_LM_HEAD.name: self.masked_lm_head,
        }

    def fill(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The `top_k` likeliest tokens at each mask of each text: `signatures.FILL`."""
        inputs, slots = self._masked(text)
        rows = self._rows_at(inputs.token_ids, inputs.lengths, inputs.segment_ids, *slots.places)
        outputs = [tf.TensorSpec([None, self.top_k], tf.float32), tf.TensorSpec([None, self.top_k], _INT)]
        scores, token_ids = self._over_rows(lambda *rows: self._top(*rows), rows, outputs)
        tokens = self.preprocessor.tokens_of(token_ids)
        return {
            "tokens": slots.scatter(tokens, ""),
            "token_ids": slots.scatter(token_ids, self.preprocessor.vocabulary.pad_id),
            "scores": slots.scatter(scores, 0.0),
            "mask_positions": inputs.mask_positions,
            **self._text_tokens(inputs),
        }

    def score_targets(self, text: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        """The probability of given candidates at each mask: `signatures.SCORE_TARGETS`.

        A candidate outside the vocabulary stands for its first word piece, as in Hugging Face's
        pipeline; `target_ids` and `tokens` tell which one was scored.
        """
        inputs, slots = self._masked(text)
        target_ids = self._target_ids(targets)
        rows_of_targets = tf.shape(targets)[0]
        rule = "`targets` must have one row of candidates per text."
        [aligned] = checked(
            [target_ids],
            (rows_of_targets == tf.shape(text)[0], rule, tf.stack([rows_of_targets, tf.shape(text)[0]])),
        )
        wanted = tf.gather(aligned, slots.places[0])  # [rows, candidates]
        rows = self._rows_at(inputs.token_ids, inputs.lengths, inputs.segment_ids, *slots.places)
        (scores,) = self._over_rows(
            lambda *rows: [tf.exp(self._log_probabilities(rows[:-1], rows[-1]))],
            (*rows, wanted),
            [tf.TensorSpec([None, None], tf.float32)],
        )
        return {
            "scores": slots.scatter(scores, 0.0),
            "target_ids": target_ids,
            "tokens": self.preprocessor.tokens_of(target_ids),
            "mask_positions": inputs.mask_positions,
            **self._text_tokens(inputs),
        }

    def pseudo_log_likelihood(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Sum over tokens of log p(token given all the others): `signatures.PSEUDO_LOG_LIKELIHOOD`.

        Every token is masked once (Salazar et al., https://arxiv.org/abs/1910.14659), all copies in the
        same batched passes. [CLS], [SEP], padding and masks count nothing; an unknown token counts as what
        it is, or a text of nothing else would be the likeliest of all.
        """
        inputs = self.preprocessor(text)
        vocabulary = self.preprocessor.vocabulary
        unscored = [vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id, vocabulary.mask_id]
        special = tf.reduce_any(inputs.token_ids[..., tf.newaxis] == unscored, -1)
        scored = length_mask(inputs.lengths, tf.shape(inputs.token_ids)[1]) & ~special
        places = tf.cast(tf.where(scored), _INT)  # [copies, 2]: text, position
        texts, positions = places[:, 0], places[:, 1]
        width = tf.shape(inputs.token_ids)[1]
        copies = tf.where(
            tf.range(width) == positions[:, tf.newaxis],
            vocabulary.mask_id,
            tf.gather(inputs.token_ids, texts),
        )
        rows = self._rows_at(
            copies,
            tf.gather(inputs.lengths, texts),
            tf.gather(inputs.segment_ids, texts),
            tf.range(tf.shape(places)[0]),
            positions,
        )
        (scores,) = self._over_rows(
            lambda *rows: [self._log_probabilities(rows[:-1], rows[-1][:, tf.newaxis])[:, 0]],
            (*rows, tf.gather_nd(inputs.token_ids, places)),
            [tf.TensorSpec([None], tf.float32)],
        )
        token_scores = tf.scatter_nd(places, scores, tf.shape(inputs.token_ids))
        return {
            "score": tf.reduce_sum(token_scores, -1),
            "token_scores": token_scores,
            "tokens": self._tokens(inputs),
            "lengths": inputs.lengths,
            "scored_tokens": tf.reduce_sum(tf.cast(scored, _INT), -1),
        }

    def encode(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The mean of the hidden states of each text's tokens: `signatures.ENCODE`."""
        inputs = self.preprocessor(text)
        real = length_mask(inputs.lengths, tf.shape(inputs.token_ids)[1])
        places = tf.cast(tf.where(real), _INT)
        rows = self._rows_at(inputs.token_ids, inputs.lengths, inputs.segment_ids, places[:, 0], places[:, 1])
        (hidden,) = self._over_rows(lambda *rows: [self._hidden(*rows)], rows, [self._hidden_row])
        texts = tf.shape(inputs.lengths)[0]
        return {"embeddings": tf.math.unsorted_segment_mean(hidden, places[:, 0], texts)}

    def tokenize(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Ids, tokens and byte offsets into the text: `signatures.TOKENIZE`."""
        inputs = self.preprocessor(text)
        return {
            "token_ids": inputs.token_ids,
            "tokens": self._tokens(inputs),
            "starts": inputs.starts,
            "ends": inputs.ends,
            "lengths": inputs.lengths,
        }

    def predict_masked(
        self, token_ids: tf.Tensor, lengths: tf.Tensor, segment_ids: tf.Tensor, mask_positions: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Logits over the vocabulary, from ids: `signatures.PREDICT_MASKED`."""
        shape, vocab = tf.shape(token_ids), self.model.head.vocabulary_size
        limit = self.buckets.length[-1]
        segments = max(self.model.config.type_vocab_size, 1)
        real_lengths = "`lengths` must lie in [0, number of columns of `token_ids`]."
        rules = (
            (shape[1] <= limit, f"`token_ids` must have at most {limit} columns.", shape),
            _same(tf.shape(segment_ids), shape, "`segment_ids` must have the shape of `token_ids`."),
            _same(tf.shape(lengths)[0], shape[0], "`lengths` must have one entry per row of `token_ids`."),
            _same(
                tf.shape(mask_positions)[0],
                shape[0],
                "`mask_positions` must have one row per row of `token_ids`.",
            ),
            (within(token_ids, vocab), f"`token_ids` must lie in [0, {vocab}).", token_ids),
            (within(segment_ids, segments), f"`segment_ids` must lie in [0, {segments}).", segment_ids),
            (within(lengths, shape[1] + 1), real_lengths, lengths),
        )
        [token_ids, lengths, segment_ids] = checked([token_ids, lengths, segment_ids], *rules)
        real = tf.reduce_all((mask_positions >= 0) & (mask_positions < lengths[:, tf.newaxis]))
        rule = "`mask_positions` must lie in [0, length of their row); pad unused slots with 0."
        [mask_positions] = checked([mask_positions], (real, rule, mask_positions))
        texts = tf.repeat(tf.range(shape[0]), tf.shape(mask_positions)[1])
        rows = self._rows_at(token_ids, lengths, segment_ids, texts, tf.reshape(mask_positions, [-1]))
        (logits,) = self._over_rows(
            lambda *rows: [self._logits(*rows)], rows, [tf.TensorSpec([None, vocab], tf.float32)]
        )
        return {"logits": tf.reshape(logits, tf.concat([tf.shape(mask_positions), [vocab]], 0))}

    def masked_lm_head(self, hidden_states: tf.Tensor, mask_positions: tf.Tensor) -> dict[str, tf.Tensor]:
        """Logits from the hidden states of an encoder elsewhere: `signatures.MASKED_LM_HEAD`."""
        vocab = self.model.head.vocabulary_size
        length = tf.shape(hidden_states)[1]
        inside = "`mask_positions` must lie in [0, length); pad unused slots with 0."
        rows, columns = tf.shape(hidden_states)[0], tf.shape(hidden_states)[2]
        rules = (
            _same(columns, self.hidden_size, f"`hidden_states` must have {self.hidden_size} columns."),
            _same(
                tf.shape(mask_positions)[0],
                rows,
                "`mask_positions` must have one row per row of `hidden_states`.",
            ),
            (within(mask_positions, length), inside, mask_positions),
        )
        rows = gather_positions(*checked([hidden_states, mask_positions], *rules))
        (logits,) = self._over_rows(
            lambda rows: [self._head(rows)],
            (tf.reshape(rows, [-1, self.hidden_size]),),
            [tf.TensorSpec([None, vocab], tf.float32)],
        )
        return {"logits": tf.reshape(logits, tf.concat([tf.shape(mask_positions), [vocab]], 0))}

    # How they are answered.

    def _masked(self, text: tf.Tensor) -> tuple[Preprocessed, _Slots]:
        inputs = self.preprocessor(text)
        masks = tf.reduce_sum(tf.cast(inputs.mask_positions >= 0, _INT), -1)
        rule = f"Every text must contain the mask token {self.preprocessor.vocabulary.config.mask_token}."
        rule += " The texts at these indices of the batch have none."
        inputs = Preprocessed(*checked(inputs, (tf.reduce_all(masks > 0), rule, tf.where(masks == 0)[:, 0])))
        return inputs, _Slots(inputs.mask_positions)

    def _tokens(self, inputs: Preprocessed) -> tf.Tensor:
        real = length_mask(inputs.lengths, tf.shape(inputs.token_ids)[1])
        return tf.where(real, self.preprocessor.tokens_of(inputs.token_ids), "")

    def _text_tokens(self, inputs: Preprocessed) -> dict[str, tf.Tensor]:
        """What turns the fills of a text into texts, wherever they are read."""
        decoder = decoder_of(self.preprocessor.vocabulary).to_json()
        return {
            "text_tokens": self._tokens(inputs),
            "lengths": inputs.lengths,
            "decoder": tf.fill(tf.shape(inputs.lengths), decoder),
        }

    def _target_ids(self, targets: tf.Tensor) -> tf.Tensor:
        """String [batch, candidates] → int32, by whole token or else by first word piece."""
        target_ids = self.preprocessor.target_ids(targets)
        rule = "A target must contain at least one token. These candidates (counted over all rows) do not."
        [target_ids] = checked(
            [target_ids], (tf.reduce_all(target_ids >= 0), rule, tf.where(target_ids < 0)[:, 0])
        )
        return target_ids

    def _log_probabilities(self, rows: Rows, token_ids: tf.Tensor) -> tf.Tensor:
        """Rows [rows, hidden] and ids [rows, candidates] → log p [rows, candidates]."""
        logits = self._logits(*rows)
        wanted = tf.gather(logits, token_ids, batch_dims=1)
        return wanted - tf.reduce_logsumexp(logits, -1, keepdims=True)

    def _over_rows(self, program: Any, rows: Rows, outputs: list[tf.TensorSpec]) -> list[tf.Tensor]:
        """Runs a program of masked positions over any number of rows."""

        def run(start: tf.Tensor, stop: tf.Tensor, size: tf.Tensor) -> list[tf.Tensor]:
            results = program(*(pad_rows(part[start:stop], size) for part in rows))
            return [result[: stop - start] for result in results]

        return in_chunks(run, tf.shape(rows[0])[0], outputs, self.buckets.masks)

    def _chunk(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        segment_ids: tf.Tensor,
        start: tf.Tensor,
        stop: tf.Tensor,
        size: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Rows [start, stop) as a program of `size` rows sees them: no longer than their bucket."""
        lengths = lengths[start:stop]
        bucket = round_up(tf.reduce_max(tf.concat([lengths, [1]], 0)), self.buckets.length)

        def fit(ids: tf.Tensor) -> tf.Tensor:
            ids = ids[start:stop, :bucket]
            return tf.pad(ids, [[0, size - tf.shape(ids)[0]], [0, bucket - tf.shape(ids)[1]]])

        return fit(token_ids), pad_rows(lengths, size), fit(segment_ids)

    def _rows_at(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        segment_ids: tf.Tensor,
        texts: tf.Tensor,
        positions: tf.Tensor,
    ) -> Rows:
        """The model's states at `positions` [rows] of `texts` [rows], each [rows, hidden]."""
        order = tf.argsort(lengths, stable=True)
        rank = tf.math.invert_permutation(order)
        token_ids, lengths, segment_ids = (
            tf.gather(part, order) for part in (token_ids, lengths, segment_ids)
        )
        text_rank = tf.gather(rank, texts)
        row_order = tf.argsort(text_rank, stable=True)
        text_rank, positions = tf.gather(text_rank, row_order), tf.gather(positions, row_order)

        def run(start: tf.Tensor, stop: tf.Tensor, size: tf.Tensor) -> list[tf.Tensor]:
            states = self._states(*self._chunk(token_ids, lengths, segment_ids, start, stop, size))
            first, last = tf.unstack(tf.searchsorted(text_rank, [start, stop]))
            places = tf.stack([text_rank[first:last] - start, positions[first:last]], -1)
            return [tf.gather_nd(state, places) for state in states]

        def size_at(start: tf.Tensor) -> tf.Tensor:
            return cheapest_chunk(lengths, start, self.buckets.batch, self.buckets.length)

        rows = in_chunks(run, tf.shape(lengths)[0], self._row_specs, self.buckets.batch, size_at)
        back = tf.math.invert_permutation(row_order)
        return tuple(tf.gather(part, back) for part in rows)


class _Slots:
    """Masks of a batch as flat rows, and answers for the rows back in [batch, masks, ...]."""

    def __init__(self, mask_positions: tf.Tensor) -> None:
        self.real = mask_positions >= 0
        self.indices = tf.where(self.real)  # [rows, 2]
        self.places = (tf.cast(self.indices[:, 0], _INT), tf.boolean_mask(mask_positions, self.real))

    def scatter(self, rows: tf.Tensor, default: Any) -> tf.Tensor:
        """[rows, k] → [batch, masks, k], with `default` where a text has fewer masks."""
        shape = tf.concat([tf.shape(self.real), tf.shape(rows)[1:]], 0)
        return tf.tensor_scatter_nd_update(
            tf.fill(shape, tf.cast(default, rows.dtype) if rows.dtype != tf.string else default),
            self.indices,
            rows,
        )


def _same(found: tf.Tensor, wanted: Any, rule: str) -> Rule:
    """Equal sizes: a size or shape, and what it must be."""
    return tf.reduce_all(found == wanted), rule, found


def compilations(buckets: Buckets) -> int:
    """How many programs XLA compiles for these buckets: the encoder's, and four kinds of head."""
    return len(buckets.batch) * len(buckets.length) + len(buckets.masks) * 4


def default_buckets(max_length: int) -> Buckets:
    """The default buckets, with lengths doubled up to the model's longest input."""
    lengths = [16]
    while lengths[-1] < max_length:
        lengths.append(lengths[-1] * 2)
    return Buckets(length=tuple(dict.fromkeys(min(length, max_length) for length in lengths)))
