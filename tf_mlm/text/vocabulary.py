"""The list of known tokens: the line number of a token in `vocab.txt` is its id."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tf_mlm.config import ConfigError, TokenizerConfig
from tf_mlm.text.wordpiece_training import learn_word_pieces

CONTINUATION_PREFIX = "##"
MAX_TOKENS = 1 << 22
"""The most tokens that `tf_text.FastWordpieceTokenizer` can number."""


class Vocabulary:
    """An immutable list of distinct tokens that contains the five special ones.

    Args:
        tokens: the tokens in the order of their ids.
        config: the spelling of the special tokens and how text is normalised for this vocabulary.

    Raises:
        ConfigError: if a token is empty, repeated or holds a line break, or a special token is missing.

    Example:
        >>> from tf_mlm.text.vocabulary import Vocabulary
        >>> vocabulary = Vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing"])
        >>> vocabulary.mask_id, vocabulary.size, "play" in vocabulary
        (4, 7, True)
        >>> vocabulary.continuation_ids
        (6,)
    """

    def __init__(self, tokens: Sequence[str], config: TokenizerConfig | None = None) -> None:
        self._set(tuple(tokens), config or TokenizerConfig(), "the vocabulary", "token {}".format)

    def _set(
        self, tokens: tuple[str, ...], config: TokenizerConfig, source: str, place: Callable[[int], str]
    ) -> None:
        ids = _check_tokens(tokens, source, place)
        missing = [token for token in config.special_tokens if token not in ids]
        if missing:
            raise ConfigError(
                f"A vocabulary must contain the special tokens; {source} ({len(tokens)} tokens) lacks "
                f"{', '.join(missing)}. Add them, or give their spelling in tokenizer_config.json."
            )
        self.tokens = tokens
        self.config = config
        self._ids = ids

    @classmethod
    def read(cls, path: str | Path, config: TokenizerConfig | None = None) -> Vocabulary:
        r"""The vocabulary in a UTF-8 file with one token per line.

        Lines may end in `\n` or `\r\n`; the line end is never part of the token. A byte-order mark
        at the start of the file is dropped.

        Raises:
            ConfigError: naming the file, and the line where there is one.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ConfigError(f"`{path}` does not exist. Give a file with one token per line.") from None
        except OSError as error:
            raise ConfigError(f"`{path}` cannot be read: {error.strerror}.") from error
        content = content.removeprefix(codecs.BOM_UTF8)
        try:
            lines = content.decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise ConfigError(
                f"A vocabulary must be UTF-8; `{path}`, line {line} holds the byte "
                f"0x{content[error.start]:02x}, which is not. Save the file again as UTF-8."
            ) from None
        if lines[-1] == "":
            lines.pop()  # what follows the last line end is not a line
        vocabulary = cls.__new__(cls)
        vocabulary._set(
            tuple(line.removesuffix("\r") for line in lines),
            config or TokenizerConfig(),
            f"`{path}`",
            lambda index: f"line {index + 1}",
        )
        return vocabulary

    def write(self, path: str | Path) -> None:
        r"""Write one token per line in UTF-8, each ended by `\n`."""
        Path(path).write_bytes("".join(f"{token}\n" for token in self.tokens).encode("utf-8"))

    @property
    def size(self) -> int:
        return len(self.tokens)

    @property
    def unk_id(self) -> int:
        return self._ids[self.config.unk_token]

    @property
    def pad_id(self) -> int:
        return self._ids[self.config.pad_token]

    @property
    def cls_id(self) -> int:
        return self._ids[self.config.cls_token]

    @property
    def sep_id(self) -> int:
        return self._ids[self.config.sep_token]

    @property
    def mask_id(self) -> int:
        return self._ids[self.config.mask_token]

    @property
    def special_ids(self) -> tuple[int, ...]:
        """The ids of padding, unknown, classifier, separator and mask token, in this order."""
        return tuple(self._ids[token] for token in self.config.special_tokens)

    @property
    def continuation_ids(self) -> tuple[int, ...]:
        """The ids of tokens that continue a word, in ascending order."""
        return tuple(
            index
            for index, token in enumerate(self.tokens)
            if token.startswith(CONTINUATION_PREFIX) and len(token) > len(CONTINUATION_PREFIX)
        )

    def id_of(self, token: str) -> int | None:
        """The id of exactly this token, or None."""
        return self._ids.get(token)

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self.tokens == other.tokens and self.config == other.config

    def __hash__(self) -> int:
        return hash((self.tokens, self.config))

    def __repr__(self) -> str:
        return f"Vocabulary(size={self.size}, config={self.config!r})"


def _check_tokens(tokens: tuple[str, ...], source: str, place: Callable[[int], str]) -> dict[str, int]:
    """Token to id, or a `ConfigError` that names the place of the first bad token."""
    if not tokens:
        raise ConfigError(f"A vocabulary must hold at least the special tokens; {source} is empty.")
    if len(tokens) > MAX_TOKENS:
        raise ConfigError(f"A vocabulary holds at most {MAX_TOKENS} tokens; {source} has {len(tokens)}.")
    ids: dict[str, int] = {}
    for index, token in enumerate(tokens):
        if not token:
            raise ConfigError(
                f"A token must not be empty; {source}, {place(index)} is. Remove it, but mind that "
                "every later token then gets a smaller id."
            )
        if "\n" in token or "\r" in token:
            raise ConfigError(
                f"A token must not contain a line break; {source}, {place(index)} is {token!r}. "
                r"End lines with \n or \r\n."
            )
        first = ids.setdefault(token, index)
        if first != index:
            raise ConfigError(
                f"Tokens must differ; {source}, {place(index)} repeats {token!r} of {place(first)}. "
                "Replace one of the two by an unused name such as [unused1], so that ids stay as they are."
            )
    return ids


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
        >>> from tf_mlm.text.vocabulary import train_vocabulary
        >>> "the" in train_vocabulary(["the cat and the dog"] * 3, size=60)
        True
    """
    config = config or TokenizerConfig()
    specials = len(config.special_tokens)
    if size <= specials:
        raise ConfigError(f"`size` must exceed the {specials} special tokens. Received: size={size}.")
    tokens = learn_word_pieces(texts, size, config, prefix=CONTINUATION_PREFIX, min_frequency=min_frequency)
    if len(tokens) == specials:
        raise ConfigError("A vocabulary needs text to learn from; the texts hold not one word.")
    return Vocabulary(tokens, config)
