"""Model directories of `transformers`, read here and written here, and the logits on both sides."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import itertools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from parity.claim import Measurements, claim, difference

import tf_mlm
from tf_mlm.errors import TokenizerWarning
from tf_mlm.model.directory.config_json import ACTIVATIONS
from tf_mlm.model.directory.families import FAMILIES
from tf_mlm.model.masked_lm import MaskedLM

VOCAB = 64
_BERT_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
_MODERN_BERT_IDS = {  # its own lie beyond a small vocabulary
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "cls_token_id": 2,
    "sep_token_id": 3,
}
SIZES: dict[str, dict[str, Any]] = {
    "albert": {**_BERT_SIZES, "embedding_size": 12, "num_hidden_layers": 3, "num_hidden_groups": 2},
    "bert": _BERT_SIZES,
    "camembert": _BERT_SIZES,
    "deberta-v2": {**_BERT_SIZES, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "electra": {**_BERT_SIZES, "embedding_size": 12},
    "esm": {**_BERT_SIZES, "pad_token_id": 1, "mask_token_id": 7, "emb_layer_norm_before": True},
    "fnet": {key: size for key, size in _BERT_SIZES.items() if key != "num_attention_heads"},
    "modernbert": {**_BERT_SIZES, "num_hidden_layers": 4, "local_attention": 8, **_MODERN_BERT_IDS},
    "mpnet": _BERT_SIZES,
    "roberta": _BERT_SIZES,
    "roformer": _BERT_SIZES,
    "xlm-roberta": _BERT_SIZES,
}


@dataclasses.dataclass(frozen=True)
class HuggingFaceCase:
    """A transformers model with random weights, and how it is stored."""

    family: str = "bert"
    settings: tuple[tuple[str, Any], ...] = ()
    layout: str = "safetensors"
    dtype: str = "float32"

    def model(self) -> Any:
        """Weights larger than freshly initialised ones, so that softmax and activations leave the linear."""
        config = transformers.AutoConfig.for_model(
            self.family,
            **{
                **SIZES[self.family],
                "vocab_size": VOCAB,
                "max_position_embeddings": 40,
                **dict(self.settings),
            },
        )
        model = transformers.AutoModelForMaskedLM.from_config(config).eval()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.normal_(1.0 if "norm.weight" in name.lower() else 0.0, 0.25, generator=generator)
            # Two parameters where the weights are not tied, and copies in every model that was trained.
            parameters = dict(model.named_parameters())
            for name, parameter in parameters.items():
                if name.endswith("decoder.bias") and (own := name.replace("decoder.", "")) in parameters:
                    parameters[own].copy_(parameter)
            # Rounded here, so that a file in half precision holds the very weights that are compared. What no
            # file holds, such as the frequencies of ModernBERT's rotary positions, is not.
            for parameter in model.state_dict().values():
                parameter.copy_(parameter.to(getattr(torch, self.dtype)))
        return model

    def save(self, model: Any, directory: Path) -> None:
        stored = copy.deepcopy(model).to(getattr(torch, self.dtype))
        if self.layout == "sharded":
            stored.save_pretrained(directory, max_shard_size="20KB")
            assert (directory / "model.safetensors.index.json").is_file()
        else:
            stored.save_pretrained(directory)
        if self.layout == "pytorch":
            (directory / "model.safetensors").unlink()
            torch.save(model.state_dict(), directory / "pytorch_model.bin")


def _cases(quick: bool) -> Iterator[HuggingFaceCase]:
    for family in SIZES:
        yield HuggingFaceCase(family)
        # `pytorch` holds each family's copies; how a file is cut does not depend on the family.
        for layout in ("sharded", "pytorch") if not quick or family == "bert" else ("pytorch",):
            yield HuggingFaceCase(family, layout=layout)
        keys = FAMILIES[family].keys
        key = keys.get("hidden_act", "hidden_act")
        activations = ("gelu_new", "relu")[: 2 if family == "bert" else 1] if quick else ACTIVATIONS
        for activation in activations if family != "esm" else ():  # ESM's is fixed
            yield HuggingFaceCase(family, ((key, activation),))
        if quick and family != "bert":
            continue
        for dtype in ("float16", "bfloat16"):
            yield HuggingFaceCase(family, dtype=dtype)
        if family != "distilbert":  # DistilBERT's epsilon is fixed
            for epsilon in (1e-5, 1e-3):
                yield HuggingFaceCase(family, ((keys.get("layer_norm_eps", "layer_norm_eps"), epsilon),))
        for heads, hidden, layers in (
            itertools.product((1, 2, 8), (16, 64), (1, 3)) if not quick else [(8, 64, 1)]
        ):
            ours = ("num_attention_heads", "hidden_size", "num_hidden_layers")
            names = tuple(keys.get(name, name) for name in ours)
            if family == "fnet" and heads > 1:  # it has none
                continue
            groups = (("num_hidden_groups", 1),) if family == "albert" else ()
            yield HuggingFaceCase(family, (*zip(names, (heads, hidden, layers), strict=True), *groups))
        if family in ("bert", "camembert", "distilbert", "roberta", "xlm-roberta"):
            yield HuggingFaceCase(family, (("tie_word_embeddings", False),))
        if family == "albert":
            for count, layers in ((1, 1), (1, 4), (3, 7), (5, 12), (4, 4)):
                yield HuggingFaceCase(family, (("num_hidden_groups", count), ("num_hidden_layers", layers)))
            yield HuggingFaceCase(family, (("embedding_size", 32),))
        if family == "esm":
            for kind, drops, norm in itertools.product(("absolute", "rotary"), (True, False), (True, False)):
                names = ("position_embedding_type", "token_dropout", "emb_layer_norm_before")
                yield HuggingFaceCase(family, tuple(zip(names, (kind, drops, norm), strict=True)))
            rotary = ("position_embedding_type", "rotary")
            yield HuggingFaceCase(family, (rotary, ("rope_theta", 50.0)), dtype="float16")
        if family == "deberta-v2":
            third: tuple[tuple[str, Any], ...] = (
                ("position_buckets", 8),
                ("norm_rel_ebd", "layer_norm"),
                ("share_att_key", True),
                ("position_biased_input", False),
            )
            yield HuggingFaceCase(family, third)
            yield HuggingFaceCase(family, (*third, ("legacy", False)))
            for name, value in (
                ("relative_attention", False),
                ("conv_kernel_size", 3),
                ("max_relative_positions", 5),
                ("type_vocab_size", 2),
            ):
                parts = [] if name == "relative_attention" else ["c2p"]
                yield HuggingFaceCase(family, ((name, value), ("pos_att_type", parts)))
            wide = (("conv_kernel_size", 5), ("conv_act", "gelu"), ("pos_att_type", ["p2c"]))
            yield HuggingFaceCase(family, (*wide, *third[:2]))
        if family == "roformer":
            yield HuggingFaceCase(family, (("rotary_value", True), ("embedding_size", 12)))
        if family == "fnet":
            yield HuggingFaceCase(family, (("type_vocab_size", 2), ("max_position_embeddings", 512)))
        if family == "modernbert":
            for name in ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"):
                yield HuggingFaceCase(family, ((name, True),))
            yield HuggingFaceCase(family, (("layer_types", ["sliding_attention", "full_attention"] * 2),))
            yield HuggingFaceCase(family, (("local_attention", 2), ("classifier_activation", "silu")))


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore", TokenizerWarning)
        yield Path(directory)


def texts(config: Any, batch: int = 4, length: int = 11) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Padded ids, lengths from 1 to `length`, and segments where the family has them."""
    rng = np.random.default_rng(3)
    lengths = np.linspace(length, 1, batch).astype(np.int32)
    real = np.arange(length) < lengths[:, None]
    ids = np.where(real, rng.integers(5, VOCAB, (batch, length)), config.pad_token_id).astype(np.int32)
    segments = rng.integers(0, 2, (batch, length)) * (getattr(config, "type_vocab_size", 0) > 1)
    return ids, lengths, segments.astype(np.int32)


