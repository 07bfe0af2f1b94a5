"""Every family of models, small: what its `config.json` says, its tokenizer, and texts of its tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from reference import byte_level, small_tokenizers, unigram

import tf_mlm
from tf_mlm.model.directory.config_json import read_config
from tf_mlm.model.directory.read_tokenizer import read_preprocessor, read_vocabulary

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 34,
    "initializer_range": 0.3,  # far from uniform answers, so that a wrong row would show
}


@dataclasses.dataclass(frozen=True)
class Family:
    """A family and its tokenizer.

    Attributes:
        name: of the family, or of those of its models that have another tokenizer.
        model_type: as its `config.json` has it; the name, if it is not given.
        tokenizer: the kind of tokenizer in the module that writes it; the name, if it is not given.
        settings: what its `config.json` says beside the sizes.
    """

    name: str
    model_type: str = ""
    tokenizer: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.tokenizer or self.name

    @property
    def _writer(self) -> Any:
        writers = (byte_level, unigram, small_tokenizers)
        return next(module for module in writers if self.kind in module.KINDS)

    @property
    def mask(self) -> str:
        return self._writer.mask_of(self.kind)

    @property
    def masked(self) -> list[str]:
        """Texts with one mask and with two, in one of them characters that the vocabulary may not have."""
        if self.kind == "esm":
            return [f"MKT{self.mask}LLA", f"an é {self.mask}\u3000A {self.mask}"]
        return [f"the {self.mask} is sorted in place", f"an é {self.mask}\u3000x {self.mask}"]

    @property
    def text(self) -> str:
        return small_tokenizers.text_of(self.kind)

    @property
    def targets(self) -> list[str]:
        return ["L", "A", "K"] if self.kind == "esm" else ["list", " the", "x"]

    def write_model(self, directory: Path) -> None:
        """Writes a directory with random weights, the same in every run."""
        self._writer.write_tokenizer(directory, self.kind)
        model_type = self.model_type or self.name
        vocabulary = read_vocabulary(directory, model_type)
        of_tokenizer = {"vocab_size": vocabulary.size, "pad_token_id": vocabulary.pad_id}
        config = read_config({"model_type": model_type, **SIZES, **of_tokenizer, **self.settings})
        model = tf_mlm.MaskedLM.from_config(config, seed=1, preprocessor=read_preprocessor(directory, config))
        tf_mlm.save(model, directory)


_LOCAL = {"local_attention": 6, "global_attn_every_n_layers": 2}
FAMILIES = (
    Family("bert", tokenizer="roformer"),
    Family(
        "distilbert",
        tokenizer="roformer",
        settings={"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 16},
    ),
    Family("electra", tokenizer="roformer", settings={"embedding_size": 8}),
    Family("roberta", settings={"type_vocab_size": 1}),
    Family("camembert", settings={"type_vocab_size": 1}),
    Family("xlm-roberta", settings={"type_vocab_size": 1}),
    Family("albert", settings={"embedding_size": 8, "num_hidden_layers": 3, "num_hidden_groups": 2}),
    Family("modernbert", settings=_LOCAL),
    Family("mmbert", model_type="modernbert", settings=_LOCAL),
    Family(
        "deberta-v2",
        settings={
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
            "conv_kernel_size": 3,
        },
    ),
    Family(
        "deberta-v3",
        model_type="deberta-v2",
        tokenizer="deberta-v2",
        settings={
            "relative_attention": True,
            "pos_att_type": "p2c|c2p",
            "position_buckets": 8,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
            "legacy": False,
        },
    ),
    Family("esm", settings={"position_embedding_type": "rotary", "token_dropout": True, "mask_token_id": 32}),
    Family("mpnet"),
    Family("roformer"),
    Family("roformer_v2", tokenizer="roformer"),
    Family("fnet"),
)


def asked_of(*names: str) -> list[Any]:
    """Every family as parameters of tests, those that are not named as slow ones."""
    return [
        pytest.param(family, id=family.name, marks=() if family.name in names else pytest.mark.slow)
        for family in FAMILIES
    ]
