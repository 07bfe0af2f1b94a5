"""Special tokens spelt out in a text, such as a literal [MASK], found before anything is normalised."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_mlm.config import ConfigError
from tf_mlm.text.vocabulary import Vocabulary


class SpecialTokenFinder(tf.Module):
    """Finds special tokens, spelt exactly, anywhere in a text; of two that start alike, the longer one.

    Raises:
        ConfigError: at construction, if one special token could overlap another one in a text, so that
            it would be unclear which of them is meant.

    Example:
        >>> import tensorflow as tf
        >>> from tf_mlm.text.special_tokens import SpecialTokenFinder
        >>> from tf_mlm.text.vocabulary import Vocabulary
        >>> finder = SpecialTokenFinder(Vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
        >>> line = tf.strings.unicode_decode(["a[MASK] [mask]"], "UTF-8")
        >>> places, which = finder.find(line.flat_values, tf.cast(line.row_splits, tf.int32))
        >>> places.numpy().tolist(), tf.gather(finder.token_ids, which).numpy().tolist()
        ([1], [4])
    """

    def __init__(self, vocabulary: Vocabulary, name: str | None = None) -> None:
        super().__init__(name=name)
        specials = sorted(vocabulary.config.special_tokens, key=len, reverse=True)  # the longest match wins
        _check_no_overlap(specials)
        spelling = np.full([len(specials), len(specials[0])], -1, np.int32)
        for row, token in enumerate(specials):
            spelling[row, : len(token)] = [ord(character) for character in token]
        self._spelling = tf.constant(spelling)
        self._first_points = sorted(set(spelling[:, 0].tolist()))
        self.token_ids = tf.constant([vocabulary.id_of(token) for token in specials], tf.int32)
        self.lengths = tf.constant([len(token) for token in specials], tf.int32)
        """Code points of each special token."""
        self.sizes = tf.constant([len(token.encode()) for token in specials], tf.int32)
        """Bytes of each special token in UTF-8."""
        quoted = [f"\\Q{token}\\E" for token in specials if token.isascii()]
        self._ascii_pattern = f"(?s).*(?:{'|'.join(quoted)}).*" if quoted else None

    def is_in_ascii(self, text: tf.Tensor) -> tf.Tensor:
        """bool [batch], which of these ASCII texts hold a special token."""
        if self._ascii_pattern is None:
            return tf.zeros_like(text, tf.bool)
        return tf.strings.regex_full_match(text, self._ascii_pattern)

    def find(self, points: tf.Tensor, line_splits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Where special tokens stand.

        Args:
            points: int32 [characters], the code points of all lines.
            line_splits: int32 [lines + 1], where each line begins, and the end.

        Returns:
            int32 [found] each: the first character, and the row of `token_ids`, `lengths` and `sizes`.
        """
        is_candidate = tf.zeros_like(points, tf.bool)
        for first in self._first_points:
            is_candidate |= points == first
        places = tf.cast(tf.where(is_candidate)[:, 0], tf.int32)
        line_ends = tf.gather(line_splits, tf.searchsorted(line_splits, places, "right"))
        width = self._spelling.shape[1]
        window = tf.gather(tf.pad(points, [[0, width]]), places[:, tf.newaxis] + tf.range(width))
        matches = tf.reduce_all((window[:, tf.newaxis] == self._spelling) | (self._spelling < 0), 2)
        matches &= places[:, tf.newaxis] + self.lengths <= line_ends[:, tf.newaxis]
        is_special = tf.reduce_any(matches, 1)
        which = tf.argmax(tf.boolean_mask(matches, is_special), 1, output_type=tf.int32)
        return tf.boolean_mask(places, is_special), which


def _check_no_overlap(specials: list[str]) -> None:
    for one in specials:
        for other in specials:
            inside = other in one[1:]
            joined = any(one.endswith(other[:size]) for size in range(1, min(len(one), len(other))))
            if inside or joined:
                raise ConfigError(
                    "No special token may overlap another one or itself when both are written in a text. "
                    f"Received: {one!r} and {other!r}. Choose spellings such as [MASK] and [SEP]."
                )
