"""Where special tokens and texts stand in a row."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tf_mlm.config import TokenizerConfig
from tf_mlm.errors import ConfigError
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "[AND]"]
ROBERTA = (("[CLS]", 0), ("$A", 0), ("[SEP]", 0), ("[SEP]", 0), ("$B", 0), ("[SEP]", 0))
OTHER = (("[AND]", 2), ("[CLS]", 1), ("$A", 1), ("[AND]", 0), ("$B", 1), ("[SEP]", 1), ("[AND]", 2))


def preprocessor(pair: tuple[tuple[str, int], ...] | None, max_length: int = 12) -> TextPreprocessor:
    return TextPreprocessor(Vocabulary(TOKENS, TokenizerConfig(pair=pair)), max_length)


@pytest.mark.parametrize(
    ("pair", "token_ids", "segment_ids"),
    [
        (None, [[2, 5, 6, 3, 7, 3], [2, 3, 5, 5, 3, 0]], [[0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 0]]),
        (ROBERTA, [[2, 5, 6, 3, 3, 7, 3], [2, 3, 3, 5, 5, 3, 0]], [[0] * 7, [0] * 7]),
        (
            OTHER,
            [[8, 2, 5, 6, 8, 7, 3, 8], [8, 2, 8, 5, 5, 3, 8, 0]],
            [[2, 1, 1, 1, 0, 1, 1, 2], [2, 1, 0, 1, 1, 1, 2, 0]],
        ),
    ],
    ids=["bert", "roberta", "other"],
)
@pytest.mark.usefixtures("untraced")
def test_two_texts_stand_where_the_template_has_them(
    pair: tuple[tuple[str, int], ...] | None, token_ids: list[list[int]], segment_ids: list[list[int]]
) -> None:
    batch = preprocessor(pair)(["a b", ""], ["c", "a a"])
    assert batch.token_ids.numpy().tolist() == token_ids
    assert batch.segment_ids.numpy().tolist() == segment_ids
    assert batch.lengths.numpy().tolist() == [len(token_ids[0]), len(token_ids[0]) - 1]


def test_one_text_stands_between_class_token_and_separator() -> None:
    assert preprocessor(OTHER)("a b").token_ids.numpy().tolist() == [[2, 5, 6, 3]]


def test_a_pair_is_cut_to_what_the_template_leaves() -> None:
    batch = preprocessor(ROBERTA, 7)("a a a a", "b b b")
    assert batch.token_ids.numpy().tolist() == [[2, 5, 5, 3, 3, 6, 3]]
    with pytest.raises(ConfigError, match="at least 5: 4 special tokens of a pair and one of text"):
        preprocessor(ROBERTA, 4)


@pytest.mark.parametrize("pair", [(("$A", 0),), (("$B", 0), ("$A", 0)), (("$A", 0), ("$A", 0), ("$B", 0))])
def test_a_template_holds_both_texts_in_order(pair: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(ConfigError, match=r"`pair` must hold \$A and then \$B, each once"):
        TokenizerConfig(pair=pair)


def test_an_empty_batch_has_no_rows() -> None:
    empty = tf.constant([], tf.string)
    assert preprocessor(ROBERTA)(empty, empty).token_ids.shape == (0, 2)
