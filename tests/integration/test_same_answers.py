"""The same 40 questions in Python, on the command line and over the network: equal strings, equal scores.

For a WordPiece model with BERT's special tokens, for one with RoBERTa's and the clean-up of blanks, and for
ModernBERT with its byte-level BPE.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest
from conftest import WORDS
from reference.byte_level import write_tokenizer
from reference.untraced import untraced

from tf_mlm.cli import group
from tf_mlm.config import Buckets, ModelConfig, TokenizerConfig
from tf_mlm.errors import InvalidInputError, ReplacedTargetWarning
from tf_mlm.model.directory.config_json import read_config
from tf_mlm.model.directory.read_tokenizer import read_preprocessor
from tf_mlm.serving.client.client import Client
from tf_mlm.target.open import ADDRESS, EXPORT, MODEL, open_target
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary

BERT = TokenizerConfig()
ROBERTA = TokenizerConfig(
    cls_token="<s>",
    pad_token="<pad>",
    sep_token="</s>",
    unk_token="<unk>",
    mask_token="<mask>",
    extra={"clean_up_tokenization_spaces": True},
)
ORDERS = {
    "bert": (BERT, ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")),
    "roberta": (ROBERTA, ("<s>", "<pad>", "</s>", "<unk>", "<mask>")),
}
# BERT's own special tokens are those of the tiny model, which other tests ask in all these ways.
MODELS = (pytest.param("bert", marks=pytest.mark.slow), "roberta", "modernbert")
WAYS = ("directory", "export", "http", "grpc")


@dataclasses.dataclass(frozen=True)
class Question:
    """{m}, {cls}, {sep}, {pad} and {unk} stand for the model's own special tokens."""

    verb: str
    text: Any
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def fill(text: Any, **options: Any) -> Question:
    return Question("fill", text, options)


def both(text: str) -> list[str]:
    return [text, "a {m} cat {m} ?"]


QUESTIONS = [
    fill("the {m} sat on a mat ."),
    fill("a {m} cat {m} ?"),
    fill("{m}"),
    fill("The CAT {m}!"),
    fill("café {m} 🙂"),
    fill("thé {m}, cät on a mät"),
    fill("{cls} the {m} {sep} {pad} cat {unk}"),
    fill("the [MASK] <mask> {m} ' s , it n't don't"),
    fill("cats{m}ing, sitting"),
    fill(b"the {m} sat"),
    fill(b"the \xff{m} \xe2\x82 cat"),
    fill("a \ud83d{m} cat"),
    fill(["the {m} .", "{m} {m} {m}", "a {m}"]),
    fill(("the {m} .", b"{m} cat")),
    fill(np.array(["the {m} .", "a dog {m}"])),
    fill(np.array([b"the {m} .", b"a {m}"], object)),
    fill("the {m} ran", top_k=1),
    fill(both("the {m} ran"), top_k=10),
    fill("the {m} sat", targets=["cat", "dog"]),
    fill("the {m} sat", targets="cat"),
    fill("the {m} sat", targets=["dog", "cat", "dog", "cat"], top_k=3),
    fill("the {m} sat", targets=["CAT", "Dog", "cat"]),
    fill("the {m} sat", targets=["##ing", "##s", "ing"]),
    fill("the {m} sat", targets=["dogs", "sitting", "🙂", "unheard"]),
    fill("the {m} sat", targets=["{m}", "{pad}", "{unk}", "{cls}"]),
    fill("a {m} cat {m} ?", targets=["dog", "{m}", "{pad}", "."]),
    fill(b"the {m} sat", targets=[b"caf\xc3\xa9", b"mat", "log"]),
    fill(both("{m} ."), targets=("on", ".", "?", "##s"), top_k=2),
    Question("score", "the cat sat on a mat ."),
    Question("score", b"the cat"),
    Question("score", "The Cats, {m} 🙂 thé"),
    Question("score", ["a dog ran", "{cls} the {sep} {pad} {unk}", "[MASK] <mask>"]),
    Question("score", (b"a", "dogs")),
    Question("score", "unheard 🙂🙂 of"),
    Question("tokenize", "The cats,  sat\ton {m}."),
    Question("tokenize", "café {unk} 🙂".encode()),
    Question("tokenize", ["a", "the {m}{m} [MASK]<mask>", "sitting 🙂"]),
    Question("encode", "the cat sat"),
    Question("encode", "thé 🙂".encode()),
    Question("encode", ["a", "the {m} dog", "dogs {pad}"]),
]


