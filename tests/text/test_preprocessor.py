from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.config import TokenizerConfig
from tf_mlm.errors import ConfigError
from tf_mlm.text.preprocessor import Preprocessed, TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary

PAD, UNK, CLS, SEP, MASK, A, B = range(7)
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##b", "é", "!"]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(TOKENS)


@pytest.fixture(scope="module")
def preprocess(vocabulary: Vocabulary) -> TextPreprocessor:
    return TextPreprocessor(vocabulary, max_length=8)


def lists(batch: Preprocessed) -> dict[str, list]:
    return {name: tensor.numpy().tolist() for name, tensor in batch._asdict().items()}


def test_a_batch_of_texts(preprocess: TextPreprocessor) -> None:
    batch = lists(preprocess(["Ab[MASK]", "", "[MASK] é[MASK]"]))
    assert batch == {
        "token_ids": [[CLS, A, 7, MASK, SEP], [CLS, SEP, PAD, PAD, PAD], [CLS, MASK, UNK, MASK, SEP]],
        "lengths": [5, 2, 5],
        "segment_ids": [[0] * 5] * 3,
        "mask_positions": [[3, -1], [-1, -1], [1, 3]],
        "starts": [[0, 0, 1, 2, 0], [0] * 5, [0, 0, 7, 9, 0]],
        "ends": [[0, 1, 2, 8, 0], [0] * 5, [0, 6, 9, 15, 0]],
    }
    assert {tensor.dtype for tensor in preprocess(["a"])} == {tf.int32}


def test_a_batch_of_pairs(preprocess: TextPreprocessor) -> None:
    batch = lists(preprocess(["a", "[MASK]"], ["b [MASK]", ""]))
    assert batch == {
        "token_ids": [[CLS, A, SEP, B, MASK, SEP], [CLS, MASK, SEP, SEP, PAD, PAD]],
        "lengths": [6, 4],
        "segment_ids": [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 0, 0]],
        "mask_positions": [[4], [1]],
        "starts": [[0, 0, 0, 0, 2, 0], [0] * 6],
        "ends": [[0, 1, 0, 1, 8, 0], [0, 6, 0, 0, 0, 0]],
    }


@pytest.mark.parametrize(
    "text", ["a b", b"a b", ["a b"], [b"a b"], ("a b",), np.array(["a b"]), tf.constant("a b")]
)
def test_what_counts_as_text(preprocess: TextPreprocessor, text: object) -> None:
    assert lists(preprocess(text))["token_ids"] == [[CLS, A, B, SEP]]


def test_texts_without_a_token_have_two(preprocess: TextPreprocessor) -> None:
    assert lists(preprocess(["", " ", "\x00", b"\xff\xfe", "\ud800"]))["token_ids"] == [[CLS, SEP]] * 5


def test_an_empty_batch_has_length_two(preprocess: TextPreprocessor) -> None:
    shapes = [tuple(tensor.shape) for tensor in preprocess([])]
    assert shapes == [(0, 2), (0,), (0, 2), (0, 0), (0, 2), (0, 2)]


def test_a_matrix_of_texts_is_refused(preprocess: TextPreprocessor) -> None:
    with pytest.raises(ValueError, match=r"`pair` must be one text or a batch.*Received: "):
        preprocess(["a"], [["a", "b"]])


def test_texts_without_mask_are_cut_at_the_end(preprocess: TextPreprocessor) -> None:
    batch = lists(preprocess(["[MASK]" + "a " * 20]))
    assert batch["token_ids"] == [[CLS, MASK, A, A, A, A, A, SEP]]
    assert batch["lengths"] == [8]


