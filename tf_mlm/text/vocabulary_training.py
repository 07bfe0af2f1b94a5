"""Learning a vocabulary of any kind from text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tf_mlm.config import TokenizerConfig
from tf_mlm.errors import ConfigError
from tf_mlm.text.byte_bpe_training import train_byte_bpe
from tf_mlm.text.unigram_training import train_unigram
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.text.wordpiece_training import train_vocabulary

_TRAINERS: Mapping[str, Callable[[Iterable[str], int, TokenizerConfig], Vocabulary]] = {
    "WordPiece": train_vocabulary,
    "BPE": train_byte_bpe,
    "Unigram": train_unigram,
}


def learn_vocabulary(texts: Iterable[str], size: int, config: TokenizerConfig) -> Vocabulary:
    """A new vocabulary of the kind that `config.model` names; the same texts give the same one.

    Args:
        texts: lines or documents; they are read once.
        size: the number of tokens wanted, special ones included; little text may give fewer.
        config: kind, normalisation and special tokens.

    Raises:
        ConfigError: if the texts hold no word, `size` has no room for the characters or bytes, or the kind
            cannot be learnt.

    Example:
        >>> from tf_mlm.config.architectures import ARCHITECTURES
        >>> from tf_mlm.text.vocabulary_training import learn_vocabulary
        >>> texts = ["the cat and the dog"] * 3
        >>> [
        ...     learn_vocabulary(texts, 300, ARCHITECTURES[name].tokenizer).mask_id
        ...     for name in ("bert", "roberta", "albert")
        ... ]
        [4, 4, 4]
    """
    trainer = _TRAINERS.get(config.model)
    if trainer is None:
        raise ConfigError(
            f"A vocabulary that is learnt must be of one of these kinds: {', '.join(_TRAINERS)}. Received: "
            f"model={config.model!r}. Give a vocabulary of that kind instead."
        )
    return trainer(texts, size, config)
