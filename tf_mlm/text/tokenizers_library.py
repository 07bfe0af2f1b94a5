"""Parts of the `tokenizers` library from their JSON."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer, normalizers, pre_tokenizers


def library_normalizer(serialised: str) -> normalizers.Normalizer | None:
    """The library's own, from its JSON; None for `null`."""
    return _with("normalizer", serialised).normalizer


def library_pre_tokenizer(serialised: str) -> pre_tokenizers.PreTokenizer | None:
    """The library's own, from its JSON; None for `null`."""
    return _with("pre_tokenizer", serialised).pre_tokenizer


def _with(part: str, serialised: str) -> Any:
    values = {"version": "1.0", part: json.loads(serialised or "null"), "added_tokens": []}
    model = {"type": "BPE", "vocab": {}, "merges": []}
    return Tokenizer.from_str(json.dumps({**values, "model": model}))
