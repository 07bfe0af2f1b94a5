"""The words of an operation's error, as the installed TensorFlow wraps them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from tf_mlm.training.operation_error import reason

ADVICE = (
    "TensorFlow writes another message around the error of an operation: make `reason` in "
    "tf_mlm/training/operation_error.py cut what is new, so that users read the file and the fault alone."
)


def _missing(path: Path) -> None:
    tf.io.read_file(str(path / "missing"))


def _no_directory(path: Path) -> None:
    (path / "file").touch()
    tf.summary.create_file_writer(str(path / "file" / "inner")).flush()


def _torn(path: Path) -> None:
    (path / "torn").write_bytes(b"no record" * 9)
    list(tf.data.TFRecordDataset(str(path / "torn")).as_numpy_iterator())


@pytest.mark.parametrize("fails", [_missing, _no_directory, _torn])
def test_only_the_fault_is_left(tmp_path: Path, fails: Callable[[Path], None]) -> None:
    with pytest.raises(tf.errors.OpError) as caught:
        fails(tmp_path)
    words = reason(caught.value)
    assert words, ADVICE
    assert words in caught.value.message, ADVICE
    assert not set("{}[]") & set(words), f"{ADVICE} Received: {words!r}"
    assert "node" not in words, f"{ADVICE} Received: {words!r}"
