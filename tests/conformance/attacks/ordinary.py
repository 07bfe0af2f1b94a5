"""The ordinary client: right requests at a steady rate over both protocols, in a process of its own.

Reads one line of JSON (`Questions`) and writes one line for each answer until its input is closed. Requests
go out by the clock, whether or not the last one has been answered, and are timed from when they were due: a
server that answers nobody for a second cannot hide it behind the requests that were never sent.

It knows no TensorFlow, so that it starts at once and costs next to nothing.
"""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import http.client
import json
import sys
import threading
import time

import grpc

LEAD = 0.2  # seconds between reading the questions and the first request


@dataclasses.dataclass(frozen=True)
class Questions:
    """Whom to ask what, how often, and the right answers.

    Attributes:
        request, answer: base64 of a gRPC message and of the message that must come back.
        rate: requests a second of each protocol; one in ten opens a connection of its own.
        timeout: seconds after which a request has failed.
    """

    grpc_address: str
    rest_address: str
    method: str
    request: str
    answer: str
    path: str
    body: str
    reply: str
    rate: float = 20.0
    timeout: float = 30.0


@dataclasses.dataclass(frozen=True)
class Sample:
    """One request: when it was due on the monotonic clock, how long it took, and what was wrong with it."""

    at: float
    protocol: str
    seconds: float
    failure: str | None = None


class Ordinary:
    def __init__(self, questions: Questions) -> None:
        self.questions = questions
        self.request = base64.b64decode(questions.request)
        self.answer = base64.b64decode(questions.answer)
        self.channel = self.new_channel()
        self.lock = threading.Lock()
        self.idle_connections: list[http.client.HTTPConnection] = []

    def new_channel(self) -> grpc.Channel:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100)]
        return grpc.insecure_channel(self.questions.grpc_address, [*options, ("grpc.enable_retries", 0)])

    def new_connection(self) -> http.client.HTTPConnection:
        host, port = self.questions.rest_address.rsplit(":", 1)
        return http.client.HTTPConnection(host, int(port), timeout=self.questions.timeout)

    def ask_grpc(self, fresh: bool) -> str | None:
        channel = self.new_channel() if fresh else self.channel
        try:
            call = channel.unary_unary(self.questions.method)
            answer = call(self.request, timeout=self.questions.timeout, wait_for_ready=fresh)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        finally:
            if fresh:
                channel.close()
        return None if answer == self.answer else f"a wrong answer: {answer!r}"

    def ask_rest(self, fresh: bool) -> str | None:
        with self.lock:
            kept = self.idle_connections.pop() if self.idle_connections and not fresh else None
        connection = kept or self.new_connection()
        try:
            status, text = self.post(connection)
        except (ConnectionError, http.client.RemoteDisconnected):
            connection.close()
            if kept is None:
                raise
            connection = self.new_connection()  # the server may close an idle connection at any time
            status, text = self.post(connection)
        if fresh or status != 200:
            connection.close()
        else:
            with self.lock:
                self.idle_connections.append(connection)
        right = (status, text) == (200, self.questions.reply)
        return None if right else f"HTTP {status}: {text}"

    def post(self, connection: http.client.HTTPConnection) -> tuple[int, str]:
        connection.request("POST", self.questions.path, self.questions.body)
        reply = connection.getresponse()
        return reply.status, reply.read().decode(errors="replace")

    def ask(self, protocol: str, due: float, fresh: bool) -> Sample:
        try:
            failure = self.ask_grpc(fresh) if protocol == "gRPC" else self.ask_rest(fresh)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        return Sample(due, protocol, time.monotonic() - due, failure and " ".join(failure.split())[:300])


def main() -> None:
    ordinary = Ordinary(Questions(**json.loads(sys.stdin.readline())))
    ended = threading.Event()

    def until_closed() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=until_closed, daemon=True).start()
    write = threading.Lock()

    def tell(future: concurrent.futures.Future[Sample]) -> None:
        with write:
            print(json.dumps(dataclasses.asdict(future.result())), flush=True)

    start, step = time.monotonic() + LEAD, 1 / ordinary.questions.rate
    with concurrent.futures.ThreadPoolExecutor(200) as threads:
        number = 0
        while not ended.wait(max(0.0, start + number * step - time.monotonic())):
            due = start + number * step
            for protocol, delay in (("gRPC", 0.0), ("REST", step / 2)):
                future = threads.submit(ordinary.ask, protocol, due + delay, number % 10 == 9)
                future.add_done_callback(tell)
                if delay == 0.0:
                    ended.wait(max(0.0, due + step / 2 - time.monotonic()))
            number += 1


if __name__ == "__main__":
    main()
