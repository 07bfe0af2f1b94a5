"""The tokenizer files of a model directory, read and written as transformers 5 reads and writes them.

transformers has two ways, by `tokenizer_class`. BERT's classes take the tokens from `tokenizer.json` if
there is one, else from `vocab.txt`, and all settings from `tokenizer_config.json`. The generic class takes
`tokenizer.json` as it is. Both then add the tokens that `tokenizer_config.json` and, where that has no
`added_tokens_decoder`, the older files name. Here the same steps make the same tokenizer of the `tokenizers`
library, and its own serialisation is what `tokenizer_json` reads, whichever files it came from.
"""

from __future__ import annotations

import codecs
import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_mlm.config import ModelConfig, TokenizerConfig, check_not_a_pointer, read_json
from tf_mlm.errors import CheckpointError, ConfigError, TokenizerWarning, UnsupportedTokenizerError
from tf_mlm.model.directory.tensor_files import write_atomically, write_json
from tf_mlm.model.directory.tokenizer_json import Serialised, read_tokenizer_json, write_tokenizer_json
from tf_mlm.text.code_points import WHITE_SPACE
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary, read_lines, tokens_by_id

if TYPE_CHECKING:
    from tokenizers import AddedToken as LibraryToken
    from tokenizers import Tokenizer

VOCABULARY = "vocab.txt"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
SENTENCE_TRANSFORMERS = "sentence_bert_config.json"

# Without the "Fast" that older versions put behind them.
_BERT_CLASSES = (
    "BertTokenizer",
    "ConvBertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "LayoutLMTokenizer",
    "LxmertTokenizer",
    "MobileBertTokenizer",
    "SqueezeBertTokenizer",
)
_GENERIC_CLASSES = ("PreTrainedTokenizer", "PythonBackend", "TokenizersBackend")
_BERT_MODELS = ("bert", "distilbert", "electra")

_SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_OUR_NAMES = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_BERT_SETTINGS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
_MORE_TOKENS = ("additional_special_tokens", "extra_special_tokens")

# Keys of tokenizer_config.json that decide nothing about the ids of a text, in transformers 5 either.
_WITHOUT_EFFECT = frozenset(
    {
        *(
            "add_bos_token",
            "add_eos_token",
            "add_prefix_space",
            "add_special_tokens",
            "backend",
            "chat_template",
        ),
        *(
            "errors",
            "extra_ids",
            "fast_tokenizer_files",
            "full_tokenizer_file",
            "is_fast",
            "is_local",
            "legacy",
        ),
        *(
            "init_inputs",
            "local_files_only",
            "max_length",
            "max_len_sentences_pair",
            "max_len_single_sentence",
        ),
        *("model_input_names", "model_specific_special_tokens", "name_or_path", "pad_to_multiple_of"),
        *(
            "pad_token_type_id",
            "pad_token_type",
            "padding",
            "padding_side",
            "processor_class",
            "return_tensors",
        ),
        *(
            "response_schema",
            "response_template",
            "slow_tokenizer_class",
            "sp_model_kwargs",
            "special_tokens",
        ),
        *(
            "special_tokens_map_file",
            "spaces_between_special_tokens",
            "stride",
            "token_type_ids",
            "tokenizer_file",
        ),
        *(
            "tokenizer_type",
            "trim_offsets",
            "truncation",
            "truncation_strategy",
            "use_fast",
            "verbose",
            "vocab_file",
        ),
        *(
            "vocab_size",
            "_commit_hash",
            "_from_auto",
            "device_map",
            "trust_remote_code",
            "chat_control_tokens",
        ),
    }
)
# Keys that transformers 5 ignores although they once meant something; other values get a warning.
_IGNORED: Mapping[str, tuple[Any, ...]] = {
    "auto_map": (None,),
    "clean_text": (True, None),
    "do_basic_tokenize": (True, None),
    "handle_chinese_chars": (True, None),
    "lowercase": (True, None),
    "max_input_chars_per_word": (100, None),
    "never_split": (None, [], ()),
    "wordpieces_prefix": ("##", None),
    "do_word_tokenize": (True, None),
    "do_subword_tokenize": (True, None),
    "word_tokenizer_type": ("basic", None),
    "subword_tokenizer_type": ("wordpiece", None),
    "mecab_kwargs": (None,),
    "sudachi_kwargs": (None,),
    "jumanpp_kwargs": (None,),
}
_READ = frozenset(
    {
        *(*_SPECIAL_NAMES, *_BERT_SETTINGS, *_MORE_TOKENS, "added_tokens_decoder", "tokenizer_class"),
        *("model_max_length", "max_len", "clean_up_tokenization_spaces"),
        *("split_special_tokens", "truncation_side"),
    }
)


