"""TFRecords of token ids: they stand for the text they were made from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tf_mlm.config import TokenizerConfig
from tf_mlm.errors import ConfigError
from tf_mlm.text import document_ids
from tf_mlm.text.digests import tokenizer_digest, vocabulary_digest
from tf_mlm.text.document_ids import tokenize_documents
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.text.wordpiece_training import train_vocabulary
from tf_mlm.training.data.corpus import Corpus
from tf_mlm.training.data.records import read_token_records, write_token_records
from tf_mlm.training.data.token_store import open_token_store


@pytest.fixture(scope="module")
def preprocessor(corpus: Path) -> TextPreprocessor:
    return TextPreprocessor(train_vocabulary([corpus.read_text()], 120))


def test_records_are_split_and_packed_as_their_text_is(
    corpus: Path, preprocessor: TextPreprocessor, tmp_path: Path
) -> None:
    lines = tmp_path / "more.jsonl"
    lines.write_text("".join(json.dumps({"text": f"the cat sees {n} ."}) + "\n" for n in range(50)))
    ids = tmp_path / "ids.tfrecord"
    write_token_records([corpus, lines], ids, preprocessor)
    from_text, from_ids = (
        open_token_store(tmp_path / name, Corpus(files, 0.2), preprocessor, length=16)
        for name, files in (("text", [corpus, lines]), ("ids", [ids]))
    )
    assert from_text.documents == from_ids.documents
    assert from_text.digest == from_ids.digest


def test_long_lines_are_tokenised_a_few_at_a_time(
    preprocessor: TextPreprocessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    tokenizer = preprocessor.tokenizer

    class Watched:
        def __call__(self, lines):  # type: ignore[no-untyped-def]
            document_ids.tf.numpy_function(lambda given: sizes.append(len(given)), [lines], [])
            return tokenizer(lines)

    monkeypatch.setattr(preprocessor, "tokenizer", Watched())
    text = "the cat sees the dog . " * 10_000
    documents = [text] * 20
    expected = None
    for ids in tokenize_documents(documents, preprocessor):
        expected = ids if expected is None else expected
        np.testing.assert_array_equal(ids, expected)
    assert sum(sizes) == 20
    assert max(sizes) <= 1 + document_ids.BYTES_PER_CALL // len(text)


def test_a_torn_file_and_another_vocabulary_are_refused(
    corpus: Path, preprocessor: TextPreprocessor, tmp_path: Path
) -> None:
    ids = tmp_path / "ids.tfrecord"
    write_token_records([corpus], ids, preprocessor)
    torn = tmp_path / "torn.tfrecord"
    torn.write_bytes(ids.read_bytes()[:-7])
    with pytest.raises(ConfigError, match=r"not a whole TFRecord file: truncated record[^{\[]*\. Write"):
        list(read_token_records(torn, preprocessor.vocabulary))
    other = Vocabulary([*preprocessor.vocabulary.tokens[:-1], "other"])
    with pytest.raises(ConfigError, match="Tokenize the text again"):
        list(read_token_records(ids, other))


def test_a_fingerprint_knows_merges_and_scores() -> None:
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    config = TokenizerConfig("BPE", **{name: f"<{name}>" for name in names})
    tokens = [*config.special_tokens, "a", "b", "c", "ab", "bc"]
    one, other = (
        vocabulary_digest(Vocabulary(tokens, config, merges=merges))
        for merges in ([("a", "b"), ("b", "c")], [("b", "c"), ("a", "b")])
    )
    assert one != other != vocabulary_digest(Vocabulary(tokens, config)) != one


def test_a_fingerprint_of_rules_leaves_out_what_is_usual() -> None:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    usual = tokenizer_digest(Vocabulary(tokens))
    assert usual == hashlib.blake2b(b'{"strip_accents": true}', digest_size=8).hexdigest()
    assert usual == tokenizer_digest(Vocabulary(tokens, TokenizerConfig(strip_accents=True)))
    assert usual != tokenizer_digest(Vocabulary(tokens, TokenizerConfig(do_lower_case=False)))
