"""What BERT normalisation makes of each Unicode code point, as arrays a graph can gather from.

The source of truth is the `tokenizers` library: every code point goes through its normaliser and its
pre-tokenizer once, so the arrays say exactly what that library does, with its version of Unicode,
whatever that version is. They are computed when a tokenizer is built and cached for the process.

Normalisation looks at one code point at a time, with one exception: stripping accents first sorts each run
of combining marks by combining class. Nearly all marks vanish afterwards; for the sake of those that do not,
`marks` and `mark_classes` hold what the sort needs.
"""

from __future__ import annotations

import dataclasses
import functools
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tf_mlm.config import TokenizerConfig

if TYPE_CHECKING:
    from tokenizers import normalizers

PAGE_BITS = 8
PAGE_SIZE = 1 << PAGE_BITS
"""Code points that differ only in the low 8 bits share a page; equal pages are stored once."""

CLEANED, STRIPPED, LETTER, SPACE, ALONE, IDEOGRAPH = range(6)
"""A code point is dropped before decomposition, is a mark stripped after it, is part of a longer word,
separates words, is a word by itself, or is one that comes out of normalisation between spaces. From SPACE on
a word ends before it, from ALONE on also behind it."""

KIND_MASK = 7
COUNT_SHIFT, COUNT_MASK = 3, 7
IS_KEPT_MARK = 1 << 6
VALUE_SHIFT = 7

WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""What Unicode counts as white space, in every version since 6.3; Python's `str.isspace` has four more."""

_CODE_POINTS = 0x110000
_SURROGATES = np.s_[0xD800:0xE000]
_UNASSIGNED_PLANES = np.s_[0x40000:0xE0000]  # in every version of Unicode so far
_SEPARATOR = 0x2581  # ▁: stays as it is, no other code point becomes it, and runs of marks end at it
_HIGHEST_MARK = "\u0345"  # the mark of the highest combining class: known marks are sorted before it
_Ints = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class CodePoints:
    """Normalisation of every code point.

    `entries[pages[c // 256] * 256 + c % 256]` describes code point `c`: in bits 0 to 2 its kind, in bits 3
    to 5 how many code points it becomes, in bit 6 whether it is a combining mark that stays, and from bit 7
    on a signed value. The value is added to `c` if that becomes one code point, and otherwise is the place
    in `pool` where its replacements start.

    Attributes:
        pages: int32 [0x110000 / 256], which page of `entries` serves these 256 code points.
        entries: int32 [distinct pages * 256].
        pool: int32 [replacements], what code points are replaced by that become several.
        marks: int32 [marks], all combining marks that decomposition sorts, ascending.
        mark_classes: int32 [marks], their combining classes (1 to 254).
    """

    pages: _Ints
    entries: _Ints
    pool: _Ints
    marks: _Ints
    mark_classes: _Ints


def code_points(config: TokenizerConfig) -> CodePoints:
    """The arrays for the normalisation that a configuration asks for.

    Example:
        >>> from tf_mlm.config import TokenizerConfig
        >>> from tf_mlm.text.code_points import PAGE_SIZE, VALUE_SHIFT, code_points
        >>> table = code_points(TokenizerConfig())
        >>> page, index = divmod(ord("É"), PAGE_SIZE)
        >>> chr(ord("É") + (int(table.entries[table.pages[page] * PAGE_SIZE + index]) >> VALUE_SHIFT))
        'e'
    """
    return _code_points(
        config.clean_text, config.do_lower_case, config.strips_accents, config.tokenize_chinese_chars
    )


def normalizer(config: TokenizerConfig) -> normalizers.Normalizer:
    """The library's own normaliser for a configuration."""
    from tokenizers import normalizers

    return normalizers.BertNormalizer(
        clean_text=config.clean_text,
        handle_chinese_chars=config.tokenize_chinese_chars,
        strip_accents=config.strips_accents,
        lowercase=config.do_lower_case,
    )


