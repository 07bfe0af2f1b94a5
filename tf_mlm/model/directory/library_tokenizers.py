"""The tokenizer of the `tokenizers` library that transformers' classes would make of a directory's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tf_mlm.config import TokenizerConfig, check_not_a_pointer, read_json
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.tokenizer_files import (
    BPE_VOCABULARY,
    MERGES,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCABULARY,
    TokenizerFiles,
    token_of,
)
from tf_mlm.model.directory.tokenizer_json import merge_pairs
from tf_mlm.model.directory.tokenizer_keys import (
    BERT_SETTINGS,
    DEFAULT_TOKENS,
    IGNORED,
    MASKS_WITH_LSTRIP,
    READ,
    SPECIAL_NAMES,
    UNIGRAM_CLASSES,
    WITHOUT_EFFECT,
)
from tf_mlm.model.directory.unigram_tokenizers import unigram_tokenizer, unused_tokens
from tf_mlm.text.vocabulary import tokens_by_id
from tf_mlm.text.vocabulary_file import read_lines

if TYPE_CHECKING:
    from tokenizers import AddedToken as LibraryToken
    from tokenizers import Tokenizer


def library_tokenizer(files: TokenizerFiles, kind: str) -> Tokenizer:
    """The tokenizer before any added tokens.

    Args:
        files: those of the directory.
        kind: what `kind_of` says.

    Raises:
        ConfigError: when a file is malformed.
    """
    if kind in ("bert", "mpnet"):
        return _bert_tokenizer(files, kind)
    make = {"generic": _generic_tokenizer, "roberta": _roberta_tokenizer}
    if kind in UNIGRAM_CLASSES:
        names = {name: token.content for name, token in special_tokens(files, kind)[0].items()}
        return unigram_tokenizer(files, kind, names)
    return make[kind](files)


def special_tokens(files: TokenizerFiles, kind: str) -> tuple[dict[str, LibraryToken], list[LibraryToken]]:
    """Each special token by the key that names it, and those without one."""
    values, where = files.values, f"`{files.path(TOKENIZER_CONFIG)}`"
    named = {name: values.get(name) for name in SPECIAL_NAMES}
    named |= {name: named[name] or default for name, default in DEFAULT_TOKENS[kind].items()}
    if kind == "generic" and named["pad_token"] is None:
        named["pad_token"] = ((files.serialised or {}).get("padding") or {}).get("pad_token")
    more = values.get("extra_special_tokens") or unused_tokens(files, kind)
    if isinstance(more, Mapping):
        named |= more
        more = []
    if not isinstance(more, list):
        raise ConfigError(f"{where}: `extra_special_tokens` must be a list or an object. Received: {more!r}.")
    known = (*SPECIAL_NAMES, *READ, *WITHOUT_EFFECT, *IGNORED)
    named |= {
        key: value
        for key, value in values.items()
        if key.endswith("_token") and key not in known and isinstance(value, str | Mapping)
    }
    flagged = {token.content: token for token in files.added.values()}

    def made(token: Any, name: str) -> LibraryToken:
        if name == "mask_token" and kind in MASKS_WITH_LSTRIP and isinstance(token, str):
            token = {"content": token, "lstrip": True}
        token = token_of(token, f"{where}: `{name}`", special=True)
        return flagged.get(token.content, token)

    return (
        {name: made(token, name) for name, token in named.items() if token is not None},
        [made(token, "extra_special_tokens") for token in more],
    )


def _generic_tokenizer(files: TokenizerFiles) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(files.path(TOKENIZER)))
    except Exception as error:  # the library raises nothing narrower
        raise ConfigError(
            f"`{files.path(TOKENIZER)}` is not what the `tokenizers` library writes: {error}. Copy it again."
        ) from error


def _bert_tokenizer(files: TokenizerFiles, kind: str) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    values = files.values
    settings = {name: values.get(name) for name in BERT_SETTINGS}
    try:
        config = TokenizerConfig(**{name: value for name, value in settings.items() if value is not None})
    except ConfigError as error:
        raise ConfigError(f"`{files.path(TOKENIZER_CONFIG)}`: {error}") from error
    names = {name: token.content for name, token in special_tokens(files, kind)[0].items()}
    ids = _ids(files)
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=names["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.tokenize_chinese_chars,
        strip_accents=config.strip_accents,
        lowercase=config.do_lower_case,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    cls, sep = names["cls_token"], names["sep_token"]
    _check_in(files, ids, cls, sep)
    wrap = processors.BertProcessing if kind == "bert" else processors.RobertaProcessing
    tokenizer.post_processor = wrap((sep, ids[sep]), (cls, ids[cls]))
    return tokenizer


def _roberta_tokenizer(files: TokenizerFiles) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    names = {name: token.content for name, token in special_tokens(files, "roberta")[0].items()}
    for name in ("add_prefix_space", "trim_offsets"):
        if not isinstance(files.values.get(name, True), bool):
            raise ConfigError(
                f"`{files.path(TOKENIZER_CONFIG)}`: `{name}` must be true or false. "
                f"Received: {files.values[name]!r}."
            )
    add_prefix_space = files.values.get("add_prefix_space", False)
    if files.serialised is None:
        ids, merges = _bpe_files(files)
    else:
        stated = _model(files, "BPE", "RoBERTa's")
        try:
            ids, merges = dict(stated["vocab"]), merge_pairs(stated.get("merges"))
        except ConfigError as error:
            raise ConfigError(f"`{files.of_tokens}`: {error}") from error
    try:
        model = models.BPE(ids, merges, continuing_subword_prefix="", end_of_word_suffix="")
    except Exception as error:  # the library raises nothing narrower
        raise ConfigError(
            f"`{files.of_tokens}`: the merges must be pairs of tokens of the vocabulary: {error}. Restore "
            "the two that belong together."
        ) from error
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    cls, sep = names["cls_token"], names["sep_token"]
    _check_in(files, ids, cls, sep)
    tokenizer.post_processor = processors.RobertaProcessing(
        (sep, ids[sep]),
        (cls, ids[cls]),
        trim_offsets=files.values.get("trim_offsets", True),
        add_prefix_space=add_prefix_space,
    )
    return tokenizer


def _bpe_files(files: TokenizerFiles) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The ids in `vocab.json`, and the pairs in `merges.txt`."""
    if not files.path(MERGES).is_file():
        raise ConfigError(
            f"`{files.path(BPE_VOCABULARY)}` needs the merges that belong to it, {MERGES} or {TOKENIZER} "
            "beside it. Add the file; without it every byte would be a token of its own."
        )
    ids = read_json(files.path(BPE_VOCABULARY))
    if not all(isinstance(index, int) and not isinstance(index, bool) for index in ids.values()):
        raise ConfigError(f"`{files.path(BPE_VOCABULARY)}` must be an object from token to id.")
    tokens_by_id(ids, f"`{files.path(BPE_VOCABULARY)}`")  # the library would drop one of two with one id
    check_not_a_pointer(files.path(MERGES))
    pairs = []
    for line, text in enumerate(files.path(MERGES).read_text(encoding="utf-8").split("\n")):
        if text.startswith("#version") or not text.strip():
            continue
        pair = text.rstrip("\r").split(" ")
        if len(pair) != 2 or any(token not in ids for token in (*pair, "".join(pair))):
            raise ConfigError(
                f"Each line of `{files.path(MERGES)}` must be two tokens of {BPE_VOCABULARY} that together "
                f"are a third. Received: {text!r} in line {line + 1}. Restore the merges that belong to it."
            )
        pairs.append((pair[0], pair[1]))
    return ids, pairs


