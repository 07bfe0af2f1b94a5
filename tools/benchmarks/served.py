"""A server process on loopback for the time of a contest, and clients that ask it again and again."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
from tensorflow_serving.apis import predict_pb2

from tf_mlm.serving.server_process import ServerProcess
from tf_mlm.serving.tensor_codec import decode, encode

NAME = "m"
PATIENCE = 180.0
"""Seconds that a start, with every program compiled, or a single answer may take."""
Ask = Callable[[], np.ndarray]


class OverGrpc:
    """Asks over gRPC, each client on a connection of its own."""

    name = "gRPC"

    def __init__(self, port: int, signature: str, inputs: dict[str, np.ndarray], output: str) -> None:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = NAME, signature
        for alias, array in inputs.items():
            encode(array, request.inputs[alias])
        self._address, self._body, self._output = f"127.0.0.1:{port}", request.SerializeToString(), output

    def client(self) -> Ask:
        channel = grpc.insecure_channel(self._address, [("grpc.use_local_subchannel_pool", 1)])
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

        def ask() -> np.ndarray:
            answer = predict_pb2.PredictResponse.FromString(predict(self._body, timeout=PATIENCE))
            return decode(answer.outputs[self._output])

        return ask


class OverRest:
    """Asks over REST, each client on a connection that it keeps."""

    name = "REST"

    def __init__(self, port: int, signature: str, inputs: dict[str, np.ndarray], output: str) -> None:
        columns = {
            alias: np.char.decode(array.astype(bytes)).tolist() if array.dtype == object else array.tolist()
            for alias, array in inputs.items()
        }
        self._body = json.dumps({"signature_name": signature, "inputs": columns})
        self._port, self._output = port, output

    def client(self) -> Ask:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)

        def ask() -> np.ndarray:
            connection.request("POST", f"/v1/models/{NAME}:predict", self._body)
            reply = connection.getresponse()
            answer = json.loads(reply.read())
            if reply.status != 200:
                raise ConnectionError(f"The server answered {reply.status}: {answer['error']}")
            outputs = answer["outputs"]
            return np.asarray(outputs[self._output] if isinstance(outputs, dict) else outputs)

        return ask


Protocol = OverGrpc | OverRest


def over_both(
    ports: tuple[int, int], signature: str, inputs: dict[str, np.ndarray], output: str
) -> tuple[Protocol, ...]:
    """The same question, for both ports of a server."""
    return (
        OverGrpc(ports[0], signature, inputs, output),
        OverRest(ports[1], signature, inputs, output),
    )


class Crowd:
    """So many clients, each of which asks again as soon as it is answered."""

    def __init__(self, protocol: Protocol, clients: int) -> None:
        self._asks = [protocol.client() for _ in range(clients)]

    def __call__(self, times: int) -> np.ndarray:
        """Every client asks so often. Returns the answer to the last one asked, or raises what one met."""
        answers: list[np.ndarray] = []
        failures: list[BaseException] = []

        def work(ask: Ask) -> None:
            try:
                for _ in range(times):
                    answer = ask()
                answers.append(answer)
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(ask,)) for ask in self._asks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return answers[-1]


@contextlib.contextmanager
def serving(base_path: Path, *flags: str) -> Iterator[tuple[int, int]]:
    """The embedded server as a process of its own; its gRPC and REST ports once it answers."""
    command = [
        *(sys.executable, "-m", "tf_mlm.serving.model_server", "--host=127.0.0.1"),
        *(f"--model_name={NAME}", f"--model_base_path={base_path}", "--max_num_load_retries=0"),
    ]
    with ServerProcess(command, flags, Path(os.devnull)) as server:
        server.wait(PATIENCE)
        yield server.grpc_port, server.rest_port