@pytest.mark.parametrize("compiled", [False, True])
def test_a_mask_beyond_the_limit_is_never_cut(preprocess: TextPreprocessor, compiled: bool) -> None:
    call = tf.function(lambda *texts: preprocess(*texts)) if compiled else preprocess
    assert lists(call(tf.constant(["a a a a a [MASK]"])))["mask_positions"] == [[6]]
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"text 2 has 9 tokens .* limit is 8, and a mask"
    ):
        call(tf.constant(["a", "a " * 20, "a a a a a a[MASK]", "a a a a a a a [MASK]"]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"text 1 has 10 tokens .* limit is 8"):
        call(tf.constant(["a", "a a"]), tf.constant(["b", "b b b b [MASK]"]))


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (2, 3, (2, 3)),
        (1, 9, (1, 4)),
        (9, 1, (4, 1)),
        (2, 9, (2, 3)),
        (9, 9, (2, 3)),
        (9, 8, (3, 2)),
        (3, 3, (2, 3)),
    ],
)
def test_of_a_pair_the_longer_text_is_cut_first(
    preprocess: TextPreprocessor, first: int, second: int, kept: tuple[int, int]
) -> None:
    (token_ids,) = lists(preprocess("a " * first, "b " * second))["token_ids"]
    assert (token_ids.count(A), token_ids.count(B)) == kept


def test_a_shorter_text_below_half_the_limit_is_left_whole(vocabulary: Vocabulary) -> None:
    (token_ids,) = lists(TextPreprocessor(vocabulary, 13)("a " * 4, "b " * 9))["token_ids"]
    assert (token_ids.count(A), token_ids.count(B)) == (4, 6)


def test_pairs_must_be_as_many_as_texts(preprocess: TextPreprocessor) -> None:
    with pytest.raises(ValueError, match=r"`pair` must have as many texts as `text`\. Received: 1 beside 2"):
        preprocess(["a", "a"], ["b"])
    texts = tf.TensorSpec([None], tf.string)
    graph = tf.function(preprocess, input_signature=[texts, texts], autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="same batch size"):
        graph(tf.constant(["a", "a"]), tf.constant(["b"]))


@pytest.mark.peers
@pytest.mark.parametrize("max_length", [4, 5, 8, 13])
@pytest.mark.usefixtures("untraced")
def test_pairs_are_cut_as_hugging_face_does(vocabulary: Vocabulary, max_length: int) -> None:
    from transformers import BertTokenizerFast

    counts = list(itertools.product(range(14), range(14)))
    texts, pairs = ["a " * first for first, _ in counts], ["b " * second for _, second in counts]
    fast = BertTokenizerFast({token: index for index, token in enumerate(TOKENS)})
    wanted = fast(list(zip(texts, pairs, strict=True)), truncation=True, max_length=max_length, padding=True)
    got = TextPreprocessor(vocabulary, max_length)(texts, pairs)
    np.testing.assert_array_equal(got.token_ids, wanted["input_ids"])
    np.testing.assert_array_equal(got.segment_ids, wanted["token_type_ids"])
    np.testing.assert_array_equal(got.lengths, np.sum(wanted["attention_mask"], 1))
    single = fast(texts, truncation=True, max_length=max_length, padding=True)
    np.testing.assert_array_equal(
        TextPreprocessor(vocabulary, max_length)(texts).token_ids, single["input_ids"]
    )


@pytest.mark.peers
@pytest.mark.usefixtures("untraced")
def test_long_and_odd_texts_equal_hugging_face(pair, sample: list[str]) -> None:
    from transformers import BertTokenizerFast

    config = pair.vocabulary.config
    fast = BertTokenizerFast(
        {token: index for index, token in enumerate(pair.vocabulary)},
        do_lower_case=config.do_lower_case,
        strip_accents=config.strip_accents,
        tokenize_chinese_chars=config.tokenize_chinese_chars,
    )
    texts = [text for text in sample[::4] if "[MASK]" not in text]
    wanted = fast(texts, texts[::-1], truncation=True, max_length=24, padding=True)
    got = TextPreprocessor(pair.vocabulary, 24, tokenizer=pair.ours)(texts, texts[::-1])
    np.testing.assert_array_equal(got.token_ids, wanted["input_ids"])
    np.testing.assert_array_equal(got.segment_ids, wanted["token_type_ids"])


def test_padding_to_the_limit(vocabulary: Vocabulary) -> None:
    batch = TextPreprocessor(vocabulary, 8, pad_to_max_length=True)(["a"])
    assert lists(batch)["token_ids"] == [[CLS, A, SEP] + [PAD] * 5]
    assert lists(batch)["lengths"] == [3]


