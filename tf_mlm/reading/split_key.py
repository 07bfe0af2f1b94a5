"""Which documents are held out: decided by their content alone, the same wherever they are read."""

from __future__ import annotations

import hashlib


def split_key(content: str | bytes) -> bytes:
    """What decides on which side of the split a document lies: 8 bytes, a pure function of its content."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return hashlib.blake2b(data, digest_size=8, person=b"tf_mlm split").digest()


def in_share(key: bytes, share: float) -> bool:
    """Whether a document with this `split_key` belongs to a share of all.

    Example:
        >>> from tf_mlm.reading.split_key import in_share, split_key
        >>> 150 < sum(in_share(split_key(f"document {i}"), 0.1) for i in range(2000)) < 250
        True
    """
    return int.from_bytes(key, "big") < share * 2**64
