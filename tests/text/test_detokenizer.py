from __future__ import annotations

import random

import pytest

from tf_mlm.config import TokenizerConfig
from tf_mlm.text.detokenizer import detokenize
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.text.wordpiece_training import train_vocabulary

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "it", "'", "s", "##s", "don", "n't", ".", ",", "?"]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("[CLS] it ##s . [SEP] [PAD]", "its."),
        ("it ' s", "it ' s"),
        ("##s it", "##s it"),
        ("don n't .", "donn't."),
        ("it , [UNK] ?", "it,?"),
        ("", ""),
    ],
)
def test_text_of_tokens(tokens: str, text: str) -> None:
    ids = [TOKENS.index(token) for token in tokens.split()]
    assert detokenize(Vocabulary(TOKENS), ids) == text


def test_ids_outside_the_vocabulary_are_left_out() -> None:
    assert detokenize(Vocabulary(TOKENS), [5, 99, -1, 8]) == "its"


@pytest.mark.peers
@pytest.mark.parametrize("clean_up", [False, True])
def test_equals_hugging_face(documentation: list[str], clean_up: bool) -> None:
    from transformers import BertTokenizerFast

    config = TokenizerConfig(extra={"clean_up_tokenization_spaces": clean_up})
    vocabulary = train_vocabulary(documentation, 3000, config)
    fast = BertTokenizerFast(
        {token: index for index, token in enumerate(vocabulary)}, clean_up_tokenization_spaces=clean_up
    )
    rng = random.Random(0)
    cases = [rng.choices(range(vocabulary.size), k=rng.randint(0, 12)) for _ in range(3000)]
    cases += [fast(line)["input_ids"] for line in documentation[:3000]]
    for ids in cases:
        shown = [index for index in ids if index != vocabulary.pad_id]
        for skip in (True, False):
            wanted = fast.decode(shown, skip_special_tokens=skip)
            assert detokenize(vocabulary, ids, skip_special_tokens=skip) == wanted
