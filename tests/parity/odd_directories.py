"""Model directories with tokenizer files and checkpoints as odd as those that people have, by name."""

from __future__ import annotations

import contextlib
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import safetensors.torch
from parity.ordinary_directory import (
    TOKENS,
    configure,
    entries,
    generic,
    resize,
    serialise,
    write,
    write_directory,
)
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors

Edit = Callable[[Path], None]
ODDITIES: dict[str, Edit] = {}


def oddity(function: Edit) -> Edit:
    """Adds a function that turns an ordinary directory into an odd one, named by its docstring."""
    assert function.__doc__
    ODDITIES[function.__doc__.rstrip(".")] = function
    return function


@oddity
def special_inside(directory: Path) -> None:
    """additional_special_tokens that stand in vocab.txt."""
    configure(directory, additional_special_tokens=["[unused1]", "covid"])


@oddity
def extra_list(directory: Path) -> None:
    """extra_special_tokens as a list, one with flags."""
    space = {
        "__type": "AddedToken",
        "content": "[unused2]",
        "lstrip": True,
        "rstrip": True,
        "single_word": False,
    }
    configure(directory, extra_special_tokens=["[unused1]", {**space, "normalized": False}])


@oddity
def extra_dict(directory: Path) -> None:
    """extra_special_tokens as an object of names."""
    configure(directory, extra_special_tokens={"entity_token": "[unused1]", "other": "york"})


@oddity
def named_tokens(directory: Path) -> None:
    """bos_token, eos_token and a name of one's own."""
    configure(directory, bos_token="[unused0]", eos_token="[SEP]", my_own_token="[unused1]")


@oddity
def added_file(directory: Path) -> None:
    """added_tokens.json beside vocab.txt, with rows of their own."""
    write_directory(directory, TOKENS, rows=len(TOKENS) + 3)
    configure(directory, additional_special_tokens=["<e1>"])
    write(
        directory,
        "added_tokens.json",
        **{"<e1>": len(TOKENS), "</e1>": len(TOKENS) + 1, "playings": len(TOKENS) + 2},
    )


