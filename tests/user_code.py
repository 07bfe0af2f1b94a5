"""A user's program, which `test_public_surface.py` gives to a strict type checker and runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tf_mlm
from tf_mlm import Buckets, Client, ClientError, FillMask, MaskedLM, ModelServer, ServerOptions, TrainConfig


def pretrain(texts: list[Path], output: Path) -> MaskedLM:
    sizes = TrainConfig(steps=2, batch_size=2, length=8, hidden_size=16, layers=1, heads=2)
    tf_mlm.train(texts, output, sizes)
    return tf_mlm.load(output)


def words(model: MaskedLM, text: str) -> list[str]:
    fills = FillMask(model)(text, top_k=3)
    return [str(fill["token_str"]) for fill in fills]


def deploy(model: MaskedLM, base_path: Path) -> Path:
    version: Path = tf_mlm.export(model, base_path, buckets=Buckets(length=(8,), batch=(1,)), xla=False)
    return version


def ask(base_path: Path, text: str) -> tuple[list[str], float]:
    options = ServerOptions(model_name="mlm", model_base_path=str(base_path), rest_port=None)
    with ModelServer(options) as server, Client(f"grpc://127.0.0.1:{server.grpc_port}/mlm") as client:
        try:
            fills = client.fill(text, top_k=3)
        except ClientError as error:
            print(error.code, error.hint)
            raise
        scores: dict[str, np.ndarray] = client.score([text])
        return [str(fill["token_str"]) for fill in fills], float(scores["score"][0])