def torch_logits(model: Any, ids: np.ndarray, lengths: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Logits at every position, [batch, length, vocab]; of FNet, which mixes padding in, row by row."""
    if model.config.model_type == "fnet":
        return _logits_row_by_row(model, ids, lengths, segments)
    inputs = {
        "input_ids": torch.tensor(ids, dtype=torch.long),
        "attention_mask": torch.tensor(np.arange(ids.shape[1]) < lengths[:, None], dtype=torch.long),
    }
    if getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = torch.tensor(segments, dtype=torch.long)
    with torch.no_grad():
        return model(**inputs).logits.numpy()


def _logits_row_by_row(model: Any, ids: np.ndarray, lengths: np.ndarray, segments: np.ndarray) -> np.ndarray:
    logits = np.zeros((*ids.shape, model.config.vocab_size), np.float32)
    for row, length in enumerate(lengths):
        part = [torch.tensor(values[row : row + 1, :length], dtype=torch.long) for values in (ids, segments)]
        with torch.no_grad():
            logits[row, :length] = model(input_ids=part[0], token_type_ids=part[1]).logits.numpy()
    return logits


def compare(ours: MaskedLM, theirs: Any, **shape: int) -> float:
    """The largest difference of any logit at any real position."""
    ids, lengths, segments = texts(theirs.config, **shape)
    everywhere = np.tile(np.arange(ids.shape[1], dtype=np.int32), (len(ids), 1))
    real = everywhere < lengths[:, None]
    return difference(
        ours(ids, lengths, segments, everywhere).numpy()[real],
        torch_logits(theirs, ids, lengths, segments)[real],
    )


@claim("Hugging Face directory loads: logits", 1e-4)
def loads(quick: bool) -> Measurements:
    for case in _cases(quick):
        with _directory() as directory:
            model = case.model()
            case.save(model, directory)
            ours = tf_mlm.load(directory)
            shapes: list[dict[str, int]] = [{}, {"batch": 1, "length": 2}, {"batch": 7, "length": 33}]
            for shape in shapes[: 1 if quick and case != HuggingFaceCase(case.family) else None]:
                yield f"{case} {shape}", compare(ours, model, **shape)


@claim("Saved here, loads in transformers: logits", 1e-4)
def saves(quick: bool) -> Measurements:
    for case, differing, _ in _saved(quick):
        yield case, differing


@claim("Saved here, loads in transformers: missing, unexpected or mismatched keys", 0)
def keys(quick: bool) -> Measurements:
    for case, _, wrong in _saved(quick):
        yield case, wrong


@functools.cache
def _saved(quick: bool) -> list[tuple[str, float, float]]:
    """Each case with the difference of its logits, and the number of keys that are wrong."""
    found = []
    for case in _cases(quick):
        if case.layout != "safetensors":
            continue
        with _directory() as directory:
            case.save(case.model(), directory)
            ours = tf_mlm.load(directory)
            tf_mlm.save(ours, directory / "again")
            theirs, info = transformers.AutoModelForMaskedLM.from_pretrained(
                directory / "again", output_loading_info=True
            )
            wrong = sum(len(info[kind]) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
            wrong += theirs.config.architectures != [type(theirs).__name__]
            found.append((str(case), compare(ours, theirs.eval()), float(wrong)))
    return found


CLAIMS = [loads, saves, keys]
