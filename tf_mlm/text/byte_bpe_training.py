"""Learning byte-level BPE from text with the `tokenizers` library, the same merges in every process.

That library merges the most frequent pair of pieces, and of equally frequent ones the pair whose pieces have
the lowest ids. Given all 256 bytes beforehand these ids follow from nothing but the earlier merges, so that
neither the order of the texts nor the number of threads decides anything.

What a merge makes is always cut into itself alone, as `tf_mlm.text.byte_bpe` needs it: at every step of the
training the inside of a piece is merged exactly as it would be without its neighbours.

References:
    Sennrich et al. 2016, https://arxiv.org/abs/1508.07909, section 3.2; Radford et al. 2019, section 2.2.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tf_mlm.config import TokenizerConfig
from tf_mlm.decoder import byte_characters
from tf_mlm.errors import ConfigError
from tf_mlm.text.training_lines import TrainingLines
from tf_mlm.text.vocabulary import Vocabulary


def train_byte_bpe(
    texts: Iterable[str], size: int, config: TokenizerConfig, *, min_frequency: int = 2
) -> Vocabulary:
    """Learn a byte-level BPE vocabulary; the same texts, in any order, give the same vocabulary.

    Its first ids are those of the special tokens, in fairseq's order: what stands before a text, padding,
    what stands behind it, unknown, mask. Then come the bytes, then what the merges make.

    Args:
        texts: lines or documents, read once and line by line, as training reads them. In memory are the
            different words of all of them, each once.
        size: the number of tokens wanted, special ones included. Little text may give fewer, as pieces
            seen less than `min_frequency` times are not merged.
        config: of a BPE model: normalisation, special and added tokens.
        min_frequency: how often a pair of pieces must occur to be merged.

    Raises:
        ConfigError: if the texts hold no word, or `size` has no room for the bytes and special tokens.

    Example:
        >>> from tf_mlm.config.architectures import ARCHITECTURES
        >>> from tf_mlm.text.byte_bpe_training import train_byte_bpe
        >>> texts = ["the cat and the dog"] * 3
        >>> vocabulary = train_byte_bpe(texts, 270, ARCHITECTURES["roberta"].tokenizer)
        >>> vocabulary.tokens[:5], vocabulary.merges[:2]
        (('<s>', '<pad>', '</s>', '<unk>', '<mask>'), (('h', 'e'), ('t', 'he')))
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    first = (config.cls_token, config.pad_token, config.sep_token, config.unk_token, config.mask_token)
    specials = list(dict.fromkeys([*first, *(token.content for token in config.added_tokens)]))
    alphabet = list(byte_characters())
    least = len(specials) + len(alphabet)
    if size < least:
        raise ConfigError(
            f"A byte-level vocabulary needs room for its {len(specials)} special tokens and the "
            f"{len(alphabet)} bytes. Received: size={size}. Give at least {least}; 8000 or more learn words."
        )
    tokenizer = Tokenizer(models.BPE())
    if config.nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=config.add_prefix_space)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        special_tokens=specials,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    lines = TrainingLines(texts)
    tokenizer.train_from_iterator(iter(lines), trainer)
    if not lines.any_word:
        raise ConfigError("A vocabulary needs text to learn from; the texts hold not one word.")
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return Vocabulary(tokens, config, merges=[(left, right) for left, right in model["merges"]])
