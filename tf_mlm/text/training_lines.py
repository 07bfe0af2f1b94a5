"""The lines that a vocabulary is learnt from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class TrainingLines:
    """The lines of texts that hold more than blanks, and whether there was one.

    Example:
        >>> from tf_mlm.text.training_lines import TrainingLines
        >>> list(TrainingLines(["one\\n\\ntwo", " "]))
        ['one', 'two']
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self.any_word = False

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            # A lone surrogate (JSON may hold half an emoji) counts as U+FFFD, as in the tokenizer.
            for line in text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").split("\n"):
                if not line.isspace() and line:
                    self.any_word = True
                    yield line
