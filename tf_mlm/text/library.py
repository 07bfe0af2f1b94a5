"""Parts of the `tokenizers` library from their JSON."""

from __future__ import annotations

import json

from tokenizers import Tokenizer, normalizers


def library_normalizer(serialised: str) -> normalizers.Normalizer | None:
    """The library's own, from its JSON; None for `null`."""
    values = {"version": "1.0", "normalizer": json.loads(serialised or "null"), "added_tokens": []}
    model = {"type": "BPE", "vocab": {}, "merges": []}
    return Tokenizer.from_str(json.dumps({**values, "model": model})).normalizer
