"""The command line of `tools/compilations`: what XLA compiles before a server is ready, and after."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).resolve().parents[1]


class Requests:
    """Random requests to an export: every signature, of any batch, length and number of masks.

    Args:
        description: the `tf_mlm.json` of the version.
        words: tokens of its vocabulary that are whole words.
        hidden: the size of its hidden states.
        seed: for chance.
    """

    def __init__(self, description: dict[str, Any], words: list[str], hidden: int, seed: int) -> None:
        self.chance = np.random.default_rng(seed)
        self.longest = description["buckets"]["length"][-1]
        self.vocabulary, self.hidden, self.words = description["vocabulary_size"], hidden, words
        self.mask = description["tokenizer"]["mask_token"]

    def number(self, most: int) -> int:
        return int(self.chance.integers(1, most + 1))

    def text(self, longest: int, masks: bool) -> str:
        words = self.chance.choice(self.words, self.number(longest - 2)).tolist()
        if masks:
            for place in self.chance.choice(len(words), self.number(min(len(words), 8)), replace=False):
                words[place] = self.mask
        return " ".join(words)

    def positions(self, batch: int, lengths: np.ndarray) -> np.ndarray:
        draws = self.chance.integers(0, 1 << 16, [batch, self.number(8)])
        return (draws % lengths[:, np.newaxis]).astype(np.int32)

    def inputs(self, signature: str) -> dict[str, Any]:
        batch, length = self.number(32), self.number(self.longest)
        lengths = self.chance.integers(1, length + 1, batch).astype(np.int32)
        if signature == "predict_masked":
            return {
                "token_ids": self.chance.integers(0, self.vocabulary, [batch, length]).astype(np.int32),
                "lengths": lengths,
                "segment_ids": np.zeros([batch, length], np.int32),
                "mask_positions": self.positions(batch, lengths),
            }
        if signature == "masked_lm_head":
            return {
                "hidden_states": self.chance.normal(size=[batch, length, self.hidden]).astype(np.float32),
                "mask_positions": self.positions(batch, lengths),
            }
        # The pseudo-log-likelihood runs once per token: a few short texts are hundreds of rows.
        is_slow = signature == "pseudo_log_likelihood"
        batch, longest = (self.number(4), min(self.longest, 24)) if is_slow else (batch, self.longest)
        has_masks = signature in ("serving_default", "score_targets")
        inputs: dict[str, Any] = {"text": [self.text(longest, has_masks) for _ in range(batch)]}
        if signature == "score_targets":
            inputs["targets"] = [self.chance.choice(self.words, 3).tolist()] * batch
        return inputs


@contextlib.contextmanager
def serving(base_path: Path, dump: Path) -> Iterator[tuple[str, str]]:
    """The addresses of an embedded server that is ready; XLA writes a file there for each compilation."""
    flags = f"--xla_dump_to={dump} --xla_dump_hlo_as_text {os.environ.get('XLA_FLAGS', '')}"
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "tf_mlm", "serve", str(base_path)),
            *("--embedded", "--port=0", "--rest-port=0"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert server.stdout is not None
        log = []
        for line in server.stdout:
            log.append(line)
            if "Entering the event loop" in line:
                break
        else:
            raise click.ClickException(f"The server did not start: {log[-1].strip() if log else 'no output'}")
        threading.Thread(target=server.stdout.read, daemon=True).start()  # a full pipe would stop the server
        ports = dict(re.findall(r"--(port|rest_api_port)=(\d+)", log[0]))
        grpc, rest = ports["port"], ports["rest_api_port"]
        yield f"grpc://127.0.0.1:{grpc}/mlm", f"http://127.0.0.1:{rest}/mlm"
    finally:
        server.terminate()
        server.wait(60)


@click.command()
@click.argument("base_path", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--requests", type=click.IntRange(min=1), default=500, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def main(base_path: Path, requests: int, seed: int, as_json: bool) -> None:
    """Serve the newest version under BASE_PATH, send random requests over gRPC and REST in turn, and count
    the programs that XLA compiles before the server is ready and after. There must be none after.

    Example: tools/compilations demo/models/mlm
    """
    from tf_mlm.export.description import read_description
    from tf_mlm.serving.client.client import Client
    from tf_mlm.version_directory import newest

    version = newest(base_path)
    description = read_description(version) if version else None
    if not version or not description:
        raise click.ClickException(
            f"`{base_path}` holds no export. Write one with: tf-mlm export MODEL_DIR {base_path}"
        )
    tokens = (version / "assets" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    words = [token for token in tokens if token.isascii() and token.isalnum()]
    hidden = description["model"]["hidden_size"]
    asked = Requests(description, words, hidden, seed)
    names = [name for name in description["signatures"] if not name.endswith("_portable")]
    with tempfile.TemporaryDirectory() as dump, serving(base_path, Path(dump)) as (grpc, rest):

        def compiled() -> int:
            return len(list(Path(dump).glob("*before_optimizations.txt")))

        before = compiled()
        with Client(grpc, timeout=120) as over_grpc, Client(rest, timeout=120) as over_rest:
            for number in range(requests):
                client = (over_grpc, over_rest)[number % 2]
                signature = names[number // 2 % len(names)]
                client.predict(asked.inputs(signature), signature)
        after = compiled()
    result = {
        "programs": description["programs"],
        "compiled_before_ready": before,
        "requests": requests,
        "compiled_by_requests": after - before,
    }
    if as_json:
        click.echo(json.dumps(result))
    else:
        click.echo(
            f"{before} programs compiled before the server was ready ({description['programs']} were due),"
        )
        click.echo(f"{after - before} by {requests} requests over {len(names)} signatures.")
    sys.exit(0 if after == before == description["programs"] else 1)
