"""How documents fall into training and held-out text, and what to say if one side is empty.

Documents are split, never lines, by a hash of their content: the choice does not depend on order,
file names or the machine, and a repeated document never lands on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tf_mlm.errors import ConfigError
from tf_mlm.reading.files import holds_token_ids, names_of, no_text
from tf_mlm.reading.split_key import in_share, split_key


def is_held_out(content: str, share: float) -> bool:
    """Whether a document belongs to the held-out share; a pure function of its content.

    Example:
        >>> from tf_mlm.training.data.split import is_held_out
        >>> 150 < sum(is_held_out(f"document {i}", 0.1) for i in range(2000)) < 250
        True
    """
    return in_share(split_key(content), share)


class Split:
    """Decides for each document in turn, and counts.

    Args:
        share: the share of the documents to hold out; with 1 there is nothing to train on.

    Attributes:
        train, held_out: documents so far on either side.

    Example:
        >>> from tf_mlm.reading.split_key import split_key
        >>> from tf_mlm.training.data.split import Split
        >>> split = Split(0.5)
        >>> [split.is_held_out(split_key(text)) for text in ("one", "two", "three")], split.train
        ([False, True, True], 1)
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.train = self.held_out = 0
        self._lowest, self._highest = 1.0, 0.0

    def is_held_out(self, key: bytes) -> bool:
        """On which side the document with this `split_key` lies."""
        place = int.from_bytes(key, "big") / 2**64
        self._lowest, self._highest = min(self._lowest, place), max(self._highest, place)
        held_out = in_share(key, self.share)
        self.held_out += held_out
        self.train += not held_out
        return held_out

    def check(self, files: Sequence[Path]) -> None:
        """After the last document.

        Raises:
            ConfigError: if there is no text, or one side of the split has none; says which share would do.
        """
        if not self.train + self.held_out:
            raise no_text(files)
        if self.held_out and (self.train or self.share >= 1):
            return
        raise ConfigError(
            "Text is split into training and held-out text by document, and each side needs one. "
            f"Received: {_counted(self.train)} to train on and {self.held_out} held out, from "
            f"{names_of(files)}. " + self._advice(files)
        )

    def _advice(self, files: Sequence[Path]) -> str:
        advice = "Add documents: a blank line ends one, and each JSON value is one."
        if not all(holds_token_ids(path) for path in files):
            advice += " If each line is a document, say so with --line-by-line (`line_by_line=True`)."
        share = _share_between(self._lowest, self._highest, low=not self.held_out)
        if share is not None:
            advice += f" Or choose the share so that both sides get one: --held-out {share:g}."
        return advice


def _share_between(lowest: float, highest: float, *, low: bool) -> float | None:
    """A short decimal above `lowest` and not above `highest`, as low (or as high) as its length allows."""
    for scale in (20, 100, 1000, 10_000, 100_000):
        share = (int(lowest * scale) + 1 if low else int(highest * scale)) / scale
        if lowest < share <= highest and share < 1:
            return share
    return None


def _counted(documents: int) -> str:
    return f"{documents} document" + "s" * (documents != 1)
