"""SentencePiece tokenizers as XLM-R's, CamemBERT's, ALBERT's and mmBERT's files have them."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
from reference.texts import SAMPLES, documentation_lines
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tf_mlm.text.sentencepiece_model import read_model

SIZE = 1000
MASKS = {
    "xlm-roberta": "<mask>",
    "camembert": "<mask>",
    "albert": "[MASK]",
    "mmbert": "<mask>",
    "deberta-v2": "[MASK]",
}
CLASSES = {
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
    "albert": "AlbertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
}
FILES = {"albert": "spiece.model", "deberta-v2": "spm.model"}
_SPECIAL = {
    "xlm-roberta": ("<s>", "<pad>", "</s>", "<unk>"),
    "camembert": ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"),
}
_ALBERT = ("[CLS]", "[SEP]", "[MASK]")
_DEBERTA = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}


@functools.cache
def trained(kind: str) -> bytes:
    """A SentencePiece model with the normalisation of the released ones (nmt_nfkc)."""
    model = io.BytesIO()
    albert: dict[str, Any] = {
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": -1,
        "eos_id": -1,
        "control_symbols": list(_ALBERT),
    }
    deberta: dict[str, Any] = {f"{name}_id": place for place, name in enumerate(_DEBERTA)}
    deberta |= {f"{name}_piece": piece for name, piece in _DEBERTA.items()}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*documentation_lines()[:6000], *SAMPLES * 3]),
        model_writer=model,
        vocab_size=SIZE,
        model_type="unigram",
        num_threads=1,
        minloglevel=2,
        **{"albert": albert, "deberta-v2": deberta}.get(kind, {}),
    )
    return model.getvalue()


def vocabulary(kind: str) -> list[tuple[str, float]]:
    """Tokens and scores by the ids that the class of the kind gives them."""
    scored = [(piece.text, piece.score) for piece in read_model(trained(kind)).pieces]
    if kind in ("albert", "deberta-v2"):
        return scored
    special = [(token, -100.0 if token == "<unk>NOTUSED" else 0.0) for token in _SPECIAL[kind]]
    return [*special, *scored[3 if kind == "xlm-roberta" else 1 :], ("<mask>", 0.0)]


def _unigram(kind: str, *, older: bool = False) -> Tokenizer:
    """`older` is what conversions wrote before transformers 5: blanks are joined, and stay in the words."""
    tokens = vocabulary(kind)
    unknown = next(index for index, (token, _) in enumerate(tokens) if token == "<unk>")
    tokenizer = Tokenizer(models.Unigram(tokens, unk_id=unknown, byte_fallback=False))
    steps: list[normalizers.Normalizer] = [normalizers.Precompiled(read_model(trained(kind)).charsmap)]
    if kind == "albert":
        quotes = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
        steps = [*quotes, normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), *steps]
    if older:
        steps += [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")]
    tokenizer.normalizer = normalizers.Sequence(steps) if len(steps) > 1 else steps[0]
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always")
    words = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    tokenizer.pre_tokenizer = metaspace if older else words
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    mask = MASKS[kind]
    cls, sep = ("[CLS]", "[SEP]") if kind == "albert" else ("<s>", "</s>")
    named = [cls, sep, "<pad>", "<unk>", *(_SPECIAL["camembert"] if kind == "camembert" else ())]
    tokenizer.add_special_tokens([*dict.fromkeys(named), AddedToken(mask, lstrip=True, normalized=False)])
    pair = f"{cls} $A {sep} $B:1 {sep}:1" if kind == "albert" else f"{cls} $A {sep} {sep} $B {sep}"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=pair,
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (cls, sep)],
    )
    return tokenizer


def deberta() -> Tokenizer:
    """Runs of white space are one blank, and characters composed; words are cut at blanks alone."""
    tokens = vocabulary("deberta-v2")
    tokenizer = Tokenizer(models.Unigram(tokens, unk_id=3, byte_fallback=False))
    white_space = normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")
    strip = normalizers.Strip(left=False, right=True)
    tokenizer.normalizer = normalizers.Sequence([white_space, normalizers.NFC(), strip])
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([metaspace])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens([*_DEBERTA.values(), "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return tokenizer


@functools.cache
def _merges() -> str:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(?<!▁)(?=▁)"), "isolated")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=special, show_progress=False)
    lines = [f"{line}\n" for line in documentation_lines()[:6000] + SAMPLES * 3]
    tokenizer.train_from_iterator(lines, trainer)
    return json.dumps(json.loads(tokenizer.to_str())["model"])


def mm_bert() -> Tokenizer:
    """BPE over characters with bytes for unknown ones, and tokens with line ends in them."""
    model = json.loads(_merges())
    merges = [(left, right) for left, right in model["merges"]]
    bpe = models.BPE(model["vocab"], merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(["<pad>", "<eos>", "<bos>", "<unk>"])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    tokenizer.add_tokens([AddedToken("\n\n", normalized=False), AddedToken("▁▁", normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>",
        pair="<bos> $A <eos> $B <eos>",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("<bos>", "<eos>")],
    )
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "xlm-roberta": lambda: _unigram("xlm-roberta"),
    "xlm-roberta, older": lambda: _unigram("xlm-roberta", older=True),
    "camembert": lambda: _unigram("camembert"),
    "albert": lambda: _unigram("albert"),
    "mmbert": mm_bert,
    "deberta-v2": deberta,
}


def family_of(kind: str) -> str:
    """The `model_type` of the models that have it."""
    name = kind.split(",")[0]
    return "modernbert" if name == "mmbert" else name


def mask_of(kind: str) -> str:
    return MASKS[kind.split(",")[0]]


def write_tokenizer(directory: Path, kind: str) -> Tokenizer:
    """Writes `tokenizer.json` and `tokenizer_config.json`, and returns what they say."""
    tokenizer = KINDS[kind]()
    tokenizer.save(str(directory / "tokenizer.json"))
    values: dict[str, Any] = {"tokenizer_class": CLASSES.get(kind, "PreTrainedTokenizerFast")}
    if kind == "mmbert":
        values |= {"cls_token": "<bos>", "sep_token": "<eos>"}
    pad, unknown = ("[PAD]", "[UNK]") if kind == "deberta-v2" else ("<pad>", "<unk>")
    values |= {"pad_token": pad, "unk_token": unknown, "mask_token": mask_of(kind)}
    (directory / "tokenizer_config.json").write_text(json.dumps(values))
    return tokenizer


def write_model(directory: Path, kind: str) -> None:
    """Writes the SentencePiece model alone, and the name of the class that reads it."""
    name = FILES.get(kind, "sentencepiece.bpe.model")
    (directory / name).write_bytes(trained(kind))
    flags = {
        "lstrip": kind != "deberta-v2",
        "rstrip": False,
        "single_word": False,
        "normalized": False,
        "special": True,
    }
    mask = {"__type": "AddedToken", "content": MASKS[kind], **flags}
    values = {"tokenizer_class": CLASSES[kind], "mask_token": mask}
    (directory / "tokenizer_config.json").write_text(json.dumps(values))


def is_tie(tokenizer: Tokenizer, one: list[int], other: list[int]) -> bool:
    """Whether two ways to cut a text have one sum of scores, but for rounding to float32."""
    model = json.loads(tokenizer.to_str())["model"]
    if model["type"] != "Unigram" or one == other:
        return False
    scores = dict(enumerate(score for _, score in model["vocab"]))
    sums = [sum(scores.get(index, 0.0) for index in ids) for ids in (one, other)]
    return abs(sums[0] - sums[1]) <= 1e-6 * abs(sums[0])
