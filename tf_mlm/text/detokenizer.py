"""Token ids back to readable text, outside the graph."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tf_mlm.decoder import Decoder
from tf_mlm.text.found_tokens import normalizer_of
from tf_mlm.text.vocabulary import Vocabulary


def decoder_of(vocabulary: Vocabulary) -> Decoder:
    """How the tokens of a vocabulary read as text.

    Example:
        >>> from tf_mlm.text.detokenizer import decoder_of
        >>> from tf_mlm.text.vocabulary import Vocabulary
        >>> decoder_of(Vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])).mask_token
        '[MASK]'
    """
    config = vocabulary.config
    steps: dict[str, Any]
    if config.model in ("Unigram", "SentencePieceBPE"):
        steps = json.loads(config.decoder or "null") or {"type": "Spaces"}
    elif config.decoder_cleanup is None:
        steps = {"type": "Spaces"}
    elif config.model == "BPE":
        steps = {"type": "ByteLevel"}
    else:
        prefix, cleanup = config.continuing_subword_prefix, config.decoder_cleanup
        steps = {"type": "WordPiece", "prefix": prefix, "cleanup": cleanup}
    normalize = normalizer_of(config)
    normalised = {
        token.content: normalize(token.content) for token in config.found_tokens if token.normalized
    }
    spellings = {token: spelling for token, spelling in normalised.items() if spelling != token}
    if vocabulary.blank_id is not None:
        spellings[vocabulary.tokens[vocabulary.blank_id]] = ""
    return Decoder(
        steps,
        mask_token=config.mask_token,
        pad_token=config.pad_token,
        special_tokens=tuple(vocabulary.tokens[index] for index in vocabulary.special_ids),
        clean_up_tokenization_spaces=bool(config.extra.get("clean_up_tokenization_spaces")),
        spellings=spellings,
    )


def detokenize(vocabulary: Vocabulary, token_ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
    """The text of token ids as Hugging Face's `decode` and its `fill-mask` pipeline give it.

    Args:
        vocabulary: the tokens; ids outside it are left out.
        token_ids: the ids of one text.
        skip_special_tokens: leave out all special tokens, else only the padding.

    Example:
        >>> from tf_mlm.text.detokenizer import detokenize
        >>> from tf_mlm.text.vocabulary import Vocabulary
        >>> tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "!"]
        >>> detokenize(Vocabulary(tokens), [2, 5, 6, 7, 3, 0])
        'playing!'
    """
    tokens, dropped = vocabulary.tokens, {vocabulary.pad_id, *vocabulary.unnamed_ids}
    kept = [tokens[index] for index in token_ids if 0 <= index < len(tokens) and index not in dropped]
    return decoder_of(vocabulary).decode(kept, skip_special_tokens=skip_special_tokens)
