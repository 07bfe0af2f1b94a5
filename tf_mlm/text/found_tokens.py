"""Tokens that were found in a text as they are spelt, put into it as one lone character each."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tf_mlm.config import TokenizerConfig
from tf_mlm.text import code_points as cp
from tf_mlm.text.added_tokens import AddedTokenFinder, Found
from tf_mlm.text.vocabulary import Vocabulary

# What an added token is until its id is put in: one lone character makes exactly one token.
STAND_IN = ord("-")


def normalizer_of(config: TokenizerConfig) -> Callable[[str], str]:
    """What the tokenizer's normalisation makes of a text, in Python."""
    if config.model == "WordPiece":
        return cp.normalizer(config).normalize_str
    if config.model == "BPE":
        from tokenizers import normalizers

        return normalizers.NFC().normalize_str if config.nfc else str
    from tf_mlm.text.tokenizers_library import library_normalizer

    library = library_normalizer(config.normalizer)
    return library.normalize_str if library is not None else str


def finder(
    vocabulary: Vocabulary, normalize: Callable[[str], str] | None
) -> tuple[AddedTokenFinder | None, tf.Tensor | None]:
    """What finds the tokens that are looked for in the text itself or the normalised one, and their ids."""
    tokens = [
        token for token in vocabulary.config.found_tokens if token.normalized == (normalize is not None)
    ]
    spellings = [normalize(token.content) if normalize else token.content for token in tokens]
    pairs = [(token, spelling) for token, spelling in zip(tokens, spellings, strict=True) if spelling]
    if not pairs:
        return None, None
    ids = [vocabulary.id_of(token.content) for token, _ in pairs]
    found, looked_for = zip(*pairs, strict=True)
    return AddedTokenFinder(found, looked_for), tf.constant(ids, tf.int32)


def covered(found: Found, size: tf.Tensor) -> tf.Tensor:
    """bool [size], which characters belong to a token that was found."""
    one = tf.ones_like(found.starts)
    places = tf.concat([found.starts, found.ends], 0)[:, tf.newaxis]
    return tf.cumsum(tf.scatter_nd(places, tf.concat([one, -one], 0), [size + 1]))[:-1] > 0


def one_character_each(found: Found, points: tf.Tensor, entries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Code points and their entries in which each token that was found is one lone character."""

    def replace() -> tuple[tf.Tensor, tf.Tensor]:
        starts, one = found.starts[:, tf.newaxis], tf.ones_like(found.starts)
        cleaned = tf.where(covered(found, tf.size(points)), cp.CLEANED, entries)
        return (
            tf.tensor_scatter_nd_update(points, starts, one * STAND_IN),
            tf.tensor_scatter_nd_update(cleaned, starts, one * (cp.ALONE | 1 << cp.COUNT_SHIFT)),
        )

    return tf.cond(tf.size(found.starts) > 0, replace, lambda: (points, entries))


def spans(found: Found, ids: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """[size] the id of the token that begins at each character or -1, and the last character it spans."""
    starts = found.starts[:, tf.newaxis]
    return (
        tf.tensor_scatter_nd_update(tf.fill([size], -1), starts, tf.gather(ids, found.which)),
        tf.tensor_scatter_nd_update(tf.range(size), starts, found.ends - 1),
    )
