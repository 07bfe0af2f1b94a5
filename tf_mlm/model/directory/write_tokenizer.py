"""A vocabulary, or a preprocessor with it, to the tokenizer files of a directory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tf_mlm.config import ModelConfig, TokenizerConfig, write_json
from tf_mlm.durable import write_durably
from tf_mlm.model.directory.esm_tokenizer import esm_lines
from tf_mlm.model.directory.families import family_of
from tf_mlm.model.directory.tokenizer_files import (
    ADDED_TOKENS,
    BPE_VOCABULARY,
    MERGES,
    SENTENCEPIECE_MODELS,
    SPECIAL_TOKENS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCABULARY,
)
from tf_mlm.model.directory.tokenizer_json import write_tokenizer_json
from tf_mlm.model.directory.tokenizer_keys import (
    BERT_CLASSES,
    BERT_SETTINGS,
    ESM_CLASSES,
    OUR_NAMES,
    ROBERTA_SETTINGS,
)
from tf_mlm.text.code_points import WHITE_SPACE
from tf_mlm.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tf_mlm.text.preprocessor import TextPreprocessor


def write_preprocessor(preprocessor: TextPreprocessor, directory: Path, config: ModelConfig) -> None:
    """Writes the tokenizer files of a model with these sizes."""
    limit = preprocessor.max_length or config.max_length
    vocabulary = preprocessor.vocabulary
    stated = vocabulary.config.extra.get("model_max_length", 0)
    is_shorter = isinstance(stated, int | float) and stated < limit  # as before the context was extended
    is_stated = limit >= config.max_length and not is_shorter
    inputs = family_of(config).inputs
    write_vocabulary(vocabulary, directory, None if is_stated else limit, inputs)


def write_vocabulary(
    vocabulary: Vocabulary, directory: Path, max_length: int | None = None, inputs: Sequence[str] = ()
) -> None:
    """Writes the vocabulary and `tokenizer_config.json`, and removes what would contradict them.

    The vocabulary is a `vocab.txt` where that says everything, else a `tokenizer.json`. A file left behind by
    an earlier model in the same directory would silently be another tokenizer.

    Args:
        vocabulary: the tokens and how text is cut into them.
        directory: must exist.
        max_length: what is stated as `model_max_length`; None leaves what the vocabulary came with.
        inputs: what the model takes of what the tokenizer makes; all of it unless given.
    """
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
            *("model", "pair"),
            *("clean_text", "max_input_chars_per_word", "continuing_subword_prefix", "decoder_cleanup"),
        )
    )
    is_plain = is_bert and list(ids) == tokens and all(token == token.rstrip(WHITE_SPACE) for token in tokens)
    if settings.model == "LongestMatch":
        kept = VOCABULARY
        write_durably(directory / VOCABULARY, "\n".join(esm_lines(vocabulary)).encode("utf-8"))
    elif is_plain and not tokens[0].startswith("\ufeff"):
        kept = VOCABULARY
        text = "".join(f"{token}\n" for token in tokens)
        write_durably(directory / VOCABULARY, text.encode("utf-8"))
    else:
        kept = TOKENIZER
        content = write_tokenizer_json(settings, ids, all_ids, vocabulary.merges, vocabulary.scores)
        write_json(directory / TOKENIZER, content)
    own = {"WordPiece": BERT_SETTINGS, "BPE": ROBERTA_SETTINGS}.get(settings.model, ())
    values = {
        **settings.extra,
        **{name: getattr(settings, name) for name in (*own, *OUR_NAMES)},
    }
    if max_length is not None:
        values["model_max_length"] = max_length
    if settings.added_tokens:
        values["added_tokens_decoder"] = {
            str(all_ids[token.content]): dataclasses.asdict(token)
            for token in sorted(settings.found_tokens, key=lambda token: all_ids[token.content])
        }
    if settings.model == "LongestMatch":
        values["tokenizer_class"] = ESM_CLASSES[0]
        values["eos_token"] = values.pop("sep_token")
    elif not is_bert:
        values["tokenizer_class"] = "PreTrainedTokenizerFast"
        if inputs:  # the class that was there knew them
            values.setdefault("model_input_names", list(inputs))
    elif str(values.get("tokenizer_class")).removesuffix("Fast") not in BERT_CLASSES:
        values["tokenizer_class"] = BERT_CLASSES[0]
    write_json(directory / TOKENIZER_CONFIG, values)
    vocabularies = {VOCABULARY, BPE_VOCABULARY, MERGES, TOKENIZER, *SENTENCEPIECE_MODELS.values()}
    for stale in {*vocabularies, SPECIAL_TOKENS, ADDED_TOKENS} - {kept}:
        (directory / stale).unlink(missing_ok=True)
