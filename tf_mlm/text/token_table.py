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
        # The file must exist until the module is saved; it goes away together with the module.
        self._directory = tempfile.TemporaryDirectory(prefix="tf_mlm_vocabulary_")
        path = str(Path(self._directory.name) / "vocab.txt")
        vocabulary.write(path)
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        self._tokens = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(path, tf.int64, number, tf.string, line),
            default_value=vocabulary.config.unk_token,
        )
        self._ids = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(path, tf.string, line, tf.int64, number), default_value=-1
        )

    def tokens_of(self, token_ids: tf.Tensor) -> tf.Tensor:
        """Token strings of ids of any shape; the unknown token for ids outside the vocabulary."""
        return self._tokens.lookup(tf.cast(token_ids, tf.int64))

    def ids_of(self, tokens: tf.Tensor) -> tf.Tensor:
        """int32 ids of exactly these token strings, of any shape; -1 for strings that are no token."""
        return tf.cast(self._ids.lookup(tf.convert_to_tensor(tokens, tf.string)), tf.int32)
