"""A corpus: which files are read, how, and which of their documents are held out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tf_mlm.reading.documents import documents_of
from tf_mlm.reading.files import find_files, holds_token_ids
from tf_mlm.reading.split_key import split_key
from tf_mlm.training.data.split import Split
from tf_mlm.training.options import TrainConfig


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Files of text or of token ids, how they are read, and which documents are held out.

    Attributes:
        files: as `find_files` found them.
        held_out: share of the documents that is not trained on; with 1 there is nothing to train on.
        text_field: the field of a JSON object that holds the document.
        line_by_line: whether each line of a text file is a document.

    Example:
        >>> import tempfile
        >>> from tf_mlm.training.data.corpus import Corpus
        >>> path = Path(tempfile.mkdtemp()) / "few.txt"
        >>> _ = path.write_text("one\\ntwo\\nthree")
        >>> corpus = Corpus([path], held_out=0.5, line_by_line=True)
        >>> [text for _, text in corpus.texts()], list(corpus.training_texts())
        (['one', 'two', 'three'], ['one'])
    """

    files: Sequence[Path]
    held_out: float
    text_field: str = "text"
    line_by_line: bool = False

    @classmethod
    def from_config(
        cls,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        config: TrainConfig,
        *,
        held_out: float | None = None,
    ) -> Corpus:
        """The files behind paths and globs, read as `config` says; `held_out` stands in for its share."""
        share = config.held_out if held_out is None else held_out
        return cls(find_files(files), share, config.text_field, config.line_by_line)

    @property
    def of_text(self) -> Corpus:
        """Without the files of token ids."""
        return dataclasses.replace(self, files=[path for path in self.files if not holds_token_ids(path)])

    def texts(self) -> Iterator[tuple[Path, str]]:
        """Every document that is text, and its file."""
        return documents_of(self.of_text.files, text_field=self.text_field, line_by_line=self.line_by_line)

    def training_texts(self) -> Iterator[str]:
        """The documents that are text and not held out.

        Raises:
            ConfigError: at the end, if there was none.
        """
        split = Split(self.held_out)
        for _, text in self.texts():
            if not split.is_held_out(split_key(text)):
                yield text
        if not split.train:
            split.check(self.files)

    def file_states(self) -> list[list[Any]]:
        """Path, size in bytes and time of the last change of each file: what tells that one has changed."""
        return [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in self.files]

    def key(self) -> dict[str, Any]:
        """What is made from the corpus can be used again as long as this stays the same, as JSON values."""
        return {
            "files": self.file_states(),
            "held_out": self.held_out,
            "text_field": self.text_field,
            "line_by_line": self.line_by_line,
        }