def test_there_are_40_of_them() -> None:
    assert len(QUESTIONS) == 40


def spelt(value: Any, config: TokenizerConfig) -> Any:
    """The question in a model's own spellings, of the same type."""
    if isinstance(value, str | bytes):
        names = {"m": config.mask_token, "cls": config.cls_token, "sep": config.sep_token}
        for name, token in {**names, "pad": config.pad_token, "unk": config.unk_token}.items():
            if isinstance(value, str):
                value = value.replace(f"{{{name}}}", token)
            else:
                value = value.replace(b"{%s}" % name.encode(), token.encode())
        return value
    if isinstance(value, np.ndarray):
        return np.array([spelt(item, config) for item in value.tolist()], object)
    return type(value)(spelt(item, config) for item in value)


@dataclasses.dataclass
class Model:
    """One model, and every way to it."""

    config: TokenizerConfig
    in_python: Callable[[str, Any, dict[str, Any]], Any]
    clients: dict[str, Client]
    answers: dict[int, Any] = dataclasses.field(default_factory=dict)


def word_piece(name: str) -> tuple[TextPreprocessor, ModelConfig]:
    config, special = ORDERS[name]
    vocabulary = Vocabulary((*special, *WORDS, "'", "s", "it", "##n't", "n't"), config)
    return TextPreprocessor(vocabulary, 32), ModelConfig(**sizes(vocabulary.size, vocabulary.pad_id))


def modern_bert(directory: Path) -> tuple[TextPreprocessor, ModelConfig]:
    tokenizer = write_tokenizer(directory, "modernbert")
    values = sizes(tokenizer.get_vocab_size(), tokenizer.token_to_id("[PAD]"))
    config = read_config({**values, "model_type": "modernbert", "local_attention": 8})
    preprocessor = read_preprocessor(directory, config)
    assert preprocessor is not None
    return preprocessor, config


def sizes(vocabulary: int, pad_id: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 32,
        "initializer_range": 0.5,
        "pad_token_id": pad_id,
    }


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    import tensorflow as tf

    import tf_mlm
    from tf_mlm.export.saved_model import export
    from tf_mlm.model.fill_mask import FillMask
    from tf_mlm.model.masked_lm import MaskedLM
    from tf_mlm.serving.server import ModelServer, ServerOptions

    if request.param in ORDERS:
        preprocessor, config = word_piece(request.param)
    else:
        preprocessor, config = modern_bert(tmp_path_factory.mktemp("tokenizer"))
    made = MaskedLM.from_config(config, seed=3, preprocessor=preprocessor)
    directory, base = (tmp_path_factory.mktemp(request.param) / name for name in ("model", "mlm"))
    tf_mlm.save(made, directory)
    buckets = Buckets(batch=(4,), length=(32,), masks=(8,))
    export(made, base, buckets=buckets, top_k=10, xla=False)
    fill_mask = FillMask(tf_mlm.load(directory))

    def in_python(verb: str, text: Any, options: dict[str, Any]) -> Any:
        if verb == "fill":
            return fill_mask(text, **options)
        inference = fill_mask.inference
        method = {"score": inference.pseudo_log_likelihood}.get(verb) or getattr(inference, verb)
        texts = [text] if isinstance(text, str | bytes) else list(text)
        outputs = {alias: value.numpy() for alias, value in method(tf.constant(texts)).items()}
        return outputs["embeddings"] if verb == "encode" else outputs

    options = ServerOptions(model_name="mlm", model_base_path=str(base), rest_port=0)
    with ModelServer(options) as server:
        addresses = {
            "directory": str(directory),
            "export": str(base),
            "http": f"http://127.0.0.1:{server.rest_port}/mlm",
            "grpc": f"grpc://127.0.0.1:{server.grpc_port}/mlm",
        }
        clients = {way: open_target(address, 10) for way, address in addresses.items()}
        yield Model(preprocessor.vocabulary.config, in_python, clients)
        for client in clients.values():
            client.close()


