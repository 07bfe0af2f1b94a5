"""Merging of requests: who shares a batch, padding, splitting, full queues, deadlines, errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tf_mlm.serving.batching.merge import merge, task_size
from tf_mlm.serving.batching.runner import BatchingRunner
from tf_mlm.serving.batching.scheduler import BatchScheduler
from tf_mlm.serving.call import Call
from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.metrics import Metrics
from tf_mlm.serving.options import BatchingOptions


class Doubler:
    """Runs y = 2x and remembers what it was fed; waits while `gate` is closed."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)

    def run(self, feeds, fetches, call=None) -> list[np.ndarray]:
        x = feeds["x"]
        self.seen.append(x)
        self.timeout = call.remaining()
        self.started.release()
        assert self.gate.wait(30)
        if x.dtype.kind == "f" and (x < 0).any():
            raise ServingError(Code.INVALID_ARGUMENT, "x must not be negative")
        return [
            np.float32(0.0) if name == "scalar" else x[:1] if name == "short" else 2 * x for name in fetches
        ]

    def close(self) -> None:
        pass


@pytest.fixture
def make() -> Iterator[Callable[..., tuple[BatchingRunner, Doubler]]]:
    schedulers = []

    def build(**options) -> tuple[BatchingRunner, Doubler]:
        options = {"max_batch_size": 4, "num_batch_threads": 1, **options}
        batching, model = BatchingOptions(**options), Doubler()
        schedulers.append(BatchScheduler(batching.num_batch_threads))
        return BatchingRunner(model, batching, schedulers[-1], Metrics()), model

    yield build
    for scheduler in schedulers:
        scheduler.close()


def row(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.float32(values)}


def together(runner: BatchingRunner, model: Doubler, requests: list[dict], **more) -> list:
    """Holds the one batch thread with a first request while the others queue; their results or errors."""
    model.gate.clear()
    with ThreadPoolExecutor(len(requests) + 1) as threads:
        first = threads.submit(
            runner.run, {"x": np.full(runner.options.execution_size, 9, np.float32)}, ["y"]
        )
        assert model.started.acquire(timeout=30)
        rest = []
        for count, request in enumerate(requests, 1):
            fetches = more["fetches"][count - 1] if "fetches" in more else ["y"]
            rest.append(threads.submit(runner.run, request, fetches, more.get("call")))
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and not rest[-1].done():
                if runner.waiting >= count:
                    break
        model.gate.set()
        first.result(30)
        return [future.exception(30) or future.result() for future in rest]


def test_requests_share_a_run_and_get_their_own_rows(make) -> None:
    runner, model = make(max_enqueued_batches=10)
    answers = together(runner, model, [row(1), row(2, 3), row(4)])
    assert [answer[0].tolist() for answer in answers] == [[2], [4, 6], [8]]
    assert model.seen[1].tolist() == [1, 2, 3, 4]


def test_a_full_batch_runs_without_waiting_and_a_lone_one_after_its_timeout(make) -> None:
    runner, _ = make(batch_timeout=0.2)
    start = time.monotonic()
    runner.run(row(1), ["y"])
    assert time.monotonic() - start >= 0.19
    hour, _ = make(batch_timeout=3600)
    assert hour.run(row(1, 2, 3, 4), ["y"])[0].tolist() == [2, 4, 6, 8]


def test_allowed_sizes_pad_with_copies_of_a_row(make) -> None:
    runner, model = make(max_batch_size=8, allowed_batch_sizes=(4, 8))
    assert runner.run(row(5, 6, 7), ["y"])[0].tolist() == [10, 12, 14]
    assert model.seen[0].tolist() == [5, 6, 7, 5]


def test_different_outputs_do_not_share(make) -> None:
    runner, model = make(max_enqueued_batches=10)
    together(runner, model, [row(1), row(2), row(3)], fetches=[["y"], ["y", "z"], ["y"]])
    assert sorted(seen.tolist() for seen in model.seen[1:]) == [[1, 3], [2]]
    assert [array.tolist() for array in runner.run(row(1), ["z", "y", "z"])] == [[2]] * 3


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "Batching Run() must have at least one input tensor"),
        ({"x": np.float32(1)}, "Batching Run() input tensors must have at least one dimension"),
        (
            {"x": np.zeros(2), "z": np.zeros(3)},
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
    ],
)
def test_task_size_errors(feeds: dict, message: str) -> None:
    with pytest.raises(ServingError) as error:
        task_size(feeds)
    assert (error.value.code, error.value.message) == (Code.INVALID_ARGUMENT, message)


def test_too_large_a_task(make) -> None:
    runner, _ = make()
    with pytest.raises(ServingError, match="Task size 5 is larger than maximum input batch size 4"):
        runner.run(row(1, 2, 3, 4, 5), ["y"])


