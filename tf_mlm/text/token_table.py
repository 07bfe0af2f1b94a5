"""Ids to token strings and back, in the graph, read from the `vocab.txt` that an export carries as asset."""

from __future__ import annotations

import tempfile
from pathlib import Path

import tensorflow as tf

from tf_mlm.text.vocabulary import Vocabulary


class TokenTable(tf.Module):
    """Two lookup tables over one vocabulary file.

    Saved inside a SavedModel, the file lands in its `assets/` and the tables are filled from there on load.

    Example:
        >>> from tf_mlm.text.token_table import TokenTable
        >>> from tf_mlm.text.vocabulary import Vocabulary
        >>> table = TokenTable(Vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat"]))
        >>> table.tokens_of([5, 0]).numpy().tolist()
        [b'cat', b'[PAD]']
        >>> table.ids_of(["cat", "dog"]).numpy().tolist()
        [5, -1]
    """

    def __init__(self, vocabulary: Vocabulary, name: str | None = None) -> None:
        super().__init__(name=name)
        if any("\n" in token or "\r" in token for token in vocabulary.tokens):
            self._tokens, self._ids = _tables_in_the_graph(vocabulary)
            self._unnamed_ids = tf.constant(sorted(vocabulary.unnamed_ids), tf.int64)
            return
        # The file must exist until the module is saved; it goes away together with the module.
        self._directory = tempfile.TemporaryDirectory(prefix="tf_mlm_vocabulary_")
        path = str(Path(self._directory.name) / "vocab.txt")
        vocabulary.write(path)
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        self._tokens = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(path, tf.int64, number, tf.string, line),
            default_value=vocabulary.config.unk_token,
        )
        self._unnamed_ids = tf.constant(sorted(vocabulary.unnamed_ids), tf.int64)
        self._ids = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(path, tf.string, line, tf.int64, number), default_value=-1
        )

    def tokens_of(self, token_ids: tf.Tensor) -> tf.Tensor:
        """Token strings of ids of any shape; the unknown token for ids outside the vocabulary.

        The empty string for ids that no token of the tokenizer stands for: as text they are nothing.
        """
        token_ids = tf.cast(token_ids, tf.int64)
        return tf.where(self._is_unnamed(token_ids), "", self._tokens.lookup(token_ids))

    def ids_of(self, tokens: tf.Tensor) -> tf.Tensor:
        """int32 ids of exactly these token strings, of any shape; -1 for strings that are no token."""
        token_ids = self._ids.lookup(tf.convert_to_tensor(tokens, tf.string))
        return tf.cast(tf.where(self._is_unnamed(token_ids), tf.constant(-1, tf.int64), token_ids), tf.int32)

    def _is_unnamed(self, token_ids: tf.Tensor) -> tf.Tensor:
        if not self._unnamed_ids.shape[0]:
            return tf.zeros_like(token_ids, tf.bool)
        flat = tf.reshape(token_ids, [-1])
        nearest = tf.minimum(tf.searchsorted(self._unnamed_ids, flat), self._unnamed_ids.shape[0] - 1)
        return tf.reshape(tf.gather(self._unnamed_ids, nearest) == flat, tf.shape(token_ids))


def _tables_in_the_graph(
    vocabulary: Vocabulary,
) -> tuple[tf.lookup.StaticHashTable, tf.lookup.StaticHashTable]:
    """The same tables for tokens that no line of a file can hold."""
    tokens = tf.constant(vocabulary.tokens, tf.string)
    ids = tf.range(vocabulary.size, dtype=tf.int64)
    initializer = tf.lookup.KeyValueTensorInitializer
    return (
        tf.lookup.StaticHashTable(initializer(ids, tokens), vocabulary.config.unk_token),
        tf.lookup.StaticHashTable(initializer(tokens, ids), -1),
    )
