"""Section 5: requests that share a run, and must not be able to tell except by asking for its shape.

`batch_view` answers with the number of rows and columns of the batch a request was run in.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np

from conformance.case import Needs, Section
from conformance.expectations import close, contains, equal, eventually, rpc_error
from conformance.launcher import Launcher, Process
from conformance.section_1_command_line import NO_RETRIES, failed, model_flags
from conformance.server import Reply, Server, examples_input, model_spec

shared = Section("5.1 Batches", Needs.BATCHING)
parameters = Section("5.2 Batching parameters", Needs.LAUNCHER)

M = "/v1/models"
Result = TypeVar("Result")


def together(*calls: Callable[[], Result]) -> list[Result]:
    """Results of calls made at the same time; the first error is raised."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def view(server: Server, rows: Any, **more: Any) -> dict[str, np.ndarray]:
    return server.predict("batch_view", {"x": np.asarray(rows, np.float32)}, **more)


def ones(rows: int, columns: int = 2) -> np.ndarray:
    return np.ones([rows, columns], np.float32)


@shared.case("a batch is padded to the next allowed size, and cut back")
def _(server: Server) -> None:
    for rows, allowed in ((1, 2), (2, 2), (3, 4), (5, 8), (8, 8)):
        answer = view(server, ones(rows))
        equal(answer["rows"].tolist(), [allowed] * rows, f"rows of the batch that ran {rows} rows")
        close(answer["doubled"], 2 * ones(rows))


@shared.case("requests that arrive together run together, and get their own rows back")
def _(server: Server) -> None:
    def met() -> None:
        values = [np.full([1, 2], float(i), np.float32) for i in range(4)]
        answers = together(*(lambda value=value: view(server, value) for value in values))
        for value, answer in zip(values, answers, strict=True):
            close(answer["doubled"], 2 * value)
        assert max(answer["rows"][0] for answer in answers) == 4, (
            "four single rows should have met in one batch"
        )

    eventually(met)


@shared.case("gRPC and REST share batches")
def _(server: Server) -> None:
    def met() -> None:
        rest, direct = together(
            lambda: server.post(f"{M}/batch_view:predict", {"inputs": [[1.0, 2.0]] * 2}).json["outputs"],
            lambda: view(server, [[3.0, 4.0]] * 2),
        )
        close(rest["doubled"], [[2.0, 4.0]] * 2)
        close(direct["doubled"], [[6.0, 8.0]] * 2)
        equal((rest["rows"], direct["rows"].tolist()), ([4, 4], [4, 4]), "rows of the batch")

    eventually(met)


@shared.case("Classify, Regress and MultiInference are batched and right")
def _(server: Server) -> None:
    spec = model_spec("half_plus_two", "regress_x_to_y")
    answers = together(*(lambda x=x: server.regress(spec, examples_input({"x": x})) for x in (2.0, 4.0, 6.0)))
    values = [answer.result.regressions[0].value for answer in answers]
    equal(values, [3.0, 4.0, 5.0], "regressions")
    response = server.multi_inference([(spec, "tensorflow/serving/regress")], examples_input({"x": 2.0}))
    equal(response.results[0].regression_result.regressions[0].value, 3.0, "multi-inference")


@shared.case("a lone request waits for the batch timeout")
def _(server: Server) -> None:
    view(server, ones(1))
    start = time.monotonic()
    view(server, ones(1))
    assert time.monotonic() - start >= 0.19, (
        f"answered after {time.monotonic() - start:.3f} s, timeout is 0.2 s"
    )


@shared.case("a full batch does not wait")
def _(server: Server) -> None:
    view(server, ones(8))
    fastest = min(timed(lambda: view(server, ones(8))) for _ in range(5))
    assert fastest < 0.19, f"the fastest of five took {fastest:.3f} s, timeout is 0.2 s"


