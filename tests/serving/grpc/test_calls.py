"""What strangers can do with a gRPC connection, and an honest client beside them."""

from __future__ import annotations

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_management_pb2
from waiting import eventually

from tf_mlm.serving import call as call_module
from tf_mlm.serving import concurrency_limit
from tf_mlm.serving.grpc import calls as grpc_calls
from tf_mlm.serving.options import BatchingOptions

PREDICT = "/tensorflow.serving.PredictionService/Predict"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
ONE = {"x": np.float32([1.0])}
ENDLESS = {"rounds": np.int32([2_000_000_000])}


@pytest.fixture
def start(serve, models: Path, tmp_path: Path):
    shutil.copytree(models / "shapes", tmp_path / "shapes" / "1")
    started = []

    def make(**options):
        started.append(serve(model_name="shapes", model_base_path=str(tmp_path / "shapes"), **options))
        return started[-1]

    yield make
    for served in started:
        served.server.stop()


def calls_of(served) -> grpc_calls.GrpcCalls:
    return served.server._grpc._calls


def half_open(served, method: str, stop: threading.Event, channel: grpc.Channel | None = None) -> grpc.Future:
    """A call that has begun and whose message does not come."""

    def never():
        stop.wait(60)
        return
        yield b""

    return (channel or served.channel).stream_unary(method).future(never())


@pytest.mark.parametrize("batching", [None, BatchingOptions(num_batch_threads=1)])
def test_calls_without_their_client_end(start, batching: BatchingOptions | None) -> None:
    """More calls that never end than there are places; their clients go; everybody else is answered."""
    served = start(grpc_max_threads=3, max_request_seconds=0, batching=batching)
    request = served.request("shapes", ENDLESS, "slow")
    calls = [served.prediction.Predict.future(request) for _ in range(7)]
    limit = calls_of(served)._places
    eventually(lambda: limit.waiting == 4)
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "shapes"
    assert served.model.GetModelStatus(status, timeout=10).model_version_status[0].version == 1
    about = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    about.model_spec.name = "shapes"
    assert served.prediction.GetModelMetadata(about, timeout=10).model_spec.version.value == 1
    for call in calls:
        call.cancel()
    answer = served.prediction.Predict(served.request("shapes", ONE), timeout=20)
    assert list(answer.outputs["x"].float_val) == [1.0]
    eventually(lambda: not limit.waiting and not calls_of(served)._begun)


def test_the_server_s_own_limit_ends_a_call(start) -> None:
    served = start(max_request_seconds=0.3)
    with pytest.raises(grpc.RpcError) as error:
        served.prediction.Predict(served.request("shapes", ENDLESS, "slow"), timeout=60)
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "server's limit of 0.3 seconds" in error.value.details()
    assert "--max_request_seconds" in error.value.details()
    reply = served.post("shapes:predict", {"inputs": [2_000_000_000], "signature_name": "slow"})
    assert (reply.status_code, "--max_request_seconds" in reply.text) == (504, True)


def test_a_call_that_ignores_its_end_gives_its_place_away(start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_module, "NOTICE_SECONDS", 0.1)
    monkeypatch.setattr(concurrency_limit, "MAX_STUCK_RUNS", 2)
    served = start(grpc_max_threads=1)
    go_on = threading.Event()
    with served.server.manager.lease("shapes") as servable:
        run = servable._runner.run

    def stuck(feeds, fetches, call=None):
        if next(iter(feeds.values())).tolist() == [7.0]:
            assert go_on.wait(60)
        return run(feeds, fetches, call)

    servable._runner.run = stuck
    one, seven = (served.request("shapes", {"x": np.float32([x])}) for x in (1.0, 7.0))
    for _ in range(2):
        with pytest.raises(grpc.RpcError):
            served.prediction.Predict(seven, timeout=0.2)
        assert served.prediction.Predict(one, timeout=20).outputs["x"].float_val[0] == 1.0
    with pytest.raises(grpc.RpcError, match="2 earlier requests go on") as error:
        served.prediction.Predict(one, timeout=20)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    go_on.set()
    eventually(lambda: calls_of(served)._places.working == 0)
    assert served.prediction.Predict(one, timeout=20).outputs["x"].float_val[0] == 1.0


