"""ESM's tokenizer, which has no `tokenizer.json`: the lines of `vocab.txt` as transformers reads them."""

from __future__ import annotations

from tf_mlm.config import AddedToken, check_not_a_pointer
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.tokenizer_files import TOKENIZER_CONFIG, VOCABULARY, TokenizerFiles, content_of
from tf_mlm.model.directory.tokenizer_json import Serialised
from tf_mlm.model.directory.tokenizer_keys import DEFAULT_TOKENS
from tf_mlm.text.vocabulary import Vocabulary

_NAMES = {"unk_token": "unk_token", "cls_token": "cls_token", "sep_token": "eos_token"}


def esm_tokenizer(files: TokenizerFiles) -> Serialised:
    """The tokenizer that transformers would make.

    A token takes no white space along and is found inside of words too, whatever the flags of added ones
    say, as the class has it.

    Raises:
        ConfigError: when the vocabulary is malformed, lacks a special token, or has a flag with an effect.
    """
    path = files.path(VOCABULARY)
    check_not_a_pointer(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"`{path}` cannot be read: {error}.") from error
    ids = {line.strip(): index for index, line in enumerate(lines)}
    added = {token.content: index for index, token in files.added.items()}
    names = {
        ours: content_of(files.values.get(theirs)) or DEFAULT_TOKENS["esm"][theirs]
        for ours, theirs in _NAMES.items()
    }
    if missing := [token for token in names.values() if token not in {**ids, **added}]:
        raise ConfigError(
            f"A vocabulary must contain the special tokens; `{path}` ({len(ids)} tokens) lacks "
            f"{', '.join(missing)}. Add them, or give their spelling in {TOKENIZER_CONFIG}."
        )
    if alone := [token.content for token in files.added.values() if token.single_word]:
        raise ConfigError(
            "`single_word` of an added token must be false with ESM's tokenizer. Received: true of "
            f"{alone[0]!r} in `{files.directory}`. Set it to false in {TOKENIZER_CONFIG}."
        )
    tokens = tuple(
        AddedToken(token.content, normalized=False, special=token.special) for token in files.added.values()
    )
    settings = {
        **names,
        "model": "LongestMatch",
        "do_lower_case": False,
        "decoder_cleanup": None,
        "added_tokens": tokens,
    }
    return Serialised(settings, ids, added)


def esm_lines(vocabulary: Vocabulary) -> list[str]:
    """The lines of the `vocab.txt` that is read back so."""
    unnamed = {*vocabulary.unnamed_ids, vocabulary.blank_id}
    tokens = enumerate(vocabulary.tokens[: vocabulary.pieces])
    return ["" if index in unnamed else token for index, token in tokens]
