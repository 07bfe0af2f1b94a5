"""KerasHub's tokenizers: WordPiece, byte-level BPE and SentencePiece, as vocabularies."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tf_mlm.config import AddedToken, TokenizerConfig
from tf_mlm.convert.keras_hub_families import KerasHubFamily
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.families import FAMILIES
from tf_mlm.text.sentencepiece_model import Kind, ModelType, SentencePieceModel, read_model
from tf_mlm.text.vocabulary import Vocabulary

_METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
_WITHOUT = "To convert the weights alone, save the model with preprocessor=None."


def vocabulary_of(
    tokenizer: Any, source: Path, peer: KerasHubFamily, *, rows: int, lower_case: bool | None
) -> Vocabulary:
    """The tokens of a KerasHub tokenizer, with names for all rows of the embedding.

    The ids are those of the tokenizer's own table, which has moved and added what its class moves and adds.

    Args:
        tokenizer: of a preprocessor.
        source: what to name in messages.
        peer: the model that it belongs to.
        rows: of the embedding.
        lower_case: for WordPiece, in place of what the tokenizer says.

    Raises:
        ConfigError: for a tokenizer that has no counterpart here.
    """
    import keras_hub

    kinds = keras_hub.tokenizers
    where = f"the {type(tokenizer).__name__} of `{source}`"
    is_wordpiece = isinstance(tokenizer, kinds.WordPieceTokenizer)
    if lower_case is not None and not is_wordpiece:
        raise ConfigError(
            f"Whether a text is lower-cased is part of {where}; only WordPiece can be told. Received: "
            f"lower_case={lower_case}. Leave out --cased and --uncased."
        )
    if isinstance(tokenizer, kinds.BytePairTokenizer):
        ids = {str(token): int(index) for token, index in tokenizer.vocabulary.items()}
    else:
        ids = {str(token): index for index, token in enumerate(tokenizer.get_vocabulary())}
    tokens = {index: token for token, index in ids.items()}
    names: dict[str, Any] = {
        f"{name}_token": tokens[int(getattr(tokenizer, f"{theirs}_token_id"))]
        for name, theirs in {"cls": "start", "sep": "end", "pad": "pad", "mask": "mask"}.items()
    }
    segments = ["token_type_ids"] if "embedding.segment" in peer.encoder else []
    inputs = FAMILIES[peer.model_type].inputs or ("input_ids", *segments, "attention_mask")
    settings = {**names, "pair": peer.pair, "extra": {"model_input_names": list(inputs)}}
    model: Mapping[str, Any] = {}
    if is_wordpiece:
        settings |= _wordpiece(tokenizer, where, lower_case)
    elif isinstance(tokenizer, kinds.BytePairTokenizer):
        settings |= _byte_bpe(tokenizer)
        pairs = (merge.split(" ") for merge in tokenizer.merges if not merge.startswith("#version"))
        model = {"merges": [(first, second) for first, second in pairs]}
    elif isinstance(tokenizer, kinds.SentencePieceTokenizer):
        proto = _proto(tokenizer, where)
        settings |= _unigram(proto, tuple(names.values()))
        scores = {piece.text: piece.score for piece in proto.pieces}
        model = {"scores": [scores.get(token, 0.0) for token in ids]}
    else:
        raise ConfigError(f"{where} must be one of WordPiece, byte-level BPE or SentencePiece. {_WITHOUT}")
    if not is_wordpiece:
        # A mask takes the blank before it along, which is a part of the word that it stands for.
        mask = AddedToken(names["mask_token"], lstrip=True, normalized=False, special=True)
        settings["added_tokens"] = (mask, *settings.get("added_tokens", ()))
        settings["do_lower_case"] = False
    try:
        return Vocabulary.of_ids(ids, TokenizerConfig(**settings), size=rows, source=where, **model)
    except ConfigError as error:
        raise ConfigError(f"{error} {_WITHOUT}") from error


def notes_on(tokenizer: Any, vocabulary: Vocabulary) -> Iterator[str]:
    """What a user should know about a tokenizer that was carried over."""
    config = vocabulary.config
    if config.model == "WordPiece" and config.strips_accents and not tokenizer.strip_accents:
        yield (
            "KerasHub's tokenizer leaves the accents of lower-cased text, and folds wide letters and the "
            "like. BERT's own takes accents away and folds nothing, as is done here. If the model was "
            "trained in KerasHub, say strip_accents=false in tokenizer_config.json."
        )
    if spare := len(vocabulary.unnamed_ids):
        yield f"{spare} of the {vocabulary.size} rows of the embedding have no token."


def _wordpiece(tokenizer: Any, where: str, lower_case: bool | None) -> dict[str, Any]:
    if not tokenizer.split:
        raise ConfigError(f"{where} must have split=True. Received: False. {_WITHOUT}")
    return {
        "do_lower_case": bool(tokenizer.lowercase) if lower_case is None else lower_case,
        "strip_accents": True if tokenizer.strip_accents else None,
        "tokenize_chinese_chars": bool(tokenizer.split_on_cjk),
        "continuing_subword_prefix": tokenizer.suffix_indicator,
        "unk_token": tokenizer.oov_token,
    }


def _byte_bpe(tokenizer: Any) -> dict[str, Any]:
    return {
        "model": "BPE",
        "unk_token": "<unk>",
        "add_prefix_space": bool(tokenizer.add_prefix_space),
        "decoder_cleanup": False,
    }


def _unigram(proto: SentencePieceModel, names: tuple[str, ...]) -> dict[str, Any]:
    """Normalised and cut as the model itself says, without what other libraries' classes put before it."""
    unknown = next(piece.text for piece in proto.pieces if piece.kind == Kind.UNKNOWN)
    found = [piece.text for piece in proto.pieces if piece.kind in (Kind.CONTROL, Kind.USER_DEFINED)]
    charsmap = base64.b64encode(proto.charsmap).decode("ascii")
    normalizer = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    words = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, _METASPACE]}
    return {
        "model": "Unigram",
        "unk_token": unknown,
        "added_tokens": [
            AddedToken(text, normalized=False, special=True)
            for text in found
            if text not in (*names, unknown)
        ],
        "normalizer": json.dumps(normalizer) if charsmap else "",
        "pre_tokenizer": json.dumps(words),
        "decoder": json.dumps(_METASPACE),
    }


def _proto(tokenizer: Any, where: str) -> SentencePieceModel:
    """The model inside a SentencePiece tokenizer, if all that it does can be done here."""
    proto = read_model(tokenizer.proto)
    kinds = {piece.kind for piece in proto.pieces}
    rules = {
        "must be a Unigram model": proto.model_type == ModelType.UNIGRAM,
        "must not spell unknown characters in bytes": Kind.BYTE not in kinds,
        "must have no unused pieces": Kind.UNUSED not in kinds,
        "must put a blank before each text, and drop those that are too many": proto.cuts_at_blanks,
    }
    for rule, holds in rules.items():
        if not holds:
            raise ConfigError(f"The SentencePiece model in {where} {rule}. {_WITHOUT}")
    return proto
