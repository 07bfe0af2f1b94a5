"""Leaving and arriving: what was accepted is answered, and nobody takes another's socket."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from conformance.attacks.abandoned import ONE, request
from conformance.attacks.attack import Kind
from conformance.attacks.site import PREDICT, Site
from tf_mlm.serving.errors import ServingError

KIND = Kind("leaving and arriving")
CLIENTS = 6
ALLOWED_AFTER = {"UNAVAILABLE"}


@KIND.attack("SIGTERM under load", own_server=True)
def _(site: Site) -> None:
    """Six clients of each protocol ask without pause: each answer is right, or a refusal of a new call."""
    with site.own_server("--shutdown_grace_seconds=10") as own:
        data = request("slow", x=ONE, steps=np.full(1, 30, np.int32))
        outcomes: Counter[str] = Counter()
        lock = threading.Lock()
        ended = threading.Event()

        def count(outcome: str) -> None:
            with lock:
                outcomes[outcome] += 1

        def ask_grpc() -> None:
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
            with grpc.insecure_channel(own.target.grpc_address, options) as channel:
                call = channel.unary_unary(PREDICT)
                while not ended.is_set():
                    try:
                        answer = predict_pb2.PredictResponse.FromString(call(data, timeout=20))
                        right = tf.make_ndarray(answer.outputs["y"]).tolist() == [1.0]
                        count("gRPC OK" if right else "gRPC wrong")
                    except grpc.RpcError as error:
                        count(f"gRPC {error.code().name}")
                        return

        def ask_rest() -> None:
            while not ended.is_set():
                try:
                    reply = own.target.post(
                        "/v1/models/slow:predict", {"instances": [{"x": 1.0, "steps": 30}]}
                    )
                except ConnectionRefusedError:
                    return
                except OSError as error:
                    count(f"REST {type(error).__name__}")
                    return
                right = reply.status == 200 and reply.json == {"predictions": [1.0]}
                count("REST OK" if right else f"REST {reply.status}")
                if reply.status != 200:
                    return

        threads = [
            threading.Thread(target=work, daemon=True)
            for work in (ask_grpc, ask_rest)
            for _ in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        time.sleep(2.0)
        status, seconds = own.target.end(20)
        ended.set()
        for thread in threads:
            thread.join(25)
        for outcome, number in outcomes.items():
            own.answers[outcome] += number
        site.expect(status == 0, f"SIGTERM: the server ended with {status} after {seconds:.1f} s")
        for protocol in ("gRPC", "REST"):
            site.expect(outcomes[f"{protocol} OK"] > CLIENTS, f"too few answers: {dict(outcomes)}")
        allowed = {"gRPC OK", "gRPC UNAVAILABLE", "REST OK", "REST 503"}
        lost = {outcome: n for outcome, n in outcomes.items() if outcome not in allowed}
        site.expect(not lost, f"calls that were accepted came to {lost}")


@KIND.attack("a second server on one's socket path", own_server=True)
def _(site: Site) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "grpc.sock"
        with site.own_server(f"--grpc_socket_path={path}") as own:
            with grpc.insecure_channel(f"unix:{path}") as channel:
                site.call(PREDICT, request("half_plus_two", x=2 * ONE), channel=channel)
            command = own.target.command
            second = subprocess.Popen(
                [*without_ports(command), "--port=0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                status = second.wait(60)
                site.expect(status != 0, "a second server on the socket path ended with 0")
            except subprocess.TimeoutExpired:
                site.violated("a second server took the socket path")
            finally:
                second.kill()
                second.wait()
            site.expect(path.exists(), "the first server's socket has gone")
            with grpc.insecure_channel(f"unix:{path}") as channel:
                code = site.call(PREDICT, request("half_plus_two", x=2 * ONE), channel=channel)
                site.expect(code == "OK", f"over its socket the first server answered {code}")
            own.target.end(20)
        site.expect(not path.exists(), "the socket was left behind")


@KIND.attack("a dead server's socket is taken over", own_server=True)
def _(site: Site) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "grpc.sock"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))  # and closed without being removed, as by a crash
        with site.own_server(f"--grpc_socket_path={path}"), grpc.insecure_channel(f"unix:{path}") as channel:
            code = site.call(PREDICT, request("half_plus_two", x=2 * ONE), channel=channel)
            site.expect(code == "OK", f"over its socket the server answered {code}")


@KIND.attack("a file that is no socket stays", own_server=True)
def _(site: Site) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "precious"
        path.write_text("precious")
        try:
            with site.own_server(f"--grpc_socket_path={path}"):
                site.violated("the server started on a path that is a file")
        except ServingError:
            site.answered("refused to start")
        site.expect(path.is_file() and path.read_text() == "precious", "the file has gone")


def without_ports(command: list[str]) -> list[str]:
    return [part for part in command if not part.startswith(("--port=", "--rest_api_port="))]


@KIND.attack("SIGTERM while starting", own_server=True)
def _(site: Site) -> None:
    with site.own_server() as own:
        command = without_ports(own.target.command)
    for wait in (0.0, 0.3, 1.0, 2.0, 3.0, 4.0):
        process = subprocess.Popen(
            [*command, "--port=0", "--rest_api_port=0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(wait)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(15)
            site.answered(f"status {status}")
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            site.violated(f"SIGTERM {wait:g} s after the start was not heard in 15 s")


@KIND.attack("a second SIGTERM does not wait", own_server=True)
def _(site: Site) -> None:
    with site.own_server("--shutdown_grace_seconds=60") as own:
        stub = own.target.channel.unary_unary(PREDICT)
        call = stub.future(request("stuck", x=ONE))
        time.sleep(0.5)
        own.target.popen.terminate()
        time.sleep(1.0)
        _, seconds = own.target.end(15)
        call.cancel()
        site.expect(seconds < 10, f"a second SIGTERM took {seconds:.1f} s")


KINDS = (KIND,)
