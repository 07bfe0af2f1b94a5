"""Everything that can be asked of a masked language model with raw strings, in the graph.

`FillMask` answers from it in Python and the exporter saves it: one implementation for both. Strings run as
ordinary TensorFlow, the arithmetic in `Programs`, over the rows of a whole request (`BlockRunner`).

A text longer than the largest length bucket is read in windows (`tf_mlm.model.windows`) or refused;
nothing is cut off unasked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_mlm import signatures
from tf_mlm.config import Buckets, Limits
from tf_mlm.layers.self_attention import length_mask
from tf_mlm.model.blocks import BlockRunner, Ids, Reads
from tf_mlm.model.mask_rows import MaskRows
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.programs import Programs, States, default_buckets, length_limit
from tf_mlm.model.request_rules import RequestRules, inputs_of
from tf_mlm.model.rules import checked
from tf_mlm.model.tuned_programs import TunedPrograms
from tf_mlm.model.windows import Windows, centred, overlapping, shared, window_ids
from tf_mlm.text.detokenizer import decoder_of
from tf_mlm.text.preprocessor import Preprocessed, TextPreprocessor
from tf_mlm.text.whole_words import word_ends

LONG_TEXTS = ("refuse", "windows")


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
        arithmetic: how a model of compact weights is multiplied: as `"float"`s, or as they are stored,
            `"int8"` or `"bfloat16"`, by products that are oneDNN's and go without XLA.
        programs: what to run, made of the same model, `top_k` and buckets, in place of what `xla` and
            `arithmetic` say.

    Raises:
        ValueError: when the model has no preprocessor, buckets are longer than its positions, `long_texts` or
            `arithmetic` is none of those, or XLA is to multiply anything but floats.

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
        arithmetic: str = "float",
        programs: Programs | TunedPrograms | None = None,
    ) -> None:
        super().__init__(name="inference")
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
        self.long_texts = long_texts
        self.limits = limits
        self.preprocessor = TextPreprocessor(
            model.preprocessor.vocabulary, None, tokenizer=model.preprocessor.tokenizer, limits=limits
        )
        self._limit = limit
        self._logits_row = tf.TensorSpec([None, vocab], tf.float32)
        self.programs = programs or Programs(model, top_k=top_k, xla=xla, arithmetic=arithmetic)
        self.xla, self.arithmetic = self.programs.xla, self.programs.arithmetic
        self._blocks = BlockRunner(self.programs, self.buckets)
        self._rules = RequestRules(
            limits,
            length=limit,
            vocabulary=vocab,
            segments=max(model.config.type_vocab_size, 1),
            hidden=self.hidden_size,
        )

    @property
    def hidden_size(self) -> int:
        """The size of the hidden states."""
        return self.programs.hidden_size

    def portable(self) -> Inference:
        """The same in floats and without XLA, sharing variables and vocabulary, for any server."""
        return self.running(Programs(self.model, top_k=self.top_k, xla=False))

    def running(self, programs: Programs | TunedPrograms) -> Inference:
        """The same by other programs of this model, `top_k` and these buckets, sharing the vocabulary."""
        twin = Inference(
            self.model,
            buckets=self.buckets,
            top_k=self.top_k,
            long_texts=self.long_texts,
            limits=self.limits,
            programs=programs,
        )
        twin.preprocessor = self.preprocessor
        return twin

    # The questions.

    @property
    def answers(self) -> dict[str, Callable[..., dict[str, tf.Tensor]]]:
        """The method that answers each signature of `tf_mlm.signatures`, exported or not, by its name."""
        return {
            signatures.FILL.name: self.fill,
            signatures.SCORE_TARGETS.name: self.score_targets,
            signatures.PSEUDO_LOG_LIKELIHOOD.name: self.pseudo_log_likelihood,
            signatures.ENCODE.name: self.encode,
            signatures.TOKENIZE.name: self.tokenize,
            signatures.PREDICT_MASKED.name: self.predict_masked,
            signatures.MASKED_LM_HEAD.name: self.masked_lm_head,
            signatures.HIDDEN_STATES.name: self.hidden_states,
            signatures.WITHIN_WORD.name: self.within_word_pseudo_log_likelihood,
        }

    def fill(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The `top_k` likeliest tokens at each mask of each text: `signatures.FILL`."""
        text = inputs_of(signatures.FILL, text=text)["text"]
        inputs, masks = self._masked(text)
        inputs = Preprocessed(*checked(inputs, *self._rules.answer(masks.shape, self.top_k)))
        outputs = [tf.TensorSpec([None, self.top_k], tf.float32), tf.TensorSpec([None, self.top_k], tf.int32)]
        scores, token_ids = self._at_masks(inputs, masks, self.programs.top, outputs)
        tokens = self.preprocessor.tokens_of(token_ids)
        return {
            "tokens": masks.scatter(tokens, ""),
            "token_ids": masks.scatter(token_ids, self.preprocessor.vocabulary.pad_id),
            "scores": masks.scatter(scores, 0.0),
            "mask_positions": inputs.mask_positions,
            **self._text_tokens(inputs),
        }

    def score_targets(self, text: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        """The probability of given candidates at each mask: `signatures.SCORE_TARGETS`.

        A candidate outside the vocabulary stands for its first word piece, as in Hugging Face's
        pipeline; `target_ids` and `tokens` tell which one was scored.
        """
        given = inputs_of(signatures.SCORE_TARGETS, text=text, targets=targets)
        text, targets = given["text"], given["targets"]
        rows_of_targets = tf.shape(targets)[0]
        rule = "`targets` must have one row of candidates per text."
        [text, targets] = checked(
            [text, targets],
            (rows_of_targets == tf.shape(text)[0], rule, tf.stack([rows_of_targets, tf.shape(text)[0]])),
        )
        inputs, masks = self._masked(text)
        target_ids = self._target_ids(targets)
        [target_ids] = checked([target_ids], *self._rules.answer(masks.shape, tf.shape(targets)[1]))
        (scores,) = self._at_masks(
            inputs,
            masks,
            lambda *rows: [tf.exp(self._log_probabilities(rows[:-1], tf.gather(target_ids, rows[-1])))],
            [tf.TensorSpec([None, None], tf.float32)],
            extras=[masks.texts],
        )
        return {
            "scores": masks.scatter(scores, 0.0),
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
        inputs = self.preprocessor(inputs_of(signatures.PSEUDO_LOG_LIKELIHOOD, text=text)["text"])
        return self._scored(
            inputs, tf.broadcast_to(tf.range(tf.shape(inputs.token_ids)[1]), tf.shape(inputs.token_ids))
        )

    def within_word_pseudo_log_likelihood(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same with the later tokens of a token's own word masked too: `signatures.WITHIN_WORD`.

        A word of several tokens is then read from left to right, and its first ones are not given away by
        those behind them (Kauf and Ivanova, https://arxiv.org/abs/2305.10588). Tokens that continue a word
        are the vocabulary's `continuation_ids`.
        """
        inputs = self.preprocessor(inputs_of(signatures.WITHIN_WORD, text=text)["text"])
        return self._scored(inputs, word_ends(inputs.token_ids, self.preprocessor.vocabulary))

    def _scored(self, inputs: Preprocessed, ends: tf.Tensor) -> dict[str, tf.Tensor]:
        """Every token in turn, with those behind it up to `ends` int32 [batch, length] masked."""
        vocabulary = self.preprocessor.vocabulary
        scored = length_mask(inputs.lengths, tf.shape(inputs.token_ids)[1])
        for token_id in vocabulary.unscored_ids:
            scored &= inputs.token_ids != token_id
        places = tf.cast(tf.where(scored), tf.int32)  # [copies, 2]: text, position
        [places] = checked([places], *self._rules.copies(places))
        texts, positions = places[:, 0], places[:, 1]
        lengths = tf.gather(inputs.lengths, texts)
        starts = centred(lengths, positions, self._limit)
        windows = Windows(texts, starts, tf.minimum(lengths, self._limit))
        whole = self._window_ids(inputs.token_ids, windows)
        firsts = positions - starts
        lasts = tf.minimum(tf.gather_nd(ends, places) - starts, windows.lengths - 2)

        def masked(rows: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            token_ids, segment_ids = whole(rows, width)
            first, last = (tf.gather(part, rows)[:, tf.newaxis] for part in (firsts, lasts))
            hidden = (tf.range(width) >= first) & (tf.range(width) <= last)
            return tf.where(hidden, vocabulary.mask_id, token_ids), segment_ids

        (scores,) = self._blocks.at(
            Reads(windows.lengths, tf.range(tf.shape(places)[0]), firsts),
            masked,
            lambda *rows: [self._log_probabilities(rows[:-1], rows[-1][:, tf.newaxis])[:, 0]],
            [tf.TensorSpec([None], tf.float32)],
            extras=[tf.gather_nd(inputs.token_ids, places)],
        )
        token_scores = tf.scatter_nd(places, scores, tf.shape(inputs.token_ids))
        return {
            "score": tf.reduce_sum(token_scores, -1),
            "token_scores": token_scores,
            "tokens": self._tokens(inputs),
            "lengths": inputs.lengths,
            "scored_tokens": tf.reduce_sum(tf.cast(scored, tf.int32), -1),
        }

    def encode(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The mean of the hidden states of each text's tokens: `signatures.ENCODE`."""
        inputs = self._not_too_long(self.preprocessor(inputs_of(signatures.ENCODE, text=text)["text"]))
        _, windows, reads = self._read_once(inputs)

        def sums(hidden: tf.Tensor, rows: tf.Tensor, size: tf.Tensor) -> list[tf.Tensor]:
            return [tf.math.unsorted_segment_sum(hidden, rows, size)]

        ids = self._window_ids(inputs.token_ids, windows)
        (of_rows,) = self._blocks.by_row(
            reads, ids, lambda *rows: [self.programs.hidden(*rows)], [self.programs.hidden_row], reduce=sums
        )
        of_texts = tf.math.unsorted_segment_sum(
            of_rows, tf.gather(windows.texts, reads.order), tf.shape(inputs.lengths)[0]
        )
        return {"embeddings": of_texts / tf.cast(inputs.lengths, tf.float32)[:, tf.newaxis]}

    def hidden_states(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The last layer's state of each token, special ones included: `signatures.HIDDEN_STATES`."""
        text = inputs_of(signatures.HIDDEN_STATES, text=text)["text"]
        inputs = self._not_too_long(self.preprocessor(text))
        places, windows, reads = self._read_once(inputs)
        ids = self._window_ids(inputs.token_ids, windows)
        (found,) = self._blocks.at(
            reads, ids, lambda *rows: [self.programs.hidden(*rows)], [self.programs.hidden_row]
        )
        shape = tf.concat([tf.shape(inputs.token_ids), [self.hidden_size]], 0)
        return {
            "hidden_states": tf.scatter_nd(places, found, shape),
            "tokens": self._tokens(inputs),
            "lengths": inputs.lengths,
        }

    def _not_too_long(self, inputs: Preprocessed) -> Preprocessed:
        """Refuses a text over the limit, unless those are read in windows."""
        if self.long_texts != "refuse":
            return inputs
        is_over = inputs.lengths > self._limit
        return self._rules.not_too_long(
            inputs, is_over, "No text may be longer than the limit", ". Shorten the text"
        )

    def _read_once(self, inputs: Preprocessed) -> tuple[tf.Tensor, Windows, Reads]:
        """Every token [tokens, 2: text, position] of whole texts, and the windows that they are read in."""
        real = length_mask(inputs.lengths, tf.shape(inputs.token_ids)[1])
        places = tf.cast(tf.where(real), tf.int32)
        texts, positions = places[:, 0], places[:, 1]
        windows, which = overlapping(inputs.lengths, texts, positions, self._limit)
        return places, windows, Reads(windows.lengths, which, positions - tf.gather(windows.starts, which))

    def tokenize(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Ids, tokens and byte offsets into the text, all of it: `signatures.TOKENIZE`."""
        inputs = self.preprocessor(inputs_of(signatures.TOKENIZE, text=text)["text"])
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
        given = inputs_of(
            signatures.PREDICT_MASKED,
            token_ids=token_ids,
            lengths=lengths,
            segment_ids=segment_ids,
            mask_positions=mask_positions,
        )
        token_ids, lengths, segment_ids, mask_positions = self._rules.masked_ids(**given)
        masks = MaskRows(mask_positions)

        def ids(rows: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            def fit(part: tf.Tensor) -> tf.Tensor:
                part = tf.gather(part[:, :width], rows)
                return tf.pad(part, [[0, 0], [0, width - tf.shape(part)[1]]])

            return fit(token_ids), fit(segment_ids)

        (logits,) = self._blocks.at(
            Reads(lengths, masks.texts, masks.positions),
            ids,
            lambda *rows: [self.programs.logits(*rows)],
            [self._logits_row],
        )
        return {"logits": masks.scatter(logits, 0.0)}

    def masked_lm_head(self, hidden_states: tf.Tensor, mask_positions: tf.Tensor) -> dict[str, tf.Tensor]:
        """Logits from the hidden states of an encoder elsewhere: `signatures.MASKED_LM_HEAD`.

        A mask position of -1 is an unused slot: its logits are zeros.
        """
        given = inputs_of(
            signatures.MASKED_LM_HEAD, hidden_states=hidden_states, mask_positions=mask_positions
        )
        hidden_states, mask_positions = self._rules.masked_states(**given)
        masks = MaskRows(mask_positions)
        rows = tf.gather_nd(hidden_states, tf.stack([masks.texts, masks.positions], -1))
        rows = tf.reshape(rows, [-1, self.hidden_size])
        (logits,) = self._blocks.over(lambda rows: [self.programs.head(rows)], [rows], [self._logits_row])
        return {"logits": masks.scatter(logits, 0.0)}

    # What is asked for, checked.

    def _masked(self, text: tf.Tensor) -> tuple[Preprocessed, MaskRows]:
        """Whole texts as ids, and their masks; those must lie where a text of the limit would have them."""
        inputs = self.preprocessor(text)
        if self.long_texts == "refuse":
            inputs = self._rules.not_too_long(
                inputs,
                tf.reduce_any(inputs.mask_positions > self._limit - 2, -1),
                "No mask may lie beyond the length limit",
                ". Shorten the text, or move the mask nearer to its start",
            )
        masks = tf.reduce_sum(tf.cast(inputs.mask_positions >= 0, tf.int32), -1)
        rule = f"Every text must contain the mask token {self.preprocessor.vocabulary.config.mask_token}."
        rule += " The texts at these indices of the batch have none."
        inputs = Preprocessed(*checked(inputs, (tf.reduce_all(masks > 0), rule, tf.where(masks == 0)[:, 0])))
        return inputs, MaskRows(inputs.mask_positions)

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

    def _log_probabilities(self, rows: States, token_ids: tf.Tensor) -> tf.Tensor:
        """Rows [rows, hidden] and ids [rows, candidates] → log p [rows, candidates]."""
        logits = self.programs.logits(*rows)
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
        self, inputs: Preprocessed, masks: MaskRows, program: Any, outputs: list[tf.TensorSpec], **more: Any
    ) -> list[tf.Tensor]:
        """Runs a program at every mask of texts; `more` as in `BlockRunner.at`."""
        starts = centred(tf.gather(inputs.lengths, masks.texts), masks.positions, self._limit)
        windows, which = shared(masks.texts, starts, inputs.lengths, self._limit)
        reads = Reads(windows.lengths, which, masks.positions - starts)
        return self._blocks.at(reads, self._window_ids(inputs.token_ids, windows), program, outputs, **more)
