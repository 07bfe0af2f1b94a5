"""What serving adds to a call, and what batching keeps of the model's throughput.

The server runs in a process of its own, as it would; clients run in this one. All share the two cores, so
the clients' own work counts against the server. Where a row takes the model a fraction of a millisecond,
that is most of the difference; where it takes as long as BERT-base, little of it is left.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.contest import OURS, Outcome, Ratio, compete
from benchmarks.served import Crowd, over_both, serving
from tf_mlm.config import Buckets, ModelConfig
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.questions import Inference
from tf_mlm.serving.models.session_runner import SessionOptions, SessionRunner
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary

CLIENTS = 32
BATCH = 16  # half of the clients: while one half is being answered, the other asks anew
WIDTH, LAYERS = 512, 48  # 25 million operations a row
LENGTH = 32
DIRECT = "in process"
BATCHING = f"""
max_batch_size {{ value: {BATCH} }}
allowed_batch_sizes: {BATCH}
batch_timeout_micros {{ value: 20000 }}
max_enqueued_batches {{ value: 100 }}
"""
Run = Callable[[int], np.ndarray]
Inputs = dict[str, np.ndarray]


def outcomes(peers: bool) -> Iterator[Outcome]:
    """Overhead over both protocols; then throughput of a small model and of BERT-base, over both."""
    with tempfile.TemporaryDirectory() as directory:
        chain, bert = Path(directory, "chain"), Path(directory, "bert")
        row = np.random.default_rng(0).normal(size=(1, WIDTH)).astype(np.float32)
        _save_chain(chain / "1")
        with serving(chain) as ports:
            direct = _in_process(chain / "1", "same", {"x": row}, "y")
            for protocol in over_both(ports, "same", {"x": row}, "y"):
                yield _overhead(f"one row over {protocol.name}, one client", protocol.client(), direct)
        yield from _throughput("25 MFLOP a row", chain, "dense", {"x": row}, "y", times=40)
        _save_bert(bert / "1")
        text = np.array([" ".join(["[MASK]"] + ["word7"] * (LENGTH - 3)).encode()], object)
        yield from _throughput(f"BERT-base, {LENGTH} tokens", bert, "fill", {"text": text}, "scores", times=2)


def _overhead(work: str, served: Callable[[], np.ndarray], direct: Run) -> Outcome:
    """Medians of single calls; the contenders take turns in blocks, as a client that asks on does."""
    calls: dict[str, Callable[[], np.ndarray]] = {OURS: served, DIRECT: lambda: direct(1)}
    difference = float(np.abs(served() - direct(1)).max())
    times: dict[str, list[list[float]]] = {name: [] for name in calls}
    for _ in range(20):
        for name, call in calls.items():
            block = []
            for _ in range(50):
                started = time.perf_counter()
                call()
                block.append(time.perf_counter() - started)
            times[name].append(block)
    medians = {
        name: 1e3 * statistics.median(itertools.chain.from_iterable(blocks)) for name, blocks in times.items()
    }
    each = sorted(
        statistics.median(peer) / statistics.median(own)
        for peer, own in zip(times[DIRECT], times[OURS], strict=True)
    )
    milliseconds = {**medians, "what serving adds": medians[OURS] - medians[DIRECT]}
    return Outcome(
        work, milliseconds, {DIRECT: Ratio(each[0], statistics.median(each), each[-1])}, difference
    )


def _throughput(
    model: str, base: Path, signature: str, inputs: Inputs, output: str, times: int
) -> Iterator[Outcome]:
    """The same number of rows by clients one at a time, and in process in batches of the best size."""
    direct = _in_process(base / "1", signature, inputs, output)
    best = min((BATCH, 2 * BATCH), key=lambda rows: _fastest(direct, rows) / rows)
    rows = CLIENTS * times

    def in_best_batches() -> np.ndarray:
        for _ in range(rows // best):
            answer = direct(best)
        return answer[:1]

    batching = base / "batching.config"
    batching.write_text(BATCHING)
    with serving(base, "--enable_batching", f"--batching_parameters_file={batching}") as ports:
        for protocol in over_both(ports, signature, inputs, output):
            crowd = functools.partial(Crowd(protocol, CLIENTS), times)
            yield compete(
                f"{model}: {rows} rows over {protocol.name}, {CLIENTS} clients",
                {OURS: crowd, f"batches of {best}, {DIRECT}": in_best_batches},
                rounds=7,
                seconds=60.0,
            )


def _fastest(run: Run, rows: int) -> float:
    """Seconds of the best of a few runs, after one that compiles."""
    run(rows)
    found = []
    for _ in range(5):
        started = time.perf_counter()
        run(rows)
        found.append(time.perf_counter() - started)
    return min(found)


def _in_process(version: Path, signature: str, inputs: Inputs, output: str) -> Run:
    """The signature in a session, as the server has it, fed with so many copies of the row."""
    session = SessionRunner(version, SessionOptions())
    definition = session.signatures[signature]
    feeds = {definition.inputs[alias].name: array for alias, array in inputs.items()}
    fetches = [definition.outputs[output].name]

    def run(rows: int) -> np.ndarray:
        return session.run({name: np.repeat(array, rows, axis=0) for name, array in feeds.items()}, fetches)[
            0
        ]

    return run


def _save_chain(version: Path) -> None:
    class Chain(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = [
                tf.Variable(tf.random.stateless_normal([WIDTH, WIDTH], [0, seed], stddev=0.05))
                for seed in range(LAYERS)
            ]

        @tf.function(jit_compile=True, autograph=False)
        def core(self, x: tf.Tensor) -> tf.Tensor:
            for weight in self.weights:
                x = tf.nn.relu(x @ weight)
            return x

    chain, spec = Chain(), [tf.TensorSpec([None, WIDTH], tf.float32, name="x")]
    same = tf.function(lambda x: {"y": 2 * x}, input_signature=spec, autograph=False)
    dense = tf.function(lambda x: {"y": chain.core(x)}, input_signature=spec, autograph=False)
    tf.saved_model.save(chain, str(version), signatures={"same": same, "dense": dense})


def _save_bert(version: Path) -> None:
    """What an export's `serving_default` runs, alone: BERT-base of random weights, shapes of full batches."""
    config = ModelConfig()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [f"word{number}" for number in range(config.vocab_size - len(special))]
    model = MaskedLM.from_config(
        config, seed=0, preprocessor=TextPreprocessor(Vocabulary([*special, *words]))
    )
    sizes = (BATCH, 2 * BATCH)
    inference = Inference(model, buckets=Buckets(batch=sizes, length=(LENGTH,), masks=sizes), top_k=5)
    fill = tf.function(inference.fill, [tf.TensorSpec([None], tf.string, "text")], autograph=False)
    tf.saved_model.save(inference, str(version), signatures={"fill": fill.get_concrete_function()})