def timed(call: Callable[[], object]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


@shared.case("a request larger than the largest batch: INVALID_ARGUMENT and 400")
def _(server: Server) -> None:
    text = "Task size 9 is larger than maximum input batch size 8"
    rpc_error(lambda: view(server, ones(9)), "INVALID_ARGUMENT", text)
    reply = server.post(f"{M}/batch_view:predict", {"instances": ones(9).tolist()})
    equal(reply.status, 400, "HTTP status")
    contains(reply.error, text)


@shared.case("padding: a shorter request is filled with its own first element")
def _(server: Server) -> None:
    def met() -> None:
        short, long = together(
            lambda: view(server, [[7.0, 1.0]] * 2),
            lambda: view(server, [[1.0, 2.0, 3.0]] * 2),
        )
        equal((short["columns"].tolist(), long["columns"].tolist()), ([3, 3], [3, 3]), "columns of the batch")
        close(short["doubled"], [[14.0, 2.0, 14.0]] * 2, "padded request, doubled")
        close(long["doubled"], [[2.0, 4.0, 6.0]] * 2, "longest request, doubled")

    eventually(met)


@shared.case("different output filters do not share a batch")
def _(server: Server) -> None:
    for _ in range(3):
        filtered, whole = together(
            lambda: view(server, ones(2), output_filter=["rows"]), lambda: view(server, ones(2))
        )
        equal((filtered["rows"].tolist(), whole["rows"].tolist()), ([2, 2], [2, 2]), "rows of the batches")


@shared.case("versions do not share a batch")
def _(server: Server) -> None:
    answers = together(
        *(
            lambda version=version: server.predict("counter", {"x": [0.0]}, version=version)
            for version in (0, 1, 2, 3)
        )
    )
    close([answer["y"][0] for answer in answers], [0.0, 1.0, 2.0, 3.0])


@shared.case("inputs of different first dimensions")
def _(server: Server) -> None:
    rpc_error(
        lambda: server.predict("pair", {"a": [1.0, 2.0], "b": [1.0]}),
        "INVALID_ARGUMENT",
        "Batching Run() input tensors must have equal 0th-dimension size",
    )


@shared.case("inputs of rank 0")
def _(server: Server) -> None:
    rpc_error(
        lambda: server.predict("pair", {"a": 1.0, "b": 1.0}),
        "INVALID_ARGUMENT",
        "must have at least one dimension",
    )


@shared.case("a signature without inputs")
def _(server: Server) -> None:
    rpc_error(
        lambda: server.predict("shapes", {}, signature="no_inputs"),
        "INVALID_ARGUMENT",
        "Batching Run() must have at least one input tensor",
    )


@shared.case("outputs of rank 0 cannot be split")
def _(server: Server) -> None:
    rpc_error(
        lambda: view(server, ones(2), signature="scalar"),
        "FAILED_PRECONDITION",
        "Batched output tensor has 0 dimensions",
    )


@shared.case("outputs without a row for every input row cannot be split")
def _(server: Server) -> None:
    rpc_error(
        lambda: view(server, ones(2), signature="wrong_rows"),
        "FAILED_PRECONDITION",
        "Batched output tensor's 0th dimension does not equal the sum of "
        "the 0th dimension sizes of the input tensors",
    )


@shared.case("a batch that fails, fails every request in it with the same error")
def _(server: Server) -> None:
    def fails() -> str:
        return rpc_error(
            lambda: server.predict("examples", {"inputs": np.array([b"\xff"], object)}), "INVALID_ARGUMENT"
        )

    first, second = together(fails, fails)
    equal(first.split(",")[0], second.split(",")[0], "start of the error texts")


@shared.case("batching metrics are declared")
def _(server: Server) -> None:
    page = server.get("/monitoring/prometheus/metrics").text
    for name in ("queuing_latency", "padding_size", "input_batch_size", "processed_batch_size"):
        contains(page, f"# TYPE :tensorflow:serving:batching_session:{name} histogram\n")
    contains(page, "# TYPE :tensorflow:serving:batching_session:wrapped_run_count counter\n")


# ---- parameters ----------------------------------------------------------------------------------

# title → text of the batching file, what the failed start says.
INVALID = {
    "the last allowed size is not max_batch_size": (
        "max_batch_size { value: 8 } allowed_batch_sizes: 2 allowed_batch_sizes: 4",
        "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
    ),
    "allowed sizes without max_batch_size end at its default, 1000": (
        "allowed_batch_sizes: 2 allowed_batch_sizes: 8",
        "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 8; expected 1000",
    ),
    "the same holds with splitting, whatever the execution size": (
        "max_batch_size { value: 100 } max_execution_batch_size { value: 4 } "
        "enable_large_batch_splitting { value: true } allowed_batch_sizes: 2 allowed_batch_sizes: 4",
        "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 100",
    ),
    "batches of no rows": ("max_batch_size { value: 0 }", "INVALID_ARGUMENT: "),
    "a negative timeout": ("batch_timeout_micros { value: -1 }", "INVALID_ARGUMENT: "),
    "no batch threads": (
        "num_batch_threads { value: 0 }",
        "num_batch_threads must be positive; was 0",
    ),
}


def refuses_parameters(launcher: Launcher, text: str, message: str) -> None:
    path = launcher.file(text, "batching.config")
    flags = ("--enable_batching", f"--batching_parameters_file={path}", *NO_RETRIES, *model_flags(launcher))
    failed(launcher.run_with_ports(*flags), message)


parameters.each(INVALID, refuses_parameters, "refused: {}", Needs.PROCESS)

# model of the per-model server → its batching_params.pbtxt (None: no file).
PER_MODEL: Mapping[str, str | None] = {
    "unbatched": None,
    "unpadded": "max_batch_size { value: 8 } batch_timeout_micros { value: 200000 }",
    "narrow": "max_batch_size { value: 1 } max_enqueued_batches { value: 1 }",
    "splitting": (
        "max_batch_size { value: 100 } max_execution_batch_size { value: 4 } "
        "enable_large_batch_splitting { value: true } "
        "allowed_batch_sizes: 2 allowed_batch_sizes: 4 allowed_batch_sizes: 100 "
        "batch_timeout_micros { value: 1000 } max_enqueued_batches { value: 100 }"
    ),
}


def per_model_base(launcher: Launcher) -> Path:
    return launcher.repository.directory / "per_model"


def per_model_server(launcher: Launcher) -> Process:
    """A server with one batch thread and a parameter file in each version directory that needs one."""

    def flags() -> list[str]:
        root = per_model_base(launcher)
        for name, text in PER_MODEL.items():
            source = "slow" if name == "narrow" else "batch_view"
            version = launcher.repository.copy_model(source, "1", root / name / "1")
            if text is not None:
                (version / "batching_params.pbtxt").write_text(text)
        entries = " ".join(
            f'config {{ name: "{name}" base_path: "{root / name}" model_platform: "tensorflow" }}'
            for name in PER_MODEL
        )
        threads = launcher.file("num_batch_threads { value: 1 }", "batching.config")
        return [
            f"--model_config_file={launcher.file(f'model_config_list {{ {entries} }}')}",
            "--enable_batching=true",
            f"--batching_parameters_file={threads}",
            "--enable_per_model_batching_parameters=true",
            "--rest_api_timeout_in_ms=2000",
            "--max_num_load_retries=0",
        ]

    return launcher.shared("per_model", flags)


@parameters.case("per-model parameters: without a file, a version is not batched")
def _(launcher: Launcher) -> None:
    server = per_model_server(launcher)
    answer = server.predict("unbatched", {"x": ones(3)})
    equal(answer["rows"].tolist(), [3, 3, 3], "rows of the run")
    close(server.predict("unbatched", {"x": ones(3)}, signature="scalar")["total"], 6.0)


@parameters.case("without padding, requests of different lengths fail together")
def _(launcher: Launcher) -> None:
    server = per_model_server(launcher)

    def ask(columns: int) -> str:
        try:
            server.predict("unpadded", {"x": ones(2, columns)})
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "answered alone"

    def met() -> None:
        text = "from different tasks have different shapes and padding is turned off."
        for answer in together(lambda: ask(2), lambda: ask(3)):
            contains(answer, "FAILED_PRECONDITION: Tensors with name '", text)

    eventually(met)


@parameters.case("a full queue: UNAVAILABLE with both numbers, and 503")
def _(launcher: Launcher) -> None:
    server = per_model_server(launcher)
    busy = {"x": [1.0], "steps": [150]}

    def grpc_errors() -> str:
        try:
            server.predict("narrow", busy)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return ""

    def rest_errors() -> str:
        reply = server.post(f"{M}/narrow:predict", {"inputs": busy})
        return "" if reply.status == 200 else f"{reply.status}: {reply.error}"

    def full() -> None:
        answers = together(*([grpc_errors] * 6), *([rest_errors] * 6))
        text = (
            "The batch scheduling queue to which this task was submitted is full; "
            "currently 1 batches enqueued and max_enqueued_batches is 1"
        )
        equal({answer for answer in answers if answer}, {f"UNAVAILABLE: {text}", f"503: {text}"}, "errors")
        assert "" in answers, "some requests must have been answered"

    eventually(full)


@parameters.case("a request that expires in the queue: 429")
def _(launcher: Launcher) -> None:
    server = per_model_server(launcher)

    def work(steps: int) -> dict[str, np.ndarray]:
        return server.predict("narrow", {"x": [1.0], "steps": [steps]}, timeout=120)

    work(1)
    steps = round(
        500 * 5 / timed(lambda: work(500))
    )  # keeps the only batch thread busy for some five seconds
    body = {"signature_name": "doubled", "inputs": [[1.0, 2.0]]}

    def late() -> Reply:
        time.sleep(0.5)  # behind the request that takes the thread
        return server.post(f"{M}/unpadded:predict", body)

    reply = together(lambda: work(steps), late)[1]
    assert isinstance(reply, Reply)
    equal(reply.status, 429, f"HTTP status (body {reply.text[:200]!r})")
    contains(reply.error, "Run() timeout exceeded while waiting in batching queue")
    equal(server.post(f"{M}/unpadded:predict", body).status, 200, "HTTP status once the thread is free")


@parameters.case("a malformed per-model file fails the load of that version")
def _(launcher: Launcher) -> None:
    server = per_model_server(launcher)
    models = per_model_base(launcher) / "unbatched"
    version = launcher.repository.copy_model("batch_view", "1", models / "making")
    (version / "batching_params.pbtxt").write_text("max_batch_size: 8")
    version.rename(models / "2")
    eventually(lambda: equal(server.states("unbatched"), {2: "END", 1: "AVAILABLE"}, "states"))


@parameters.case("large batches are split to the execution size and put together again")
def _(launcher: Launcher) -> None:
    server = per_model_server(launcher)
    value = np.arange(20, dtype=np.float32).reshape(10, 2)
    answer = server.predict("splitting", {"x": value})
    close(answer["doubled"], 2 * value)
    assert set(answer["rows"].tolist()) <= {2, 4}, f"batches of at most 4 rows, got {answer['rows'].tolist()}"


SECTIONS = (shared, parameters)
