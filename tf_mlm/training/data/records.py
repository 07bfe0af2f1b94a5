"""TFRecords of token ids: one document per record, tokenised once, read by any number of runs."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from tf_mlm.durable import appearing
from tf_mlm.errors import ConfigError
from tf_mlm.reading.files import find_files, holds_token_ids, no_text
from tf_mlm.reading.split_key import split_key
from tf_mlm.text.digests import tokenizer_digest, vocabulary_digest
from tf_mlm.text.document_ids import tokenize_documents
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.corpus import Corpus
from tf_mlm.training.operation_error import reason

IDS, VOCABULARY, TOKENIZER, SPLIT = "token_ids", "vocabulary", "tokenizer", "split"


def write_token_records(
    files: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    preprocessor: TextPreprocessor,
    *,
    text_field: str = "text",
    line_by_line: bool = False,
    progress: Callable[[int], None] = lambda documents: None,
) -> tuple[int, int]:
    """Tokenises text files into one TFRecord file (compressed if its name ends in `.gz`).

    The file appears complete or not at all.

    Args:
        files: paths or globs of text, gzip or JSON files; `-` is standard input.
        output: the file to write.
        preprocessor: holds tokenizer and vocabulary.
        text_field: the field of a JSON object that holds the document.
        line_by_line: whether each line of a text file is a document.
        progress: called with 1 after each document.

    Returns:
        Number of documents and of tokens.

    Raises:
        ConfigError: for input that is not text, or an output that exists.
    """
    target = Path(output)
    if target.exists():
        raise ConfigError(f"`{target}` must not exist yet. Remove it, or choose another name.")
    corpus = Corpus(find_files(files, once=True), 0.0, text_field, line_by_line)  # nothing is held out
    digest = vocabulary_digest(preprocessor.vocabulary).encode()
    tokenizer = tokenizer_digest(preprocessor.vocabulary).encode()
    options = tf.io.TFRecordOptions(compression_type="GZIP" if target.suffix == ".gz" else "")
    written = tokens = 0
    with appearing(target) as beside:
        with tf.io.TFRecordWriter(str(beside), options) as writer:
            for _, split, ids, _ in document_ids(corpus, preprocessor):
                feature = {
                    IDS: tf.train.Feature(int64_list=tf.train.Int64List(value=ids)),
                    VOCABULARY: tf.train.Feature(bytes_list=tf.train.BytesList(value=[digest])),
                    TOKENIZER: tf.train.Feature(bytes_list=tf.train.BytesList(value=[tokenizer])),
                    # The ids no longer tell the text, by which a run on it would divide the documents.
                    SPLIT: tf.train.Feature(bytes_list=tf.train.BytesList(value=[split])),
                }
                writer.write(
                    tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
                )
                written, tokens = written + 1, tokens + len(ids)
                progress(1)
        if not tokens:
            raise no_text(corpus.files)
    return written, tokens


def read_token_records(path: Path, vocabulary: Vocabulary) -> Iterator[tuple[bytes, np.ndarray]]:
    """The `split_key` and the token ids, int32 [tokens], of each document of a TFRecord file.

    Raises:
        ConfigError: if the file is damaged, holds other records, or was made with another vocabulary.
    """
    digest = vocabulary_digest(vocabulary).encode()
    tokenizer = tokenizer_digest(vocabulary).encode()
    with path.open("rb") as stream:
        compression = "GZIP" if stream.read(2) == b"\x1f\x8b" else ""
    try:
        for record in tf.data.TFRecordDataset(str(path), compression).as_numpy_iterator():
            features = _features(path, record)
            if not features[IDS].HasField("int64_list"):
                raise ConfigError(
                    f"A record must hold whole numbers in `{IDS}`. Received: `{path}` with the features "
                    f"{sorted(name for name in features if features[name].WhichOneof('kind'))}. Write it "
                    "with `tf-mlm tokenize --to-tfrecord`."
                )
            made_with = list(features[VOCABULARY].bytes_list.value)
            if made_with and made_with[0] != digest:
                raise ConfigError(
                    f"Token ids must come from the vocabulary of the model. Received: `{path}`, made with "
                    f"vocabulary {made_with[0].decode()}, and a model with {digest.decode()}. Tokenize the "
                    f"text again."
                )
            spelled = list(features[TOKENIZER].bytes_list.value)
            if spelled and spelled[0] != tokenizer:
                raise ConfigError(
                    f"Token ids must come from the tokenizer of the model. Received: `{path}`, made with "
                    "other rules (lower case, accents, Chinese characters or special tokens). Tokenize the "
                    "text again."
                )
            ids = np.asarray(features[IDS].int64_list.value, np.int64)
            if len(ids) and not 0 <= ids.min() <= ids.max() < vocabulary.size:
                raise ConfigError(
                    f"Token ids must lie in [0, {vocabulary.size}). Received: `{path}` with {ids.min()} "
                    f"to {ids.max()}. Tokenize the text again with the model's vocabulary."
                )
            split = list(features[SPLIT].bytes_list.value)
            ids = ids.astype(np.int32)
            yield split[0] if split else split_key(ids.tobytes()), ids
    except tf.errors.OpError as error:
        raise ConfigError(
            f"`{path}` is not a whole TFRecord file: {reason(error)}. Write it again."
        ) from None


class Document(NamedTuple):
    """The file it stands in, its `split_key`, its token ids, int32 [tokens], and the bytes of its text.

    The bytes are those of UTF-8; None where it came as ids.
    """

    path: Path
    split: bytes
    ids: np.ndarray
    bytes: int | None = None


def _features(path: Path, record: bytes) -> Any:
    try:
        return tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ConfigError(
            f"A record must hold a tf.train.Example. Received: `{path}`, with one that does not ({error}). "
            "Write it with `tf-mlm tokenize --to-tfrecord`."
        ) from None


def document_ids(corpus: Corpus, preprocessor: TextPreprocessor) -> Iterator[Document]:
    """Every document, whatever kind of file it comes from; those of text first."""
    known: collections.deque[tuple[Path, bytes, int]] = collections.deque()

    def remembered() -> Iterator[str]:
        for path, text in corpus.texts():
            known.append((path, split_key(text), len(text.encode("utf-8", "replace"))))
            yield text

    # The tokenizer runs ahead of its consumer by a few batches, so keys queue up in between.
    for ids in tokenize_documents(remembered(), preprocessor):
        path, split, size = known.popleft()
        yield Document(path, split, ids, size)
    for path in corpus.files:
        if holds_token_ids(path):
            for split, ids in read_token_records(path, preprocessor.vocabulary):
                yield Document(path, split, ids)
