"""Byte-level BPE learnt from text: the same in every process, and carried by the graph."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import tensorflow as tf
from reference.processes import printed
from tokenizers import Tokenizer

from tf_mlm.config import AddedToken, TokenizerConfig
from tf_mlm.config.architectures import ARCHITECTURES
from tf_mlm.decoder import byte_characters
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.write_tokenizer import write_vocabulary
from tf_mlm.text.byte_bpe import ByteBpeTokenizer
from tf_mlm.text.byte_bpe_training import train_byte_bpe
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.text.vocabulary_training import learn_vocabulary

ROBERTA = ARCHITECTURES["roberta"].tokenizer
MODERN_BERT = ARCHITECTURES["modernbert"].tokenizer
LEAST = 5 + 256


@pytest.fixture(scope="module", params=["roberta", "modernbert"])
def learnt(request: pytest.FixtureRequest, documentation: list[str]) -> Vocabulary:
    return train_byte_bpe(documentation, 3000, ARCHITECTURES[request.param].tokenizer)


def test_special_tokens_bytes_and_words_come_in_this_order(learnt: Vocabulary) -> None:
    config = learnt.config
    first = (config.cls_token, config.pad_token, config.sep_token, config.unk_token, config.mask_token)
    assert learnt.tokens[:5] == first
    assert learnt.tokens[5:LEAST] == tuple(sorted(byte_characters()))
    assert learnt.tokens[LEAST:] == tuple(left + right for left, right in learnt.merges)
    assert learnt.size == 3000
    assert {"Ġthe", "Ġobject", "ing"} <= set(learnt)


def test_the_graph_cuts_text_as_the_library_does_with_what_was_learnt(
    learnt: Vocabulary, documentation: list[str], tmp_path: Path
) -> None:
    """Making the tokenizer checks that every merge reaches what it makes."""
    tokenizer = ByteBpeTokenizer(learnt)
    write_vocabulary(learnt, tmp_path)
    theirs = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    texts = documentation[:500]
    ours = tokenizer(tf.constant(texts))
    for text, first, count in zip(texts, ours.firsts.numpy(), ours.counts.numpy(), strict=True):
        ids = ours.token_ids[first : first + count].numpy().tolist()
        assert ids == theirs.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("letters", ["a", "ab", "abc", "aé中", "ab ."])
def test_what_texts_full_of_ties_and_repetitions_teach_is_carried(letters: str) -> None:
    chance = random.Random(7)
    texts = ["".join(chance.choice(letters) for _ in range(chance.randint(1, 60))) for _ in range(300)]
    vocabulary = train_byte_bpe(texts, 2000, ROBERTA)
    assert len(vocabulary.merges) > 20 or letters == "a"
    ByteBpeTokenizer(vocabulary)
    chance.shuffle(texts)
    assert train_byte_bpe(texts, 2000, ROBERTA).merges == vocabulary.merges


def test_training_is_the_same_in_every_process(documentation: list[str], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("\n".join(documentation[:3000]), encoding="utf-8")
    program = (
        "import sys, json; from tf_mlm.text.byte_bpe_training import train_byte_bpe as train; "
        "from tf_mlm.config.architectures import ARCHITECTURES as known; "
        "made = train(open(sys.argv[1], encoding='utf-8'), 3000, known['roberta'].tokenizer); "
        "print(json.dumps([made.tokens, made.merges]))"
    )
    answers = set(printed(program, tmp_path / "text"))
    assert [len(json.loads(answer)[0]) for answer in answers] == [3000]


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        ([], 300, "not one word"),
        (["", " \n \t"], 300, "not one word"),
        (["a"], LEAST - 1, r"5 special tokens and the 256 bytes. Received: size=260. Give at least 261"),
    ],
)
def test_training_needs_text_and_room(texts: list[str], size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train_byte_bpe(texts, size, ROBERTA)


def test_little_text_gives_fewer_tokens() -> None:
    assert train_byte_bpe(["abc def"], 1000, ROBERTA).size == LEAST
    assert train_byte_bpe(["twice twice"], 1000, ROBERTA).tokens[LEAST:] != ()


def test_lines_are_learnt_from_as_training_reads_them() -> None:
    vocabulary = train_byte_bpe(["one\ntwo\n\n\none\ntwo"] * 5, 400, ROBERTA)
    assert {"one", "two"} <= set(vocabulary)
    assert not any("Ċ" in token for token in vocabulary.tokens[LEAST:])


def test_texts_are_read_once_and_not_kept() -> None:
    """As many as are needed at a time: a corpus may be larger than memory."""
    waiting: list[int] = []

    def texts() -> object:
        for index in range(200_000):
            waiting.append(index)
            yield "some words that come again"

    train_byte_bpe(texts(), 300, ROBERTA)  # type: ignore[arg-type]
    assert waiting == list(range(200_000))


def test_half_an_emoji_is_no_obstacle() -> None:
    halves = train_byte_bpe(["the \ud83d cat"] * 3, 300, ROBERTA)
    assert halves == train_byte_bpe(["the ��� cat"] * 3, 300, ROBERTA)


def test_normalisation_comes_first() -> None:
    apart = ["cafe\u0301 cafe\u0301"] * 3
    assert train_byte_bpe(apart, 300, MODERN_BERT) == train_byte_bpe(["café café"] * 3, 300, MODERN_BERT)
    assert train_byte_bpe(apart, 300, ROBERTA) != train_byte_bpe(["café café"] * 3, 300, ROBERTA)


def test_added_tokens_have_ids_of_their_own() -> None:
    config = TokenizerConfig(model="BPE", do_lower_case=False, added_tokens=(AddedToken("<user>"),))
    vocabulary = learn_vocabulary(["the cat"] * 3, LEAST + 3, config)
    assert vocabulary.tokens[5] == "<user>"
    with pytest.raises(ConfigError, match="6 special tokens"):
        learn_vocabulary(["the cat"] * 3, LEAST, config)


def test_a_kind_that_cannot_be_learnt_is_named() -> None:
    config = TokenizerConfig()
    object.__setattr__(config, "model", "Another")
    with pytest.raises(
        ConfigError, match=r"one of these kinds: WordPiece, BPE, Unigram\. Received: model='Another'"
    ):
        learn_vocabulary(["the cat"], 300, config)
