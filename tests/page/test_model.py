"""What the page finds out about a model before anybody asks anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from conftest import WORDS

import tf_mlm
from tf_mlm.config import ModelConfig
from tf_mlm.page.model import PageModel
from tf_mlm.serving.client.client import Client
from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.errors import Code
from tf_mlm.signatures import PORTABLE, TOKENIZE
from tf_mlm.target.open import open_target


class WithoutXla:
    """A stock server that was not told to compile: only the twins are answered."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.refused = inner, 0

    async def predict(self, inputs: Mapping[str, Any], signature: str, outputs: Any = None) -> Any:
        if not signature.endswith(PORTABLE):
            self.refused += 1
            raise ClientError(Code.UNIMPLEMENTED, "XLA compilation disabled", "grpc://stock:1/mlm")
        return await self._inner.predict(inputs, signature.removesuffix(PORTABLE), outputs)


def test_a_server_that_refuses_xla_is_asked_for_the_twins(clients: dict[str, Client]) -> None:
    (client, _) = clients.values()
    transport: Any = WithoutXla(client._questions.transport)
    model = PageModel("stock", Client("grpc://stock:1/mlm", transport=transport), "server")
    text = {"text": np.array([b"the cat"], object)}
    for _ in range(2):
        answer = model.ask(TOKENIZE, text)
        assert answer.exchange["request"]["signature_name"] == "tokenize_portable"
    assert transport.refused == 1


def test_a_mask_of_another_spelling_is_found(tmp_path: Any) -> None:
    from tf_mlm.config import TokenizerConfig
    from tf_mlm.text.preprocessor import TextPreprocessor
    from tf_mlm.text.vocabulary import Vocabulary

    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "<|blank|>")
    vocabulary = Vocabulary(special + WORDS, TokenizerConfig(mask_token="<|blank|>"))
    config = ModelConfig(
        vocab_size=vocabulary.size,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=24,
    )
    preprocessor = TextPreprocessor(vocabulary, 24)
    tf_mlm.save(tf_mlm.MaskedLM.from_config(config, seed=1, preprocessor=preprocessor), tmp_path)
    model = PageModel("odd", open_target(str(tmp_path), 3), "directory")
    facts = model.facts()
    assert (facts.mask_token, facts.most_fills, facts.length_limit) == ("<|blank|>", 3, 24)
    assert model.describe()["facts"]["mask_token"] == "<|blank|>"


PINNED = {"": None, "/versions/3": {"version": 3}, "/labels/stable": {"label": "stable"}}


@pytest.mark.parametrize("pinned", PINNED)
def test_a_server_is_described_by_its_address(pinned: str) -> None:
    target = f"http://127.0.0.1:1/mlm{pinned}"
    model = PageModel(target, Client(target), "server", Client(target, timeout=1, retries=0))
    found = model.describe()
    assert (found["label"], found["address"], found["scheme"]) == ("mlm", "127.0.0.1:1", "http")
    assert (
        found["pinned"]
        == {"": None, "/versions/3": {"version": 3}, "/labels/stable": {"label": "stable"}}[pinned]
    )
    assert found["state"] == "UNREACHABLE"
    assert found["error"]["code"] == "UNAVAILABLE"
    model.close()
