"""A tokenizer for vocabularies that are spelt in the text as they are: the residues of a protein.

From left to right the longest token that begins at a place; of what lies between, each word, cut at white
space, is one unknown token. Ids are those of transformers' `EsmTokenizer`, which is written in Python.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_mlm.arguments import tensor_argument
from tf_mlm.config import AddedToken
from tf_mlm.errors import ConfigError
from tf_mlm.text.added_tokens import AddedTokenFinder
from tf_mlm.text.characters import characters_of, cut, in_order
from tf_mlm.text.selection import rows_where
from tf_mlm.text.tokens import Tokens
from tf_mlm.text.vocabulary import Vocabulary


class LongestMatchTokenizer(tf.Module):
    """The tokenizer of ESM, and of models of nucleotides with its class, for one vocabulary.

    Raises:
        ConfigError: at construction, for a token with white space in it, which no text could have.

    Example:
        >>> from tf_mlm.config import TokenizerConfig
        >>> from tf_mlm.text.longest_match import LongestMatchTokenizer
        >>> from tf_mlm.text.vocabulary import Vocabulary
        >>> names = {"unk_token": "<unk>", "cls_token": "<cls>", "sep_token": "<eos>", "pad_token": "<pad>"}
        >>> config = TokenizerConfig(model="LongestMatch", mask_token="<mask>", **names)
        >>> tokens = ["<cls>", "<pad>", "<eos>", "<unk>", "L", "A", "LA", "<mask>"]
        >>> found = LongestMatchTokenizer(Vocabulary(tokens, config))(["ALAx <mask>"])
        >>> found.token_ids.numpy().tolist(), found.starts.numpy().tolist(), found.ends.numpy().tolist()
        ([5, 6, 3, 7], [0, 1, 3, 5], [1, 3, 4, 11])
    """

    def __init__(self, vocabulary: Vocabulary, name: str | None = None) -> None:
        super().__init__(name=name)
        self.vocabulary = vocabulary
        unnamed = {*vocabulary.unnamed_ids, vocabulary.blank_id}
        rows = [(index, token) for index, token in enumerate(vocabulary.tokens) if index not in unnamed]
        if spaced := [token for _, token in rows if len(token.split()) > 1]:
            raise ConfigError(
                f"A token must have no white space in it, at which words are cut. Received: {spaced[0]!r}. "
                "Take it out of the vocabulary."
            )
        spellings = [token for _, token in rows]
        tokens = [AddedToken(spelling, normalized=False) for spelling in spellings]
        self._finder = AddedTokenFinder(tokens, spellings)
        self._ids = tf.constant([index for index, _ in rows], tf.int32)
        # Python's white space: Unicode's, and four control characters.
        self._is_space = tf.constant(np.array([chr(point).isspace() for point in range(0x3002)]))

    def __call__(self, text: tf.Tensor) -> Tokens:
        """Tokens of the texts.

        Args:
            text: string [batch]. Bytes that are not UTF-8 count as U+FFFD.
        """
        text = tensor_argument(text, "text", "strings", "[batch]")
        characters, parts = cut(*characters_of(text), self._finder, self._ids)
        size = tf.size(characters.points)
        is_space = tf.gather(self._is_space, tf.minimum(characters.points, self._is_space.shape[0] - 1))
        owners = characters.owners
        goes_on = (owners[1:] == owners[:-1]) & ~is_space[1:] & ~is_space[:-1]
        firsts = rows_where(~is_space & ~tf.concat([[False], goes_on], 0)[:size])
        lasts = rows_where(~is_space & ~tf.concat([goes_on, [False]], 0)[:size])
        unknown = tf.fill([tf.size(firsts)], self.vocabulary.unk_id)
        begin, end = characters.at(firsts), characters.at(lasts)
        return in_order(parts, unknown, begin.starts, end.ends, begin.owners)
