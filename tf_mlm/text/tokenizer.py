"""The tokenizer that a vocabulary's configuration describes."""

from __future__ import annotations

from collections.abc import Callable

from tf_mlm.text.byte_bpe import ByteBpeTokenizer
from tf_mlm.text.longest_match import LongestMatchTokenizer
from tf_mlm.text.sentencepiece import SentencePieceTokenizer
from tf_mlm.text.tokens import Tokenizer
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.text.wordpiece import WordPieceTokenizer

_TOKENIZERS: dict[str, Callable[[Vocabulary], Tokenizer]] = {
    "WordPiece": WordPieceTokenizer,
    "BPE": ByteBpeTokenizer,
    "LongestMatch": LongestMatchTokenizer,
    "SentencePieceBPE": SentencePieceTokenizer,
    "Unigram": SentencePieceTokenizer,
}


def tokenizer_of(vocabulary: Vocabulary) -> Tokenizer:
    """A new tokenizer for the vocabulary.

    Raises:
        ConfigError: for a vocabulary that it cannot hold.

    Example:
        >>> from tf_mlm.text.tokenizer import tokenizer_of
        >>> from tf_mlm.text.vocabulary import Vocabulary
        >>> type(tokenizer_of(Vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat"]))).__name__
        'WordPieceTokenizer'
    """
    return _TOKENIZERS[vocabulary.config.model](vocabulary)