def _ids(files: TokenizerFiles) -> dict[str, int]:
    """The id of each token that BERT's classes cut words into."""
    if files.serialised is None:
        check_not_a_pointer(files.path(VOCABULARY))
        return {token: line for line, token in enumerate(read_lines(files.path(VOCABULARY)))}
    return dict(_model(files, "WordPiece", "BERT's")["vocab"])


def _model(files: TokenizerFiles, kind: str, whose: str) -> Mapping[str, Any]:
    """The model in `tokenizer.json`, which must be of the kind that the class makes."""
    assert files.serialised is not None
    model = files.serialised.get("model")
    found = model.get("type", kind) if isinstance(model, Mapping) else None
    vocab = model.get("vocab") if isinstance(model, Mapping) else None
    if (
        not isinstance(model, Mapping)
        or found != kind
        or not isinstance(vocab, Mapping)
        or not all(isinstance(index, int) for index in vocab.values())
    ):
        raise ConfigError(
            f"`{files.path(TOKENIZER)}` must hold a {kind} model with its `vocab`, as the class in "
            f"{TOKENIZER_CONFIG} is {whose}. Received: model.type={found!r}. Restore the file, or say "
            "tokenizer_class=PreTrainedTokenizerFast if it is another tokenizer."
        )
    return model


def _check_in(files: TokenizerFiles, ids: Mapping[str, int], *tokens: str) -> None:
    """Raises for tokens that are missing: transformers would number them behind the rows of the embedding."""
    if missing := [token for token in tokens if token not in ids]:
        raise ConfigError(
            f"A vocabulary must contain the special tokens; `{files.of_tokens}` ({len(ids)} tokens) lacks "
            f"{', '.join(missing)}. Add them, or give their spelling in {TOKENIZER_CONFIG}."
        )
