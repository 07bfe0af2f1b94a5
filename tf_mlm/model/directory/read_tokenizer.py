"""The tokenizer files of a directory to a vocabulary or a preprocessor, as transformers 5 reads them.

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
from typing import Any

from tf_mlm.config import ModelConfig, TokenizerConfig, read_json
from tf_mlm.errors import CheckpointError, ConfigError, UnsupportedTokenizerError
from tf_mlm.model.directory.esm_tokenizer import esm_tokenizer
from tf_mlm.model.directory.library_tokenizers import library_tokenizer, special_tokens
from tf_mlm.model.directory.tokenizer_files import (
    SENTENCE_TRANSFORMERS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    TokenizerFiles,
    content_of,
    kind_of,
)
from tf_mlm.model.directory.tokenizer_json import Serialised, read_tokenizer_json
from tf_mlm.model.directory.tokenizer_keys import (
    DEFAULT_TOKENS,
    OUR_NAMES,
    SETTINGS,
)
from tf_mlm.model.directory.tokenizer_warnings import warn, warn_of_what_has_no_effect
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary, tokens_by_id


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
        tokenizer_config = _tokenizer_config(files, kind, serialised)
    except UnsupportedTokenizerError as error:
        warn(f"{error} The weights load; give the model token ids instead of strings.")
        return None
    vocabulary = _vocabulary(files, serialised, tokenizer_config, config)
    warn_of_what_has_no_effect(files, kind, serialised)
    try:
        return TextPreprocessor(vocabulary, max_length=_max_length(files, config))
    except UnsupportedTokenizerError as error:
        warn(f"`{files.of_tokens}`: {error} The weights load; give the model token ids instead of strings.")
        return None
    except ConfigError as error:
        raise ConfigError(f"`{files.of_tokens}`: {error}") from error


def read_vocabulary(directory: Path, model_type: str) -> Vocabulary:
    """The vocabulary that the tokenizer files of a directory describe, for a new model.

    Args:
        directory: what `write_vocabulary`, or transformers' `save_pretrained` of a tokenizer, wrote.
        model_type: the family of the new model, where the files do not say which class reads them.

    Raises:
        ConfigError: when there is no tokenizer, or a file is malformed.
        UnsupportedTokenizerError: when it has a part without a counterpart here.
    """
    files = TokenizerFiles(directory)
    kind = kind_of(files, ModelConfig(model_type=model_type))
    if kind is None:
        raise ConfigError(
            f"A directory of a vocabulary must hold a {TOKENIZER} and its {TOKENIZER_CONFIG}, as `tf-mlm "
            f"vocab` and transformers write them. Received: `{directory}`, which has none."
        )
    serialised = _built(files, kind)
    tokenizer = _tokenizer_config(files, kind, serialised)
    # How long texts may be is for the new model to say.
    lengths = ("model_max_length", "max_len")
    extra = {key: value for key, value in tokenizer.extra.items() if key not in lengths}
    tokenizer = dataclasses.replace(tokenizer, extra=extra)
    rows = max({**serialised.ids, **serialised.added_ids}.values(), default=-1) + 1
    warn_of_what_has_no_effect(files, kind, serialised)
    return _vocabulary(files, serialised, tokenizer, ModelConfig(vocab_size=rows, model_type=model_type))


def _built(files: TokenizerFiles, kind: str) -> Serialised:
    """The settings and tokens of the tokenizer that transformers would make."""
    if kind == "esm":
        return esm_tokenizer(files)
    vocab = ((files.serialised or {}).get("model") or {}).get("vocab")
    if isinstance(vocab, Mapping):  # the library would drop one of two tokens with one id
        tokens_by_id(vocab, f"`{files.path(TOKENIZER)}`")
    tokenizer = library_tokenizer(files, kind)
    known = {repr(token) for token in tokenizer.get_added_tokens_decoder().values()}
    tokens: list[Any] = [token for _, token in sorted(files.added.items()) if repr(token) not in known]
    contents = {token.content for token in [*tokenizer.get_added_tokens_decoder().values(), *tokens]}
    named, more = special_tokens(files, kind)
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


def _tokenizer_config(files: TokenizerFiles, kind: str, serialised: Serialised) -> TokenizerConfig:
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
        default = DEFAULT_TOKENS[kind].get(name, getattr(TokenizerConfig, name))
        settings[name] = content_of(values.get(name)) or default
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
        if key not in (*OUR_NAMES, *SETTINGS, "added_tokens_decoder")
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
        merges=serialised.merges,
        scores=serialised.scores,
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
