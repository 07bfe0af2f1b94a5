"""How documents fall into training and held-out text, and what to say if one side is empty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tf_mlm.errors import ConfigError
from tf_mlm.training.data.corpus import in_share
from tf_mlm.training.data.files import holds_token_ids, names_of, no_text


class Split:
    """Decides for each document in turn, and counts.

    Args:
        share: the share of the documents to hold out; with 1 there is nothing to train on.

    Attributes:
        train, held_out: documents so far on either side.

    Example:
        >>> from tf_mlm.training.data.corpus import split_key
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
