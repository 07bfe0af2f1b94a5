"""Every family through all that answers questions, and one answer everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from reference.families import Family, asked_of
from reference.untraced import untraced

import tf_mlm
from tf_mlm.cli import group
from tf_mlm.config import Buckets
from tf_mlm.export.description import read_description
from tf_mlm.export.quantization import quantize
from tf_mlm.fills import FillRequest
from tf_mlm.model.programs import length_limit
from tf_mlm.model.questions import Inference
from tf_mlm.serving.server import ModelServer, ServerOptions
from tf_mlm.signatures import PORTABLE, SIGNATURES

TOP_K = 3
NAMES = [signature.name for signature in SIGNATURES]
pytestmark = pytest.mark.filterwarnings("ignore::tf_mlm.fills.ReplacedTargetWarning")
Answer = dict[str, np.ndarray]


@pytest.fixture(scope="module", params=asked_of("deberta-v3", "esm"))
def family(request: pytest.FixtureRequest) -> Family:
    """By default a tokenizer and an encoder of each kind that no other test asks through all of this."""
    return request.param


def run(*arguments: Any) -> Any:
    """What the command line prints as JSON."""
    done = CliRunner().invoke(group, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def exported(family: Family, directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that the command line wrote, with a length bucket for texts like the first one."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "requests.txt").write_text(f"{family.masked[0]}\n" * 3)
    calibration = ("--calibrate", folder / "requests.txt", "--programs", 6)
    sizes = ("--batch-buckets", 2, "--mask-buckets", 4, "--top-k", TOP_K)
    description = run("export", directory, folder / "mlm", *calibration, *sizes, "--no-xla", "--json")
    return Path(description["path"])


@pytest.fixture(scope="module")
def addresses(exported: Path) -> Iterator[dict[str, str]]:
    """Of a server, by protocol."""
    options = ServerOptions(model_name="mlm", model_base_path=str(exported.parent), rest_port=0)
    with ModelServer(options) as server:
        yield {
            "grpc": f"grpc://127.0.0.1:{server.grpc_port}/mlm",
            "http": f"http://127.0.0.1:{server.rest_port}/mlm",
        }


@pytest.fixture(scope="module")
def questions(family: Family, model: tf_mlm.MaskedLM) -> dict[str, dict[str, Any]]:
    """The inputs of each signature."""
    assert model.preprocessor is not None
    inputs = model.preprocessor(family.masked)
    states = np.linspace(-1, 1, 2 * 3 * model.config.hidden_size, dtype=np.float32)
    asked: dict[str, dict[str, Any]] = {
        "serving_default": {"text": family.masked},
        "score_targets": {"text": family.masked, "targets": [family.targets] * 2},
        "pseudo_log_likelihood": {"text": [family.text[:20], ""]},
        "encode": {"text": family.masked},
        "tokenize": {"text": [family.text, ""]},
        "predict_masked": {
            alias: getattr(inputs, alias).numpy()
            for alias in ("token_ids", "lengths", "segment_ids", "mask_positions")
        },
        "masked_lm_head": {
            "hidden_states": states.reshape(2, 3, -1),
            "mask_positions": np.array([[2, 0], [1, 1]], np.int32),
        },
    }
    assert asked.keys() == {*NAMES}
    return asked


def answers_of(inference: Inference, questions: dict[str, dict[str, Any]]) -> dict[str, Answer]:
    """What Python answers, operation by operation; what is compared with it is traced."""
    with untraced():
        return {
            name: {
                alias: value.numpy()
                for alias, value in inference.answers[name](
                    **{alias: tf.constant(value) for alias, value in inputs.items()}
                ).items()
            }
            for name, inputs in questions.items()
        }


@pytest.fixture(scope="module")
def in_python(model: tf_mlm.MaskedLM, questions: dict[str, dict[str, Any]]) -> dict[str, Answer]:
    return answers_of(Inference(model, top_k=TOP_K, xla=False), questions)


def assert_same(one: Answer, other: Answer) -> None:
    assert one.keys() == other.keys()
    for alias, value in one.items():
        assert np.shape(value) == np.shape(other[alias]), alias
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, other[alias], atol=1e-5, rtol=1e-5, err_msg=alias)
        else:
            np.testing.assert_array_equal(value, other[alias], err_msg=alias)


def assert_same_fills(found: Any, wanted: Any) -> None:
    """The same but for rounding of the scores; lists of any depth."""
    if isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same_fills(one, other)
        return
    assert found == {**wanted, "score": pytest.approx(wanted["score"], abs=1e-5)}


@pytest.mark.parametrize("way", ["grpc", "http"])
@pytest.mark.parametrize("name", NAMES)
def test_a_served_signature_answers_as_python_does(
    addresses: dict[str, str],
    questions: dict[str, dict[str, Any]],
    in_python: dict[str, Answer],
    name: str,
    way: str,
) -> None:
    with tf_mlm.Client(addresses[way]) as client:
        assert_same(in_python[name], client.predict(questions[name], name))


def assert_filled(family: Family, address: str, in_python: dict[str, Answer]) -> None:
    request = FillRequest(family.masked, TOP_K)
    found = run("fill", address, "--json", "--top-k", TOP_K, "--", *family.masked)
    assert_same_fills(found, request.answer(in_python["serving_default"], stacklevel=2))


@pytest.mark.parametrize("way", ["grpc", "http"])
def test_the_command_line_fills_as_python_does(
    family: Family, in_python: dict[str, Answer], addresses: dict[str, str], way: str
) -> None:
    assert_filled(family, addresses[way], in_python)
    targets = ("--targets", ",".join(family.targets))
    found = run("fill", addresses[way], "--json", *targets, "--", *family.masked)
    request = FillRequest(family.masked, targets=family.targets)
    assert_same_fills(found, request.answer(in_python["score_targets"], stacklevel=2))


# Each call loads the model, so one family of those that are asked by default shows each of the two.
@pytest.mark.parametrize("family", asked_of("esm"), indirect=True, scope="module")
def test_the_command_line_fills_from_a_directory_as_python_does(
    family: Family, in_python: dict[str, Answer], directory: Path
) -> None:
    assert_filled(family, str(directory), in_python)


@pytest.mark.parametrize("family", asked_of("deberta-v3"), indirect=True, scope="module")
def test_the_command_line_fills_from_an_export_as_python_does(
    family: Family, in_python: dict[str, Answer], exported: Path
) -> None:
    assert_filled(family, str(exported), in_python)


def test_the_other_verbs_answer_as_python_does(
    family: Family,
    questions: dict[str, dict[str, Any]],
    in_python: dict[str, Answer],
    addresses: dict[str, str],
) -> None:
    tokens = in_python["tokenize"]
    [found, nothing] = run("tokenize", addresses["http"], "--json", "--", *questions["tokenize"]["text"])
    size = int(tokens["lengths"][0])
    columns = {"id": "token_ids", "start": "starts", "end": "ends"}
    for ours, theirs in columns.items():
        assert [token[ours] for token in found] == tokens[theirs][0, :size].tolist()
    assert [token["token"].encode() for token in found] == tokens["tokens"][0, :size].tolist()
    assert len(nothing) == 2
    scores = in_python["pseudo_log_likelihood"]
    text = questions["pseudo_log_likelihood"]["text"][0]
    found = run("score", addresses["grpc"], "--json", "--", text)["texts"][0]
    assert (found["score"], found["tokens"]) == (
        pytest.approx(scores["score"][0], abs=1e-4),
        scores["scored_tokens"][0],
    )
    found = run("embed", addresses["http"], "--json", "--", *family.masked)
    vectors = [row["embedding"] for row in found]
    np.testing.assert_allclose(vectors, in_python["encode"]["embeddings"], atol=1e-5)


def test_calibration_and_warm_up_follow_the_tokenizer(
    family: Family, model: tf_mlm.MaskedLM, exported: Path
) -> None:
    assert model.preprocessor is not None
    tokens = int(model.preprocessor(family.masked[0]).lengths[0])
    description = read_description(exported)
    limit = length_limit(model)
    assert description["buckets"] == {"batch": [2], "length": [-(-tokens // 8) * 8, limit], "masks": [4]}
    assert description["warmup_records"] == 2 + 4 + 2
    assert (description["max_length"], description["quantization"]) == (limit, None)


def test_inspect_says_what_it_is(
    family: Family, model: tf_mlm.MaskedLM, directory: Path, exported: Path
) -> None:
    assert model.preprocessor is not None
    facts = run("inspect", directory, "--json")
    assert facts["kind"] == f"model directory ({model.config.model_type})"
    config = model.preprocessor.vocabulary.config
    assert facts["tokenizer"].startswith(f"{config.model}, ")
    assert facts["tokenizer"].endswith(f" tokens, mask {family.mask}")
    assert facts["max_length"] == length_limit(model)
    facts = run("inspect", exported, "--json")
    assert facts["kind"].startswith("export without XLA")
    assert set(facts["signatures"]) == set(NAMES)
    assert facts["model"]["model_type"] == model.config.model_type


# `test_training` compiles every encoder, and `test_every_signature` asks what is exported so.
@pytest.mark.parametrize("family", asked_of(), indirect=True, scope="module")
def test_compiled_programs_and_their_portable_twins_answer_as_python_does(
    model: tf_mlm.MaskedLM,
    questions: dict[str, dict[str, Any]],
    in_python: dict[str, Answer],
    tmp_path: Path,
) -> None:
    path = tf_mlm.export(model, tmp_path / "mlm", buckets=whole(model), top_k=TOP_K)
    assert read_description(path)["programs"] == 5
    options = ServerOptions(model_name="mlm", model_base_path=str(path.parent), rest_port=None)
    with (
        ModelServer(options) as server,  # whose warm-up has compiled them, or it would not be ready
        tf_mlm.Client(f"grpc://127.0.0.1:{server.grpc_port}/mlm") as client,
    ):
        for name, inputs in questions.items():
            for suffix in ("", PORTABLE):
                assert_same(in_python[name], client.predict(inputs, name + suffix))


@pytest.mark.parametrize("arithmetic", [pytest.param("float", marks=pytest.mark.slow), "int8"])
@pytest.mark.parametrize("family", asked_of("deberta-v3"), indirect=True, scope="module")
def test_int8_answers_alike_everywhere(
    arithmetic: str,
    model: tf_mlm.MaskedLM,
    directory: Path,
    corpus: Path,
    questions: dict[str, dict[str, Any]],
    in_python: dict[str, Answer],
    tmp_path: Path,
) -> None:
    buckets = whole(model)
    sizes = ("--length-buckets", buckets.length[0], "--batch-buckets", 2, "--mask-buckets", 4)
    how = ("--quantize", "int8", "--evaluate", corpus, "--top-k", TOP_K, "--no-xla")
    description = run(
        "export", directory, tmp_path / "mlm", *sizes, *how, "--arithmetic", arithmetic, "--json"
    )
    assert (description["quantization"], description["arithmetic"]) == ("int8", arithmetic)
    assert description["accuracy"]["masks"] > 0
    assert 0 < description["accuracy"]["kl"] < 0.05
    inference = Inference(quantize(model), buckets=buckets, top_k=TOP_K, xla=False, arithmetic=arithmetic)
    wanted = answers_of(inference, questions)
    loaded = tf.saved_model.load(description["path"])  # what int8 weights become lives as long as this
    for name, inputs in questions.items():
        found = loaded.signatures[name](**{alias: tf.constant(value) for alias, value in inputs.items()})
        answer = {alias: value.numpy() for alias, value in found.items()}
        if arithmetic == "float":
            assert_same(wanted[name], answer)
            continue
        for alias, value in answer.items():
            # Sums of floats in another order may round a number to the next level.
            if value.dtype.kind == "f":
                np.testing.assert_allclose(value, wanted[name][alias], atol=0.05, err_msg=alias)
    difference = wanted["predict_masked"]["logits"] - in_python["predict_masked"]["logits"]
    assert 0 < np.abs(difference).max() < 0.5


def whole(model: tf_mlm.MaskedLM) -> Buckets:
    """One program for texts of any length."""
    return Buckets(batch=(2,), length=(length_limit(model),), masks=(4,))
