"""The tokenizers that transformers' classes of XLM-R, CamemBERT and ALBERT make of a directory's files.

They take the tokens with their scores and the compiled normalisation from `tokenizer.json`, or from the
SentencePiece model alone, whose ids each class moves in a way of its own; all else is the class's.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tf_mlm.config import check_not_a_pointer
from tf_mlm.errors import ConfigError, UnsupportedTokenizerError
from tf_mlm.model.directory.tokenizer_files import (
    SENTENCEPIECE_MODELS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    TokenizerFiles,
)
from tf_mlm.model.directory.tokenizer_warnings import warn
from tf_mlm.text.normalizer_steps import WHITE_SPACE_RUNS
from tf_mlm.text.sentencepiece_model import Kind, ModelType, SentencePieceModel, read_model

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_NOT_USED = ("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED")
Scored = list[tuple[str, float]]


def unigram_tokenizer(files: TokenizerFiles, kind: str, names: Mapping[str, str]) -> Tokenizer:
    """The tokenizer before any added tokens.

    Args:
        files: those of the directory.
        kind: `xlm-roberta`, `camembert`, `albert` or `deberta-v2`.
        names: the spelling of each special token.

    Raises:
        ConfigError: when a file is malformed.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    vocab, charsmap = _vocabulary(files, kind, names)
    ids = {token: index for index, (token, _) in enumerate(vocab)}
    unknown = {"xlm-roberta": 3, "albert": 1}.get(kind, ids.get(names["unk_token"], 0))
    if kind == "deberta-v2" and (names["unk_token"], 0.0) not in vocab:
        unknown = files.values.get("unk_id", 1)
    if kind == "albert" and ids.get(names["unk_token"]) != unknown:
        warn(
            f"`{files.of_tokens}`: what is unknown becomes the token with the id 1, "
            f"{vocab[1][0] if len(vocab) > 1 else None!r}, as in transformers 5, and not "
            f"{names['unk_token']!r}. If the model was trained with the latter, save tokenizer.json with "
            "that unk_id, and say tokenizer_class=PreTrainedTokenizerFast."
        )
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=unknown, byte_fallback=False))
    steps = {"albert": _albert_steps, "deberta-v2": _deberta_steps}.get(kind, lambda _: [])(files)
    if charsmap and kind != "deberta-v2":
        try:
            steps.append(normalizers.Precompiled(charsmap))
        except Exception as error:  # the library raises nothing narrower
            raise ConfigError(
                f"`{files.of_tokens}`: `precompiled_charsmap` must be a map that SentencePiece has compiled: "
                f"{error}. Copy the file again."
            ) from error
    is_bert = kind in ("albert", "deberta-v2")
    if is_bert or steps:
        tokenizer.normalizer = normalizers.Sequence(steps) if is_bert else steps[0]
    otherwise = "first" if kind == "deberta-v2" else "never"
    scheme = "always" if files.values.get("add_prefix_space", True) else otherwise
    words = [] if kind == "deberta-v2" else [pre_tokenizers.WhitespaceSplit()]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*words, pre_tokenizers.Metaspace(prepend_scheme=scheme)]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    first, last = ("cls_token", "sep_token") if is_bert else ("bos_token", "eos_token")
    cls, sep = names[first], names[last]
    if missing := [token for token in (cls, sep) if token not in ids and kind != "camembert"]:
        raise ConfigError(
            f"A vocabulary must contain the special tokens; `{files.of_tokens}` ({len(ids)} tokens) lacks "
            f"{', '.join(missing)}. Restore the tokenizer that belongs to the weights."
        )
    if kind == "camembert":  # as transformers numbers them: behind the vocabulary where it has none
        tokenizer.add_special_tokens([token for token in (cls, sep) if token not in ids])
    pair = f"{cls} $A {sep} $B:1 {sep}:1" if is_bert else f"{cls} $A {sep} {sep} $B {sep}"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=pair,
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in dict.fromkeys((cls, sep))],
    )
    return tokenizer


def unused_tokens(files: TokenizerFiles, kind: str) -> list[str]:
    """The special tokens that a class names by itself, or that a SentencePiece model marks."""
    if files.serialised is None and kind in SENTENCEPIECE_MODELS:
        model = _model(files, kind)
        marked = (Kind.CONTROL, Kind.USER_DEFINED)
        return [piece.text for piece in model.pieces if piece.kind in marked]
    return list(_NOT_USED) if kind == "camembert" else []


def _albert_steps(files: TokenizerFiles) -> list[Any]:
    from tokenizers import normalizers

    steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not files.values.get("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if files.values.get("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    return steps


def _deberta_steps(files: TokenizerFiles) -> list[Any]:
    from tokenizers import Regex, normalizers

    if files.values.get("split_by_punct"):
        raise UnsupportedTokenizerError(
            f"`{files.path(TOKENIZER_CONFIG)}`: `split_by_punct` must be false. Received: true."
        )
    steps: list[Any] = [normalizers.Lowercase()] if files.values.get("do_lower_case", False) else []
    white_space = normalizers.Replace(Regex(WHITE_SPACE_RUNS), " ")
    return [*steps, white_space, normalizers.NFC(), normalizers.Strip(left=False, right=True)]


def _vocabulary(files: TokenizerFiles, kind: str, names: Mapping[str, str]) -> tuple[Scored, bytes]:
    """The tokens by id with their scores, and the compiled normalisation."""
    if files.serialised is not None:
        return _of_serialised(files)
    model = _model(files, kind)
    scored = [(piece.text, piece.score) for piece in model.pieces]
    if kind == "xlm-roberta":
        special = [(names[name], 0.0) for name in ("bos_token", "pad_token", "eos_token", "unk_token")]
        scored = [*special, *scored[3:], (names["mask_token"], 0.0)]
    elif kind == "camembert":
        begin = [(_NOT_USED[0], 0.0), (names["pad_token"], 0.0), (_NOT_USED[1], 0.0)]
        scored = [*begin, (names["unk_token"], 0.0), (_NOT_USED[2], -100.0), *scored[1:]]
        scored.append((names["mask_token"], 0.0))
    return scored, model.charsmap


def _model(files: TokenizerFiles, kind: str) -> SentencePieceModel:
    path = files.path(SENTENCEPIECE_MODELS[kind])
    check_not_a_pointer(path)
    try:
        model = read_model(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"`{path}` must be a SentencePiece model; {error}. Copy it again.") from error
    if model.model_type != ModelType.UNIGRAM:
        raise ConfigError(
            f"`{path}` must be a Unigram model, as the class of {kind} makes one. Received: type "
            f"{model.model_type}. Restore the file that belongs to the weights."
        )
    return model


def _of_serialised(files: TokenizerFiles) -> tuple[Scored, bytes]:
    assert files.serialised is not None
    model = files.serialised.get("model")
    vocab = model.get("vocab") if isinstance(model, Mapping) else None
    if not isinstance(vocab, list) or not all(
        isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) for entry in vocab
    ):
        found = model.get("type") if isinstance(model, Mapping) else None
        raise ConfigError(
            f"`{files.path(TOKENIZER)}` must hold a Unigram model with its `vocab`, as the class in "
            f"tokenizer_config.json makes one. Received: model.type={found!r}. Restore the file, or say "
            "tokenizer_class=PreTrainedTokenizerFast if it is another tokenizer."
        )
    normalizer = files.serialised.get("normalizer") or {}
    steps = normalizer.get("normalizers", [normalizer])
    maps = [step["precompiled_charsmap"] for step in steps if step.get("type") == "Precompiled"]
    return [(token, float(score)) for token, score in vocab], base64.b64decode(maps[0]) if maps else b""
