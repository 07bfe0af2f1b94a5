"""Tokenizers as SentencePiece makes them, in the graph: Unigram, and BPE over characters with byte fallback.

Ids and offsets are those of Hugging Face's `tokenizers` library for a `tokenizer.json`. A text is cut at the
tokens found in it, its characters go through the steps of the normaliser, words are cut at blanks, and each
word, once, goes through SentencePiece's own model, which every stock server links.

SentencePiece adds scores as float32 and the library as float64: where two ways to cut a word have the same
sum but for that rounding, they can choose differently.

References:
    Kudo 2018, "Subword Regularization", https://arxiv.org/abs/1804.10959 (Unigram).
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from tf_mlm.arguments import tensor_argument
from tf_mlm.errors import ConfigError, UnsupportedTokenizerError
from tf_mlm.text.bpe_merges import check_merges
from tf_mlm.text.character_map import is_white_space
from tf_mlm.text.characters import Characters, characters_of, cut, in_order
from tf_mlm.text.found_tokens import finder, normalizer_of
from tf_mlm.text.normalizer_steps import steps_of
from tf_mlm.text.selection import rows_where
from tf_mlm.text.sentencepiece_model import Kind, ModelType, Piece, model_proto
from tf_mlm.text.tokens import Tokens, utf8_size
from tf_mlm.text.vocabulary import Vocabulary

BLANK = "▁"
_BYTE = re.compile("<0x[0-9A-F]{2}>")
_UNKNOWN = "\u0100unknown"


class PreTokenizer(NamedTuple):
    """How words are cut.

    Attributes:
        at_white_space: at all white space, which is left out.
        blanks: whether blanks become ▁.
        prefix: where a ▁ is put before words: `always`, `first` or `never`.
        split: whether a word begins at each ▁.
    """

    at_white_space: bool = False
    blanks: bool = False
    prefix: str = "never"
    split: bool = False


def pre_tokenizer_of(serialised: str) -> PreTokenizer:
    """What the `pre_tokenizer` of a `tokenizer.json` says.

    Raises:
        UnsupportedTokenizerError: for one that has no counterpart here.

    Example:
        >>> from tf_mlm.text.sentencepiece import pre_tokenizer_of
        >>> pre_tokenizer_of('{"type": "WhitespaceSplit"}').at_white_space
        True
    """
    value = json.loads(serialised or "null")
    steps = value.get("pretokenizers", ()) if (value or {}).get("type") == "Sequence" else [value]
    found = PreTokenizer()
    for step in steps:
        kind = (step or {}).get("type")
        if kind == "WhitespaceSplit" and not found.blanks:
            found = found._replace(at_white_space=True)
        elif kind == "Metaspace" and step.get("replacement") == BLANK and not found.blanks:
            scheme = step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never")
            found = found._replace(blanks=True, prefix=scheme, split=step.get("split", True))
        elif kind == "Split" and step["pattern"] == {"String": " "} and len(steps) == 1:
            pass  # there are no blanks left, as is checked with the normaliser
        elif step is not None:
            raise UnsupportedTokenizerError(
                f"`pre_tokenizer` must be WhitespaceSplit, Metaspace with {BLANK}, both in this order, or "
                f"none. Received: {step!r}."
            )
    return found


class SentencePieceTokenizer(tf.Module):
    """The tokenizer of XLM-R, CamemBERT, ALBERT or mmBERT for one vocabulary.

    Args:
        vocabulary: the tokens with their scores (Unigram) or merges (BPE); the configuration holds what a
            `tokenizer.json` says of normalisation and words.

    Raises:
        ConfigError: for scores or merges that do not fit the tokens.
        UnsupportedTokenizerError: for a step of the normaliser or of the pre-tokenizer that is not known.
    """

    def __init__(self, vocabulary: Vocabulary, name: str | None = None) -> None:
        super().__init__(name=name)
        self.vocabulary = vocabulary
        config = vocabulary.config
        self._words = pre_tokenizer_of(config.pre_tokenizer)
        self._steps = steps_of(config.normalizer)
        normalize = normalizer_of(config)
        if not self._words.blanks and " " in normalize("a b"):
            raise UnsupportedTokenizerError(
                f"Blanks must become {BLANK}, by `normalizer` or by `pre_tokenizer`; here they stay blanks."
            )
        self._literal, self._normal = (
            [(found, ids)] if found is not None else []
            for found, ids in (finder(vocabulary, None), finder(vocabulary, normalize))
        )
        if config.model == "Unigram":
            ids, pieces = _unigram_pieces(vocabulary)
            proto = model_proto(pieces, ModelType.UNIGRAM)
        else:
            ids, pieces = _bpe_pieces(vocabulary)
            proto = model_proto(pieces, ModelType.BPE, byte_fallback=True)
        self._sentencepiece = tf_text.SentencepieceTokenizer(proto, out_type=tf.int32)
        self._ids = tf.constant(ids, tf.int32)
        self._is_byte = tf.constant([piece.kind == Kind.BYTE for piece in pieces])

    def __call__(self, text: tf.Tensor) -> Tokens:
        """Tokens of the texts.

        Args:
            text: string [batch]. Bytes that are not UTF-8 count as U+FFFD.
        """
        text = tensor_argument(text, "text", "strings", "[batch]")
        characters, parts = characters_of(text)
        for found, ids in self._literal:
            characters, parts = cut(characters, parts, found, ids)
        for step in self._steps:
            characters = step(characters, tf.size(parts.token_ids))
        for found, ids in self._normal:
            characters, parts = cut(characters, parts, found, ids)
        token_ids, firsts, lasts = self._pieces_of(self._cut_words(characters))
        return in_order(parts, token_ids, firsts.starts, lasts.ends, firsts.owners)

    def _cut_words(self, characters: Characters) -> _Words:
        points, owners = characters.points, characters.owners
        size = tf.size(points)
        if self._words.blanks:
            points = tf.where(points == ord(" "), ord(BLANK), points)
        is_first = tf.concat([[True], owners[1:] != owners[:-1]], 0)[:size]
        if self._words.at_white_space:
            is_space = is_white_space(characters.points)
            is_first |= tf.concat([[False], is_space[:-1]], 0)[:size]
        if self._words.split:
            is_first |= points == ord(BLANK)
        characters = characters._replace(points=points)
        if self._words.at_white_space:
            kept = rows_where(~is_space)
            characters, is_first = characters.at(kept), tf.gather(is_first, kept)
        firsts = rows_where(is_first)
        splits = tf.concat([firsts, [tf.size(characters.points)]], 0)
        texts = tf.strings.unicode_encode(
            tf.RaggedTensor.from_row_splits(characters.points, splits, validate=False), "UTF-8"
        )
        first_points = tf.gather(characters.points, firsts)
        needs = first_points != ord(BLANK)
        if self._words.prefix == "first":
            needs &= tf.gather(characters.starts, firsts) == 0
        elif self._words.prefix == "never":
            needs = tf.zeros_like(needs)
        texts = tf.where(needs, tf.strings.join([BLANK, texts]), texts)
        return _Words(characters, firsts, texts, tf.where(needs, len(BLANK.encode()), 0))

    def _pieces_of(self, words: _Words) -> tuple[tf.Tensor, Characters, Characters]:
        """[tokens] ids, and the first and the last character of each."""
        unique, which = tf.unique(words.texts)
        pieces, starts, ends = self._sentencepiece.tokenize_with_offsets(unique)
        splits = tf.cast(pieces.row_splits, tf.int32)
        index = tf.ragged.range(tf.gather(splits, which), tf.gather(splits, which + 1))
        word_of = tf.cast(index.value_rowids(), tf.int32)
        piece = tf.gather(pieces.flat_values, index.flat_values)
        start = tf.gather(tf.cast(starts.flat_values, tf.int32), index.flat_values)
        end = tf.gather(tf.cast(ends.flat_values, tf.int32), index.flat_values)
        end = tf.where(tf.gather(self._is_byte, piece), start + 1, end)
        sizes = utf8_size(words.characters.points)
        character_of = tf.repeat(tf.range(tf.size(sizes)), sizes)  # of each byte of the words
        before = tf.gather(tf.cumsum(sizes, exclusive=True), tf.gather(words.firsts, word_of))
        added = tf.gather(words.added, word_of)
        # The ▁ that was put before a word stands for the word's first character.
        first = tf.gather(character_of, before + tf.maximum(start - added, 0))
        last = tf.gather(character_of, before + tf.maximum(end - added, 1) - 1)
        return tf.gather(self._ids, piece), words.characters.at(first), words.characters.at(last)


class _Words(NamedTuple):
    """Characters without white space, the first of each word, its text, and the bytes put before it."""

    characters: Characters
    firsts: tf.Tensor
    texts: tf.Tensor
    added: tf.Tensor


def _unigram_pieces(vocabulary: Vocabulary) -> tuple[list[int], list[Piece]]:
    """Ids and pieces: every token by its score, special ones too, as a text can spell them."""
    scores = vocabulary.scores
    if len(scores) != vocabulary.pieces:
        raise ConfigError(
            f"A Unigram vocabulary must have a score for each of its {vocabulary.pieces} tokens. Received: "
            f"{len(scores)} scores."
        )
    ids, pieces = [vocabulary.unk_id], [Piece(_UNKNOWN, kind=Kind.UNKNOWN)]
    for index, (token, score) in enumerate(zip(vocabulary.tokens, scores, strict=False)):
        if index not in vocabulary.unnamed_ids and index != vocabulary.blank_id:
            ids.append(index)
            pieces.append(Piece(token, score))
    return ids, pieces


def _bpe_pieces(vocabulary: Vocabulary) -> tuple[list[int], list[Piece]]:
    """Ids and pieces: single characters, what merges make, and bytes for all else."""
    tokens = {token: index for index, token in enumerate(vocabulary.tokens[: vocabulary.pieces])}
    missing = [f"<0x{byte:02X}>" for byte in range(256) if f"<0x{byte:02X}>" not in tokens]
    if missing:
        raise ConfigError(
            "A vocabulary with byte fallback must have a token for each of the 256 bytes; it lacks "
            f"{len(missing)}, {missing[0]} among them. Restore the vocabulary that belongs to the merges."
        )
    ranks = check_merges(tokens, vocabulary.merges)
    ids, pieces = [vocabulary.unk_id], [Piece(_UNKNOWN, kind=Kind.UNKNOWN)]
    for token, index in tokens.items():
        if index in vocabulary.unnamed_ids or index == vocabulary.blank_id:
            continue
        if _BYTE.fullmatch(token):
            ids.append(index)
            pieces.append(Piece(token, kind=Kind.BYTE))
        elif len(token) == 1 or token in ranks:
            ids.append(index)
            pieces.append(Piece(token, -float(ranks.get(token, 0))))
    return ids, pieces