def test_a_crowd_on_one_connection_does_not_end_the_calls_of_another(
    start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_calls, "_MAX_INCOMING", 5)
    served = start(grpc_receive_timeout=60.0)
    stop = threading.Event()
    slow = half_open(served, PREDICT, stop)
    eventually(lambda: len(calls_of(served)._incoming) == 1)
    address, options = f"127.0.0.1:{served.server.grpc_port}", [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options) as channel:
        crowd = [half_open(served, PREDICT, stop, channel) for _ in range(12)]
        eventually(lambda: sum(call.done() for call in crowd) == 8)
        assert not slow.done()
        stop.set()


@pytest.mark.parametrize("method", [PREDICT, STATUS])
def test_messages_that_do_not_come(start, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(grpc_calls, "_MAX_INCOMING", 5)
    served = start(grpc_receive_timeout=2.0, grpc_max_threads=1, max_concurrent_requests=1)
    stop = threading.Event()
    calls = [half_open(served, method, stop) for _ in range(5)]
    eventually(lambda: len(calls_of(served)._incoming) == 5)
    assert served.predict("shapes", ONE)["x"].tolist() == [1.0]  # it does not stay, so nobody has to go
    assert not any(call.done() for call in calls)
    calls.append(half_open(served, method, stop))
    eventually(lambda: calls[0].done())  # the one that waits longest
    assert calls[0].code() is grpc.StatusCode.CANCELLED
    eventually(lambda: all(call.done() for call in calls))  # by the time-out
    stop.set()


def test_answers_that_nobody_reads_are_dropped(start) -> None:
    served = start(grpc_answer_timeout=0.5)
    big = served.request("shapes", {"x": np.zeros(1_000_000, np.float32)}).SerializeToString()
    # A client that takes in no more than it is asked to, and is not asked.
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384)]
    with grpc.insecure_channel(f"127.0.0.1:{served.server.grpc_port}", options) as channel:
        unread = [channel.unary_stream(PREDICT)(big) for _ in range(8)]
        eventually(lambda: served.server.metrics.request_count.first_value() == 8)
        assert served.predict("shapes", ONE)["x"].tolist() == [1.0]
        eventually(lambda: not calls_of(served)._begun)
        with pytest.raises(grpc.RpcError):
            next(iter(unread[0]))