def test_large_tasks_are_split(make) -> None:
    runner, model = make(max_batch_size=10, enable_large_batch_splitting=True, max_execution_batch_size=4)
    answer = runner.run(row(*range(10)), ["y"])[0]
    assert answer.tolist() == [2 * value for value in range(10)]
    assert [array.size for array in model.seen] == [4, 4, 2]


def test_a_full_queue_refuses(make) -> None:
    runner, model = make(max_enqueued_batches=1)
    answers = together(runner, model, [row(1, 2, 3), row(4, 5)])
    assert answers[0][0].tolist() == [2, 4, 6]
    assert (answers[1].code, answers[1].message) == (
        Code.UNAVAILABLE,
        "The batch scheduling queue to which this task was submitted is full; currently 1 batches enqueued "
        "and max_enqueued_batches is 1",
    )


def test_a_full_queue_with_splitting_names_the_capacity(make) -> None:
    runner, model = make(
        max_batch_size=8,
        max_enqueued_batches=1,
        enable_large_batch_splitting=True,
        max_execution_batch_size=4,
    )
    answers = together(runner, model, [row(1), row(1, 2, 3, 4)])
    assert answers[0][0].tolist() == [2]
    assert answers[1].code is Code.UNAVAILABLE
    assert "full; task size is 4 but scheduling capacity is only 3" in answers[1].message


def test_differing_lengths_fail_the_batch_unless_padded(make) -> None:
    short, long = {"x": np.float32([[1, 2]])}, {"x": np.float32([[3, 4, 5]])}
    runner, model = make(max_enqueued_batches=10)
    for error in together(runner, model, [short, long]):
        assert error.code is Code.FAILED_PRECONDITION
        assert "Tensors with name 'x' from different tasks have different shapes" in error.message
    runner, model = make(max_enqueued_batches=10, pad_variable_length_inputs=True)
    answers = together(runner, model, [short, long])
    assert model.seen[1].tolist() == [[1, 2, 1], [3, 4, 5]]
    assert answers[0][0].tolist() == [[2, 4, 2]]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([np.zeros((1, 2)), np.zeros((1, 2, 1))], "Only tensors with rank from 1 to 6 can be padded."),
        (
            [np.zeros((1,) * 6 + (2,)), np.zeros((1,) * 7)],
            "Only tensors with rank from 1 to 6 can be padded.",
        ),
        ([np.zeros((1, 0)), np.zeros((1, 2))], "Got empty tensor in batch of non-empty tensors."),
    ],
)
def test_padding_errors(arrays: list, message: str) -> None:
    with pytest.raises(ServingError) as error:
        merge("x", arrays, True, 0)
    assert error.value.message == message


@pytest.mark.parametrize(
    ("fetch", "message"),
    [
        ("scalar", "Batched output tensor has 0 dimensions"),
        ("short", "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes"),
    ],
)
def test_outputs_that_are_no_batch(make, fetch: str, message: str) -> None:
    runner, _ = make()
    with pytest.raises(ServingError, match=message) as error:
        runner.run(row(1, 2), [fetch])
    assert error.value.code is Code.FAILED_PRECONDITION


def test_a_bad_request_fails_alone(make) -> None:
    runner, model = make(max_enqueued_batches=10)
    good, bad, other = together(runner, model, [row(1), row(-1), row(2)])
    assert (good[0].tolist(), other[0].tolist()) == ([2], [4])
    assert bad.message == "x must not be negative"


def test_one_bad_request_among_many_is_found_by_halves(make) -> None:
    runner, model = make(max_batch_size=32, max_enqueued_batches=10)
    answers = together(runner, model, [row(value) for value in [*range(15), -1, *range(15, 31)]])
    assert [a.message for a in answers if isinstance(a, ServingError)] == ["x must not be negative"]
    assert sum(not isinstance(answer, ServingError) for answer in answers) == 31
    # The request that held the thread, the whole batch, and two halves per level; not one run per request.
    assert len(model.seen) <= 2 + 2 * 5


def test_a_request_whose_client_has_gone_is_left_out_of_its_batch(make) -> None:
    runner, model = make(max_enqueued_batches=10)
    gone = Call()
    gone.cancel()
    model.gate.clear()
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(runner.run, row(9, 9, 9, 9), ["y"])
        assert model.started.acquire(timeout=30)
        with pytest.raises(ServingError) as error:
            runner.run(row(5), ["y"], gone)
        assert error.value.code is Code.CANCELLED
        last = threads.submit(runner.run, row(6), ["y"])
        model.gate.set()
        assert [first.result(30)[0].size, last.result(30)[0].tolist()] == [4, [12]]
    assert [array.tolist() for array in model.seen[1:]] == [[6]]


