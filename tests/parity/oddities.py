"""Model directories with tokenizer files and checkpoints as odd as those that people have, on both sides."""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import transformers
from parity.claim import Measurements, claim, difference
from parity.hugging_face import SIZES
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

import tf_mlm

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """
    the cat sat on a mat . , ! ' ##s ##ing play the covid new york é café cafe É Café Cat 寿 司 [ ] < >
    mask m s unused 1 ##1 ##used un ##t don t c ##a ##v ##i ##d a ##b b ##c i n e w y o r k ##o ##r ##k
    ##e ##w ##y
"""
TOKENS = [*SPECIALS, "[unused0]", "[unused1]", "[unused2]", *dict.fromkeys(WORDS.split())]
PARTS_ON_LINES = """the cat
Cat
sat
covid
COVID
covids
new york
New  York
café
CAFÉ
[unused1]
[unused9]
<e1>
</e1>
<E1>
<mask>
[MASK]
<s>
</s>
playing
playings
don't
tok3
tok42
tok420
xxxxxxx"""
PARTS = [
    *PARTS_ON_LINES.split("\n"),
    *".,!'1_[-bſ文 \t\x00",
    "e\u0301",
    "  ",
    "\u3000",
    "\u200b",
    "a\u00a0b",
    "\u0085",
]

Edit = Callable[[Path], None]
ODDITIES: dict[str, Edit] = {}


def oddity(function: Edit) -> Edit:
    """Adds a function that turns an ordinary directory into an odd one, named by its docstring."""
    assert function.__doc__
    ODDITIES[function.__doc__.rstrip(".")] = function
    return function


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


def their_tokenizer(directory: Path) -> Any:
    """As AutoTokenizer makes it; without a model type it cannot, and BERT's class does."""
    kind = json.loads((directory / "config.json").read_text()).get("model_type")
    return (transformers.AutoTokenizer if kind else transformers.BertTokenizer).from_pretrained(directory)


def their_model(directory: Path) -> Any:
    kind = json.loads((directory / "config.json").read_text()).get("model_type")
    return (
        (transformers.AutoModelForMaskedLM if kind else transformers.BertForMaskedLM)
        .from_pretrained(directory)
        .eval()
    )


def texts(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return [
        "".join(rng.choice(PARTS) + rng.choice(["", " "]) for _ in range(rng.randint(0, 8)))
        for _ in range(count)
    ]


def tokens_of(tokenizer: Any, batch: list[str]) -> list[list[tuple[int, int, int]]]:
    """Id, first and last byte of each token of transformers' tokenizer."""
    rows = []
    encoded = tokenizer(batch, return_offsets_mapping=True)
    for text, ids, offsets in zip(batch, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        places = [0, *np.cumsum([len(character.encode()) for character in text]).tolist()]
        rows.append([(index, places[a], places[b]) for index, (a, b) in zip(ids, offsets, strict=True)])
    return rows


def our_tokens_of(model: Any, batch: list[str]) -> list[list[tuple[int, int, int]]]:
    found = model.preprocessor(batch)
    columns = (found.token_ids.numpy(), found.starts.numpy(), found.ends.numpy())
    return [
        [
            (int(token), int(start), int(end))
            for token, start, end in zip(*(column[row][:length] for column in columns), strict=True)
        ]
        for row, length in enumerate(found.lengths.numpy())
    ]


@claim("Odd tokenizer files and checkpoints: texts with other ids or offsets, loaded and saved again", 0.0)
def odd_tokens(quick: bool) -> Measurements:
    batch = texts(3, 150 if quick else 1000)
    for name, edit in list(ODDITIES.items())[:: 2 if quick else 1]:
        with odd_directory(edit) as directory:
            expected = tokens_of(their_tokenizer(directory), batch)
            ours = tf_mlm.load(directory)
            wrong = [a != b for a, b in zip(our_tokens_of(ours, batch), expected, strict=True)]
            again = directory.parent / "again"
            tf_mlm.save(ours, again)
            wrong += [a != b for a, b in zip(tokens_of(their_tokenizer(again), batch), expected, strict=True)]
            yield name, float(sum(wrong))


@claim("Odd tokenizer files and checkpoints: logits and FillMask's scores (∞ for other fills)", 1e-4)
def odd_fills(quick: bool) -> Measurements:
    for name, edit in list(ODDITIES.items())[:: 5 if quick else 1]:
        with odd_directory(edit) as directory:
            theirs, tokenizer = their_model(directory), their_tokenizer(directory)
            ours = tf_mlm.load(directory)
            again = directory.parent / "again"
            tf_mlm.save(ours, again)
            ids = np.arange(1, 61)[None]  # RoBERTa skips the positions of padding, which has the id 0
            with torch.no_grad():
                logits = [model(torch.tensor(ids)).logits for model in (theirs, their_model(again))]
            everywhere = np.arange(60, dtype=np.int32)[None]
            mine = ours(ids.astype(np.int32), [60], np.zeros_like(everywhere), everywhere)
            worst = max(difference(mine, logits[0]), difference(logits[1], logits[0]))
            yield name, max(worst, _fills(ours, theirs, tokenizer))


def _fills(ours: Any, theirs: Any, tokenizer: Any) -> float:
    """The largest difference of scores over all tokens, infinite for other tokens or texts."""
    mask = tokenizer.mask_token
    pipeline = transformers.pipeline("fill-mask", model=theirs, tokenizer=tokenizer)
    fill = tf_mlm.FillMask(ours)
    worst = 0.0
    for text in (f"the {mask} sat [unused1] on a mat.", f"playings {mask}, New York don't!"):
        rows = [
            sorted(answer(text, top_k=ours.config.vocab_size), key=lambda fill: fill["token"])
            for answer in (fill, pipeline)
        ]
        for a, b in zip(*rows, strict=True):
            if any(a[key] != b[key] for key in ("token", "token_str", "sequence")):
                return np.inf
            worst = max(worst, abs(a["score"] - b["score"]))
    return worst


CLAIMS = [odd_tokens, odd_fills]
