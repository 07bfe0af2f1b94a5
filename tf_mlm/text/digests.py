"""Fingerprints of a vocabulary and of its rules: what token ids that lie on a disk were made with."""

from __future__ import annotations

import dataclasses
import hashlib
import json

from tf_mlm.config import TokenizerConfig
from tf_mlm.text.vocabulary import Vocabulary


def vocabulary_digest(vocabulary: Vocabulary) -> str:
    """A short fingerprint of all tokens in their order, and of what decides between them."""
    content = "\n".join(vocabulary.tokens)
    if vocabulary.merges or vocabulary.scores:
        content += json.dumps([vocabulary.merges, vocabulary.scores])
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def tokenizer_digest(vocabulary: Vocabulary) -> str:
    """A short fingerprint of the rules by which text is spelled in these tokens.

    What has its default is left out, so that a rule of a later version changes nothing for earlier runs.
    """
    config = vocabulary.config
    rules = dataclasses.asdict(dataclasses.replace(config, strip_accents=config.strips_accents, extra={}))
    usual = dataclasses.asdict(TokenizerConfig())
    rules = {name: value for name, value in rules.items() if value != usual[name]}
    return hashlib.blake2b(json.dumps(rules, sort_keys=True).encode(), digest_size=8).hexdigest()