def test_a_model_that_never_answers_leaves_a_thread_to_the_others() -> None:
    batching, slow, quick = BatchingOptions(max_batch_size=1, num_batch_threads=2), Doubler(), Doubler()
    scheduler = BatchScheduler(2)
    stuck, other = (BatchingRunner(model, batching, scheduler, Metrics()) for model in (slow, quick))
    slow.gate.clear()
    with ThreadPoolExecutor(6) as threads:
        waiting = [threads.submit(stuck.run, row(1), [name]) for name in ("y", "z") for _ in range(3)]
        for _ in range(2):
            assert slow.started.acquire(timeout=30)
        for _ in range(5):
            assert other.run(row(2), ["y"], Call(30))[0].tolist() == [4]
        assert not slow.started.acquire(timeout=0)  # a model's two threads are all it has
        slow.gate.set()
        assert [future.result(30)[0].tolist() for future in waiting] == [[2]] * 6
    scheduler.close()


def test_a_batch_ends_when_the_last_of_its_clients_has_gone(make) -> None:
    runner, model = make(max_batch_size=2, batch_timeout=30.0)
    calls, ended = [Call(), Call()], []

    def run(feeds, fetches, call=None):
        model.started.release()
        stop = threading.Event()
        with call.when_cancelled(stop.set):
            ended.append(stop.wait(30))
        raise call.error()

    model.run = run
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(runner.run, row(1), ["y"], call) for call in calls]
        assert model.started.acquire(timeout=30)
        for call in calls:
            assert not ended
            call.cancel()
        assert [future.exception(30).code for future in waiting] == [Code.CANCELLED] * 2
    deadline = time.monotonic() + 30
    while not ended and time.monotonic() < deadline:
        pass
    assert ended == [True]


def test_the_longest_deadline_of_a_batch_counts(make) -> None:
    runner, model = make()
    runner.run(row(1), ["y"], Call(20.0))
    assert 19 < model.timeout <= 20
    runner.run(row(1), ["y"])
    assert model.timeout is None


def test_a_deadline_ends_the_wait_in_the_queue(make) -> None:
    runner, model = make(max_enqueued_batches=10)
    model.gate.clear()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(runner.run, row(1, 2, 3, 4), ["y"])
        assert model.started.acquire(timeout=30)
        with pytest.raises(ServingError) as error:
            runner.run(row(5), ["y"], Call(0.05))
        assert error.value.message == "Run() timeout exceeded while waiting in batching queue"
        model.gate.set()
        first.result(30)
    runner.run(row(6), ["y"])
    assert [array.tolist() for array in model.seen] == [[1, 2, 3, 4], [6]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allowed_batch_sizes": (1, 2)}, "last entry was 2; expected 1000"),
        (
            {
                "enable_large_batch_splitting": True,
                "max_batch_size": 8,
                "max_execution_batch_size": 4,
                "allowed_batch_sizes": (2, 4),
            },
            "last entry was 4; expected 8",
        ),
        ({"num_batch_threads": 0}, "num_batch_threads must be positive; was 0"),
        ({"max_batch_size": 0}, "max_batch_size must be positive; was 0"),
        ({"batch_timeout": -1e-6}, "batch_timeout_micros must be non-negative; was -1"),
        (
            {"enable_large_batch_splitting": True, "max_batch_size": 4, "max_execution_batch_size": 8},
            "max_execution_batch_size must be at most max_batch_size",
        ),
    ],
)
def test_option_errors(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchingOptions(**options)


def test_live_batching_gives_everyone_their_own_answer(serve, models, tmp_path_factory) -> None:
    base = tmp_path_factory.mktemp("batched")
    (base / "1").symlink_to(models / "shapes")
    served = serve(
        model_name="shapes",
        model_base_path=str(base),
        batching=BatchingOptions(max_batch_size=16, batch_timeout=0.01, max_enqueued_batches=100),
    )

    def ask(number: int) -> bool:
        value = np.float32([number, number + 0.5])
        if number % 3 == 0:
            body = {
                "inputs": (value * (-1 if number % 2 else 1)).tolist(),
                "signature_name": "refuse_negative",
            }
            reply = served.post("shapes:predict", body)
            if number % 2:
                return reply.status_code == 400 and "x must not be negative" in reply.json()["error"]
            return np.allclose(reply.json()["outputs"], np.sqrt(value))
        return served.predict("shapes", {"x": value})["x"].tolist() == value.tolist()

    with ThreadPoolExecutor(24) as threads:
        assert all(threads.map(ask, range(240)))
    assert served.server.metrics.wrapped_run_count.first_value() < 240
    reply = served.post("shapes:predict", {"inputs": [1.0] * 17})
    assert (reply.status_code, reply.json()["error"]) == (
        400,
        "Task size 17 is larger than maximum input batch size 16",
    )
    served.server.stop()
