"""The text path beside `BertTokenizerFast`: ids, special tokens, segment ids and offsets, line by line.

A case is a line of text (or a pair of lines); its difference is the number of outputs that differ. There
is no class of text where the two are known to differ, so the bound is none at all.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from parity.claim import Measurements, claim
from reference.texts import CONFIGS, SAMPLES, Torture, documentation_lines, generated_glosses
from transformers import BertTokenizerFast

from tf_mlm.config import TokenizerConfig
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary, train_vocabulary

LENGTH = 64
BATCH = 1000


def _texts(quick: bool) -> list[str]:
    lines, torture = documentation_lines() + generated_glosses(), Torture(seed=11)
    torments = [torture.text() for _ in range(1500 if quick else max(60_000, 105_000 - len(lines)))]
    return random.Random(5).sample(lines, 1500) + torments if quick else lines + torments


def _vocabulary(config: TokenizerConfig) -> Vocabulary:
    samples = SAMPLES * 3 + Torture(seed=1).letters
    return train_vocabulary(documentation_lines() + generated_glosses()[:3000] + samples, 8000, config)


@claim("Text to ids, special tokens, segments, offsets = BertTokenizerFast: outputs that differ", 0)
def text(quick: bool) -> Measurements:
    texts = _texts(quick)
    for name, config in CONFIGS.items():
        vocabulary = _vocabulary(config)
        theirs = BertTokenizerFast(
            {token: index for index, token in enumerate(vocabulary)},
            do_lower_case=config.do_lower_case,
            strip_accents=config.strip_accents,
            tokenize_chinese_chars=config.tokenize_chinese_chars,
        )
        ours = TextPreprocessor(vocabulary, LENGTH)
        single = tf.function(ours, input_signature=[tf.TensorSpec([None], tf.string)])
        double = tf.function(ours, input_signature=[tf.TensorSpec([None], tf.string)] * 2)
        # A mask beyond the limit is an error here and silence there.
        safe = [line for line in texts if "[MASK]" not in line or len(line) < LENGTH // 2 - 2]
        for first in range(0, len(safe), BATCH):
            short = safe[first : first + BATCH]
            for run, inputs in ((single, [short]), (double, [short, short[::-1]])):
                yield from _differences(name, run, theirs, inputs)


def _differences(
    name: str,
    run: tf.types.experimental.GenericFunction,
    theirs: BertTokenizerFast,
    inputs: Sequence[Sequence[str]],
) -> Measurements:
    wanted = theirs(
        *map(list, inputs), truncation=True, max_length=LENGTH, padding=True, return_offsets_mapping=True
    )
    tensors = run(*(tf.constant([line.encode() for line in lines]) for lines in inputs))
    got = type(tensors)(*(tensor.numpy() for tensor in tensors))
    ids, segments = np.asarray(wanted["input_ids"]), np.asarray(wanted["token_type_ids"])
    lengths = np.asarray(wanted["attention_mask"]).sum(1)
    if got.token_ids.shape != ids.shape:
        yield f"{name}: {got.token_ids.shape} instead of {ids.shape}", float("inf")
        return
    for row, lines in enumerate(zip(*inputs, strict=True)):
        places = [np.cumsum([0, *(len(character.encode()) for character in line)]) for line in lines]
        offsets = [
            (places[segment][start], places[segment][end])
            for segment, (start, end) in zip(segments[row], wanted["offset_mapping"][row], strict=True)
        ]
        yield (
            f"{name}: {lines!a}",
            int(np.any(got.token_ids[row] != ids[row]))
            + int(np.any(got.segment_ids[row] != segments[row]))
            + int(got.lengths[row] != lengths[row])
            + int(np.any(np.stack([got.starts[row], got.ends[row]], 1) != np.array(offsets))),
        )


CLAIMS = [text]