def test_offsets_point_into_each_text(preprocess: TextPreprocessor) -> None:
    texts = ["ÁB\u0301! [MASK]", "a  é"]
    batch = preprocess(texts)
    for text, starts, ends, length in zip(
        texts, batch.starts, batch.ends, batch.lengths.numpy(), strict=True
    ):
        pieces = [text.encode()[s:e].decode() for s, e in zip(starts.numpy(), ends.numpy(), strict=True)]
        assert "".join(pieces[1 : length - 1]) == text.replace(" ", "").replace("\u0301", "")


def test_the_same_through_every_door(preprocess: TextPreprocessor, tmp_path: Path) -> None:
    class Export(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.preprocess = preprocess

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def encode(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
            batch = self.preprocess(text)
            return {**batch._asdict(), "tokens": self.preprocess.tokens_of(batch.token_ids)}

    texts = ["Ab[MASK] 中", "", "a e\u0301", "[MASK]" * 3]
    wanted = lists(preprocess(texts))

    export = Export()
    tf.saved_model.save(export, str(tmp_path), signatures={"encode": export.encode})
    assert (tmp_path / "assets" / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1] == TOKENS
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    loaded = tf.saved_model.load(str(moved))
    served = loaded.signatures["encode"](tf.constant(texts))
    for name, value in wanted.items():
        assert served[name].numpy().tolist() == value
    assert served["tokens"][0].numpy().tolist() == [b"[CLS]", b"a", b"##b", b"[MASK]", b"[UNK]", b"[SEP]"]

    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(4).map(preprocess, num_parallel_calls=2)
    assert lists(Preprocessed(*next(iter(dataset)))) == wanted


def test_one_trace_serves_every_batch(vocabulary: Vocabulary) -> None:
    preprocess = TextPreprocessor(vocabulary)
    for size in (1, 2, 7):
        preprocess(["a"] * size)
        preprocess(["a"] * size, ["b"] * size)
    assert preprocess._encode.experimental_get_tracing_count() == 1
    assert preprocess._encode_pair.experimental_get_tracing_count() == 1


def test_untraced_it_gives_the_same(vocabulary: Vocabulary) -> None:
    preprocess = TextPreprocessor(vocabulary, 8)
    texts = ["a b [MASK]", "", "a " * 20]
    found = lists(preprocess.untraced(texts))
    assert preprocess._encode.experimental_get_tracing_count() == 0
    assert found == lists(preprocess(texts))


def test_targets_stand_for_their_token_or_their_first_one(preprocess: TextPreprocessor) -> None:
    ids = preprocess.target_ids([["a", "##b", "[MASK]"], ["Ab", "zz", " "]])
    assert ids.numpy().tolist() == [[A, 7, MASK], [A, UNK, -1]]


def test_tokens_of_ids(preprocess: TextPreprocessor) -> None:
    assert preprocess.tokens_of([[A, MASK], [7, 99]]).numpy().tolist() == [
        [b"a", b"[MASK]"],
        [b"##b", b"[UNK]"],
    ]


def test_text_of_ids(preprocess: TextPreprocessor) -> None:
    ids = np.array([[CLS, A, 7, MASK, 9, SEP, PAD], [CLS, B, SEP, PAD, PAD, PAD, PAD]])
    assert preprocess.detokenize(ids) == ["ab!", "b"]
    assert preprocess.detokenize(ids[0], skip_special_tokens=False) == "[CLS] ab [MASK]! [SEP]"


def test_a_limit_without_room_is_refused(vocabulary: Vocabulary) -> None:
    with pytest.raises(ConfigError, match=r"at least 4.*max_length=3"):
        TextPreprocessor(vocabulary, max_length=3)


def test_accents_are_kept_where_the_configuration_says_so() -> None:
    preprocess = TextPreprocessor(Vocabulary(TOKENS, TokenizerConfig(strip_accents=False)))
    assert lists(preprocess(["É"]))["token_ids"] == [[CLS, 8, SEP]]