@oddity
def special_map(directory: Path) -> None:
    """special_tokens_map.json says other special tokens than tokenizer_config.json."""
    write_directory(directory, [*TOKENS, "<mask>"])
    mask = {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
    configure(directory, mask_token="[MASK]")
    write(
        directory, "special_tokens_map.json", mask_token=mask, additional_special_tokens=["[unused1]", "<s>"]
    )
    write_directory_rows(directory, len(TOKENS) + 2)


def write_directory_rows(directory: Path, rows: int) -> None:
    """The same tokenizer files with a model of so many rows."""
    kept = {
        path.name: path.read_bytes()
        for path in directory.iterdir()
        if "token" in path.name or "vocab" in path.name
    }
    write_directory(directory, TOKENS, rows=rows)
    for name, content in kept.items():
        (directory / name).write_bytes(content)


@oddity
def decoder_flags(directory: Path) -> None:
    """added_tokens_decoder with every flag, inside the vocabulary and behind it."""
    write_directory_rows(directory, len(TOKENS) + 2)
    configure(
        directory,
        added_tokens_decoder=entries(
            (4, AddedToken("[MASK]", lstrip=True, special=True, normalized=False)),
            (6, AddedToken("[unused1]", rstrip=True, normalized=False)),
            (TOKENS.index("covid"), AddedToken("covid", single_word=True, normalized=True)),
            (len(TOKENS), AddedToken("New York", normalized=True)),
            (len(TOKENS) + 1, AddedToken("<e1>", normalized=True, special=True, lstrip=True, rstrip=True)),
        ),
    )


@oddity
def added_and_resized(directory: Path) -> None:
    """Tokens added later, the table resized."""
    resize(directory, ["playings", "New York", "文", "tok42", "Café"])


@oddity
def added_with_flags(directory: Path) -> None:
    """Tokens added later with single_word, lstrip and rstrip, the table padded to a multiple of 64."""
    tokens = [
        AddedToken("covid", single_word=True),
        AddedToken("<e1>", lstrip=True),
        AddedToken("tok3", rstrip=True),
    ]
    resize(directory, [*tokens, AddedToken("sat", single_word=True, normalized=False)], pad_to_multiple_of=64)


@oddity
def added_special(directory: Path) -> None:
    """Special tokens added later, the table padded to a multiple of 8."""
    resize(directory, ["<e1>", "</e1>", "[unused1]"], special=True, pad_to_multiple_of=8)


@oddity
def many_added(directory: Path) -> None:
    """Five hundred tokens added later, some the beginnings of others."""
    resize(directory, [f"tok{number}" for number in range(500)])


@oddity
def both_vocabularies(directory: Path) -> None:
    """vocab.txt and tokenizer.json that disagree."""
    lines = (directory / "vocab.txt").read_text(encoding="utf-8")
    serialise(directory)
    swapped = lines.replace("\ncat\n", "\n#\n").replace("\nsat\n", "\ncat\n").replace("\n#\n", "\nsat\n")
    (directory / "vocab.txt").write_text(swapped, encoding="utf-8")


@oddity
def other_case(directory: Path) -> None:
    """do_lower_case in tokenizer_config.json against lowercase in tokenizer.json."""
    serialise(directory)
    configure(directory, do_lower_case=False)


@oddity
def other_case_unsaid(directory: Path) -> None:
    """lowercase false in tokenizer.json, and nothing in tokenizer_config.json."""
    serialise(
        directory,
        lambda tokenizer: setattr(tokenizer, "normalizer", normalizers.BertNormalizer(lowercase=False)),
    )
    configure(directory, do_lower_case=None)


@oddity
def other_accents(directory: Path) -> None:
    """strip_accents and tokenize_chinese_chars against tokenizer.json."""
    serialise(directory)
    configure(directory, strip_accents=False, tokenize_chinese_chars=False)


@oddity
def bert_ignores(directory: Path) -> None:
    """BERT's class beside a tokenizer.json with a prefix, a word limit and a template of its own."""

    def change(tokenizer: Tokenizer) -> None:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B")

    serialise(directory, change, max_input_chars_per_word=3, continuing_subword_prefix="@@")


@oddity
def generic_limit(directory: Path) -> None:
    """A generic tokenizer with max_input_chars_per_word 6."""
    generic(directory, max_input_chars_per_word=6)


@oddity
def generic_prefix(directory: Path) -> None:
    """A generic tokenizer with continuing_subword_prefix @@."""
    path = directory / "vocab.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("##", "@@"), encoding="utf-8")
    decoder = decoders.WordPiece(prefix="@@", cleanup=False)
    generic(
        directory, lambda tokenizer: setattr(tokenizer, "decoder", decoder), continuing_subword_prefix="@@"
    )


@oddity
def generic_unclean(directory: Path) -> None:
    """A generic tokenizer without clean_text."""
    generic(
        directory,
        lambda t: setattr(t, "normalizer", normalizers.BertNormalizer(clean_text=False, lowercase=False)),
    )


@oddity
def generic_bare(directory: Path) -> None:
    """A generic tokenizer without normalizer and decoder."""

    def change(tokenizer: Tokenizer) -> None:
        tokenizer.normalizer = None
        tokenizer.decoder = None

    generic(directory, change)


@oddity
def generic_sequence(directory: Path) -> None:
    """A generic tokenizer whose parts are sequences of one, with truncation and padding."""

    def change(tokenizer: Tokenizer) -> None:
        tokenizer.normalizer = normalizers.Sequence([normalizers.BertNormalizer(strip_accents=False)])
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer()])
        tokenizer.enable_truncation(7)
        tokenizer.enable_padding(pad_token="[PAD]", length=9)

    generic(directory, change)


