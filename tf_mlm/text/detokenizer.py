"""Token ids back to readable text, outside the graph."""

from __future__ import annotations

from collections.abc import Iterable

from tf_mlm.text.vocabulary import CONTINUATION_PREFIX, Vocabulary


def detokenize(vocabulary: Vocabulary, token_ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
    """The text of token ids as Hugging Face's `decode` and its `fill-mask` pipeline give it.

    Args:
        vocabulary: the tokens; ids outside it are left out.
        token_ids: the ids of one text.
        skip_special_tokens: leave out all five special tokens, else only the padding.

    Example:
        >>> from tf_mlm.text.detokenizer import detokenize
        >>> from tf_mlm.text.vocabulary import Vocabulary
        >>> tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "!"]
        >>> detokenize(Vocabulary(tokens), [2, 5, 6, 7, 3, 0])
        'playing!'
    """
    from tokenizers import decoders

    config, tokens = vocabulary.config, vocabulary.tokens
    skipped = set(vocabulary.special_ids if skip_special_tokens else [vocabulary.pad_id])
    kept = [tokens[index] for index in token_ids if 0 <= index < len(tokens) and index not in skipped]
    text = decoders.WordPiece(prefix=CONTINUATION_PREFIX).decode(kept)
    if config.extra.get(
        "clean_up_tokenization_spaces"
    ):  # a second pass that tokenizer_config.json can ask for
        for old, new in _CLEAN_UP:
            text = text.replace(old, new)
    return text


_CLEAN_UP = (
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
