"""The most that one request may ask for."""

from __future__ import annotations

import dataclasses

from tf_mlm.config.rules import require_whole


@dataclasses.dataclass(frozen=True)
class Limits:
    """The most that one request to an export may ask for; what asks for more is refused by name.

    Attributes:
        bytes: of all texts and targets of a request together.
        tokens: texts times the tokens of the longest one, as they come back padded to it.
        copies: tokens that `pseudo_log_likelihood` masks, each in a copy of its text (or of the window
            of it that fits the model).
        values: numbers of an answer, such as masks times words of the vocabulary.

    Raises:
        ConfigError: at construction, for a limit below 1.

    Example:
        >>> from tf_mlm.config import Limits
        >>> Limits(tokens=1000).copies
        65536
    """

    bytes: int = 1 << 22
    tokens: int = 1 << 20
    copies: int = 1 << 16
    values: int = 1 << 26

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            require_whole(field.name, getattr(self, field.name), least=1)
