"""The merges of a BPE vocabulary, and the check that SentencePiece can stand for them.

SentencePiece merges what is made first by the list of merges, `tokenizers` the listed pairs: the same where
every token that a merge makes is cut into itself alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tf_mlm.errors import ConfigError


def ranks_of(merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The first merge that makes each token.

    Example:
        >>> from tf_mlm.text.bpe_merges import ranks_of
        >>> ranks_of([("a", "b"), ("ab", "c"), ("a", "bc")])
        {'ab': 0, 'abc': 1}
    """
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, rank)
    return ranks


def check_merges(ids: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Checks that merges are of tokens, and that each token that they make is cut into itself alone.

    Returns:
        what `ranks_of` does.

    Raises:
        ConfigError: when they are not.
    """
    from tokenizers import models

    for rank, (left, right) in enumerate(merges):
        for token in (left, right, left + right):
            if token not in ids:
                raise ConfigError(
                    f"Both sides of a merge and what it makes must be tokens of the vocabulary; merge "
                    f"{rank + 1}, {left!r} {right!r}, has {token!r}. Restore the merges that belong to it."
                )
    ranks = ranks_of(merges)
    bpe = models.BPE(dict(ids), list(merges))
    for product in ranks:
        if [token.value for token in bpe.tokenize(product)] != [product]:
            raise ConfigError(
                f"What a merge makes must be cut into itself alone, or the graph would cut texts otherwise "
                f"than `tokenizers` does; {product!r} is not. Such merges cannot be carried."
            )
    return ranks
