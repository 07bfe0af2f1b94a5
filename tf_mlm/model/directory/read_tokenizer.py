"""The tokenizer files of a model directory to a preprocessor, as transformers 5 reads them.

transformers has two ways, by `tokenizer_class`. BERT's classes take the tokens from `tokenizer.json` if
there is one, else from `vocab.txt`, and all settings from `tokenizer_config.json`. The generic class takes
`tokenizer.json` as it is. Both then add the tokens that `tokenizer_config.json` and, where that has no
`added_tokens_decoder`, the older files name. Here the same steps make the same tokenizer of the `tokenizers`
library, and its own serialisation is what `tokenizer_json` reads, whichever files it came from.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_mlm.config import ModelConfig, TokenizerConfig, check_not_a_pointer, read_json
from tf_mlm.errors import CheckpointError, ConfigError, UnsupportedTokenizerError
from tf_mlm.model.directory.tokenizer_files import (
    SENTENCE_TRANSFORMERS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCABULARY,
    TokenizerFiles,
    content_of,
    kind_of,
    token_of,
)
from tf_mlm.model.directory.tokenizer_json import Serialised, read_tokenizer_json
from tf_mlm.model.directory.tokenizer_keys import (
    BERT_SETTINGS,
    IGNORED,
    OUR_NAMES,
    READ,
    SPECIAL_NAMES,
    WITHOUT_EFFECT,
)
from tf_mlm.model.directory.tokenizer_warnings import warn, warn_of_what_has_no_effect
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary, tokens_by_id
from tf_mlm.text.vocabulary_file import read_lines

if TYPE_CHECKING:
    from tokenizers import AddedToken as LibraryToken
    from tokenizers import Tokenizer


def read_preprocessor(directory: Path, config: ModelConfig) -> TextPreprocessor | None:
    """The preprocessor that the directory's files describe, or None when there are none.

    Raises:
        ConfigError: when a file is malformed.
        CheckpointError: when the tokenizer has more tokens than the embedding has rows.
    """
    files = TokenizerFiles(directory)
    try:
        kind = kind_of(files, config)
        if kind is None:
            return None
        serialised = _built(files, kind)
        tokenizer_config = _tokenizer_config(files, serialised)
    except UnsupportedTokenizerError as error:
        warn(f"{error} The weights load; give the model token ids instead of strings.")
        return None
    vocabulary = _vocabulary(files, serialised, tokenizer_config, config)
    warn_of_what_has_no_effect(files, kind, serialised)
    return TextPreprocessor(vocabulary, max_length=_max_length(files, config))


def _built(files: TokenizerFiles, kind: str) -> Serialised:
    """The settings and tokens of the tokenizer that transformers would make."""
    vocab = ((files.serialised or {}).get("model") or {}).get("vocab")
    if isinstance(vocab, Mapping):  # the library would drop one of two tokens with one id
        tokens_by_id(vocab, f"`{files.path(TOKENIZER)}`")
    tokenizer = _generic_tokenizer(files) if kind == "generic" else _bert_tokenizer(files)
    known = {repr(token) for token in tokenizer.get_added_tokens_decoder().values()}
    tokens: list[Any] = [token for _, token in sorted(files.added.items()) if repr(token) not in known]
    contents = {token.content for token in [*tokenizer.get_added_tokens_decoder().values(), *tokens]}
    named, more = _special_tokens(files, kind)
    for token in [*named.values(), *more]:
        if token.content not in contents:
            tokens.append(token)
            contents.add(token.content)
    for token in tokens:
        token.special = token.special or token.content in {special.content for special in named.values()}
    tokenizer.add_tokens(tokens)
    try:
        return read_tokenizer_json(json.loads(tokenizer.to_str()))
    except UnsupportedTokenizerError as error:
        raise UnsupportedTokenizerError(f"`{files.of_tokens}`: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"`{files.of_tokens}`: {error}") from error


def _generic_tokenizer(files: TokenizerFiles) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(files.path(TOKENIZER)))
    except Exception as error:  # the library raises nothing narrower
        raise ConfigError(
            f"`{files.path(TOKENIZER)}` is not what the `tokenizers` library writes: {error}. Copy it again."
        ) from error


def _bert_tokenizer(files: TokenizerFiles) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    values = files.values
    settings = {name: values.get(name) for name in BERT_SETTINGS}
    try:
        config = TokenizerConfig(**{name: value for name, value in settings.items() if value is not None})
    except ConfigError as error:
        raise ConfigError(f"`{files.path(TOKENIZER_CONFIG)}`: {error}") from error
    names = {name: token.content for name, token in _special_tokens(files, "bert")[0].items()}
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
    if missing := [token for token in (cls, sep) if token not in ids]:
        # transformers would number them behind the last token; the embedding has no rows for that.
        raise ConfigError(
            f"A vocabulary must contain the special tokens; `{files.of_tokens}` ({len(ids)} tokens) lacks "
            f"{', '.join(missing)}. Add them, or give their spelling in {TOKENIZER_CONFIG}."
        )
    tokenizer.post_processor = processors.BertProcessing((sep, ids[sep]), (cls, ids[cls]))
    return tokenizer


def _ids(files: TokenizerFiles) -> dict[str, int]:
    """The id of each token that BERT's classes cut words into."""
    if files.serialised is None:
        check_not_a_pointer(files.path(VOCABULARY))
        return {token: line for line, token in enumerate(read_lines(files.path(VOCABULARY)))}
    model = files.serialised.get("model")
    kind = model.get("type", "WordPiece") if isinstance(model, Mapping) else None
    vocab = model.get("vocab") if isinstance(model, Mapping) else None
    if (
        kind != "WordPiece"
        or not isinstance(vocab, Mapping)
        or not all(isinstance(index, int) for index in vocab.values())
    ):
        raise ConfigError(
            f"`{files.path(TOKENIZER)}` must hold a WordPiece model with its `vocab`, as the class in "
            f"{TOKENIZER_CONFIG} is BERT's. Received: model.type={kind!r}. Restore the file, or say "
            "tokenizer_class=PreTrainedTokenizerFast if it is another tokenizer."
        )
    return dict(vocab)


