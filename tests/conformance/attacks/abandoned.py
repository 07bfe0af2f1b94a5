"""Work that nobody waits for: gone clients, models that never answer, answers that nobody reads."""

from __future__ import annotations

import contextlib
import json
import threading
import time

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from conformance.attacks import http2
from conformance.attacks.attack import Kind
from conformance.attacks.models import ANSWER_BYTES
from conformance.attacks.site import PREDICT, Site
from conformance.attacks.watch import cpu_seconds
from conformance.server import model_spec

KIND = Kind("work nobody waits for")
BATCHED = Kind("work nobody waits for, in batches", batching=True)
STUCK = 70
READERS = 60
ONE = np.ones(1, np.float32)
IDLE = 0.5  # the share of a core that a server with nothing to do may take; the ordinary client costs some


def request(model: str, signature: str = "", **inputs: object) -> bytes:
    message = predict_pb2.PredictRequest(model_spec=model_spec(model, signature))
    for alias, value in inputs.items():
        message.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return message.SerializeToString()


def rests(site: Site, what: str) -> None:
    """A while after its clients have gone, the server does no more than for the ordinary one."""
    pause = min(2.0, 2 * site.seconds)
    time.sleep(pause)
    before, start = cpu_seconds(site.target.popen.pid), time.monotonic()
    time.sleep(pause)
    share = (cpu_seconds(site.target.popen.pid) - before) / (time.monotonic() - start)
    site.expect(share < IDLE, f"{what}: {share:.1f} cores are still busy {2 * pause:g} s after all have gone")


@BATCHED.attack("70 calls of a model that never answers, gone, gRPC")
@KIND.attack("70 calls of a model that never answers, gone, gRPC")
def _(site: Site) -> None:
    with grpc.insecure_channel(site.target.grpc_address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = channel.unary_unary(PREDICT)
        calls = [stub.future(request("stuck", x=ONE)) for _ in range(site.many(STUCK))]
        time.sleep(1.0)
        for call in calls:
            call.cancel()
    rests(site, "calls cancelled")


@KIND.attack("70 connections of such calls, cut, gRPC")
def _(site: Site) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(site.many(STUCK)):
            connection = http2.Connection(stack.enter_context(site.connect("grpc")))
            connection.call(PREDICT, request("stuck", x=ONE))
        time.sleep(1.0)
    rests(site, "connections cut")


@BATCHED.attack("70 such calls with a deadline, gRPC")
@KIND.attack("70 such calls with a deadline, gRPC")
def _(site: Site) -> None:
    data = request("stuck", x=ONE)
    site.together(site.many(STUCK), lambda _: site.call(PREDICT, data, timeout=1.0))
    rests(site, "deadlines passed")


@BATCHED.attack("70 requests of a model that never answers, gone, REST")
@KIND.attack("70 requests of a model that never answers, gone, REST")
def _(site: Site) -> None:
    body = b'{"instances": [1.0]}'
    post = (
        b"POST /v1/models/stuck:predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    with contextlib.ExitStack() as stack:
        for _ in range(site.many(STUCK)):
            stack.enter_context(site.connect("rest")).sendall(post)
        time.sleep(1.0)
    rests(site, "connections cut")


@BATCHED.attack("long work, and gone")
@KIND.attack("long work, and gone")
def _(site: Site) -> None:
    texts = np.full([10_000], b"the cat sat on the [MASK] .", object)
    with grpc.insecure_channel(site.target.grpc_address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = channel.unary_unary(PREDICT)
        data = [
            request("mlm", "pseudo_log_likelihood", text=texts),
            request("slow", x=ONE, steps=np.full(1, 1_000_000, np.int32)),
        ]
        calls = [stub.future(each) for each in data for _ in range(3)]
        time.sleep(0.5)
        for call in calls:
            call.cancel()
    body = json.dumps(
        {"signature_name": "pseudo_log_likelihood", "instances": ["the cat sat"] * 10_000}
    ).encode()
    post = b"POST /v1/models/mlm:predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(site.connect("rest")).sendall(post)
        time.sleep(0.5)
    rests(site, "calls cancelled")


@KIND.attack("60 answers of 3 MB that nobody reads, REST")
def _(site: Site) -> int:
    body = b'{"instances": [1.0]}'
    post = (
        b"POST /v1/models/wide:predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    with contextlib.ExitStack() as stack:
        for _ in range(site.many(READERS)):
            stack.enter_context(site.connect("rest")).sendall(post)
            time.sleep(0.05)
        time.sleep(site.seconds)
    return ANSWER_BYTES


@KIND.attack("60 answers of 3 MB that nobody reads, gRPC")
def _(site: Site) -> int:
    data = request("wide", x=ONE)
    with contextlib.ExitStack() as stack:
        for _ in range(site.many(READERS)):
            connection = http2.Connection(stack.enter_context(site.connect("grpc")), window=0)
            connection.call(PREDICT, data)
            time.sleep(0.05)
        time.sleep(site.seconds)
    return ANSWER_BYTES


@KIND.attack("60 answers asked for down one connection, gRPC")
def _(site: Site) -> int:
    data = request("wide", x=ONE)
    with site.connect("grpc") as raw, contextlib.suppress(OSError):
        connection = http2.Connection(raw, window=0)
        for _ in range(site.many(READERS)):
            connection.call(PREDICT, data)
            time.sleep(0.02)
        time.sleep(site.seconds)
    return ANSWER_BYTES


def stopped(site: Site, begin: str) -> None:
    """SIGTERM with a grace of five seconds is kept, whatever still runs."""
    with site.own_server("--shutdown_grace_seconds=5") as own:
        if begin == "gRPC":
            stub = own.target.channel.unary_unary(PREDICT)
            calls = [stub.future(request("stuck", x=ONE)) for _ in range(own.many(STUCK))]
            own.answers["calls"] += len(calls)
        else:
            for _ in range(own.many(STUCK)):
                threading.Thread(target=own.post, args=("stuck", {"instances": [1.0]}), daemon=True).start()
        time.sleep(1.0)
        status, seconds = own.target.end(30)
        site.expect(status == 0, f"SIGTERM: the server ended with {status}")
        site.expect(seconds < 12, f"SIGTERM with a grace of 5 s took {seconds:.1f} s")


@KIND.attack("SIGTERM with 70 calls that never end, gRPC", own_server=True)
def _(site: Site) -> None:
    stopped(site, "gRPC")


@KIND.attack("SIGTERM with 70 requests that never end, REST", own_server=True)
def _(site: Site) -> None:
    stopped(site, "REST")


@BATCHED.attack("bad requests among good ones in a batch")
def _(site: Site) -> None:
    """Rows that fit nobody else's, or fail in the graph, take no other request of their batch with them."""
    good = request("half_plus_two", x=2 * ONE)
    bad = [
        request("half_plus_two", x=np.ones([2, 3], np.float32)),
        request("half_plus_two", x=np.ones([0], np.float32)),
        request("half_plus_two", "regress_x_to_y", inputs=np.array([b"\xff" * 9], object)),
        request("slow", x=ONE, steps=np.full(2, 3, np.int32)),
        request("stuck", x=ONE),
    ]

    def ask(number: int) -> None:
        for turn in site.until_over():
            if number % 2:
                site.call(PREDICT, bad[(number // 2 + turn) % len(bad)], timeout=0.5)
            else:
                code = site.call(PREDICT, good)
                site.expect(code == "OK", f"a good request among bad ones was answered {code}")
            time.sleep(0.02)

    site.together(8, ask)


KINDS = (KIND, BATCHED)
