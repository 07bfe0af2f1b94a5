"""The list of known tokens: the line number of a token in `vocab.txt` is its id."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_mlm.config import TokenizerConfig
from tf_mlm.decoder import byte_characters
from tf_mlm.durable import write_durably
from tf_mlm.errors import ConfigError
from tf_mlm.text.vocabulary_file import read_lines

MAX_TOKENS = 1 << 22
"""The most tokens that `tf_text.FastWordpieceTokenizer` can number."""


class Vocabulary:
    """An immutable list of distinct tokens that contains the five special ones.

    Args:
        tokens: the tokens in the order of their ids.
        config: the spelling of the special tokens and how text is normalised for this vocabulary.
        pieces: how many of the first tokens words are cut into; all of them unless given. The others are
            found in a text as they are, or never.
        blank_id: the id of the empty token, that of an empty line in a `vocab.txt`. No text has it; as text
            it is a blank between its neighbours.
        merges: for BPE, the pairs of tokens that become one, the first of them first.
        scores: for Unigram, the logarithm of each token's probability, by id.
        unnamed_ids: ids that no token of the tokenizer stands for, such as rows that only pad the embedding
            to a round number. A model can propose them; as text they are nothing.

    Raises:
        ConfigError: if a token is empty, repeated or holds a line break, or a special or added token is
            missing.

    Example:
        >>> from tf_mlm.text.vocabulary import Vocabulary
        >>> vocabulary = Vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing"])
        >>> vocabulary.mask_id, vocabulary.size, "play" in vocabulary
        (4, 7, True)
        >>> vocabulary.continuation_ids
        (6,)
    """

    def __init__(
        self,
        tokens: Sequence[str],
        config: TokenizerConfig | None = None,
        *,
        pieces: int | None = None,
        unnamed_ids: Collection[int] = (),
        blank_id: int | None = None,
        merges: Sequence[tuple[str, str]] = (),
        scores: Sequence[float] = (),
    ) -> None:
        self._set(
            tuple(tokens),
            config or TokenizerConfig(),
            pieces,
            unnamed_ids,
            blank_id,
            "the vocabulary",
            "token {}".format,
            merges,
            scores,
        )

    def _set(
        self,
        tokens: tuple[str, ...],
        config: TokenizerConfig,
        pieces: int | None,
        unnamed_ids: Collection[int],
        blank_id: int | None,
        source: str,
        place: Callable[[int], str],
        merges: Sequence[tuple[str, str]],
        scores: Sequence[float],
    ) -> None:
        ids = _check_tokens(tokens, source, place, config.model == "SentencePieceBPE")
        for kind, names in (
            ("special", config.special_tokens),
            ("added", [token.content for token in config.added_tokens]),
        ):
            if missing := [name for name in names if name not in ids]:
                raise ConfigError(
                    f"A vocabulary must contain the {kind} tokens; {source} ({len(tokens)} tokens) lacks "
                    f"{', '.join(missing)}. Add them, or give their spelling in tokenizer_config.json."
                )
        self.tokens = tokens
        self.config = config
        self.pieces = len(tokens) if pieces is None else pieces
        self.unnamed_ids = frozenset(unnamed_ids)
        self.blank_id = blank_id
        self.merges = tuple(merges)
        self.scores = tuple(map(float, scores))
        if config.model == "WordPiece" and ids[config.unk_token] >= self.pieces:
            raise ConfigError(
                f"The unknown token {config.unk_token} must be one of the {self.pieces} tokens that words "
                f"are cut into; in {source} it was added later. Put it into the vocabulary itself."
            )
        self._ids = ids

    @classmethod
    def of_ids(
        cls,
        ids: Mapping[str, int],
        config: TokenizerConfig | None = None,
        *,
        size: int = 0,
        pieces: int | None = None,
        merges: Sequence[tuple[str, str]] = (),
        scores: Sequence[float] = (),
        source: str = "the vocabulary",
        place: Callable[[int], str] = "token {}".format,
    ) -> Vocabulary:
        """The vocabulary in which these tokens have these ids, with unused names for all ids between them.

        Args:
            ids: the id of each token.
            config: as for the class.
            size: the least number of tokens: rows of the embedding behind the last token get names too.
            pieces: as for the class; the tokens with ids below it unless given.
            merges, scores: as for the class.
            source: what to call the vocabulary in messages.
            place: what to call an id in messages.

        Raises:
            ConfigError: also for two tokens with one id.

        Example:
            >>> ids = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "cat": 6}
            >>> vocabulary = Vocabulary.of_ids(ids, size=8)
            >>> vocabulary.tokens[5:], sorted(vocabulary.unnamed_ids)
            (('[unused5]', 'cat', '[unused7]'), [5, 7])
        """
        named = tokens_by_id(ids, source)
        last = max(ids.values(), default=-1)
        tokens = [named.get(index) or unused_name(index, ids) for index in range(max(last + 1, size))]
        vocabulary = cls.__new__(cls)
        vocabulary._set(
            tuple(tokens),
            config or TokenizerConfig(),
            last + 1 if pieces is None else pieces,
            [index for index in range(len(tokens)) if index not in named and index != ids.get("")],
            ids.get(""),
            source,
            place,
            merges,
            scores,
        )
        return vocabulary

    @classmethod
    def read(cls, path: str | Path, config: TokenizerConfig | None = None) -> Vocabulary:
        r"""The vocabulary in a UTF-8 file with one token per line, as Hugging Face's tokenizers read it.

        Blanks behind a token are no part of it, and neither is the line end, `\n` or `\r\n`; a byte-order
        mark at the start of the file is dropped. Of equal lines the last one is the token; the id of an
        earlier one, like that of an empty line, is an unused one.

        Raises:
            ConfigError: naming the file, and the line where there is one.
        """
        ids = {token: line for line, token in enumerate(read_lines(Path(path)))}
        return cls.of_ids(ids, config, source=f"`{path}`", place=lambda index: f"line {index + 1}")

    def write(self, path: str | Path) -> None:
        r"""Write one token per line in UTF-8, each ended by `\n`."""
        write_durably(Path(path), "".join(f"{token}\n" for token in self.tokens).encode("utf-8"))

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
        """The ids of padding, unknown, classifier, separator and mask token, and of added special ones."""
        added = (token.content for token in self.config.added_tokens if token.special)
        return tuple(self._ids[token] for token in dict.fromkeys((*self.config.special_tokens, *added)))

    @property
    def unscored_ids(self) -> tuple[int, ...]:
        """The ids that a score of a text leaves out: padding, classifier, separator and mask token."""
        return self.pad_id, self.cls_id, self.sep_id, self.mask_id

    @property
    def continuation_ids(self) -> tuple[int, ...]:
        """The ids of tokens that continue a word, in ascending order.

        Of a BPE vocabulary these are the tokens that begin with a letter or digit, or within a character,
        and not with a blank; of a Unigram vocabulary all that do not begin with ▁. Of residues none does.
        """
        if self.config.model in ("Unigram", "SentencePieceBPE"):
            return tuple(
                index
                for index, token in enumerate(self.tokens[: self.pieces])
                if not token.startswith("▁") and (self.config.model == "Unigram" or token[0].isalnum())
            )
        if self.config.model == "LongestMatch":
            return ()
        if self.config.model == "BPE":
            return tuple(index for index, token in enumerate(self.tokens[: self.pieces]) if _continues(token))
        prefix = self.config.continuing_subword_prefix
        return tuple(
            index
            for index, token in enumerate(self.tokens[: self.pieces])
            if prefix and token.startswith(prefix) and len(token) > len(prefix)
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
        return self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[Any, ...]:
        return (
            self.tokens,
            self.config,
            self.pieces,
            self.unnamed_ids,
            self.blank_id,
            self.merges,
            self.scores,
        )

    def __repr__(self) -> str:
        return f"Vocabulary(size={self.size}, config={self.config!r})"


def _continues(token: str) -> bool:
    characters = byte_characters()
    if any(character not in characters for character in token):
        return False
    data = bytes(characters[character] for character in token)
    first = data.decode("utf-8", "replace")[0]
    return first.isalnum() or first == "\ufffd"


def tokens_by_id(ids: Mapping[str, int], source: str) -> dict[int, str]:
    """The token of each id; an empty one is none.

    Raises:
        ConfigError: for two tokens with one id, or an id that no tf.text model can hold.
    """
    named: dict[int, str] = {}
    for token, index in ids.items():
        other = named.get(index)
        if not 0 <= index < MAX_TOKENS or other:
            raise ConfigError(
                f"Every token must have an id of its own, from 0 to {MAX_TOKENS - 1}; {source} gives "
                f"{index} to {token!r}{f' and to {other!r}' if other else ''}. Restore the vocabulary that "
                "belongs to the weights."
            )
        if token:
            named[index] = token
    return named


def unused_name(index: int, taken: Container[str]) -> str:
    """A name for an id that no text is to have, other than those that are `taken`."""
    name = f"[unused{index}]"
    while name in taken:
        name = f"[{name}]"
    return name


def _check_tokens(
    tokens: tuple[str, ...], source: str, place: Callable[[int], str], has_lines: bool
) -> dict[str, int]:
    """Token to id, or a `ConfigError` that names the place of the first bad token."""
    if not tokens:
        raise ConfigError(f"A vocabulary must hold at least the special tokens; {source} is empty.")
    if len(tokens) > MAX_TOKENS:
        raise ConfigError(f"A vocabulary holds at most {MAX_TOKENS} tokens; {source} has {len(tokens)}.")
    ids: dict[str, int] = {}
    for index, token in enumerate(tokens):
        if not token:
            raise ConfigError(
                f"A token must not be empty; {source}, {place(index)} is. Give it an unused name such as "
                "[unused1], so that the ids behind it stay as they are."
            )
        if not has_lines and ("\n" in token or "\r" in token):
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
