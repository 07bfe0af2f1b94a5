"""SentencePiece's compiled normalisation, `precompiled_charsmap`: which characters become which.

The format is a double array over the bytes of what is replaced, then the replacements, each ended by a zero
byte: Aoe, "An Efficient Digital Search Algorithm by Using a Double-Array Structure" (1989), as
https://github.com/s-yata/darts-clone packs it.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from tokenizers import normalizers

from tf_mlm.errors import ConfigError

_LONGEST = 5  # bytes: no character has more, and no longer group is looked up


class Charsmap(NamedTuple):
    """What the `tokenizers` library does with a map, character by character.

    It looks at what Unicode takes for one character: a letter with its marks. Such a group is replaced as a
    whole where it has less than 6 bytes and begins with something that is replaced; else each of its code
    points is, by itself.

    Attributes:
        singles: replacements of one code point.
        groups: replacements of several code points of less than 6 bytes together.
        extends: code points that belong to a group with the one before.
        ends_group: code points that are replaced and begin no group.
    """

    singles: dict[str, str]
    groups: dict[str, str]
    extends: frozenset[int]
    ends_group: frozenset[int]


@functools.lru_cache(maxsize=4)
def read_charsmap(data: bytes) -> Charsmap:
    """The content of a map.

    Raises:
        ConfigError: for bytes that are no map.
    """
    try:
        pairs = dict(_pairs(data))
        library = normalizers.Precompiled(data)
    except Exception as error:  # the library raises nothing narrower
        raise ConfigError(
            f"`precompiled_charsmap` must be a map that SentencePiece has compiled; its {len(data)} bytes "
            f"are not: {error}. Restore the file."
        ) from error
    singles = {key: value for key, value in pairs.items() if len(key) == 1}
    joined = "".join(f"{key}\u0301\U000f0000" for key in singles)
    outputs = library.normalize_str(joined).split("\U000f0000")[:-1]
    ends_group = {ord(key) for key, output in zip(singles, outputs, strict=True) if output != singles[key]}
    return Charsmap(
        singles,
        {key: value for key, value in pairs.items() if len(key) > 1 and not _has_shorter(key, pairs)},
        _extending(),
        frozenset(ends_group),
    )


def _has_shorter(key: str, pairs: Mapping[str, str]) -> bool:
    """Whether the beginning of a key is one too: the library takes the shortest."""
    return any(key[:size] in pairs for size in range(1, len(key)))


def _pairs(data: bytes) -> list[tuple[str, str]]:
    """The keys of the double array, up to the longest that counts, with their replacements."""
    (size,) = struct.unpack_from("<I", data)
    units = np.frombuffer(data, "<u4", size // 4, 4).astype(np.int64)
    texts = data[4 + size :]
    offsets = (units >> 10) << ((units & (1 << 9)) >> 6)
    labels, has_leaf = units & (1 << 31 | 0xFF), (units >> 8 & 1).astype(bool)
    found: list[tuple[str, str]] = []
    places, prefixes = np.array([offsets[0]]), [b""]
    for _ in range(_LONGEST):
        children = places[:, np.newaxis] ^ np.arange(1, 256)
        inside = children < len(units)
        match = inside & (labels[np.where(inside, children, 0)] == np.arange(1, 256))
        parents, bytes_behind = np.nonzero(match)
        nodes = children[parents, bytes_behind]
        prefixes = [
            prefixes[parent] + bytes([byte + 1])
            for parent, byte in zip(parents.tolist(), bytes_behind.tolist(), strict=True)
        ]
        places = nodes ^ offsets[nodes]
        for index in np.flatnonzero(has_leaf[nodes]).tolist():
            begin = int(units[places[index]] & 0x7FFFFFFF)
            end = texts.index(b"\0", begin)
            found.append((prefixes[index].decode("utf-8"), texts[begin:end].decode("utf-8")))
    return found


@functools.cache
def _extending() -> frozenset[int]:
    """The code points that the library takes for a part of the character before.

    A map that has nothing but a → b shows them: what follows a goes away with it.
    """
    units = np.zeros(512, "<u4")
    units[0] = 256 << 10  # the root: its children are at 256 ^ byte
    units[256 ^ ord("a")] = 1 << 10 | 1 << 8 | ord("a")  # a leaf at the place beside it
    array = units.tobytes()
    library = normalizers.Precompiled(struct.pack("<I", len(array)) + array + b"b\0")
    points = [*range(0x300, 0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE1000)]
    asked = "".join(f"a{chr(point)}\U000f0000" for point in points)
    outputs = library.normalize_str(asked).split("\U000f0000")[:-1]
    return frozenset(point for point, output in zip(points, outputs, strict=True) if output == "b")
