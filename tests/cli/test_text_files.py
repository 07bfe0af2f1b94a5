"""Every verb that takes files of text reads the same files in the same way."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tf_mlm.cli import main
from tf_mlm.config import ModelConfig
from tf_mlm.model.directory.checkpoint import save
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.wordpiece_training import train_vocabulary

# Line separators that are none here, in the middle of texts.
TEXTS = [f"the cat {number} sat\u2028on the\x0c mat\x85again ." for number in range(60)]
pytestmark = pytest.mark.usefixtures("interpreted", "loaded_once")  # tested is how files are read
VERBS = ("train", "vocab", "evaluate", "tokenize", "score", "calibrate", "evaluate export")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    vocabulary = train_vocabulary(TEXTS, 80)
    sizes = ModelConfig(
        vocab_size=vocabulary.size,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    )
    save(MaskedLM.from_config(sizes, seed=0, preprocessor=TextPreprocessor(vocabulary, max_length=16)), path)
    return path


@pytest.fixture
def run(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """`run(verb, file, *options)` → exit code, standard output, standard error."""

    def call(verb: str, file: object, *options: object) -> tuple[int, str, str]:
        small = ("--batch-size", "2", "--steps", "1", "--hidden-size", "8", "--layers", "1", "--heads", "1")
        export = ("export", model_dir, tmp_path / "models", "--no-xla", "--top-k", "2")
        buckets = ("--length-buckets", "16", "--batch-buckets", "1", "--mask-buckets", "1")
        arguments = {
            "train": ("train", file, "--output", tmp_path / "run", "--length", "16", *small),
            "vocab": ("vocab", file, "--output", tmp_path / "vocab.txt", "--size", "80"),
            "evaluate": ("evaluate", model_dir, file),
            "tokenize": ("tokenize", model_dir, file, "--to-tfrecord", tmp_path / "ids.tfrecord"),
            "score": ("score", model_dir, "--file", file),
            "calibrate": (*export, *buckets[:2], "--calibrate", file, "--programs", "5"),
            "evaluate export": (*export, *buckets, "--quantize", "int8", "--evaluate", file),
        }[verb]
        capsys.readouterr()
        code = 0
        try:
            main([str(argument) for argument in (*arguments, *options, "--json")])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return call


FORMATS: dict[str, Callable[[list[str]], bytes]] = {
    "a.txt": lambda texts: "\r\n".join(texts).encode("utf-8-sig"),
    "a.txt.gz": lambda texts: gzip.compress("\n".join(texts).encode()),
    "a.jsonl": lambda texts: "".join(json.dumps({"text": text}) + "\n" for text in texts).encode(),
    "a.json": lambda texts: json.dumps([{"text": text} for text in texts], indent=1).encode(),
    "a.unknown": lambda texts: json.dumps([{"text": text} for text in texts]).encode(),
}


@pytest.mark.parametrize("name", FORMATS)
def test_all_formats_give_the_same_texts(tmp_path: Path, run: Callable[..., Any], name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMATS[name](TEXTS))
    code, out, err = run("tokenize", path, "--line-by-line")
    assert code == 0, err
    assert json.loads(out)["documents"] == len(TEXTS)
    if name not in ("a.txt", "a.json"):
        return
    path.write_bytes(FORMATS[name](TEXTS[:3]))
    code, out, err = run("score", path)
    assert code == 0, err
    assert [text["text"] for text in json.loads(out)["texts"]] == TEXTS[:3]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_a_field_and_names_it_when_it_is_missing(
    tmp_path: Path, run: Callable[..., Any], verb: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"body": text}) + "\n" for text in TEXTS))
    code, _, err = run(verb, path)
    assert code == 1
    assert "line 1, the fields ['body']. Name the field that holds the text with --text-field" in err
    assert len(err.splitlines()) == 1
    if verb not in ("calibrate", "evaluate export"):  # the exports of `test_export.py` read such files
        code, _, err = run(verb, path, "--text-field", "body")
        assert code == 0, err


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"fine\ncaf\xe9\n", "a.txt`, line 2, byte 0xe9. Convert it"),
        ("a.csv", b"text\nfine\n", "a.csv`, by its name a table (CSV). Write its column"),
        ("a.txt", b"%PDF-1.7", "a.txt`, which is a PDF. Extract its text first"),
        ("a.json", b'{"text": ["fine"]}', 'a.json`, line 1, list in "text"'),
        ("a.gz", gzip.compress(b"fine " * 99, mtime=0)[:-9], "a.gz` is a damaged gzip file"),
        ("a.txt", b"", "a.txt`, which is empty"),
    ],
)
def test_every_verb_refuses_the_same_files_in_one_line(
    tmp_path: Path, run: Callable[..., Any], verb: str, name: str, data: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    code, _, err = run(verb, path)
    assert code == 1
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("verb", ["vocab", "score", "tokenize"])
def test_a_pipe_is_read_where_once_is_enough(
    run: Callable[..., Any], verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(TEXTS).encode())))
    code, _, err = run(verb, "-")
    assert code == 0, err


@pytest.mark.parametrize("verb", ["train", "evaluate", "evaluate export"])
def test_a_pipe_is_refused_where_text_is_read_again(run: Callable[..., Any], verb: str) -> None:
    code, _, err = run(verb, "-")
    assert code == 1
    assert "read more than once, so it must stand in files. Received: `-`" in err
    assert len(err.splitlines()) == 1