def read_preprocessor(directory: Path, config: ModelConfig) -> TextPreprocessor | None:
    """The preprocessor that the directory's files describe, or None when there are none.

    Raises:
        ConfigError: when a file is malformed.
        CheckpointError: when the tokenizer has more tokens than the embedding has rows.
    """
    files = _Files(directory)
    try:
        kind = _kind(files, config)
        if kind is None:
            return None
        serialised = _built(files, kind)
        tokenizer_config = _tokenizer_config(files, serialised)
    except UnsupportedTokenizerError as error:
        _warn(f"{error} The weights load; give the model token ids instead of strings.")
        return None
    vocabulary = _vocabulary(files, serialised, tokenizer_config, config)
    _warn_of_what_has_no_effect(files, kind, serialised)
    return TextPreprocessor(vocabulary, max_length=_max_length(files, config))


class _Files:
    """The tokenizer files of a directory that are there, parsed.

    Attributes:
        values: `tokenizer_config.json`, and what `special_tokens_map.json` puts over it.
        added: the added tokens with the ids that the files state, or None if `tokenizer.json` alone has any.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stated = self.json(TOKENIZER_CONFIG) or {}
        self.serialised = self.json(TOKENIZER)
        self.values = dict(self.stated)
        self.added = self._added_tokens()

    def path(self, name: str) -> Path:
        return self.directory / name

    @property
    def of_tokens(self) -> Path:
        """The file that holds the vocabulary."""
        return self.path(VOCABULARY if self.serialised is None else TOKENIZER)

    def json(self, name: str) -> dict[str, Any] | None:
        return read_json(self.path(name)) if self.path(name).is_file() else None

    def _added_tokens(self) -> dict[int, LibraryToken]:
        """By stated id; merges `special_tokens_map.json` into `values` where transformers does."""
        if not self.values.get("extra_special_tokens") and "additional_special_tokens" in self.values:
            self.values["extra_special_tokens"] = self.values.pop("additional_special_tokens")
        where = f"`{self.path(TOKENIZER_CONFIG)}`: `added_tokens_decoder`"
        if (decoder := self.values.get("added_tokens_decoder")) is not None:
            if not isinstance(decoder, Mapping):
                raise ConfigError(f"{where} must be an object from id to token. Received: {decoder!r}.")
            return {_index(index, where): _token(token, where) for index, token in decoder.items()}
        for key, value in (self.json(SPECIAL_TOKENS) or {}).items():
            if key == "extra_special_tokens" and isinstance(value, list):
                value = [*(self.values.get(key) or []), *value]
            elif key == "additional_special_tokens" and not self.values.get("extra_special_tokens"):
                key = "extra_special_tokens"
            if value is not None:
                self.values[key] = value
        added = {}
        specials = {_content(self.values[name]) for name in _SPECIAL_NAMES if self.values.get(name)}
        specials |= {_content(token) for token in self.values.get("extra_special_tokens") or ()}
        where = f"`{self.path(ADDED_TOKENS)}`"
        for content, index in (self.json(ADDED_TOKENS) or {}).items():
            flags = {"normalized": content not in specials, "special": content in specials}
            added[_index(index, where)] = _token({"content": content, **flags}, where)
        where = f"`{self.path(TOKENIZER)}`: `added_tokens`"
        for entry in (self.serialised or {}).get("added_tokens") or []:
            if not isinstance(entry, Mapping):
                raise ConfigError(f"{where} must be a list of objects. Received: {entry!r}.")
            flags = {key: value for key, value in entry.items() if key != "id"}
            added[_index(entry.get("id"), where)] = _token(flags, where)
        return added


def _kind(files: _Files, config: ModelConfig) -> str | None:
    """`bert`, `generic`, or None where there is no tokenizer."""
    values, place = files.values, f"`{files.path(TOKENIZER_CONFIG)}`"
    name = values.get("tokenizer_class")
    if name is None and (name := config.extra.get("tokenizer_class")) is not None:
        place = f"`{files.directory / 'config.json'}`"
    name = str(name or "").removesuffix("Fast")
    has_tokens = files.serialised is not None or files.path(VOCABULARY).is_file()
    if name in _GENERIC_CLASSES:
        if files.serialised is None:
            if not has_tokens:
                return None
            raise UnsupportedTokenizerError(
                f"{place} says tokenizer_class={name!r}, and transformers then asks for {TOKENIZER}, which "
                "is not there. Add it, or say BertTokenizer if that is what it is."
            )
        return "generic"
    if name in _BERT_CLASSES or (not name and config.model_type in _BERT_MODELS):
        return "bert" if has_tokens else None
    if name:
        raise UnsupportedTokenizerError(
            f"{place} belongs to a tokenizer that is not WordPiece as it is known here: "
            f"tokenizer_class={name!r}."
        )
    raise UnsupportedTokenizerError(
        f"`{files.directory}` belongs to a tokenizer that is not WordPiece "
        f"(model_type={config.model_type}), or does not say so: {TOKENIZER_CONFIG} has no tokenizer_class."
    )


def _built(files: _Files, kind: str) -> Serialised:
    """The settings and tokens of the tokenizer that transformers would make."""
    import json

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


def _generic_tokenizer(files: _Files) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(files.path(TOKENIZER)))
    except Exception as error:  # the library raises nothing narrower
        raise ConfigError(
            f"`{files.path(TOKENIZER)}` is not what the `tokenizers` library writes: {error}. Copy it again."
        ) from error


def _bert_tokenizer(files: _Files) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    values = files.values
    settings = {name: values.get(name) for name in _BERT_SETTINGS}
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


def _ids(files: _Files) -> dict[str, int]:
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


def _special_tokens(files: _Files, kind: str) -> tuple[dict[str, LibraryToken], list[LibraryToken]]:
    """Each special token by the key that names it, and those without one."""
    values, where = files.values, f"`{files.path(TOKENIZER_CONFIG)}`"
    named = {name: values.get(name) for name in _SPECIAL_NAMES}
    if kind == "bert":
        named |= {name: named[name] or getattr(TokenizerConfig, name) for name in _OUR_NAMES}
    elif named["pad_token"] is None:
        named["pad_token"] = ((files.serialised or {}).get("padding") or {}).get("pad_token")
    more = values.get("extra_special_tokens") or []
    if isinstance(more, Mapping):
        named |= more
        more = []
    if not isinstance(more, list):
        raise ConfigError(f"{where}: `extra_special_tokens` must be a list or an object. Received: {more!r}.")
    known = (*_SPECIAL_NAMES, *_READ, *_WITHOUT_EFFECT, *_IGNORED)
    named |= {
        key: value
        for key, value in values.items()
        if key.endswith("_token") and key not in known and isinstance(value, str | Mapping)
    }
    flagged = {token.content: token for token in files.added.values()}

    def made(token: Any, name: str) -> LibraryToken:
        token = _token(token, f"{where}: `{name}`", special=True)
        return flagged.get(token.content, token)

    return (
        {name: made(token, name) for name, token in named.items() if token is not None},
        [made(token, "extra_special_tokens") for token in more],
    )


def _token(value: Any, where: str, special: bool = False) -> LibraryToken:
    """A token of the library from a string or an object; `special` is the default where no class wrote it."""
    from tokenizers import AddedToken as LibraryToken

    values = {"content": value} if isinstance(value, str) else value
    if isinstance(values, Mapping):
        special = special and "__type" not in values
        values = {key: item for key, item in values.items() if key != "__type"}
        try:
            made: LibraryToken | None = LibraryToken(**{"special": special, **values})  # type: ignore[arg-type]
        except TypeError:
            made = None
        if made is not None and made.content:
            return made
    raise ConfigError(f"{where} must be a string or an object with `content`. Received: {value!r}.")


def _content(value: Any) -> Any:
    return value.get("content") if isinstance(value, Mapping) else value


def _index(value: Any, where: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{where} must have whole numbers as ids. Received: {value!r}.") from None


def _tokenizer_config(files: _Files, serialised: Serialised) -> TokenizerConfig:
    """Our settings; raises for what cannot be carried."""
    values, settings = files.values, dict(serialised.settings)
    if values.get("split_special_tokens"):
        raise UnsupportedTokenizerError(
            f"`{files.path(TOKENIZER_CONFIG)}`: `split_special_tokens` must be false, as no text could "
            "have a mask otherwise. Received: true."
        )
    for name in _OUR_NAMES:
        if name in ("unk_token", "cls_token", "sep_token") and name in settings:
            continue  # the model and the template say what is really put in
        settings[name] = _content(values.get(name)) or getattr(TokenizerConfig, name)
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
        if key not in (*_OUR_NAMES, *_BERT_SETTINGS, "added_tokens_decoder")
    }
    config = TokenizerConfig(**settings, extra=extra)
    ordinary = {token.content: token for token in dataclasses.replace(config, added_tokens=()).found_tokens}
    added = tuple(token for token in config.added_tokens if ordinary.get(token.content) != token)
    return dataclasses.replace(config, added_tokens=added)


def _vocabulary(
    files: _Files, serialised: Serialised, tokenizer: TokenizerConfig, config: ModelConfig
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
        _warn(
            f"`{files.of_tokens}` has {needed} tokens, and the embedding {rows} rows (vocab_size in "
            f"`{files.directory / 'config.json'}`): more than rounding up explains. The last {spare} rows "
            "have no token; if it is the wrong vocabulary, answers are nonsense."
        )
    return vocabulary


def _max_length(files: _Files, config: ModelConfig) -> int:
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


def _warn_of_what_has_no_effect(files: _Files, kind: str, serialised: Serialised) -> None:
    config_file = f"`{files.path(TOKENIZER_CONFIG)}`"
    unknown = sorted(
        key
        for key in files.stated
        if key not in (*_READ, *_WITHOUT_EFFECT, *_IGNORED) and not key.endswith("_token")
    )
    if unknown:
        _warn(f"{config_file}: unknown keys have no effect, in transformers either: {', '.join(unknown)}.")
    for key, usual in _IGNORED.items():
        if key in files.stated and files.stated[key] not in usual:
            _warn(
                f"{config_file}: `{key}` has no effect, as in transformers 5. Received: "
                f"{files.stated[key]!r}."
            )
    if files.values.get("truncation_side", "right") != "right":
        _warn(
            f"{config_file}: `truncation_side` is not followed: a text that has to be cut is cut at its end. "
            f"Received: {files.values['truncation_side']!r}."
        )
    for index, token in files.added.items():
        actual = serialised.added_ids.get(token.content, serialised.ids.get(token.content))
        if actual != index:
            _warn(
                f"`{files.directory}`: the tokenizer files state the id {index} for the added token "
                f"{token.content!r}, but transformers numbers it {actual}, and so does this package."
            )
    beside = {entry["content"] for entry in (files.serialised or {}).get("added_tokens") or ()}
    beside |= set(files.json(ADDED_TOKENS) or ())
    if lost := sorted(beside - set(serialised.added_ids)):
        _warn(
            f"{config_file}: as it has `added_tokens_decoder`, the added tokens of {ADDED_TOKENS} and "
            f"{TOKENIZER} have no effect, as in transformers 5: {', '.join(lost)}."
        )
    if files.path(VOCABULARY).is_file():
        _warn_of_vocabulary_file(files, serialised)
    if kind == "bert" and files.serialised is not None:
        _warn_of_differences(files, serialised)


def _warn_of_vocabulary_file(files: _Files, serialised: Serialised) -> None:
    path = files.path(VOCABULARY)
    if path.read_bytes().startswith(codecs.BOM_UTF8):
        _warn(
            f"`{path}` begins with a byte-order mark. It is dropped here; transformers takes it for a part "
            "of the first token. Save the file as UTF-8 without it."
        )
    if files.serialised is not None:
        lines = {token: line for line, token in enumerate(read_lines(path))}
        if differing := {token for token, _ in lines.items() ^ serialised.ids.items()}:
            _warn(
                f"`{path}` and `{files.path(TOKENIZER)}` differ in {len(differing)} tokens, such as "
                f"{min(differing)!r}. {TOKENIZER} counts, as in transformers 5."
            )


def _warn_of_differences(files: _Files, serialised: Serialised) -> None:
    """BERT's classes take nothing but tokens from `tokenizer.json`: say so where it says something else."""
    assert files.serialised is not None
    if "normalizer" not in files.serialised:
        return  # there is only a vocabulary
    model = {"type": "WordPiece", **files.serialised["model"]}
    try:
        told = read_tokenizer_json({**files.serialised, "model": model}).settings
    except ConfigError as error:
        differing = [str(error)]
    else:
        effective = dict(serialised.settings)
        for settings in (told, effective):
            if settings["strip_accents"] is None:
                settings["strip_accents"] = settings["do_lower_case"]
        differing = [
            f"{name}={told[name]!r} there, {value!r} in effect"
            for name, value in effective.items()
            if name not in ("added_tokens", "post_processor") and told[name] != value
        ]
    if differing:
        _warn(
            f"`{files.path(TOKENIZER)}` says something else than {TOKENIZER_CONFIG}, which counts for BERT's "
            f"tokenizer classes, as in transformers 5: {'; '.join(differing)}. If {TOKENIZER} is right, say "
            f"tokenizer_class=PreTrainedTokenizerFast in {TOKENIZER_CONFIG}."
        )


