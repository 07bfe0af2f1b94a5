"""Everything that can be asked of a masked language model with raw strings, in the graph.

`FillMask` answers from it in Python and the exporter saves it: one implementation for both.

Strings and row bookkeeping run as ordinary TensorFlow. The arithmetic runs in a handful of numeric
programs whose shapes are rounded up to `Buckets`: the encoder by (batch, length), the rows of masked
positions by their number. As rows are counted over the whole request, the two do not multiply, and
`len(batch) * len(length) + len(masks) * 4` compilations cover every question (`programs`).
Texts are sorted by length and run in chunks, so short ones are not padded to the longest. Chunks are
gathered into blocks of no more positions than the largest program has; what a block needs is made
when its turn comes and freed behind it, so that memory does not grow with the number of texts.

A text longer than the largest length bucket is read in windows (`tf_mlm.model.windows`) or refused;
nothing is cut off unasked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_mlm import signatures
from tf_mlm.config import Buckets, Limits
from tf_mlm.layers.int8_weight import traced_for_xla
from tf_mlm.layers.self_attention import length_mask
from tf_mlm.model.bucketing import cheapest_chunk, in_chunks, pad_rows, round_up
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.rules import Rule, checked, with_axes, within
from tf_mlm.model.windows import Windows, centred, overlapping, shared, window_ids
from tf_mlm.text.detokenizer import decoder_of
from tf_mlm.text.preprocessor import Preprocessed, TextPreprocessor

LONG_TEXTS = ("refuse", "windows")

_INT = tf.int32
Rows = tuple[tf.Tensor, ...]
_LIMIT = "the export sets this limit. Send less at a time."
_WINDOWS = "or read long texts in windows (`long_texts`, `tf-mlm export --long-texts windows`)."
_UNUSED = "-1 for an unused slot."
Ids = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""Which rows [n] and how wide → their token ids and segment ids, each int32 [n, width]."""


