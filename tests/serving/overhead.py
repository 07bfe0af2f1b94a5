"""Prints what the server adds to a call, and what batching keeps of the model's throughput.

    python tests/serving/overhead.py [--layers 48] [--requests 500] [--timeout-ms 20] [--batch-size 16]

One SavedModel with a light signature (`same`) and a heavy one (`dense`, XLA). Overhead is the p50 of
one client in another process minus the p50 of the same call on the session; throughput is that of
32 clients with batching over rows per second of the best batch size on the session.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
WIDTH = 512
SIZES = (1, 2, 4, 8, 16, 32)


def median(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]


def timed(call: Callable[[], object], count: int) -> list[float]:
    for _ in range(5):
        call()
    found = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return found


def client(door: str, port: int, body: bytes, requests: int, threads: int) -> dict[str, float]:
    """Closed loop: every thread asks again as soon as it is answered."""
    found: list[float] = []

    def caller() -> Callable[[], object]:
        if door == "grpc":
            import grpc

            channel = grpc.insecure_channel(f"127.0.0.1:{port}")
            predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            return lambda: predict(body, timeout=120)
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def post() -> None:
            connection.request("POST", "/v1/models/m:predict", body)
            reply = connection.getresponse()
            assert reply.status == 200, reply.read()
            reply.read()

        return post

    def work() -> None:
        found.extend(timed(caller(), requests))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    elapsed = time.perf_counter() - start
    return {"p50": median(found), "rate": (requests + 5) * threads / elapsed}


def ask(door: str, port: int, signature: str, requests: int, threads: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--client", door, str(port), str(requests), str(threads)]
    done = subprocess.run(command, check=True, input=body_for(door, signature), stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def body_for(door: str, signature: str) -> bytes:
    import numpy as np

    row = np.random.default_rng(0).normal(size=(1, WIDTH)).round(4)
    if door == "rest":
        return json.dumps({"signature_name": signature, "inputs": row.tolist()}).encode()
    from tensorflow_serving.apis import predict_pb2

    from tf_mlm.serving.tensor_codec import encode

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", signature
    encode(row.astype(np.float32), request.inputs["x"])
    return request.SerializeToString()


def save_model(base: Path, layers: int) -> None:
    import tensorflow as tf

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = [tf.Variable(tf.random.normal([WIDTH, WIDTH], stddev=0.05)) for _ in range(layers)]

        @tf.function(jit_compile=True)
        def core(self, x):
            for weight in self.weights:
                x = tf.nn.relu(x @ weight)
            return x

    model, spec = Model(), [tf.TensorSpec([None, WIDTH], tf.float32, name="x")]
    same = tf.function(lambda x: {"y": 2 * x}, input_signature=spec)
    dense = tf.function(lambda x: {"y": model.core(x)}, input_signature=spec)
    tf.saved_model.save(model, str(base / "1"), signatures={"same": same, "dense": dense})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", type=int, default=48, help="size of the heavy model")
    parser.add_argument("--requests", type=int, default=500, help="calls per measurement")
    parser.add_argument("--timeout-ms", type=float, default=20, help="how long an open batch waits")
    parser.add_argument(
        "--batch-size", type=int, default=16, help="below the 32 clients, so that some ask anew"
    )
    given = parser.parse_args()

    import numpy as np

    from tf_mlm.serving.options import BatchingOptions
    from tf_mlm.serving.server import ModelServer, ServerOptions

    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "m", given.layers)
        batching = BatchingOptions(
            max_batch_size=given.batch_size,
            batch_timeout=given.timeout_ms / 1000,
            max_enqueued_batches=100,
            num_batch_threads=1,
            allowed_batch_sizes=tuple(size for size in SIZES if size <= given.batch_size),
        )
        common = {"model_name": "m", "model_base_path": str(Path(folder) / "m")}

        def session_call(server: ModelServer, signature: str, rows: int) -> list[float]:
            x = np.random.default_rng(0).normal(size=(rows, WIDTH)).astype(np.float32)
            with server.manager.lease("m") as servable:
                info = servable.signatures[signature]
                feeds, fetches = {info.inputs["x"].name: x}, [info.outputs["y"].name]
                return timed(lambda: servable.run(feeds, fetches), max(20, given.requests // 10))

        with ModelServer(ServerOptions(**common)) as server:
            direct = median(session_call(server, "same", 1))
            for door, port in (("grpc", server.grpc_port), ("rest", server.rest_port)):
                p50 = ask(door, port, "same", given.requests, 1)["p50"]
                print(f"{door}: p50 {p50 * 1e3:.2f} ms, on the session {direct * 1e3:.2f}, ", end="")
                print(f"overhead {(p50 - direct) * 1e3:.2f} ms", flush=True)
            rates = {rows: rows / median(session_call(server, "dense", rows)) for rows in SIZES}
        best = max(rates.values())
        print(
            f"best batch on the session: {best:.0f} rows/s, of {max(rates, key=rates.get)} rows", flush=True
        )
        with ModelServer(ServerOptions(**common, batching=batching)) as server:
            for door, port in (("grpc", server.grpc_port), ("rest", server.rest_port)):
                for size in SIZES:  # compile every size
                    ask(door, port, "dense", 2, size)
                rate = ask(door, port, "dense", max(20, given.requests // 10), 32)["rate"]
                print(
                    f"{door}, 32 clients: {rate:.0f} rows/s, {rate / best:.2f} of the best batch", flush=True
                )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    if sys.argv[1:2] == ["--client"]:
        door, port, requests, threads = sys.argv[2:]
        print(json.dumps(client(door, int(port), sys.stdin.buffer.read(), int(requests), int(threads))))
    else:
        main()