def _warn(message: str) -> None:
    warnings.warn(message, TokenizerWarning, stacklevel=5)


def write_preprocessor(preprocessor: TextPreprocessor, directory: Path, config: ModelConfig) -> None:
    """Writes the vocabulary and `tokenizer_config.json`, and removes what would contradict them.

    The vocabulary is a `vocab.txt` where that says everything, else a `tokenizer.json`. A file left behind by
    an earlier model in the same directory would silently be another tokenizer.
    """
    vocabulary = preprocessor.vocabulary
    settings = vocabulary.config
    all_ids = {
        "" if index == vocabulary.blank_id else token: index
        for index, token in enumerate(vocabulary.tokens)
        if index not in vocabulary.unnamed_ids
    }
    ids = {token: index for token, index in all_ids.items() if index < vocabulary.pieces}
    tokens = list(vocabulary.tokens[: len(ids)])
    is_bert = all(
        getattr(settings, name) == getattr(TokenizerConfig, name)
        for name in (
            *("clean_text", "max_input_chars_per_word", "continuing_subword_prefix", "decoder_cleanup"),
            "post_processor",
        )
    )
    is_plain = is_bert and list(ids) == tokens and all(token == token.rstrip(WHITE_SPACE) for token in tokens)
    if is_plain and not tokens[0].startswith("\ufeff"):
        kept = VOCABULARY
        text = "".join(f"{token}\n" for token in tokens)
        write_atomically(directory / VOCABULARY, lambda path: _write(path, text))
    else:
        kept = TOKENIZER
        write_json(directory / TOKENIZER, write_tokenizer_json(settings, ids, all_ids))
    values = {
        **settings.extra,
        **{name: getattr(settings, name) for name in (*_BERT_SETTINGS, *_OUR_NAMES)},
    }
    limit = preprocessor.max_length or config.max_length
    if limit < config.max_length or "model_max_length" not in values:
        values["model_max_length"] = limit
    if settings.added_tokens:
        values["added_tokens_decoder"] = {
            str(all_ids[token.content]): dataclasses.asdict(token)
            for token in sorted(settings.found_tokens, key=lambda token: all_ids[token.content])
        }
    if not is_bert:
        values["tokenizer_class"] = "PreTrainedTokenizerFast"
    elif str(values.get("tokenizer_class")).removesuffix("Fast") not in _BERT_CLASSES:
        values["tokenizer_class"] = _BERT_CLASSES[0]
    write_json(directory / TOKENIZER_CONFIG, values)
    for stale in {VOCABULARY, TOKENIZER, SPECIAL_TOKENS, ADDED_TOKENS} - {kept}:
        (directory / stale).unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8"))