def _special_tokens(files: TokenizerFiles, kind: str) -> tuple[dict[str, LibraryToken], list[LibraryToken]]:
    """Each special token by the key that names it, and those without one."""
    values, where = files.values, f"`{files.path(TOKENIZER_CONFIG)}`"
    named = {name: values.get(name) for name in SPECIAL_NAMES}
    if kind == "bert":
        named |= {name: named[name] or getattr(TokenizerConfig, name) for name in OUR_NAMES}
    elif named["pad_token"] is None:
        named["pad_token"] = ((files.serialised or {}).get("padding") or {}).get("pad_token")
    more = values.get("extra_special_tokens") or []
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
        token = token_of(token, f"{where}: `{name}`", special=True)
        return flagged.get(token.content, token)

    return (
        {name: made(token, name) for name, token in named.items() if token is not None},
        [made(token, "extra_special_tokens") for token in more],
    )


def _tokenizer_config(files: TokenizerFiles, serialised: Serialised) -> TokenizerConfig:
    """Our settings; raises for what cannot be carried."""
    values, settings = files.values, dict(serialised.settings)
    if values.get("split_special_tokens"):
        raise UnsupportedTokenizerError(
            f"`{files.path(TOKENIZER_CONFIG)}`: `split_special_tokens` must be false, as no text could "
            "have a mask otherwise. Received: true."
        )
    for name in OUR_NAMES:
        if name in ("unk_token", "cls_token", "sep_token") and name in settings:
            continue  # the model and the template say what is really put in
        settings[name] = content_of(values.get(name)) or getattr(TokenizerConfig, name)
    known = {**serialised.ids, **serialised.added_ids}
    for name in ("pad_token", "mask_token"):
        if settings[name] not in known:
            raise UnsupportedTokenizerError(
                f"`{files.path(TOKENIZER_CONFIG)}`: `{name}` must be a token of `{files.of_tokens}`. "
                f"Received: {settings[name]!r}{'' if values.get(name) else ', the default'}."
            )
    extra = {
        key: value
        for key, value in values.items()
        if key not in (*OUR_NAMES, *BERT_SETTINGS, "added_tokens_decoder")
    }
    config = TokenizerConfig(**settings, extra=extra)
    ordinary = {token.content: token for token in dataclasses.replace(config, added_tokens=()).found_tokens}
    added = tuple(token for token in config.added_tokens if ordinary.get(token.content) != token)
    return dataclasses.replace(config, added_tokens=added)


def _vocabulary(
    files: TokenizerFiles, serialised: Serialised, tokenizer: TokenizerConfig, config: ModelConfig
) -> Vocabulary:
    """The tokens, as many as the embedding has rows."""
    ids = {**serialised.ids, **serialised.added_ids}
    rows, needed = config.vocab_size, max(ids.values(), default=-1) + 1
    later = sorted(
        (index, token) for token, index in serialised.added_ids.items() if token not in serialised.ids
    )
    if needed > rows:
        advice = (
            f"Tokens were added to the tokenizer, but not to the model: {', '.join(t for _, t in later)}. "
            "Resize the model's embedding (transformers: model.resize_token_embeddings(len(tokenizer))) "
            "and save both again, or take them out of the tokenizer files."
            if later and later[-1][0] + 1 == needed
            else "Restore the vocabulary the model was trained with."
        )
        raise CheckpointError(
            "The vocabulary must not have more tokens than the embedding has rows. "
            f"Received: {needed} tokens in `{files.of_tokens}`, vocab_size={rows} in "
            f"`{files.directory / 'config.json'}`. {advice}"
        )
    place = "line {}".format if files.serialised is None else "id {}".format
    vocabulary = Vocabulary.of_ids(
        ids,
        tokenizer,
        size=rows,
        pieces=max(serialised.ids.values(), default=-1) + 1,
        source=f"`{files.of_tokens}`",
        place=lambda index: place(index + 1 if files.serialised is None else index),
    )
    spare = rows - needed
    if spare and (rows % 8 or spare >= 1024):
        warn(
            f"`{files.of_tokens}` has {needed} tokens, and the embedding {rows} rows (vocab_size in "
            f"`{files.directory / 'config.json'}`): more than rounding up explains. The last {spare} rows "
            "have no token; if it is the wrong vocabulary, answers are nonsense."
        )
    return vocabulary


def _max_length(files: TokenizerFiles, config: ModelConfig) -> int:
    """The most tokens of a text: the model's positions, or fewer if its files say that it was made for fewer.

    Sentence Transformers' `max_seq_length` goes before the tokenizer's `model_max_length`, as there.
    """
    sentences = files.directory / SENTENCE_TRANSFORMERS
    limit = read_json(sentences).get("max_seq_length") if sentences.is_file() else None
    if limit is None:
        limit = files.values.get("model_max_length", files.values.get("max_len"))
    if isinstance(limit, int | float) and not isinstance(limit, bool) and 4 <= limit < config.max_length:
        return int(limit)
    return config.max_length
