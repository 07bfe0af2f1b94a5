"""KerasHub's masked language models, small and with random weights, each with a tokenizer of its own kind."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LENGTH = 40
_TEXTS = [
    *("The cat sat on the mat, and the dog ran home.", "A dog and a cat are not the same thing!"),
    *("Running, jumping and sitting: what cats do.", "Où est le café? Ici, près de l'école."),
    *("Numbers such as 12 and 345 stand in texts, too.", "The end of the day is near; go home."),
]
SIZES: Mapping[str, Mapping[str, Any]] = {
    "Bert": {"num_heads": 4, "num_segments": 2},
    "Roberta": {"num_heads": 4},
    "XLMRoberta": {"num_heads": 4},
    "DistilBert": {"num_heads": 4},
    "Albert": {"num_heads": 4, "embedding_dim": 8, "num_groups": 2, "num_segments": 2},
    "FNet": {"num_segments": 4},
    "DebertaV3": {"num_heads": 4, "bucket_size": 8},
    "RoformerV2": {"num_heads": 4, "head_size": 4, "num_segments": 2, "max_wavelength": 500},
}
"""What differs in the arguments of each backbone."""
_BERT_PIECES = {"bos_piece": "[CLS]", "eos_piece": "[SEP]"}
_SPECIAL: Mapping[str, Mapping[str, Any]] = {
    "XLMRoberta": {},  # its class adds <pad> and <mask>, and moves the others
    "Albert": {
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": 2,
        "eos_id": 3,
        "user_defined_symbols": "[MASK]",
        **_BERT_PIECES,
    },
    "FNet": {
        "unk_id": 0,
        "bos_id": 1,
        "eos_id": 2,
        "pad_id": 3,
        "control_symbols": "[MASK],<spare>",
        **_BERT_PIECES,
    },
    "DebertaV3": {  # its class adds [MASK]
        "pad_id": 0,
        "bos_id": 1,
        "eos_id": 2,
        "unk_id": 3,
        "pad_piece": "[PAD]",
        "unk_piece": "[UNK]",
        **_BERT_PIECES,
    },
}


def keras_hub_model(name: str, *, preprocessor: bool = True, spare_rows: int = 3, **sizes: Any) -> Any:
    """A `MaskedLM` of KerasHub with every weight drawn at random, biases and norms included.

    The embedding has a few rows more than the tokenizer has tokens, as DeBERTa's has.
    """
    import keras_hub

    models = keras_hub.models
    tokenizer = keras_hub_tokenizer(name)
    given: dict[str, Any] = {
        "num_layers": 2,
        "hidden_dim": 16,
        "intermediate_dim": 32,
        "max_sequence_length": LENGTH,
    }
    given |= {"vocabulary_size": tokenizer.vocabulary_size() + spare_rows, "dropout": 0.0}
    if name == "RoformerV2":
        del given["max_sequence_length"]  # of its preprocessor alone
    backbone = getattr(models, f"{name}Backbone")(**{**given, **SIZES[name], **sizes})
    prepare = None
    if preprocessor:
        prepare = getattr(models, f"{name}MaskedLMPreprocessor")(tokenizer, sequence_length=LENGTH)
    model = getattr(models, f"{name}MaskedLM")(backbone, preprocessor=prepare)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(
            rng.normal(1.0 if weight.path.endswith(("gamma", "norm/scale")) else 0.0, 0.3, weight.shape)
        )
    return model


def keras_hub_tokenizer(name: str) -> Any:
    """The tokenizer of a model: its class, over a vocabulary learnt from a few sentences."""
    import keras_hub

    make = getattr(keras_hub.models, f"{name}Tokenizer")
    if name in _SPECIAL:
        return make(proto=sentencepiece_proto(**_SPECIAL[name]))
    if name == "Roberta":
        return make(*_byte_bpe())
    return make(vocabulary=_wordpiece(), lowercase=name in ("Bert", "RoformerV2"))


def sentencepiece_proto(**options: Any) -> bytes:
    """A SentencePiece model of the test's sentences, Unigram unless the options say another."""
    import sentencepiece

    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_TEXTS),
        model_writer=file,
        vocab_size=options.pop("vocab_size", 80),
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return file.getvalue()


def _wordpiece() -> list[str]:
    letters = sorted({character for text in _TEXTS for character in text.replace(" ", "")})
    words = ["The", "the", "cat", "dog", "sat", "mat", "##ing", "home"]
    return [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *(f"##{each}" for each in letters),
        *words,
    ]


def _byte_bpe() -> tuple[dict[str, int], Sequence[str]]:
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        _TEXTS, vocab_size=330, min_frequency=2, special_tokens=special, show_progress=False
    )
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
