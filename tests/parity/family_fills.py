"""Fills of whole directories of the families beyond BERT, beside `transformers.pipeline("fill-mask")`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from parity.claim import Measurements, claim
from parity.fill_mask import compare_fills
from parity.hugging_face import SIZES
from reference import small_tokenizers, unigram

import tf_mlm

_ROTARY = {"position_embedding_type": "rotary", "token_dropout": True, "mask_token_id": 32}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "xlm-roberta": ("xlm-roberta", {}),
    "camembert": ("camembert", {}),
    "albert": ("albert", {}),
    "mmbert": ("modernbert", {}),
    "deberta-v2": ("deberta-v2", {"position_buckets": 8, "norm_rel_ebd": "layer_norm", "legacy": False}),
    "esm": ("esm", _ROTARY),
    "mpnet": ("mpnet", {}),
    "roformer": ("roformer", {}),
    "fnet": ("fnet", {}),
}
"""For each kind of tokenizer the family of the model, and what differs in its settings."""


def _texts(kind: str) -> list[str]:
    if kind == "esm":
        return ["MKT<mask>LLA", "<mask>", "M <mask> A<mask>\tX", "MKTé <mask> <null_1>"]
    mask = unigram.mask_of(kind) if kind in unigram.KINDS else small_tokenizers.mask_of(kind)
    return [f"the {mask} is sorted.", f"{mask}.", f"a{mask} of   {mask} é\u3000x", f"don't {mask}\n"]


def _directories(kinds: list[str]) -> Iterator[tuple[str, Path, int]]:
    """Directories with random weights, and how many tokens each knows."""
    for kind in kinds:
        family, settings = KINDS[kind]
        with tempfile.TemporaryDirectory(prefix="tf_mlm_parity_") as directory:
            path = Path(directory)
            writes = unigram if kind in unigram.KINDS else small_tokenizers
            writes.write_tokenizer(path, kind)
            tokenizer = transformers.AutoTokenizer.from_pretrained(path)
            names = ("pad", "bos", "eos", "cls", "sep")
            ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id", None) for name in names}
            known = {name: index for name, index in ids.items() if index is not None}
            sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 80, **known}
            config = transformers.AutoConfig.for_model(family, **{**SIZES[family], **sizes, **settings})
            model = transformers.AutoModelForMaskedLM.from_config(config).eval()
            generator = torch.Generator().manual_seed(0)
            with torch.no_grad():
                parameters = dict(model.named_parameters())
                for name, parameter in parameters.items():
                    centre = 1.0 if "norm.weight" in name.lower() else 0.0
                    parameter.normal_(centre, 0.25, generator=generator)
                for name, parameter in parameters.items():
                    if name.endswith("decoder.bias") and name.replace("decoder.", "") in parameters:
                        parameters[name.replace("decoder.", "")].copy_(parameter)
            model.save_pretrained(path)
            yield kind, path, len(tokenizer)


def _tokens(path: Path) -> list[str]:
    """Targets: two tokens by their spelling, and a text that is none."""
    vocabulary = transformers.AutoTokenizer.from_pretrained(path).get_vocab()
    special = json.loads((path / "tokenizer_config.json").read_text()).values()
    ordinary = sorted(token for token in vocabulary if token not in special and token[0] != "<")
    return [ordinary[len(ordinary) // 2], ordinary[-1], "Kx"]


@claim("Other families: FillMask's scores = the fill-mask pipeline's (∞ for other fills)", 1e-5)
def family_fills(quick: bool) -> Measurements:
    for kind, path, size in _directories(["esm", "albert"] if quick else list(KINDS)):
        pipeline = transformers.pipeline("fill-mask", model=str(path), tokenizer=str(path))
        fill = tf_mlm.FillMask(tf_mlm.load(path))
        for text in _texts(kind)[: 1 if quick else None]:
            for options in ({"top_k": min(20, size)}, {"targets": _tokens(path)}):
                value = compare_fills(fill(text, **options), pipeline(text, **options))
                yield f"{kind}: {text!a} {options}", value


CLAIMS = [family_fills]
