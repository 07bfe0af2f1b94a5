"""What a new model can be: its family, and the vocabulary that belongs to it. One entry for each.

Only the standard library is imported here, so that a command line can list the names.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tf_mlm.config.tokenizer import PAIR, TEXT, AddedToken, TokenizerConfig
from tf_mlm.errors import ConfigError

KINDS: Mapping[str, str] = {"wordpiece": "WordPiece", "byte-bpe": "BPE", "unigram": "Unigram"}
"""The kinds of vocabulary that can be learnt, by the names a user has for them: `TokenizerConfig.model`."""
SHORT_CONTEXT = 1024
"""Up to this length ModernBERT was trained with the angles of its local layers in all of them."""


class Sizes(NamedTuple):
    """What the settings of an architecture follow from: tokens of a row, sizes, and ids of special tokens."""

    length: int
    layers: int
    hidden_size: int
    pad_id: int
    cls_id: int
    sep_id: int


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A family of models that `train` can make.

    Attributes:
        kind: which of `KINDS` its vocabulary is.
        tokenizer: how it reads text, and what its special tokens are called.
        settings: fields of `ModelConfig`, and other keys of its `config.json`, that differ from the defaults
            of `ModelConfig` and of the family.
    """

    kind: str
    tokenizer: TokenizerConfig
    settings: Callable[[Sizes], Mapping[str, Any]]


def _bert(sizes: Sizes) -> Mapping[str, Any]:
    return {}


def _roberta(sizes: Sizes) -> Mapping[str, Any]:
    """Positions are counted from behind the padding id, so the table has as many rows more."""
    if sizes.pad_id >= sizes.length:
        raise ConfigError(
            "RoBERTa counts positions from behind the padding token, whose id must be small, or most of its "
            f"position table would stay unused. Received: the id {sizes.pad_id} for rows of {sizes.length} "
            "tokens. Give a vocabulary that begins with its special tokens, as `tf-mlm vocab --kind "
            "byte-bpe` writes it."
        )
    return {
        "max_position_embeddings": sizes.length + sizes.pad_id + 1,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "bos_token_id": sizes.cls_id,
        "eos_token_id": sizes.sep_id,
    }


def _modernbert(sizes: Sizes) -> Mapping[str, Any]:
    """Every third layer attends to the whole text, the others to a window that is no wider than a row.

    A gated feed-forward has half as many weights again, so its inner width is 1.5 times the outer one. Angles
    follow the length: 10,000 up to 1,024 tokens, 160,000 beyond (Warner et al., section 3.1).
    """
    return {
        "intermediate_size": 3 * sizes.hidden_size // 2,
        "layer_types": ["sliding_attention" if i % 3 else "full_attention" for i in range(sizes.layers)],
        "local_attention": min(128, sizes.length // 2 * 2),
        "rope_theta": 10_000.0 if sizes.length <= SHORT_CONTEXT else 160_000.0,
        "local_rope_theta": 10_000.0,
        "bos_token_id": sizes.cls_id,
        "eos_token_id": sizes.sep_id,
        "cls_token_id": sizes.cls_id,
        "sep_token_id": sizes.sep_id,
    }


def _albert(sizes: Sizes) -> Mapping[str, Any]:
    """One set of weights for all layers; a table narrower than the layers (Lan et al., sections 3.1, 4.4)."""
    return {
        "embedding_size": min(128, sizes.hidden_size),
        "bos_token_id": sizes.cls_id,
        "eos_token_id": sizes.sep_id,
    }


# Without segment ids, which ModernBERT in transformers refuses and RoBERTa has no use for.
_INPUTS = {"model_input_names": ["input_ids", "attention_mask"]}


def _mask(content: str) -> AddedToken:
    """A mask that takes the blank before it along, as these families have it."""
    return AddedToken(content, lstrip=True, normalized=False, special=True)


_REPLACED_QUOTES = [
    {"type": "Replace", "pattern": {"String": marks}, "content": '"'} for marks in ("``", "''")
]
_METASPACE = {"replacement": "▁", "prepend_scheme": "always", "split": True}


def _normalizer(*kinds: str) -> str:
    steps = [*_REPLACED_QUOTES, *({"type": kind} for kind in kinds)]
    return json.dumps({"type": "Sequence", "normalizers": steps})


ARCHITECTURES: Mapping[str, Architecture] = {
    "bert": Architecture("wordpiece", TokenizerConfig(), _bert),
    "roberta": Architecture(
        "byte-bpe",
        TokenizerConfig(
            model="BPE",
            do_lower_case=False,
            unk_token="<unk>",
            sep_token="</s>",
            pad_token="<pad>",
            cls_token="<s>",
            mask_token="<mask>",
            added_tokens=(_mask("<mask>"),),
            decoder_cleanup=False,
            pair=tuple((part, 0) for part in ("<s>", TEXT, "</s>", "</s>", PAIR, "</s>")),
            extra={"bos_token": "<s>", "eos_token": "</s>", **_INPUTS},
        ),
        _roberta,
    ),
    "modernbert": Architecture(
        "byte-bpe",
        TokenizerConfig(
            model="BPE",
            do_lower_case=False,
            added_tokens=(_mask("[MASK]"),),
            decoder_cleanup=False,
            nfc=True,
            trim_offsets=False,
            extra=_INPUTS,
        ),
        _modernbert,
    ),
    "albert": Architecture(
        "unigram",
        TokenizerConfig(
            model="Unigram",
            do_lower_case=False,  # the normaliser does
            unk_token="<unk>",
            pad_token="<pad>",
            added_tokens=(_mask("[MASK]"),),
            normalizer=_normalizer("NFKD", "StripAccents", "Lowercase"),
            pre_tokenizer=json.dumps(
                {
                    "type": "Sequence",
                    "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", **_METASPACE}],
                }
            ),
            decoder=json.dumps({"type": "Metaspace", **_METASPACE}),
            decoder_cleanup=False,
        ),
        _albert,
    ),
}


def cased(tokenizer: TokenizerConfig) -> TokenizerConfig:
    """The tokenizer, reading upper case and accents as they are; byte-level BPE does in any case.

    Example:
        >>> from tf_mlm.config.architectures import ARCHITECTURES, cased
        >>> [cased(ARCHITECTURES[name].tokenizer).do_lower_case for name in ("bert", "roberta")]
        [False, False]
    """
    normalizer = _normalizer("Nmt") if tokenizer.model == "Unigram" else tokenizer.normalizer
    return dataclasses.replace(tokenizer, do_lower_case=False, normalizer=normalizer)


def kind_of(tokenizer: TokenizerConfig) -> str:
    """What a user calls the kind of a tokenizer.

    Example:
        >>> from tf_mlm.config.architectures import ARCHITECTURES, kind_of
        >>> kind_of(ARCHITECTURES["roberta"].tokenizer)
        'byte-bpe'
    """
    return next((kind for kind, model in KINDS.items() if model == tokenizer.model), tokenizer.model)