def assert_equal(found: Any, expected: Any) -> None:
    """The same in every string and number, scores within 1e-6 (of the larger, or of 1)."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_equal(found[key], value)
    elif isinstance(expected, list | np.ndarray) and getattr(expected, "dtype", None) != np.float32:
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    elif isinstance(expected, float | np.ndarray):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    else:
        assert found == expected


def asked_in_python(model: Model, index: int) -> Any:
    if index not in model.answers:
        question = QUESTIONS[index]
        options = {
            key: spelt(v, model.config) if key == "targets" else v for key, v in question.options.items()
        }
        text = spelt(question.text, model.config)
        with untraced():  # the ways that are compared with it are traced
            model.answers[index] = model.in_python(question.verb, text, options)
    return model.answers[index]


IDS = [f"{index}-{question.verb}" for index, question in enumerate(QUESTIONS)]
pytestmark = pytest.mark.filterwarnings("ignore::tf_mlm.fills.ReplacedTargetWarning")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("index", range(len(QUESTIONS)), ids=IDS)
def test_a_client_answers_as_python_does(model: Model, way: str, index: int) -> None:
    question = QUESTIONS[index]
    options = {key: spelt(v, model.config) if key == "targets" else v for key, v in question.options.items()}
    found = getattr(model.clients[way], question.verb)(spelt(question.text, model.config), **options)
    assert_equal(found, asked_in_python(model, index))


def as_argument(text: str | bytes) -> str:
    """What Python makes of the bytes that the shell passes on."""
    text = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return text.decode("utf-8", "surrogateescape")


def run(monkeypatch: pytest.MonkeyPatch, model: Model, way: str, verb: str, *arguments: str) -> Any:
    """The verb itself, on a target that stays open: it is loaded once for all questions."""
    monkeypatch.setattr(f"tf_mlm.cli.{verb}.open_target", lambda *_: _StaysOpen(model.clients[way]))
    if verb == "score":  # what a target is decides which methods it can score by
        kind = {"directory": MODEL, "export": EXPORT}.get(way, ADDRESS)
        monkeypatch.setattr("tf_mlm.cli.score.kind_of", lambda _: (kind, Path(way)))
    return click.testing.CliRunner().invoke(group, [verb, way, *arguments])


class _StaysOpen:
    def __init__(self, client: Client) -> None:
        self.client = client

    def __enter__(self) -> Client:
        return self.client

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "index",
    [index for index, question in enumerate(QUESTIONS) if question.verb != "encode"],
    ids=[name for name in IDS if "encode" not in name],
)
def test_the_command_line_answers_as_python_does(
    model: Model, way: str, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = QUESTIONS[index]
    text = spelt(question.text, model.config)
    single = isinstance(text, str | bytes)
    arguments = []
    if "top_k" in question.options:
        arguments += ["--top-k", str(question.options["top_k"])]
    if "targets" in question.options:
        targets = spelt(question.options["targets"], model.config)
        targets = [targets] if isinstance(targets, str) else targets
        arguments += ["--targets", ",".join(map(as_argument, targets))]
    texts = [as_argument(item) for item in ([text] if single else text)]
    result = run(monkeypatch, model, way, question.verb, "--json", *arguments, "--", *texts)
    assert result.exit_code == 0, result.output
    found, expected = json.loads(result.stdout), asked_in_python(model, index)
    if question.verb == "fill":
        assert_equal(found[0] if single else found, expected)
    elif question.verb == "score":
        counts = expected["scored_tokens"].tolist()
        assert [row["tokens"] for row in found["texts"]] == counts
        np.testing.assert_allclose([row["score"] for row in found["texts"]], expected["score"], rtol=1e-6)
        perplexity = np.exp(-expected["score"].sum(dtype=float) / max(sum(counts), 1))
        np.testing.assert_allclose(found["pseudo_perplexity"], perplexity, rtol=1e-5)
    else:
        assert_equal(found, tokens_of(expected))


def tokens_of(outputs: dict[str, np.ndarray]) -> list[list[dict[str, Any]]]:
    columns = [outputs[alias] for alias in ("tokens", "token_ids", "starts", "ends")]
    return [
        [
            {"token": token.decode(), "id": int(index), "start": int(start), "end": int(end)}
            for token, index, start, end in zip(*(column[row, :length] for column in columns), strict=True)
        ]
        for row, length in enumerate(outputs["lengths"])
    ]


FAULTS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no mask": ("the cat", {}, "must contain the mask token {m}.*Received: 0"),
    "no mask in two of three": (["a {m}", "a", "b"], {}, "must contain the mask token .*Received: 1 2"),
    "a mask beyond the limit": ("the " * 40 + "{m}", {}, "43 tokens"),
    "no text": ([], {}, "At least one text is needed"),
    "a number": (7, {}, r"`text` must be one text or a batch of texts.*Received: 7 \(int\)"),
    "nothing": (None, {}, r"`text` must be .*Received: None \(NoneType\)"),
    "a number among texts": (["a {m}", 7], {}, r"`text` must be .*Received: 7 \(int\) at index 1"),
    "numbers": (np.array([1, 2]), {}, r"`text` must be .*Received: an array of int64"),
    "nested": ([["a {m}"]], {}, r"`text` must be .*Received: shape \(1, 1\)"),
    "no top_k": ("a {m}", {"top_k": 0}, "`top_k` must be a whole number of at least 1.*top_k=0"),
    "half a top_k": ("a {m}", {"top_k": 1.5}, "`top_k` must be a whole number .*top_k=1.5"),
    "no target": ("a {m}", {"targets": []}, "`targets` must name at least one token"),
    "a target without a token": (
        "a {m}",
        {"targets": ["cat", ""]},
        "A target must contain at least one token",
    ),
    "an empty target": ("a {m}", {"targets": ""}, "A target must contain at least one token"),
    "a number for a target": ("a {m}", {"targets": 3}, r"`targets` must be .*Received: 3 \(int\)"),
}


@pytest.mark.parametrize("way", ["python", *WAYS])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_the_same_words_everywhere(model: Model, way: str, name: str) -> None:
    text, options, words = FAULTS[name]
    ask = (
        (lambda text, **options: model.in_python("fill", text, options))
        if way == "python"
        else model.clients[way].fill
    )
    if not (text is None or isinstance(text, int | np.ndarray) or "nested" in name or "number" in name):
        text = spelt(text, model.config)
    with pytest.raises(
        InvalidInputError, match=words.replace("{m}", model.config.mask_token.replace("[", r"\["))
    ):
        ask(text, **options)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("verb", ["score", "tokenize", "encode"])
@pytest.mark.parametrize("text", [7, None, ["a", 1.5], [["a"]], {"a": "b"}], ids=str)
def test_what_is_no_text_is_refused(model: Model, way: str, verb: str, text: Any) -> None:
    with pytest.raises(InvalidInputError, match="`text` must be one text or a batch of texts"):
        getattr(model.clients[way], verb)(text)


@pytest.mark.parametrize("way", ["python", *WAYS])
def test_a_replaced_target_is_a_warning(model: Model, way: str) -> None:
    text, targets = f"a {model.config.mask_token}", ["dogs", "cat", "CAT"]

    def ask() -> None:
        if way == "python":
            model.in_python("fill", text, {"targets": targets})
        else:
            model.clients[way].fill(text, targets=targets)

    first = r"\w+" if model.config.model == "BPE" else "dog"  # which one, its training decides
    with pytest.warns(
        ReplacedTargetWarning, match=rf"`dogs` is not one token .* `{first}` is scored"
    ) as caught:
        ask()
    replaced = [warning for warning in caught if warning.category is ReplacedTargetWarning]
    assert len(replaced) == 2
    assert Path(replaced[0].filename).name == Path(__file__).name
