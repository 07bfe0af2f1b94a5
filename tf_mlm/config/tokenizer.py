"""How text becomes tokens: `tokenizer_config.json` and `tokenizer.json`."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping
from typing import Any

from tf_mlm.config.rules import require, require_bool, require_whole


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """A token that is found in the text itself, before words are cut from it.

    The fields are those of `added_tokens` in Hugging Face's `tokenizer.json`.

    Args:
        content: its spelling.
        single_word: only where no letter, digit or underscore touches it.
        lstrip: takes the white space before it along.
        rstrip: takes the white space behind it along.
        normalized: looked for in the normalised text, spelt as normalisation leaves it.
        special: left out where special tokens are skipped, and never drawn as a mask.

    Raises:
        ConfigError: at construction, for an empty spelling or a flag that is not true or false.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False

    def __post_init__(self) -> None:
        require(
            isinstance(self.content, str) and self.content != "",
            "`content` of an added token must be a string that is not empty.",
            content=self.content,
        )
        for name in ("single_word", "lstrip", "rstrip", "normalized", "special"):
            require_bool(name, getattr(self, name))


MODELS = ("WordPiece", "BPE", "LongestMatch", "SentencePieceBPE", "Unigram")
"""The kinds of model that cut words into tokens."""
TEXT, PAIR = "$A", "$B"
"""What stands for the two texts in a template, as in the templates of `tokenizers`."""


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """How text is normalised and cut into tokens, and the tokens found in it as they are.

    `strip_accents=None` follows `do_lower_case`, as BERT's own tokenizer does. `added_tokens` holds what is
    found beside the five special tokens, and those of the five that have flags of their own.
    `decoder_cleanup` takes the blanks before punctuation out of a decoded text; None joins the tokens by
    blanks as they are.

    Args:
        model: `WordPiece`, `BPE` for byte-level BPE, `SentencePieceBPE` for BPE over characters with bytes
            for unknown ones, `Unigram`, or `LongestMatch` for tokens that are looked for as they are spelt.
        normalizer, pre_tokenizer, decoder: Unigram and SentencePieceBPE only: these parts of a
            `tokenizer.json`, as JSON; empty where there is none.
        nfc: BPE only: texts are brought into Unicode's form NFC first.
        add_prefix_space: BPE only: a text that does not begin with a blank is read as if it did.
        trim_offsets: BPE only: the offsets of a token leave out its blanks.
        pair: how two texts are put together: special tokens around `$A` and `$B`, each with its segment id.
            None does it as BERT does: `[CLS] $A [SEP] $B [SEP]`, the segment id 1 from `$B` on.

    Raises:
        ConfigError: at construction, for a value of the wrong type or special tokens that are equal.
    """

    model: str = "WordPiece"
    do_lower_case: bool = True
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool = True
    clean_text: bool = True
    max_input_chars_per_word: int = 100
    continuing_subword_prefix: str = "##"
    unk_token: str = "[UNK]"
    sep_token: str = "[SEP]"
    pad_token: str = "[PAD]"
    cls_token: str = "[CLS]"
    mask_token: str = "[MASK]"
    added_tokens: tuple[AddedToken, ...] = ()
    decoder_cleanup: bool | None = True
    nfc: bool = False
    add_prefix_space: bool = False
    trim_offsets: bool = True
    normalizer: str = ""
    pre_tokenizer: str = ""
    decoder: str = ""
    pair: tuple[tuple[str, int], ...] | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        require(self.model in MODELS, f"`model` must be one of {', '.join(MODELS)}.", model=self.model)
        for name in (
            *("do_lower_case", "tokenize_chinese_chars", "clean_text"),
            *("nfc", "add_prefix_space", "trim_offsets"),
        ):
            require_bool(name, getattr(self, name))
        for name in ("strip_accents", "decoder_cleanup"):
            if getattr(self, name) is not None:
                require_bool(name, getattr(self, name))
        require_whole("max_input_chars_per_word", self.max_input_chars_per_word, least=1)
        prefix = self.continuing_subword_prefix
        require(
            isinstance(prefix, str) and prefix[:1] in tuple(string.punctuation),
            "`continuing_subword_prefix` must begin with a punctuation mark of ASCII, so that no word begins "
            "with it.",
            continuing_subword_prefix=prefix,
        )
        names = self.special_tokens
        require(all(names), "Special tokens must not be empty.", special_tokens=names)
        require(
            len(set(names)) == len(names), "Special tokens must differ from each other.", special_tokens=names
        )
        # A list of objects is what JSON makes of it.
        added = tuple(
            token if isinstance(token, AddedToken) else AddedToken(**token) for token in self.added_tokens
        )
        object.__setattr__(self, "added_tokens", added)
        contents = [token.content for token in added]
        require(len(set(contents)) == len(contents), "Added tokens must differ.", added_tokens=contents)
        if self.pair is not None:
            pair = tuple((token, segment) for token, segment in self.pair)
            texts = [token for token, _ in pair if token in (TEXT, PAIR)]
            require(texts == [TEXT, PAIR], f"`pair` must hold {TEXT} and then {PAIR}, each once.", pair=pair)
            object.__setattr__(self, "pair", pair)

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return (self.pad_token, self.unk_token, self.cls_token, self.sep_token, self.mask_token)

    @property
    def found_tokens(self) -> tuple[AddedToken, ...]:
        """Every token that is found in a text as it is, the five special ones first."""
        added = {token.content: token for token in self.added_tokens}
        specials = [
            added.pop(name, AddedToken(name, normalized=False, special=True)) for name in self.special_tokens
        ]
        return (*specials, *added.values())

    @property
    def pair_template(self) -> tuple[tuple[str, int], ...]:
        """How two texts are put together, BERT's way unless `pair` says another."""
        cls, sep = self.cls_token, self.sep_token
        return self.pair or ((cls, 0), (TEXT, 0), (sep, 0), (PAIR, 1), (sep, 1))

    @property
    def strips_accents(self) -> bool:
        return self.do_lower_case if self.strip_accents is None else self.strip_accents