def test_a_flood_is_counted_and_logged(start, tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    served = start(max_concurrent_requests=1, access_log=str(log))
    running = served.prediction.Predict.future(served.request("shapes", ENDLESS, "slow"), timeout=20)
    eventually(lambda: calls_of(served)._admitted[""] == 1)
    with pytest.raises(grpc.RpcError, match="--max_concurrent_requests") as error:
        served.prediction.Predict(served.request("shapes", ONE))
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    running.cancel()
    eventually(lambda: not calls_of(served)._begun)
    page = served.server.metrics.page()
    assert 'request_count{model_name="shapes",status="RESOURCE_EXHAUSTED"} 1' in page
    first = json.loads(log.read_text().splitlines()[0])
    assert (first["model"], first["code"]) == ("shapes", "RESOURCE_EXHAUSTED")


def test_invented_names_take_no_memory(start, tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    served = start(access_log=str(log))
    for name in ("n" * 1_000_000, "\N{PILE OF POO}" * 1024, *map(str, range(30))):
        with pytest.raises(grpc.RpcError) as error:
            served.prediction.Predict(served.request(name, ONE))
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        assert "Servable not found for request: Latest(" in error.value.details()
    served.predict("shapes", ONE)
    page = served.server.metrics.page()
    assert 'request_count{model_name="(unknown)",status="NOT_FOUND"} 32' in page
    assert 'request_count{model_name="shapes",status="OK"} 1' in page
    assert len(page) < 20_000
    assert len(log.read_bytes()) < 32 * 4000


def test_reloads_that_wait_for_ever_hold_up_nobody(start, tmp_path: Path) -> None:
    served = start(grpc_max_threads=2)
    request = model_management_pb2.ReloadConfigRequest()
    config = 'config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" }}'
    listed = config.format("shapes", tmp_path / "shapes") + config.format("none", tmp_path / "none")
    text_format.Parse(f"model_config_list {{ {listed} }}", request.config)
    calls = [served.model.HandleReloadConfigRequest.future(request) for _ in range(20)]
    eventually(lambda: sum(call.done() for call in calls) == 12)
    codes = {call.code() for call in calls if call.done()}
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert served.predict("shapes", ONE)["x"].tolist() == [1.0]
    for call in calls:
        call.cancel()
    eventually(lambda: not calls_of(served)._begun)
    text_format.Parse("", request.config)
    request.config.model_config_list.config.pop()
    served.model.HandleReloadConfigRequest(request, timeout=30)


def test_a_reload_waits_for_those_that_are_ending(start, tmp_path: Path) -> None:
    """Clients that give up their calls and one that comes directly after: the places are about to be free."""
    served = start()
    good = model_management_pb2.ReloadConfigRequest()
    config = 'config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" }}'
    shapes = config.format("shapes", tmp_path / "shapes")
    text_format.Parse(f"model_config_list {{ {shapes} }}", good.config)
    for name in "abcde":
        endless = model_management_pb2.ReloadConfigRequest()
        listed = shapes + config.format(name, tmp_path / name)
        text_format.Parse(f"model_config_list {{ {listed} }}", endless.config)
        calls = [served.model.HandleReloadConfigRequest.future(endless) for _ in range(8)]
        eventually(lambda: calls_of(served)._admitted["HandleReloadConfigRequest"] == 8)
        for call in calls:
            call.cancel()
        served.model.HandleReloadConfigRequest(good, timeout=60)


def test_calls_begun_are_answered_when_the_server_leaves(start) -> None:
    """Clients in a loop see answers until they see UNAVAILABLE, and nothing else."""
    served = start(shutdown_grace=20)
    rounds = served.request("shapes", {"rounds": np.int32([30_000])}, "slow")
    begun = threading.Barrier(7)

    def ask(_: int) -> grpc.StatusCode:
        with grpc.insecure_channel(f"127.0.0.1:{served.server.grpc_port}") as channel:
            predict = channel.unary_unary(PREDICT, request_serializer=lambda r: r.SerializeToString())
            predict(rounds, timeout=60)
            begun.wait(60)
            while True:
                code = predict.future(rounds, timeout=60).code()
                if code is not grpc.StatusCode.OK:
                    return code

    with ThreadPoolExecutor(6) as threads:
        codes = threads.map(ask, range(6))
        begun.wait(60)
        eventually(lambda: calls_of(served)._begun)
        served.server.stop()
        assert set(codes) == {grpc.StatusCode.UNAVAILABLE}


def test_a_call_that_comes_last_is_refused_however_long_that_takes(
    start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes when all have been answered, to a machine too busy to refuse it within 0.1 s."""
    served = start(shutdown_grace=20)
    begin, drain = grpc_calls.GrpcCalls._begin, grpc_calls.GrpcCalls.drain
    came, last = threading.Event(), []

    def begin_slowly(calls, progress) -> None:
        if calls._refusing:
            came.set()
            time.sleep(0.4)
        begin(calls, progress)

    def drain_and_get_one_more(calls, deadline: float) -> bool:
        answered = drain(calls, deadline)
        last.append(served.prediction.Predict.future(served.request("shapes", ONE), timeout=20))
        assert came.wait(20)
        return answered

    monkeypatch.setattr(grpc_calls.GrpcCalls, "_begin", begin_slowly)
    monkeypatch.setattr(grpc_calls.GrpcCalls, "drain", drain_and_get_one_more)
    served.server.stop()
    assert last[0].code() is grpc.StatusCode.UNAVAILABLE
    assert last[0].details() == "The server is shutting down"  # not what gRPC says of a call that it cuts


def test_the_grace_is_kept(start) -> None:
    served = start(shutdown_grace=1)
    call = served.prediction.Predict.future(served.request("shapes", ENDLESS, "slow"))
    eventually(lambda: calls_of(served)._begun)
    begin = time.monotonic()
    served.server.stop()
    assert 1 <= time.monotonic() - begin < 60  # the run itself would take hours
    assert call.code() is not grpc.StatusCode.OK
