"""A model directory as transformers writes it, and the changes that people make to one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from parity.hugging_face import SIZES
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """
    the cat sat on a mat . , ! ' ##s ##ing play the covid new york é café cafe É Café Cat 寿 司 [ ] < >
    mask m s unused 1 ##1 ##used un ##t don t c ##a ##v ##i ##d a ##b b ##c i n e w y o r k ##o ##r ##k
    ##e ##w ##y
"""
TOKENS = [*SPECIALS, "[unused0]", "[unused1]", "[unused2]", *dict.fromkeys(WORDS.split())]


def write_directory(
    directory: Path, tokens: list[str], rows: int | None = None, family: str = "bert"
) -> None:
    """An ordinary model directory: random weights, `vocab.txt`, `tokenizer_config.json`."""
    config = transformers.AutoConfig.for_model(
        family, **{**SIZES[family], "vocab_size": rows or len(tokens), "max_position_embeddings": 70}
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForMaskedLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm.weight" in name.lower() else 0.0, 0.25)
    model.save_pretrained(directory)
    (directory / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    write(directory, "tokenizer_config.json", tokenizer_class="BertTokenizer", do_lower_case=True)


def write(directory: Path, name: str, **values: Any) -> None:
    (directory / name).write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")


def configure(directory: Path, **values: Any) -> None:
    """Changes keys of `tokenizer_config.json`; None takes one away."""
    path = directory / "tokenizer_config.json"
    merged = {**json.loads(path.read_text(encoding="utf-8")), **values}
    write(directory, path.name, **{key: value for key, value in merged.items() if value is not None})


def serialise(
    directory: Path, change: Callable[[Tokenizer], None] = lambda tokenizer: None, **model: Any
) -> None:
    """Puts a `tokenizer.json` of the ordinary settings, changed, in the place of `vocab.txt`."""
    lines = (directory / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    ids = {token: index for index, token in enumerate(lines)}
    tokenizer = Tokenizer(models.WordPiece(ids, **{"unk_token": "[UNK]", **model}))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    tokenizer.add_special_tokens([token for token in SPECIALS if token in ids])
    change(tokenizer)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "vocab.txt").unlink()


def generic(
    directory: Path, change: Callable[[Tokenizer], None] = lambda tokenizer: None, **model: Any
) -> None:
    serialise(directory, change, **model)
    write(directory, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", mask_token="[MASK]")
    configure(directory, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")


def resize(directory: Path, tokens: list[Any], special: bool = False, **options: Any) -> None:
    """Adds tokens as users do: to the tokenizer, then to the model, and saves both."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForMaskedLM.from_pretrained(directory)
    tokenizer.add_tokens(tokens, special_tokens=special)
    torch.manual_seed(1)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False, **options)
    with torch.no_grad():
        model.get_input_embeddings().weight[len(TOKENS) :].normal_(0, 0.5)
    for saved in (tokenizer, model):
        saved.save_pretrained(directory)
    (directory / "vocab.txt").unlink()


def entries(*tokens: tuple[int, AddedToken]) -> dict[str, Any]:
    return {
        str(index): {
            "content": token.content,
            **{
                flag: getattr(token, flag)
                for flag in ("lstrip", "rstrip", "single_word", "normalized", "special")
            },
        }
        for index, token in tokens
    }
