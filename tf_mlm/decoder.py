"""Tokens back to readable text, wherever they are: in Python, or as a server answered them.

A decoder is plain data, written in the form that Hugging Face's `tokenizer.json` has for it, so that an
export can put it beside its answers: a client then needs neither the vocabulary nor a second request.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tf_mlm.errors import DecoderError


@dataclasses.dataclass(frozen=True)
class Decoder:
    """How the tokens of one model read as text.

    Args:
        steps: the `decoder` of a `tokenizer.json`: `{"type": "WordPiece", "prefix": "##", "cleanup": true}`;
            or `{"type": "Spaces"}` where that is null and tokens are joined by spaces.
        mask_token: how a mask is spelt in a text.
        pad_token: the token behind the end of a text; it is never shown.
        special_tokens: the tokens that `skip_special_tokens` leaves out, mask and padding among them.
        clean_up_tokenization_spaces: a second pass that a `tokenizer_config.json` can ask for.
        spellings: tokens that read otherwise than they are called, as added ones do when they are normalised.

    Raises:
        DecoderError: for steps of another type than those this version knows.

    Example:
        >>> from tf_mlm.decoder import Decoder
        >>> steps = {"type": "WordPiece", "prefix": "##", "cleanup": True}
        >>> decoder = Decoder(steps, "[MASK]", "[PAD]", ("[PAD]", "[MASK]", "[CLS]", "[SEP]"))
        >>> decoder.decode(["[CLS]", "play", "##ing", "!", "[SEP]"])
        'playing!'
        >>> Decoder.from_json(decoder.to_json()) == decoder
        True
    """

    steps: Mapping[str, Any]
    mask_token: str
    pad_token: str
    special_tokens: tuple[str, ...]
    clean_up_tokenization_spaces: bool = False
    spellings: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not is_known(self.steps):
            raise DecoderError(
                f"Tokens must be of a kind that this version of tf_mlm can read: {', '.join(_DECODERS)}. "
                f"Received: the decoder {dict(self.steps)!r}. Use the version that wrote the model, or a "
                "newer one."
            )

    def decode(self, tokens: Iterable[str], *, skip_special_tokens: bool = True) -> str:
        """The text of tokens, as Hugging Face's `decode` gives it; padding is left to the caller.

        An empty token is an id that has no name in the vocabulary; as text it is nothing.
        """
        skipped = {"", *(self.special_tokens if skip_special_tokens else ())}
        read = [self.spellings.get(token, token) for token in tokens if token not in skipped]
        text = _DECODERS[self.steps["type"]](self.steps, read)
        return _replaced(text, _CLEAN_UP) if self.clean_up_tokenization_spaces else text

    def to_json(self) -> str:
        """Compact, as it stands in every row of an answer."""
        values = {
            "decoder": dict(self.steps),
            "mask_token": self.mask_token,
            "pad_token": self.pad_token,
            "special_tokens": list(self.special_tokens),
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
        }
        if self.spellings:
            values["spellings"] = dict(self.spellings)
        return json.dumps(values, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Decoder:
        """What `to_json` wrote.

        Raises:
            DecoderError: for anything else.
        """
        try:
            values = json.loads(text)
            steps, mask, pad, special, clean_up = (
                values[key]
                for key in (
                    "decoder",
                    "mask_token",
                    "pad_token",
                    "special_tokens",
                    "clean_up_tokenization_spaces",
                )
            )
            spellings = values.get("spellings", {})
            strings = [mask, pad, *special]
            sound = isinstance(steps, dict) and isinstance(clean_up, bool)
            sound = sound and all(isinstance(spelling, str) for spelling in spellings.values())
            sound = (
                sound
                and isinstance(special, list)
                and all(isinstance(token, str) and token for token in strings)
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            sound = False
        if not sound:
            raise DecoderError(
                "A decoder must be a JSON object with `decoder`, `mask_token`, `pad_token`, `special_tokens` "
                f"and `clean_up_tokenization_spaces`. Received: {text[:80]!r}. Export the model again."
            )
        return cls(steps, mask, pad, tuple(special), clean_up, spellings)


def is_known(steps: Any) -> bool:
    """Whether a `decoder` of a `tokenizer.json` is one that this version can follow.

    Example:
        >>> from tf_mlm.decoder import is_known
        >>> is_known({"type": "ByteLevel"}), is_known({"type": "CTC"})
        (True, False)
    """
    kind = steps.get("type") if isinstance(steps, Mapping) else None
    if kind == "Sequence":
        inner = steps.get("decoders")
        return isinstance(inner, list) and all(isinstance(step, Mapping) and _is_step(step) for step in inner)
    texts = [steps.get(key, "") for key in ("prefix", "replacement")] if kind is not None else []
    return isinstance(kind, str) and kind in _DECODERS and all(isinstance(text, str) for text in texts)


def _is_step(step: Mapping[str, Any]) -> bool:
    if step.get("type") == "Replace":
        pattern = step.get("pattern")
        texts = [pattern.get("String") if isinstance(pattern, Mapping) else None, step.get("content")]
        return all(isinstance(text, str) for text in texts) and texts[0] != ""
    return step.get("type") in ("ByteFallback", "Fuse")


Replacements = Sequence[tuple[str, str]]


def _word_piece(steps: Mapping[str, Any], tokens: list[str]) -> str:
    """Pieces that begin with the prefix continue a word, every other token begins one."""
    prefix = steps.get("prefix", "##")
    words: Iterable[str] = [
        token if not place else token[len(prefix) :] if token.startswith(prefix) else f" {token}"
        for place, token in enumerate(tokens)
    ]
    if steps.get("cleanup", True):
        words = map(_cleaned_word, words)
    return "".join(words)


@functools.lru_cache(maxsize=1 << 15)
def _cleaned_word(word: str) -> str:
    return _replaced(word, _WORD_PIECE)


@functools.cache
def byte_characters() -> Mapping[str, int]:
    """The character that stands for each byte in a byte-level vocabulary, printable ones for themselves.

    Example:
        >>> from tf_mlm.decoder import byte_characters
        >>> characters = byte_characters()
        >>> len(characters), chr(characters["Ġ"]), characters["a"]
        (256, ' ', 97)
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + index): byte for index, byte in enumerate(others)
    }