@oddity
def generic_roberta(directory: Path) -> None:
    """A generic tokenizer with RoBERTa's special tokens and template, the mask with lstrip."""
    names = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
    tokens = [names.get(token, token) for token in TOKENS]
    (directory / "vocab.txt").write_text(
        "".join(f"{token}\n" for token in [*tokens, "[CLS]", "[SEP]"]), encoding="utf-8"
    )

    def change(tokenizer: Tokenizer) -> None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
        )
        tokenizer.add_special_tokens(
            ["<pad>", "<unk>", "<s>", "</s>", AddedToken("<mask>", lstrip=True, special=True)]
        )

    generic(directory, change, unk_token="<unk>")
    write_directory_rows(directory, len(TOKENS) + 2)
    (directory / "vocab.txt").unlink()
    keys = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    configure(directory, **dict(zip(keys, names.values(), strict=True)))


@oddity
def other_spellings(directory: Path) -> None:
    """BERT's class with RoBERTa's special tokens, in a cased vocabulary."""
    names = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
    lines = "".join(f"{names.get(token, token)}\n" for token in TOKENS)
    (directory / "vocab.txt").write_text(lines, encoding="utf-8")
    keys = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    configure(directory, do_lower_case=False, **dict(zip(keys, names.values(), strict=True)))


@oddity
def class_in_config(directory: Path) -> None:
    """tokenizer_class in config.json alone: a generic tokenizer."""
    serialise(directory, max_input_chars_per_word=4)
    (directory / "tokenizer_config.json").unlink()
    config = json.loads((directory / "config.json").read_text())
    write(directory, "config.json", **config, tokenizer_class="PreTrainedTokenizerFast")
    write(directory, "tokenizer_config.json", mask_token="[MASK]", pad_token="[PAD]", unk_token="[UNK]")


@oddity
def no_tokenizer_config(directory: Path) -> None:
    """No tokenizer_config.json at all."""
    (directory / "tokenizer_config.json").unlink()


@oddity
def blank_lines(directory: Path) -> None:
    """Empty and repeated lines in vocab.txt."""
    lines = [*TOKENS[:8], "", "the", *TOKENS[8:20], "", "cat", *TOKENS[20:]]
    write_directory(directory, lines)


@oddity
def line_ends(directory: Path) -> None:
    r"""Blanks behind vocabulary entries, \\r\\n, empty lines at the end."""
    text = "".join(f"{token}{' ' * (index % 3)}\r\n" for index, token in enumerate(TOKENS))
    (directory / "vocab.txt").write_bytes((text + "\r\n\r\n").encode())


@oddity
def padded(directory: Path) -> None:
    """A table padded to a multiple of 64."""
    write_directory_rows(directory, 64 * (len(TOKENS) // 64 + 1))


@oddity
def gaps(directory: Path) -> None:
    """Ids that no token of tokenizer.json has."""
    serialise(directory)
    values = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    for token in ("[unused0]", "[unused2]", "mat"):
        del values["model"]["vocab"][token]
    write(directory, "tokenizer.json", **values)


@oddity
def clean_up(directory: Path) -> None:
    """clean_up_tokenization_spaces."""
    configure(directory, clean_up_tokenization_spaces=True)


@oddity
def roberta_weights(directory: Path) -> None:
    """A RoBERTa model with BERT's tokenizer."""
    write_directory(directory, TOKENS, family="roberta")
    values = json.loads((directory / "config.json").read_text())
    write(directory, "config.json", **{**values, "pad_token_id": 0})


@oddity
def both_biases(directory: Path) -> None:
    """decoder.bias and decoder.weight beside what they are copies of."""
    path = directory / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"].clone()
    weights["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"].clone()
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})


@oddity
def no_model_type(directory: Path) -> None:
    """config.json without model_type, the architecture says it."""
    values = json.loads((directory / "config.json").read_text())
    del values["model_type"]
    write(directory, "config.json", **values)


@contextlib.contextmanager
def odd_directory(edit: Edit) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        directory = Path(name) / "model"
        write_directory(directory, TOKENS)
        edit(directory)
        yield directory
