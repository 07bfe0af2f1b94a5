"""The command line as a person and as a script use it."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import tensorflow as tf
from reference.command_line import run

from tf_mlm.cli import VERBS, main

pytestmark = pytest.mark.usefixtures("loaded_once")


@pytest.fixture(scope="module")
def base_path(model_dir: Path) -> Path:
    path = model_dir.parent / "models" / "mlm"
    buckets = ["--batch-buckets", "1,4", "--length-buckets", "16", "--mask-buckets", "1,4"]
    assert run("export", model_dir, path, "--top-k", 5, *buckets, "--no-xla", "--json") == 0
    return path


def test_help_has_an_example_and_does_not_load_tensorflow() -> None:
    program = (
        "import sys\nfrom tf_mlm.cli import main\n"
        "for verb in sys.argv[1:]:\n  main([verb, '--help'])\n"
        "  print(f'end of {verb}', 'tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-c", program, *VERBS]
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    for verb in VERBS:
        help_text, end, text = text.partition(f"end of {verb} False\n")
        assert end, f"{verb} --help loads TensorFlow"
        assert "Example: tf-mlm" in help_text


def test_the_listing_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    listing = capsys.readouterr().out
    assert all(verb in listing for verb in VERBS)


def test_training_wrote_a_model_directory(model_dir: Path) -> None:
    assert {"config.json", "vocab.txt", "model.safetensors", "tokenizer_config.json"} <= {
        path.name for path in model_dir.iterdir()
    }


def test_the_export_carries_its_evaluation(base_path: Path) -> None:
    description = json.loads((base_path / "1" / "assets.extra" / "tf_mlm.json").read_text())
    assert description["evaluation"]["masks"] > 0
    assert description["evaluation"]["step"] == 3


@pytest.mark.usefixtures("interpreted")
def test_evaluate_compares_on_the_same_masks(
    model_dir: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", model_dir, corpus, "--against", model_dir, "--rows", 16, "--json") == 0
    one, other = json.loads(capsys.readouterr().out)
    assert one == other
    assert 0 <= one["top_1"] <= one["top_5"] <= 1


@pytest.mark.parametrize("kind", ["model", "base", "version"])
def test_fill_score_and_tokenize_any_target(
    model_dir: Path, base_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = {"model": model_dir, "base": base_path, "version": base_path / "1"}[kind]
    assert run("fill", target, "The [MASK] sat.", "[MASK] [MASK]", "--top-k", 2, "--json") == 0
    one, two = json.loads(capsys.readouterr().out)
    assert [len(one), len(two), len(two[0])] == [2, 2, 2]
    assert run("score", target, "The cat sat.", "--json") == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["texts"][0]["score"] < 0
    assert scored["pseudo_perplexity"] > 1
    assert run("tokenize", target, "The cat", "--json") == 0
    (tokens,) = json.loads(capsys.readouterr().out)
    assert tokens[0]["token"] == "[CLS]"
    assert "The cat"[tokens[1]["start"] : tokens[1]["end"]].lower() == tokens[1]["token"]


def test_every_target_gives_the_same_fills(
    model_dir: Path, base_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = []
    for target in (model_dir, base_path):
        assert run("fill", target, "The [MASK] sat on the [MASK].", "--targets", "cat,dog", "--json") == 0
        answers.append(json.loads(capsys.readouterr().out))
    for one, other in zip(*(row for answer in answers for row in answer), strict=True):
        for a, b in zip(one, other, strict=True):
            assert a == {**b, "score": pytest.approx(b["score"], abs=1e-6)}


def test_tables_for_people(model_dir: Path, base_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ("fill", model_dir, "The [MASK]."),
        ("score", model_dir, "The cat."),
        ("tokenize", model_dir, "The cat."),
        ("inspect", model_dir),
        ("inspect", base_path),
    ):
        assert run(*arguments) == 0
        assert capsys.readouterr().out.strip()


def test_inspect_says_what_a_server_needs(base_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", base_path) == 0
    assert "without XLA: runs on any stock server" in " ".join(capsys.readouterr().out.split())
    assert run("inspect", base_path / "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["buckets"]["batch"] == [1, 4]


@pytest.mark.usefixtures("interpreted")
def test_token_records_train_a_model(model_dir: Path, corpus: Path, tmp_path: Path) -> None:
    records = tmp_path / "ids.tfrecord"
    assert run("tokenize", model_dir, corpus, "--to-tfrecord", records, "--json") == 0
    settings = ["--steps", 1, "--length", 16, "--batch-size", 8, "--held-out", 0.2, "--json"]
    assert run("train", records, "--from", model_dir, "--output", tmp_path / "again", *settings) == 0


@pytest.mark.usefixtures("interpreted")
def test_documents_are_kept_apart_where_that_is_said(
    model_dir: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = tmp_path / "shards"
    settings = ["--length", 16, "--packed"]
    share = ["--held-out", 0.2, "--shard", "0/1", "--json"]
    assert run("tokenize", model_dir, corpus, "--to-tfrecord", shards, *settings, *share) == 0
    files = sorted(shards.glob("*.tfrecord"))
    capsys.readouterr()
    found = []
    for text, more in ((files, settings), ([corpus], settings), ([corpus], settings[:2])):
        assert run("evaluate", model_dir, *text, *more, "--rows", 5000, "--json") == 0
        found.append(json.loads(capsys.readouterr().out))
    of_shards, apart, joined = found
    assert of_shards["bits_per_byte"] is None
    assert of_shards["masks"] == pytest.approx(apart["masks"], rel=0.05)
    assert of_shards["loss"] == pytest.approx(apart["loss"], rel=0.05)
    assert abs(apart["loss"] - joined["loss"]) > 1e-4
    assert run("evaluate", model_dir, *files, "--length", 16) == 1
    assert "Give --packed" in capsys.readouterr().err
    assert run("tokenize", model_dir, "The cat.", "--packed") == 2
    assert "--packed is of shards" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["export", "{model}", "{base}", "--version", "1"], 1, "Version 1 already exists"),
        (["export", "{model}", "{base}", "--version", "one"], 2, "'one' is not a valid integer"),
        (["export", "{model}", "{base}", "--length-buckets", "16,x"], 2, "list of whole numbers"),
        (["export", "{model}", "{base}", "--length-buckets", "16,8"], 1, "ascending order"),
        (["export", "{model}", "{base}", "--length-buckets", "16,999"], 1, "positions for 16 tokens"),
        (["export", "{model}", "{base}", "--evaluate", "{corpus}"], 2, "needs --quantize int8"),
        (["export", "{model}", "{base}", "--arithmetic", "int8"], 2, "needs --quantize int8"),
        (["export", "{model}", "{base}", "--arithmetic", "float"], 2, "needs --quantize int8 or --dtype"),
        (
            ["export", "{model}", "{base}", "--quantize", "int8", "--arithmetic", "bfloat16"],
            2,
            "needs --dtype bfloat16",
        ),
        (
            ["export", "{model}", "{base}", "--quantize", "int8", "--dtype", "bfloat16"],
            2,
            "Give one of the two",
        ),
        (
            ["export", "{model}", "{base}", "--calibrate", "{model}/vocab.txt", "--programs", "4"],
            2,
            "--programs",
        ),
        (["bench", "startup", "--picture", "x.png"], 2, "needs --peers"),
        (["export", "/nowhere", "{base}"], 1, "`/nowhere` is not a directory"),
        (["fill", "{model}", "no mask"], 1, "Every text must contain the mask token [MASK]"),
        (["fill", "{model}"], 2, "Give at least one text"),
        (["fill", "/nowhere", "[MASK]"], 1, "A target must be a model directory"),
        (["fill", "http://127.0.0.1:1/mlm", "[MASK]"], 1, "`tf-mlm serve` starts one"),
        (["fill", "grpc://nonsense", "[MASK]"], 1, "A target must look like grpc://host:8500/name"),
        (["fill", "{model}", "[MASK]", "--top-k", "999"], 1, "`top_k` must lie in [1, "),
        (
            ["fill", "{base}", "[MASK]", "--top-k", "6"],
            1,
            "at most 5, the number the model was exported with",
        ),
        (["score", "{model}"], 2, "Give at least one text"),
        (["score", "{model}", "--file", "/nowhere"], 2, "'/nowhere' does not exist"),
        (["tokenize", "{foreign}", "a"], 1, "A SavedModel must come from `tf-mlm export`"),
        (["serve", "{base}", "--port", "8500", "--rest-port", "8500"], 2, "--rest-port must differ"),
        (["serve", "{base}", "--port", "70000"], 2, "70000"),
        (["serve", "{empty}"], 1, "at least one numbered version"),
        (["inspect", "{empty}"], 1, "neither a model directory"),
        (
            ["vocab", "{corpus}", "--output", "/nowhere/v.txt", "--size", "50"],
            1,
            "No such file or directory: `/nowhere/v.txt`. Check the path",
        ),
        (["train", "/nowhere/*.txt", "--output", "{empty}"], 1, "/nowhere"),
        (
            ["train", "{corpus}", "--output", "{empty}", "--mask-rate", "1.5"],
            1,
            "`mask_rate` must lie between 0",
        ),
        (
            ["train", "{corpus}", "--output", "{empty}", "--heads", "3", "--hidden-size", "16"],
            1,
            "must divide",
        ),
        (
            ["train", "{corpus}", "--output", "{empty}", "--from", "{model}", "--layers", "2", "--cased"],
            2,
            "Received also: --layers, --cased. Leave these out",
        ),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_mistakes_get_one_line_that_says_what_to_do(
    arguments: list[str],
    code: int,
    message: str,
    model_dir: Path,
    base_path: Path,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    foreign = tmp_path / "foreign"
    if "{foreign}" in arguments:
        tf.saved_model.save(tf.Module(), str(foreign))
    places = {
        "model": model_dir,
        "base": base_path,
        "corpus": corpus,
        "empty": tmp_path,
        "foreign": foreign,
    }
    assert run(*(argument.format(**places) for argument in arguments)) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1


def test_debug_shows_the_traceback_wherever_it_stands(model_dir: Path) -> None:
    for arguments in (("--debug", "fill", model_dir, "no mask"), ("fill", model_dir, "no mask", "--debug")):
        with pytest.raises(tf.errors.InvalidArgumentError, match="must contain the mask token"):
            run(*arguments)


def test_a_text_is_no_markup(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "[b]cat[/] [MASK] :cat: [/red]"
    for verb in ("fill", "tokenize", "score"):
        assert run(verb, model_dir, text) == 0
        assert text in capsys.readouterr().out


def test_bytes_that_are_no_utf8_are_dropped(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = "cat \udcff\udcc3 [MASK]"  # as Python hands over what the shell gave
    assert run("fill", model_dir, broken, "cat [MASK]", "--json") == 0
    with_bytes, without = json.loads(capsys.readouterr().out)
    assert with_bytes == [{**fill, "score": pytest.approx(fill["score"], abs=1e-6)} for fill in without]
    for verb in ("tokenize", "score"):
        assert run(verb, model_dir, broken) == 0
        assert "cat \ufffd\ufffd [MASK]" in capsys.readouterr().out


def test_perplexity_is_over_the_tokens_that_are_scored(
    model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("score", model_dir, "The cat Ω [MASK] sat", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert run("tokenize", model_dir, "The cat Ω sat", "--json") == 0
    (tokens,) = json.loads(capsys.readouterr().out)
    assert "[UNK]" in [token["token"] for token in tokens]
    assert found["tokens"] == len(tokens) - 2
    assert found["pseudo_perplexity"] == pytest.approx(
        math.exp(-found["texts"][0]["score"] / found["tokens"])
    )


def test_a_warning_is_one_line(tmp_path: Path) -> None:
    with contextlib.suppress(SystemExit):
        main(["inspect", str(tmp_path)])
    assert warnings.formatwarning("A rule.", UserWarning, "file.py", 1) == "Warning: A rule.\n"
