from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from tokenizers import normalizers, pre_tokenizers

from tf_mlm.config import TokenizerConfig
from tf_mlm.text import code_points as cp


def normalized(table: cp.CodePoints, point: int) -> tuple[int, str]:
    """Kind and replacement of one code point, read from the arrays as their docstring says."""
    page, index = divmod(point, cp.PAGE_SIZE)
    entry = int(table.entries[table.pages[page] * cp.PAGE_SIZE + index])
    kind, count = entry & cp.KIND_MASK, (entry >> cp.COUNT_SHIFT) & cp.COUNT_MASK
    value = entry >> cp.VALUE_SHIFT
    replacement = table.pool[value : value + count] if count > 1 else [point + value] * count
    return kind, "".join(map(chr, replacement))


@pytest.mark.parametrize(
    "config",
    [
        TokenizerConfig(),
        TokenizerConfig(do_lower_case=False),
        TokenizerConfig(strip_accents=False),
        TokenizerConfig(do_lower_case=False, strip_accents=True, tokenize_chinese_chars=False),
        TokenizerConfig(clean_text=False),
    ],
    ids=["uncased", "cased", "uncased-accents", "cased-no-accents-no-cjk", "unclean"],
)
def test_every_code_point_becomes_what_the_library_makes_of_it(config: TokenizerConfig) -> None:
    table = cp.code_points(config)
    normalizer = normalizers.BertNormalizer(
        clean_text=config.clean_text,
        handle_chinese_chars=config.tokenize_chinese_chars,
        strip_accents=config.strip_accents,
        lowercase=config.do_lower_case,
    )
    wrong = []
    # Planes 4 to 13 hold no character; a few of their code points will do.
    points = [
        *range(0xD800),
        *range(0xE000, 0x40000),
        *range(0x40000, 0xE0000, 997),
        *range(0xE0000, 0x110000),
    ]
    for point in points:
        output = normalizer.normalize_str(chr(point))
        kind, replacement = normalized(table, point)
        is_space = output != "" and not output.strip(cp.WHITE_SPACE)
        if replacement != output.strip(cp.WHITE_SPACE) or (kind == cp.SPACE) != is_space:
            wrong.append(hex(point))
    assert wrong == []


def test_code_points_that_stand_alone_are_those_the_library_cuts_around() -> None:
    table = cp.code_points(TokenizerConfig())
    normalizer = normalizers.BertNormalizer()
    splitter = pre_tokenizers.BertPreTokenizer()
    wrong = []
    for point in range(0x30000):
        if 0xD800 <= point < 0xE000:
            continue
        words = splitter.pre_tokenize_str(normalizer.normalize_str(f"a{chr(point)}a"))
        if (normalized(table, point)[0] >= cp.ALONE) != (len(words) == 3):
            wrong.append(hex(point))
    assert wrong == []


def test_no_mark_is_missing_that_the_library_sorts() -> None:
    table = cp.code_points(TokenizerConfig())
    nfd = normalizers.NFD()
    moved = [
        point
        for point in [*range(0x80, 0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE0200)]
        if nfd.normalize_str("\u0345" + chr(point)).endswith("\u0345")
        and unicodedata.combining(nfd.normalize_str(chr(point))[:1] or "a")
    ]
    assert table.marks.tolist() == moved
    assert table.mark_classes.min() >= 1
    assert np.all(np.diff(table.marks) > 0)


def test_arrays_are_small_enough_to_save_with_every_model() -> None:
    table = cp.code_points(TokenizerConfig())
    assert sum(array.nbytes for array in (table.pages, table.entries, table.pool, table.marks)) < 400_000
    assert all(array.dtype == np.int32 for array in (table.pages, table.entries, table.pool, table.marks))


def test_configurations_that_normalise_alike_share_arrays() -> None:
    assert cp.code_points(TokenizerConfig()) is cp.code_points(
        TokenizerConfig(strip_accents=True, cls_token="<s>")
    )
