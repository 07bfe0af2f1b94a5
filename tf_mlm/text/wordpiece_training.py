"""Learning word pieces from text with the `tokenizers` library, the same ones in every process.

Left to itself, that library numbers the pieces `##x` in the order of a randomly seeded hash table, and pairs
of equal frequency are merged in the order of these numbers: every run learns another vocabulary. Given all
single characters in a fixed order beforehand, it has nothing left to chance.
"""

from __future__ import annotations

import collections
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np

from tf_mlm.config import TokenizerConfig
from tf_mlm.errors import ConfigError
from tf_mlm.text import code_points as cp
from tf_mlm.text.vocabulary import Vocabulary

_CHUNK = 1 << 20  # characters normalised at once
_LARGEST_ALPHABET = 1000


def train_vocabulary(
    texts: Iterable[str], size: int, config: TokenizerConfig | None = None, *, min_frequency: int = 2
) -> Vocabulary:
    """Learn a WordPiece vocabulary; the same texts give the same vocabulary.

    Args:
        texts: lines or documents; they are read once.
        size: the number of tokens wanted, special ones included. Little text may give fewer, as
            pieces seen less than `min_frequency` times are not merged.
        config: normalisation and special tokens.
        min_frequency: how often a pair of pieces must occur to be merged.

    Raises:
        ConfigError: if the texts hold no word, or `size` has no room for the characters in them.

    Example:
        >>> from tf_mlm.text.wordpiece_training import train_vocabulary
        >>> "the" in train_vocabulary(["the cat and the dog"] * 3, size=60)
        True
    """
    config = config or TokenizerConfig()
    specials = len(config.special_tokens)
    if size <= specials:
        raise ConfigError(f"`size` must exceed the {specials} special tokens. Received: size={size}.")
    tokens = learn_word_pieces(
        texts, size, config, prefix=config.continuing_subword_prefix, min_frequency=min_frequency
    )
    if len(tokens) == specials:
        raise ConfigError("A vocabulary needs text to learn from; the texts hold not one word.")
    return Vocabulary(tokens, config)


def learn_word_pieces(
    texts: Iterable[str], size: int, config: TokenizerConfig, *, prefix: str, min_frequency: int
) -> list[str]:
    """At most `size` tokens: the special ones, characters, characters within words, longer pieces.

    The texts are read once; their normalised form is kept in a temporary file meanwhile.

    Example:
        >>> from tf_mlm.config import TokenizerConfig
        >>> from tf_mlm.text.wordpiece_training import learn_word_pieces
        >>> learn_word_pieces(["Ab ab!"], 12, TokenizerConfig(), prefix="##", min_frequency=2)[5:]
        ['!', 'a', 'b', '##b', 'ab']
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    specials = list(config.special_tokens)
    counts: collections.Counter[int] = collections.Counter()
    within: set[int] = set()
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as normalized:
        for chunk in _normalized_chunks(texts, config):
            normalized.write(chunk + "\n")
            points, is_within = _characters(chunk, config)
            counts.update(
                dict(zip(*(a.tolist() for a in np.unique(points, return_counts=True)), strict=True))
            )
            within.update(np.unique(points[is_within]).tolist())
        normalized.seek(0)

        # One character takes up to two tokens (`x` and `##x`); where room is short, frequent ones go first.
        most = max(1, min(_LARGEST_ALPHABET, (size - len(specials)) // 2))
        frequent = sorted(counts, key=lambda point: (-counts[point], point))[:most]
        alphabet = [chr(point) for point in sorted(frequent)]
        continuations = [prefix + character for character in alphabet if ord(character) in within]

        tokenizer = Tokenizer(models.WordPiece(unk_token=config.unk_token))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=size,
            min_frequency=min_frequency,
            special_tokens=specials + continuations,
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            continuing_subword_prefix=prefix,
            show_progress=False,
        )
        tokenizer.train_from_iterator(normalized, trainer)
    ids = tokenizer.get_vocab()
    fixed = specials + alphabet + continuations
    return fixed + sorted(ids.keys() - set(fixed), key=ids.__getitem__)


def _normalized_chunks(texts: Iterable[str], config: TokenizerConfig) -> Iterator[str]:
    """The texts normalised, several to a chunk, without line ends."""
    normalizer = cp.normalizer(config)
    waiting: list[str] = []
    length = 0
    for text in texts:
        # A lone surrogate (JSON may hold half an emoji) counts as U+FFFD, as in the tokenizer.
        waiting.append(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
        length += len(text)
        if length >= _CHUNK:
            yield normalizer.normalize_str("\n".join(waiting))
            waiting, length = [], 0
    yield normalizer.normalize_str("\n".join(waiting))


def _characters(chunk: str, config: TokenizerConfig) -> tuple[np.ndarray, np.ndarray]:
    """The code points of the words in normalised text, and which of them do not begin a word."""
    table = cp.code_points(config)
    points = np.frombuffer(chunk.encode("utf-32-le"), "<u4").astype(np.int64)
    entries = table.entries[
        table.pages[points >> cp.PAGE_BITS] * cp.PAGE_SIZE + (points & (cp.PAGE_SIZE - 1))
    ]
    kinds = entries & cp.KIND_MASK
    is_letter = kinds == cp.LETTER
    is_within = is_letter & np.concatenate([[False], is_letter[:-1]])
    in_word = is_letter | (kinds >= cp.ALONE)
    return points[in_word], is_within[in_word]
