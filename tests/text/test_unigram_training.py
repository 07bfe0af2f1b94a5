"""Unigram learnt from text: the same in every process, and carried by the graph."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import tensorflow as tf
from reference.processes import printed
from tokenizers import Tokenizer

from tf_mlm.config.architectures import ARCHITECTURES, cased
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.read_tokenizer import read_vocabulary
from tf_mlm.model.directory.write_tokenizer import write_vocabulary
from tf_mlm.text.sentencepiece import SentencePieceTokenizer
from tf_mlm.text.unigram_training import train_unigram
from tf_mlm.text.vocabulary import Vocabulary

ALBERT = ARCHITECTURES["albert"].tokenizer
SPECIAL = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")


@pytest.fixture(scope="module", params=["lower case", "cased"])
def learnt(request: pytest.FixtureRequest, documentation: list[str]) -> Vocabulary:
    config = cased(ALBERT) if request.param == "cased" else ALBERT
    return train_unigram(documentation[:4000], 2000, config)


def test_special_tokens_come_first_and_then_the_likeliest(learnt: Vocabulary) -> None:
    assert learnt.tokens[:5] == SPECIAL
    assert learnt.scores[:5] == (0.0,) * 5
    assert list(learnt.scores[5:]) == sorted(learnt.scores[5:], reverse=True)
    assert learnt.scores[5] < 0
    assert {"▁the", "▁is", "s"} <= set(learnt)
    assert learnt.size == 2000
    assert cased(ALBERT) != ALBERT
    assert any(token != token.lower() for token in learnt.tokens[5:]) == (learnt.config != ALBERT)


def test_the_graph_cuts_text_as_the_library_does_with_what_was_learnt(
    learnt: Vocabulary, documentation: list[str], tmp_path: Path
) -> None:
    write_vocabulary(learnt, tmp_path)
    assert read_vocabulary(tmp_path, "albert").scores == learnt.scores
    theirs = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    texts = [*documentation[:500], "É naïve ``quoted'' [MASK] \u4e2d\U0001f600", ""]
    ours = SentencePieceTokenizer(learnt)(tf.constant(texts))
    differ = 0
    for text, first, count in zip(texts, ours.firsts.numpy(), ours.counts.numpy(), strict=True):
        ids = ours.token_ids[first : first + count].numpy().tolist()
        wanted = theirs.encode(text, add_special_tokens=False).ids
        scores = [sum(learnt.scores[token] for token in each) for each in (ids, wanted)]
        assert scores[0] == pytest.approx(scores[1], rel=1e-6)
        differ += ids != wanted
    assert differ <= 5  # cuts of one score, which rounding decides


def test_training_is_the_same_in_every_process_and_order(documentation: list[str], tmp_path: Path) -> None:
    texts = [*documentation[:1500], "鯨", "猫", "¿", "ø"]  # too rare for pieces of their own
    program = (
        "import sys; from tf_mlm.text.unigram_training import train_unigram as train; "
        "from tf_mlm.config.architectures import ARCHITECTURES as known; "
        "made = train(open(sys.argv[1], encoding='utf-8'), 900, known['albert'].tokenizer); "
        "print([made.tokens, made.scores])"
    )
    answers = set()
    for threads in (1, 2, 3):
        random.Random(threads).shuffle(texts)
        (tmp_path / "text").write_text("\n".join(texts), encoding="utf-8")
        answers |= set(printed(program, tmp_path / "text", threads=(threads,)))
    assert ["鯨".encode() in answer for answer in answers] == [True]


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        ([], 300, "not one word"),
        (["", " \n \t"], 300, "not one word"),
        (["a"], 5, r"more than its 5 special tokens. Received: size=5. Give at least 6"),
    ],
)
def test_training_needs_text_and_room(texts: list[str], size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train_unigram(texts, size, ALBERT)


def test_little_text_gives_fewer_tokens() -> None:
    assert 5 < train_unigram(["abc def"], 1000, ALBERT).size < 30