def _byte_level(steps: Mapping[str, Any], tokens: list[str]) -> str:
    """Characters that stand for bytes; a token with any other character is spelt as it is."""
    characters = byte_characters()
    data = b"".join(
        bytes(characters[character] for character in token)
        if all(character in characters for character in token)
        else token.encode("utf-8", "replace")
        for token in tokens
    )
    return data.decode("utf-8", "replace")


def _metaspace(steps: Mapping[str, Any], tokens: list[str]) -> str:
    """SentencePiece's blanks; those of the first token are left out where words were given one."""
    blank = steps.get("replacement", "▁")
    scheme = steps.get("prepend_scheme", "always" if steps.get("add_prefix_space", True) else "never")
    return "".join(
        token.replace(blank, "" if not place and scheme != "never" else " ")
        for place, token in enumerate(tokens)
    )


def _sequence(steps: Mapping[str, Any], tokens: list[str]) -> str:
    """Replacements in each token, and bytes in a row as the characters that they spell."""
    for step in steps["decoders"]:
        if step["type"] == "Replace":
            tokens = [token.replace(step["pattern"]["String"], step["content"]) for token in tokens]
        elif step["type"] == "ByteFallback":
            tokens = [_joined_bytes(is_bytes, group) for is_bytes, group in itertools.groupby(tokens, _byte)]
    return "".join(tokens)


def _byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">") and token[3:5].isalnum()


def _joined_bytes(is_bytes: bool, tokens: Iterable[str]) -> str:
    if not is_bytes:
        return "".join(tokens)
    data = bytes(int(token[3:5], 16) for token in tokens)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "\ufffd" * len(data)


def _spaces(steps: Mapping[str, Any], tokens: list[str]) -> str:
    return " ".join(tokens)


_DECODERS: dict[str, Callable[[Mapping[str, Any], list[str]], str]] = {
    "WordPiece": _word_piece,
    "ByteLevel": _byte_level,
    "Metaspace": _metaspace,
    "Sequence": _sequence,
    "Spaces": _spaces,
}


def _replaced(text: str, replacements: Replacements) -> str:
    for old, new in replacements:
        text = text.replace(old, new)
    return text


_CLEAN_UP: Replacements = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)
# The library's own pass, token by token, knows one contraction more.
_WORD_PIECE: Replacements = (*_CLEAN_UP[:7], (" do not", " don't"), *_CLEAN_UP[7:])