class Inference(tf.Module):
    """The questions of `tf_mlm.signatures`, one method each, as tensors in and out.

    Args:
        model: a `MaskedLM` with a preprocessor.
        buckets: the shapes of the compiled programs (default: lengths up to the preprocessor's limit).
            The largest length is the limit of a text.
        top_k: how many fills `fill` returns per mask (at most the vocabulary).
        xla: compile the numeric programs (`jit_compile=True`); without, they run as plain
            TensorFlow under the same shapes.
        long_texts: how texts over the limit are read. A mask is always read in the window of the largest
            length around it, and so is each token by `pseudo_log_likelihood`; `tokenize` needs none.
            `"refuse"`: `fill` and `score_targets` refuse a mask beyond the limit, `encode` a text beyond it.
            `"windows"`: masks may lie anywhere, and an embedding is the mean over all tokens, each from the
            window in whose middle it stands best.
        limits: refuse requests that ask for more; none unless given.

    Raises:
        ValueError: when the model has no preprocessor, buckets are longer than its positions, or
            `long_texts` is none of the two.

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
        long_texts: str = "refuse",
        limits: Limits | None = None,
    ) -> None:
        super().__init__(name="inference" if xla else "inference_portable")
        if model.preprocessor is None:
            raise ValueError(
                "The model must have a preprocessor, as the questions come as text. "
                "Received: preprocessor=None. Pass MaskedLM(..., preprocessor=TextPreprocessor(...))."
            )
        self.model = model
        self.buckets = buckets or default_buckets(length_limit(model))
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
        if long_texts not in LONG_TEXTS:
            raise ValueError(
                f"`long_texts` must be one of {', '.join(LONG_TEXTS)}. Received: long_texts={long_texts!r}."
            )
        self.top_k = top_k
        self.xla = xla
        self.long_texts = long_texts
        self.limits = limits
        self.preprocessor = TextPreprocessor(
            model.preprocessor.vocabulary, None, tokenizer=model.preprocessor.tokenizer, limits=limits
        )
        self._limit = limit
        self._make_programs()

    @property
    def programs(self) -> int:
        """How many programs XLA compiles before nothing is left to compile."""
        return compilations(self.buckets)

    def portable(self) -> Inference:
        """The same without XLA, sharing variables and vocabulary, for servers that refuse XLA."""
        twin = Inference(
            self.model,
            buckets=self.buckets,
            top_k=self.top_k,
            xla=False,
            long_texts=self.long_texts,
            limits=self.limits,
        )
        twin.preprocessor = self.preprocessor
        return twin

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
        text = self._given(signatures.FILL, text=text)["text"]
        inputs, slots = self._masked(text)
        inputs = Preprocessed(*checked(inputs, *self._answer_fits(slots.shape, self.top_k)))
        outputs = [tf.TensorSpec([None, self.top_k], tf.float32), tf.TensorSpec([None, self.top_k], _INT)]
        scores, token_ids = self._at_masks(inputs, slots, lambda *rows: self._top(*rows), (), outputs)
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
        given = self._given(signatures.SCORE_TARGETS, text=text, targets=targets)
        text, targets = given["text"], given["targets"]
        rows_of_targets = tf.shape(targets)[0]
        rule = "`targets` must have one row of candidates per text."
        [text, targets] = checked(
            [text, targets],
            (rows_of_targets == tf.shape(text)[0], rule, tf.stack([rows_of_targets, tf.shape(text)[0]])),
        )
        inputs, slots = self._masked(text)
        target_ids = self._target_ids(targets)
        [target_ids] = checked([target_ids], *self._answer_fits(slots.shape, tf.shape(targets)[1]))
        (scores,) = self._at_masks(
            inputs,
            slots,
            lambda *rows: [tf.exp(self._log_probabilities(rows[:-1], tf.gather(target_ids, rows[-1])))],
            (slots.texts,),
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

        In a text over the limit, each token is scored in the window of the largest length around it, which
        moves on by one token at a time and ends at the ends of the text.
        """
        inputs = self.preprocessor(self._given(signatures.PSEUDO_LOG_LIKELIHOOD, text=text)["text"])
        vocabulary = self.preprocessor.vocabulary
        unscored = [vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id, vocabulary.mask_id]
        scored = length_mask(inputs.lengths, tf.shape(inputs.token_ids)[1])
        for token_id in unscored:
            scored &= inputs.token_ids != token_id
        places = tf.cast(tf.where(scored), _INT)  # [copies, 2]: text, position
        if self.limits is not None:
            copies, most = tf.shape(places)[0], self.limits.copies
            rule = f"A request may have at most {most} tokens to be masked one by one; {_LIMIT}"
            [places] = checked([places], (copies <= most, rule, copies))
        texts, positions = places[:, 0], places[:, 1]
        lengths = tf.gather(inputs.lengths, texts)
        starts = centred(lengths, positions, self._limit)
        windows = Windows(texts, starts, tf.minimum(lengths, self._limit))
        whole = self._window_ids(inputs.token_ids, windows)

        def masked(rows: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            token_ids, segment_ids = whole(rows, width)
            masks = tf.gather(positions - starts, rows)[:, tf.newaxis]
            return tf.where(tf.range(width) == masks, vocabulary.mask_id, token_ids), segment_ids

        (scores,) = self._at(
            _Reads(windows.lengths, tf.range(tf.shape(places)[0]), positions - starts),
            masked,
            lambda *rows: [self._log_probabilities(rows[:-1], rows[-1][:, tf.newaxis])[:, 0]],
            (tf.gather_nd(inputs.token_ids, places),),
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
        inputs = self.preprocessor(self._given(signatures.ENCODE, text=text)["text"])
        inputs = self._within_limit(
            inputs,
            inputs.lengths > self._limit,
            "No text may be longer than the limit",
            ". Shorten the text",
        )
        real = length_mask(inputs.lengths, tf.shape(inputs.token_ids)[1])
        places = tf.cast(tf.where(real), _INT)
        texts, positions = places[:, 0], places[:, 1]
        windows, which = overlapping(inputs.lengths, texts, positions, self._limit)
        reads = _Reads(windows.lengths, which, positions - tf.gather(windows.starts, which))

        def sums(hidden: tf.Tensor, rows: tf.Tensor, size: tf.Tensor) -> list[tf.Tensor]:
            return [tf.math.unsorted_segment_sum(hidden, rows, size)]

        ids = self._window_ids(inputs.token_ids, windows)
        (of_rows,) = self._in_blocks(
            reads, ids, lambda *rows: [self._hidden(*rows)], (), [self._hidden_row], sums
        )
        of_texts = tf.math.unsorted_segment_sum(
            of_rows, tf.gather(windows.texts, reads.order), tf.shape(inputs.lengths)[0]
        )
        return {"embeddings": of_texts / tf.cast(inputs.lengths, tf.float32)[:, tf.newaxis]}

    def tokenize(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Ids, tokens and byte offsets into the text, all of it: `signatures.TOKENIZE`."""
        inputs = self.preprocessor(self._given(signatures.TOKENIZE, text=text)["text"])
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
        """Logits over the vocabulary, from ids: `signatures.PREDICT_MASKED`.

        A mask position of -1, with which the preprocessor fills rows of fewer masks, is an unused slot: its
        logits are zeros.
        """
        given = self._given(
            signatures.PREDICT_MASKED,
            token_ids=token_ids,
            lengths=lengths,
            segment_ids=segment_ids,
            mask_positions=mask_positions,
        )
        token_ids, lengths, segment_ids, mask_positions = given.values()
        shape, vocab = tf.shape(token_ids), self.model.head.vocabulary_size
        limit = self._limit
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
            *self._ids_fit(shape, mask_positions),
        )
        [token_ids, lengths, segment_ids, mask_positions] = checked(
            [token_ids, lengths, segment_ids, mask_positions], *rules
        )
        real = tf.reduce_all((mask_positions >= -1) & (mask_positions < lengths[:, tf.newaxis]))
        rule = f"`mask_positions` must lie in [0, length of their row), or be {_UNUSED}"
        [mask_positions] = checked([mask_positions], (real, rule, mask_positions))
        slots = _Slots(mask_positions)

        def ids(rows: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            def fit(part: tf.Tensor) -> tf.Tensor:
                part = tf.gather(part[:, :width], rows)
                return tf.pad(part, [[0, 0], [0, width - tf.shape(part)[1]]])

            return fit(token_ids), fit(segment_ids)

        (logits,) = self._at(
            _Reads(lengths, slots.texts, slots.positions),
            ids,
            lambda *rows: [self._logits(*rows)],
            (),
            [tf.TensorSpec([None, vocab], tf.float32)],
        )
        return {"logits": slots.scatter(logits, 0.0)}

    def masked_lm_head(self, hidden_states: tf.Tensor, mask_positions: tf.Tensor) -> dict[str, tf.Tensor]:
        """Logits from the hidden states of an encoder elsewhere: `signatures.MASKED_LM_HEAD`.

        A mask position of -1 is an unused slot: its logits are zeros.
        """
        given = self._given(
            signatures.MASKED_LM_HEAD, hidden_states=hidden_states, mask_positions=mask_positions
        )
        hidden_states, mask_positions = given.values()
        vocab = self.model.head.vocabulary_size
        shape = tf.shape(hidden_states)
        inside = f"`mask_positions` must lie in [0, length), or be {_UNUSED}"
        rules = (
            _same(shape[2], self.hidden_size, f"`hidden_states` must have {self.hidden_size} columns."),
            _same(
                tf.shape(mask_positions)[0],
                shape[0],
                "`mask_positions` must have one row per row of `hidden_states`.",
            ),
            (within(mask_positions + 1, shape[1] + 1), inside, mask_positions),
            *self._ids_fit(shape, mask_positions),
        )
        [hidden_states, mask_positions] = checked([hidden_states, mask_positions], *rules)
        slots = _Slots(mask_positions)
        rows = tf.gather_nd(hidden_states, tf.stack([slots.texts, slots.positions], -1))
        (logits,) = self._over_rows(
            lambda rows: [self._head(rows)],
            (tf.reshape(rows, [-1, self.hidden_size]),),
            [tf.TensorSpec([None, vocab], tf.float32)],
        )
        return {"logits": slots.scatter(logits, 0.0)}

    # What is asked for, checked.

    def _given(self, signature: signatures.Signature, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """The inputs of a question, of the ranks that its signature names."""
        axes = {alias: tensor.shape for alias, tensor in signature.inputs.items()}
        return with_axes({alias: tf.convert_to_tensor(value) for alias, value in inputs.items()}, axes)

    def _within_limit(self, inputs: Preprocessed, is_over: tf.Tensor, rule: str, advice: str) -> Preprocessed:
        """Refuses the first of the texts that `is_over` [batch] marks, unless windows are allowed."""
        if self.long_texts == "windows":
            return inputs
        first = tf.where(is_over)[:1, 0]  # or none
        counts = [tf.strings.as_string(part) for part in (first, tf.gather(inputs.lengths, first))]
        found = tf.strings.reduce_join(tf.strings.join(["text ", counts[0], " has ", counts[1]]))
        limit = f" tokens (special ones included), the limit is {self._limit}"
        rule = tf.strings.join([rule, "; ", found, limit, advice, "; ", _WINDOWS])
        return Preprocessed(*checked(inputs, (tf.equal(tf.size(first), 0), rule, None)))

    def _masked(self, text: tf.Tensor) -> tuple[Preprocessed, _Slots]:
        """Whole texts as ids, and their masks; those must lie where a text of the limit would have them."""
        inputs = self.preprocessor(text)
        inputs = self._within_limit(
            inputs,
            tf.reduce_any(inputs.mask_positions > self._limit - 2, -1),
            "No mask may lie beyond the length limit",
            ". Shorten the text, or move the mask nearer to its start",
        )
        masks = tf.reduce_sum(tf.cast(inputs.mask_positions >= 0, _INT), -1)
        rule = f"Every text must contain the mask token {self.preprocessor.vocabulary.config.mask_token}."
        rule += " The texts at these indices of the batch have none."
        inputs = Preprocessed(*checked(inputs, (tf.reduce_all(masks > 0), rule, tf.where(masks == 0)[:, 0])))
        return inputs, _Slots(inputs.mask_positions)

    def _answer_fits(self, shape: tf.Tensor, depth: Any) -> list[Rule]:
        """Whether an answer of `depth` values for each slot of a shape stays within the limits."""
        if self.limits is None:
            return []
        values, most = tf.reduce_prod(tf.cast(shape, tf.int64)) * tf.cast(depth, tf.int64), self.limits.values
        return [(values <= most, f"An answer may hold at most {most} values; {_LIMIT}", values)]

    def _ids_fit(self, shape: tf.Tensor, mask_positions: tf.Tensor) -> list[Rule]:
        """The same of questions in ids: their tokens [batch, length, ...] and their slots."""
        if self.limits is None:
            return []
        tokens, most = tf.reduce_prod(tf.cast(shape[:2], tf.int64)), self.limits.tokens
        depth = max(self.model.head.vocabulary_size, self.hidden_size)
        rule = f"A request may have at most {most} tokens, rows times columns; {_LIMIT}"
        return [(tokens <= most, rule, tokens), *self._answer_fits(tf.shape(mask_positions), depth)]

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
        rule = "A target must contain at least one token. These, each given as [row, candidate], do not."
        [target_ids] = checked(
            [target_ids], (tf.reduce_all(target_ids >= 0), rule, tf.where(target_ids < 0)[:8])
        )
        return target_ids

    # How it is answered.

    def _tokens(self, inputs: Preprocessed) -> tf.Tensor:
        real = length_mask(inputs.lengths, tf.shape(inputs.token_ids)[1])
        return tf.where(real, self.preprocessor.tokens_of(inputs.token_ids), "")

    def _log_probabilities(self, rows: Rows, token_ids: tf.Tensor) -> tf.Tensor:
        """Rows [rows, hidden] and ids [rows, candidates] → log p [rows, candidates]."""
        logits = self._logits(*rows)
        wanted = tf.gather(logits, token_ids, batch_dims=1)
        return wanted - tf.reduce_logsumexp(logits, -1, keepdims=True)

    def _window_ids(self, token_ids: tf.Tensor, windows: Windows) -> Ids:
        vocabulary = self.preprocessor.vocabulary
        special = {
            "cls_id": vocabulary.cls_id,
            "sep_id": vocabulary.sep_id,
            "pad_id": vocabulary.pad_id,
        }

        def ids(rows: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            chosen = Windows(*(tf.gather(part, rows) for part in windows))
            found = window_ids(token_ids, chosen, width, **special)
            return found, tf.zeros_like(found)

        return ids

    def _at_masks(
        self,
        inputs: Preprocessed,
        slots: _Slots,
        program: Any,
        extras: Rows,
        outputs: list[tf.TensorSpec],
    ) -> list[tf.Tensor]:
        """Runs a program of masked positions at every mask of texts."""
        starts = centred(tf.gather(inputs.lengths, slots.texts), slots.positions, self._limit)
        windows, which = shared(slots.texts, starts, inputs.lengths, self._limit)
        reads = _Reads(windows.lengths, which, slots.positions - starts)
        return self._at(reads, self._window_ids(inputs.token_ids, windows), program, extras, outputs)

    def _at(
        self, reads: _Reads, ids: Ids, program: Any, extras: Rows, outputs: list[tf.TensorSpec]
    ) -> list[tf.Tensor]:
        """Runs a program of masked positions: results per read, in their order."""
        found = self._in_blocks(reads, ids, program, extras, outputs)
        back = tf.math.invert_permutation(reads.read_order)
        return [tf.gather(part, back) for part in found]

    def _in_blocks(
        self,
        reads: _Reads,
        ids: Ids,
        program: Any,
        extras: Rows,
        outputs: list[tf.TensorSpec],
        reduce: Any = None,
    ) -> list[tf.Tensor]:
        """Runs encoder and program block by block.

        Args:
            reads: the rows, and the positions read in each.
            ids: the rows' tokens, made when their chunk is due.
            program: states at the reads [n, hidden] each and `extras` [n, ...] → results [n, ...].
            extras: more that the program wants to know of each read.
            outputs: what comes out of it (or of `reduce`).
            reduce: called as `reduce(*results, rows, size)` after each block of `size` rows, with the row
                of each read in it.

        Returns:
            Each output, for all reads in the order of `reads.read_order` (or what `reduce` made of them).
        """
        most = max(self.buckets.batch[-1] * self.buckets.length[-1], self.buckets.masks[-1])
        extras = tuple(tf.gather(part, reads.read_order) for part in extras)

        def size_at(start: tf.Tensor) -> tf.Tensor:
            """As many rows as hold at most `most` reads, or one."""
            rows = tf.concat([reads.rows, tf.shape(reads.lengths)[:1]], 0)
            first = tf.searchsorted(reads.rows, [start])[0]
            return tf.gather(rows, tf.minimum(first + most, tf.size(reads.rows))) - start

        def run(start: tf.Tensor, stop: tf.Tensor, _: tf.Tensor) -> list[tf.Tensor]:
            first, last = tf.unstack(tf.searchsorted(reads.rows, [start, stop]))
            states = self._states_at(reads, ids, start, stop)
            results = self._over_rows(program, (*states, *(part[first:last] for part in extras)), outputs)
            return (
                results if reduce is None else reduce(*results, reads.rows[first:last] - start, stop - start)
            )

        return in_chunks(
            run,
            tf.shape(reads.lengths)[0],
            outputs,
            self.buckets.batch,
            lambda start: tf.maximum(size_at(start), 1),
        )

    def _states_at(self, reads: _Reads, ids: Ids, block: tf.Tensor, end: tf.Tensor) -> list[tf.Tensor]:
        """The model's states at the reads of rows [block, end), each [reads, hidden]."""
        lengths = reads.lengths[block:end]

        def run(start: tf.Tensor, stop: tf.Tensor, size: tf.Tensor) -> list[tf.Tensor]:
            some = lengths[start:stop]
            width = round_up(tf.reduce_max(tf.concat([some, [1]], 0)), self.buckets.length)
            rows = [*ids(reads.order[block + start : block + stop], width), some]
            token_ids, segment_ids, some = (pad_rows(part, size) for part in rows)
            states = self._states(token_ids, some, segment_ids)
            first, last = tf.unstack(tf.searchsorted(reads.rows, [block + start, block + stop]))
            places = tf.stack([reads.rows[first:last] - block - start, reads.positions[first:last]], -1)
            return [tf.gather_nd(state, places) for state in states]

        def size_at(start: tf.Tensor) -> tf.Tensor:
            return cheapest_chunk(lengths, start, self.buckets.batch, self.buckets.length)

        return in_chunks(run, end - block, self._row_specs, self.buckets.batch, size_at)

    def _over_rows(self, program: Any, rows: Rows, outputs: list[tf.TensorSpec]) -> list[tf.Tensor]:
        """Runs a program of masked positions over any number of rows."""

        def run(start: tf.Tensor, stop: tf.Tensor, size: tf.Tensor) -> list[tf.Tensor]:
            results = program(*(pad_rows(part[start:stop], size) for part in rows))
            return [result[: stop - start] for result in results]

        return in_chunks(run, tf.shape(rows[0])[0], outputs, self.buckets.masks)


class _Reads:
    """Rows for the encoder by length, and the positions that are read in them by row.

    Args:
        lengths: int32 [rows], tokens of each.
        rows: int32 [reads], the row that each is in.
        positions: int32 [reads], where in it.

    Attributes:
        order: int32 [rows], the rows as given, the shortest one first.
        lengths: int32 [rows], in that order.
        read_order: int32 [reads], the reads as given, those in the shortest row first.
        rows, positions: int32 [reads], in that order; `rows` counts in the order of the rows.
    """

    def __init__(self, lengths: tf.Tensor, rows: tf.Tensor, positions: tf.Tensor) -> None:
        self.order = tf.argsort(lengths, stable=True)
        self.lengths = tf.gather(lengths, self.order)
        rank = tf.gather(tf.math.invert_permutation(self.order), rows)
        self.read_order = tf.argsort(rank, stable=True)
        self.rows = tf.gather(rank, self.read_order)
        self.positions = tf.gather(positions, self.read_order)


class _Slots:
    """Masks of a batch as flat rows, and answers for the rows back in [batch, masks, ...]."""

    def __init__(self, mask_positions: tf.Tensor) -> None:
        self.shape = tf.shape(mask_positions)
        self.indices = tf.where(mask_positions >= 0)  # [rows, 2]
        self.texts = tf.cast(self.indices[:, 0], _INT)
        self.positions = tf.gather_nd(mask_positions, self.indices)

    def scatter(self, rows: tf.Tensor, default: Any) -> tf.Tensor:
        """[rows, k] → [batch, masks, k], with `default` where a text has fewer masks."""
        shape = tf.concat([self.shape, tf.shape(rows)[1:]], 0)
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


def length_limit(model: MaskedLM) -> int:
    """The most tokens of a text: the model's positions, or less if its preprocessor says so."""
    own = model.preprocessor.max_length if model.preprocessor else None
    return min(own or model.config.max_length, model.config.max_length)


def default_buckets(max_length: int) -> Buckets:
    """The default buckets, with lengths doubled up to the model's longest input."""
    lengths = [16]
    while lengths[-1] < max_length:
        lengths.append(lengths[-1] * 2)
    return Buckets(length=tuple(dict.fromkeys(min(length, max_length) for length in lengths)))
