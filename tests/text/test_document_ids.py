"""Documents in order, by a tokenizer that is traced once."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_tiny_model

from tf_mlm.text.document_ids import tokenize_documents
from tf_mlm.text.tokens import Tokens


def test_a_tokenizer_is_traced_once_for_many_calls_and_anew_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    preprocessor = make_tiny_model().preprocessor
    assert preprocessor is not None
    tokenizer = preprocessor.tokenizer
    called: list[str] = []

    def named(name: str, extra: int) -> None:
        def tokenize(lines: tf.Tensor) -> Tokens:
            called.append(name)
            found = tokenizer(lines)
            return found._replace(token_ids=found.token_ids + extra)

        monkeypatch.setattr(preprocessor, "tokenizer", tokenize)

    found = []
    for name, extra in (("one", 0), ("other", 100)):
        named(name, extra)
        for _ in range(2):
            found.append(list(tokenize_documents(["the cat", "", "a dog\nsat"], preprocessor)))
    assert called == ["one", "other"]
    assert [len(ids) for ids in found[0]] == [2, 0, 3]
    for row, ids in enumerate(found):
        for one, first in zip(ids, found[0], strict=True):
            np.testing.assert_array_equal(one, first + (0, 0, 100, 100)[row])
