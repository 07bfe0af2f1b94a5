"""KerasHub's tokenizers as vocabularies: the same ids, or a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from reference.keras_hub_presets import SIZES, keras_hub_tokenizer, sentencepiece_proto

import tf_mlm
from tf_mlm.convert.keras_hub_families import KERAS_HUB_FAMILIES
from tf_mlm.convert.keras_hub_tokenizer import notes_on, vocabulary_of
from tf_mlm.errors import ConfigError
from tf_mlm.text.vocabulary import Vocabulary

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("untraced"),
]

LENGTH = 48
TEXTS = [
    "The cat sat on the mat.",
    "a dog  ran, and the cats!",
    "  12 things:\tnot 345?  ",
    "A ｆｕｌｌ word, #xyz€",
    "",
]


def _vocabulary(name: str, tokenizer: Any, lower_case: bool | None = None, spare: int = 2) -> Vocabulary:
    rows = tokenizer.vocabulary_size() + spare
    return vocabulary_of(
        tokenizer, Path("preset"), KERAS_HUB_FAMILIES[name], rows=rows, lower_case=lower_case
    )


@pytest.mark.parametrize("name", SIZES)
def test_ids_are_those_of_keras_hubs_preprocessor(name: str) -> None:
    import keras_hub

    tokenizer = keras_hub_tokenizer(name)
    theirs = getattr(keras_hub.models, f"{name}MaskedLMPreprocessor")(tokenizer, sequence_length=LENGTH)
    theirs.build(None)
    vocabulary = _vocabulary(name, tokenizer)
    ours = tf_mlm.TextPreprocessor(vocabulary, max_length=LENGTH)
    # KerasHub's lower case makes plain letters of wide ones, too; BERT's own does not.
    texts = [text.replace("ｆｕｌｌ", "full") for text in TEXTS] if name in ("Bert", "RoformerV2") else TEXTS
    pairs = texts, texts[::-1]
    wanted = theirs.packer(tuple(tokenizer(tf.constant(each)) for each in pairs))[0].numpy()
    found = ours(*pairs).token_ids.numpy()
    np.testing.assert_array_equal(found, wanted[:, : found.shape[1]])
    assert (wanted[:, found.shape[1] :] == vocabulary.pad_id).all()
    assert vocabulary.mask_id == tokenizer.mask_token_id
    assert len(vocabulary.unnamed_ids) == 2
    assert any("2 of the" in note for note in notes_on(tokenizer, vocabulary))


@pytest.mark.parametrize("name", ["Roberta", "XLMRoberta"])
def test_a_mask_in_a_text_takes_its_blank_along(name: str) -> None:
    vocabulary = _vocabulary(name, keras_hub_tokenizer(name))
    mask = vocabulary.config.mask_token
    ids = tf_mlm.TextPreprocessor(vocabulary)([f"The {mask} sat", f"The{mask} sat"]).token_ids.numpy()
    np.testing.assert_array_equal(ids[0], ids[1])
    assert (ids == vocabulary.mask_id).sum() == 2


def test_accents_of_lower_cased_text_are_spoken_of() -> None:
    import keras_hub

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "e", "é", "//e"]
    make = keras_hub.models.BertTokenizer
    for strips in (False, True):
        tokenizer = make(vocabulary=tokens, lowercase=True, strip_accents=strips, suffix_indicator="//")
        vocabulary = _vocabulary("Bert", tokenizer)
        assert vocabulary.config.continuing_subword_prefix == "//"
        assert any("strip_accents=false" in note for note in notes_on(tokenizer, vocabulary)) != strips
        assert tf_mlm.TextPreprocessor(vocabulary)(["éé"]).token_ids.numpy().tolist() == [[2, 5, 7, 3]]
    assert not list(notes_on(tokenizer, _vocabulary("Bert", tokenizer, lower_case=False, spare=0)))


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"model_type": "bpe"}, "must be a Unigram model"),
        ({"byte_fallback": True, "vocab_size": 340}, "must not spell unknown characters in bytes"),
        ({"add_dummy_prefix": False}, "must put a blank before each text"),
        ({"remove_extra_whitespaces": False}, "must put a blank before each text"),
        ({"treat_whitespace_as_suffix": True}, "must put a blank before each text"),
    ],
)
def test_other_sentencepiece_models_are_refused(options: dict[str, Any], rule: str) -> None:
    import keras_hub

    tokenizer = keras_hub.models.XLMRobertaTokenizer(proto=sentencepiece_proto(**options))
    with pytest.raises(ConfigError, match=rf"XLMRobertaTokenizer of `preset` {rule}.*preprocessor=None"):
        _vocabulary("XLMRoberta", tokenizer)


def test_what_cannot_be_told_or_carried_is_refused() -> None:
    import keras_hub

    with pytest.raises(ConfigError, match=r"only WordPiece can be told.*Leave out --cased"):
        _vocabulary("Albert", keras_hub_tokenizer("Albert"), lower_case=True)
    whole = keras_hub.models.DistilBertTokenizer(
        vocabulary=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], split=False
    )
    with pytest.raises(ConfigError, match=r"must have split=True.*preprocessor=None"):
        _vocabulary("DistilBert", whole)
    without = keras_hub.models.RobertaTokenizer(
        vocabulary={"<s>": 0, "<pad>": 1, "</s>": 2, "<mask>": 3, "a": 4, "aa": 5}, merges=["a a"]
    )
    with pytest.raises(ConfigError, match=r"RobertaTokenizer of `preset` .*lacks <unk>.*preprocessor=None"):
        _vocabulary("Roberta", without)