@functools.lru_cache(maxsize=8)
def _code_points(clean_text: bool, lower_case: bool, strip_accents: bool, chinese: bool) -> CodePoints:
    from tokenizers import normalizers

    asked = np.ones(_CODE_POINTS, bool)
    asked[_SURROGATES] = asked[_UNASSIGNED_PLANES] = asked[_SEPARATOR] = False
    points = np.flatnonzero(asked)
    replacement, owner, has_space = _normalize_each(
        points,
        normalizers.BertNormalizer(
            clean_text=clean_text,
            handle_chinese_chars=chinese,
            strip_accents=strip_accents,
            lowercase=lower_case,
        ),
    )
    counts = np.bincount(owner, minlength=len(points))
    kinds = np.full(len(points), LETTER)
    kinds[owner[_stands_alone(replacement)]] = ALONE
    kinds[has_space] = IDEOGRAPH
    kinds[counts == 0] = STRIPPED
    kinds[(counts == 0) & has_space] = SPACE
    if clean_text:
        stripped = np.flatnonzero(kinds == STRIPPED)
        kinds[stripped[_is_cleaned(points[stripped])]] = CLEANED
    if counts[kinds >= ALONE].max() > 1 or counts.max() > COUNT_MASK:
        raise RuntimeError(
            "The graph needs each code point to normalise to a part of at most one word, which the installed "
            "`tokenizers` does not do. Install another version of it."
        )

    several = counts > 1
    values = np.zeros(len(points), np.int64)
    values[counts == 1] = replacement[(counts == 1)[owner]] - points[counts == 1]
    values[several] = np.cumsum(counts[several]) - counts[several]
    # A code point that was not asked about stays as it is; surrogates never come out of valid UTF-8.
    entries = np.full(_CODE_POINTS, LETTER | 1 << COUNT_SHIFT)
    entries[_SURROGATES] = CLEANED
    entries[points] = kinds | counts << COUNT_SHIFT | values << VALUE_SHIFT

    marks, mark_classes = _sorted_marks() if strip_accents else (np.zeros(0, int), np.zeros(0, int))
    entries[marks[(entries[marks] >> COUNT_SHIFT & COUNT_MASK) > 0]] |= IS_KEPT_MARK

    arrays = (*paged(entries), replacement[several[owner]], marks, mark_classes)
    return CodePoints(*(array.astype(np.int32) for array in arrays))


def paged(entries: _Ints) -> tuple[_Ints, _Ints]:
    """An entry for every code point as pages: which one serves each 256 of them, and the different ones."""
    distinct, pages = np.unique(entries.reshape(-1, PAGE_SIZE), axis=0, return_inverse=True)
    return pages.reshape(-1), distinct.reshape(-1)


def _normalize_each(
    points: _Ints, normalizer: normalizers.Normalizer
) -> tuple[_Ints, _Ints, NDArray[np.bool_]]:
    """All replacements in order, the index of the code point each is for, and where white space came out."""
    separated = np.full(2 * len(points), _SEPARATOR)
    separated[::2] = points
    output = _points_of(normalizer.normalize_str(_text_of(separated)))
    is_separator, is_space = output == _SEPARATOR, np.isin(output, [ord(blank) for blank in WHITE_SPACE])
    owner = np.cumsum(is_separator)
    has_space = np.bincount(owner[is_space], minlength=len(points)) > 0
    kept = ~is_separator & ~is_space
    return output[kept], owner[kept], has_space


def _is_cleaned(points: _Ints) -> NDArray[np.bool_]:
    """Which code points vanish even if accents are kept."""
    from tokenizers import normalizers

    clean = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False
    )
    _, owner, _ = _normalize_each(points, clean)
    return np.bincount(owner, minlength=len(points)) == 0


def _stands_alone(points: _Ints) -> NDArray[np.bool_]:
    """Which normalised code points the pre-tokenizer makes a word of their own."""
    from tokenizers import pre_tokenizers

    distinct, where = np.unique(points, return_inverse=True)
    between_letters = np.full(2 * len(distinct) + 1, ord("a"))
    between_letters[1::2] = distinct
    words = pre_tokenizers.BertPreTokenizer().pre_tokenize_str(_text_of(between_letters))
    alone = np.zeros(len(between_letters), bool)
    alone[[start for _, (start, end) in words if end - start == 1]] = True
    return alone[1::2][where]


@functools.cache
def _sorted_marks() -> tuple[_Ints, _Ints]:
    """The combining marks that the library's decomposition sorts, and their combining classes."""
    from tokenizers import normalizers

    nfd = normalizers.NFD()
    classes = {}
    for point in range(0x300, _UNASSIGNED_PLANES.start):
        if unicodedata.category(chr(point)) in ("Mn", "Mc", "Me"):
            # The library's Unicode may be older than Python's; a mark it does not know stays behind.
            output = nfd.normalize_str(_HIGHEST_MARK + chr(point))
            if output.endswith(_HIGHEST_MARK):
                classes[point] = unicodedata.combining(output[0])
    return np.array(list(classes)), np.array(list(classes.values()))


def _text_of(points: _Ints) -> str:
    return points.astype("<u4").tobytes().decode("utf-32-le")


def _points_of(text: str) -> _Ints:
    return np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.int64)
