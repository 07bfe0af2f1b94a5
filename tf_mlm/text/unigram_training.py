"""Learning a Unigram vocabulary from text with the `tokenizers` library, the same one in every process.

That library's own result differs from process to process in two ways, neither of which says anything about
the text. Sums are made in the order of a hash table, so that scores differ in their last digits: here they
are rounded. And characters too rare to be pieces of their own are added at the end, each with a score a
little above the last one's, in the order of a hash table: here they get these scores by code point.

References:
    Kudo 2018, "Subword Regularization", https://arxiv.org/abs/1804.10959.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np

from tf_mlm.config import TokenizerConfig
from tf_mlm.errors import ConfigError
from tf_mlm.text.tokenizers_library import library_normalizer, library_pre_tokenizer
from tf_mlm.text.training_lines import TrainingLines
from tf_mlm.text.vocabulary import Vocabulary

_DIGITS = 4
_STEP = 1e-4  # between the scores of two characters that the library adds


def train_unigram(texts: Iterable[str], size: int, config: TokenizerConfig) -> Vocabulary:
    """Learn a Unigram vocabulary; the same texts give the same vocabulary.

    Its first ids are those of the special tokens: padding, unknown, what stands before a text, what stands
    behind it, mask. Then come the pieces, the likeliest first, with the logarithms of their probabilities.

    Args:
        texts: lines or documents, read once and line by line, as training reads them. In memory are the
            different words of all of them, each once.
        size: the number of tokens wanted, special ones included. Every character of the texts is a token, so
            there may be more; little text may give fewer.
        config: of a Unigram model: normalisation, special and added tokens.

    Raises:
        ConfigError: if the texts hold no word, or `size` has no room for a piece.

    Example:
        >>> from tf_mlm.config.architectures import ARCHITECTURES
        >>> from tf_mlm.text.unigram_training import train_unigram
        >>> texts = ["the cat and the dog", "the dog and a bird"] * 3
        >>> vocabulary = train_unigram(texts, 25, ARCHITECTURES["albert"].tokenizer)
        >>> vocabulary.tokens[:5]
        ('<pad>', '<unk>', '[CLS]', '[SEP]', '[MASK]')
    """
    from tokenizers import Tokenizer, models, trainers

    first = (config.pad_token, config.unk_token, config.cls_token, config.sep_token, config.mask_token)
    specials = list(dict.fromkeys([*first, *(token.content for token in config.added_tokens)]))
    if size <= len(specials):
        raise ConfigError(
            f"A Unigram vocabulary needs room for more than its {len(specials)} special tokens. Received: "
            f"size={size}. Give at least {len(specials) + 1}; 8000 or more learn words."
        )
    tokenizer = Tokenizer(models.Unigram())
    normalizer = library_normalizer(config.normalizer)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = library_pre_tokenizer(config.pre_tokenizer)
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=specials, unk_token=config.unk_token, show_progress=False
    )
    lines = TrainingLines(texts)
    tokenizer.train_from_iterator(iter(lines), trainer)
    if not lines.any_word:
        raise ConfigError("A vocabulary needs text to learn from; the texts hold not one word.")
    learnt = json.loads(tokenizer.to_str())["model"]["vocab"]
    pieces = _in_order({token: score for token, score in learnt if token not in specials})
    tokens, scores = zip(*[(token, 0.0) for token in specials], *pieces, strict=True)
    # As precise as files and graphs keep them.
    return Vocabulary(tokens, config, scores=np.asarray(scores, np.float32).tolist())


def _in_order(scores: dict[str, float]) -> list[tuple[str, float]]:
    """Pieces and scores, the likeliest first, without what the library leaves to chance."""
    rounded = {token: round(score, _DIGITS) for token, score in scores.items()}
    single = sorted(token for token in rounded if len(token) == 1)
    highest = min(rounded.values()) + len(single) * _STEP
    rare = [token for token in single if rounded[token] <= highest]
    rounded.update(zip(rare, sorted((rounded[token] for token in rare), reverse=True), strict=True))
    return sorted(rounded.items(), key=lambda item: (-item[1], item[0]))
