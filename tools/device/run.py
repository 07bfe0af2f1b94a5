"""Runs lowered programs on whatever device jax sees, beside transformers in torch on the same one.

Needs numpy and jax, for the peer torch and transformers, and the files that lie beside it; no TensorFlow.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tensors import inputs_of, weight

FOLDER = Path(__file__).resolve().parent
_DONATED = r"parameter_number = (\d+) : i64\}, output_index = array<i64(?:: (\d+))?>"


class Program:
    """A program on the device, with its arguments; what a training step updates is its next arguments."""

    def __init__(self, entry: dict[str, Any], device: Any) -> None:
        self.entry = entry
        with gzip.open(FOLDER / f"{entry['name']}.mlir.gz", "rt") as file:
            text = file.read()
        started = time.perf_counter()
        self._program = _compiled(text, device)
        self.compile_seconds = time.perf_counter() - started
        self._alias = {int(into): int(out or 0) for into, out in re.findall(_DONATED, text)}
        inputs = inputs_of(entry)
        self._arguments = [
            jax.device_put(_argument(argument, inputs), device) for argument in entry["arguments"]
        ]

    def __call__(self) -> list[Any]:
        """Starts one call; returns what will be its results."""
        outputs = self._program.execute_sharded(self._arguments).disassemble_into_single_device_arrays()
        for into, out in self._alias.items():
            self._arguments[into] = outputs[out][0]
        return [output[0] for output in outputs]

    def hlo(self) -> str:
        return self._program.hlo_modules()[0].to_string()


def _compiled(text: str, device: Any) -> Any:
    from jax._src import compiler
    from jax._src.interpreters import mlir
    from jax._src.lib.mlir import ir
    from jaxlib import _jax

    with mlir.make_ir_context():
        module = ir.Module.parse(text)
        assignment = np.array([[device.id]])
        options = compiler.get_compile_options(num_replicas=1, num_partitions=1, device_assignment=assignment)
        client = device.client
        compile_ = getattr(client, "compile_and_load", None) or client.compile
        return compile_(module, _jax.DeviceList((device,)), options)


def _argument(argument: dict[str, Any], inputs: dict[str, np.ndarray]) -> np.ndarray:
    shape, dtype = argument["shape"], argument["dtype"]
    if "input" in argument:
        array = inputs[argument["input"]]
    elif "tensors" in argument:
        names = argument["tensors"]
        part = [shape[0] // len(names), *shape[1:]]
        parts = [weight(name, part[::-1] if argument["transposed"] else part) for name in names]
        array = np.concatenate([part.T if argument["transposed"] else part for part in parts])
    else:
        array = np.full(shape, argument["value"])
    import ml_dtypes

    return np.asarray(array).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def milliseconds(start: Callable[[], Any], wait: Callable[[Any], object], calls: int) -> dict[str, float]:
    """Of one call: the median when each is waited for, and the mean when `calls` are queued."""
    for _ in range(3):
        wait(start())
    each = []
    for _ in range(calls):
        started = time.perf_counter()
        wait(start())
        each.append(time.perf_counter() - started)
    started = time.perf_counter()
    for _ in range(calls):
        last = start()
    wait(last)
    queued = (time.perf_counter() - started) / calls
    return {"alone": 1e3 * statistics.median(each), "queued": 1e3 * queued}


def ours(entry: dict[str, Any], device: Any, calls: int, profile: bool) -> dict[str, Any]:
    """Compiles, runs and times one program."""
    program = Program(entry, device)
    first = [np.asarray(output) for output in program()[: 2 if entry["work"] == "fill" else 1]]
    timed = milliseconds(program, lambda outputs: [output.block_until_ready() for output in outputs], calls)
    result = {
        "compile_seconds": program.compile_seconds,
        **timed,
        "answer": [part.tolist() for part in first],
    }
    if profile:
        from kernels import kernels

        result["kernels"] = kernels(lambda: [output.block_until_ready() for output in program()])
        result["hlo"] = program.hlo()
    return result


def main() -> None:
    """The command line; see --help."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="Programs whose names contain this.")
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--peers", action="store_true", help="Also time transformers in torch.")
    parser.add_argument(
        "--profile", action="store_true", help="Also list the kernels (needs torch's profiler)."
    )
    parser.add_argument("--compiled", action="store_true", help="And its torch.compile: a minute each.")
    parser.add_argument("--json", type=Path, help="Write all figures there.")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    manifest, device = json.loads((FOLDER / "manifest.json").read_text()), jax.devices()[0]
    print(f"jax {jax.__version__}, {device.device_kind}", flush=True)
    results = {}
    for entry in manifest["programs"]:
        if options.only not in entry["name"]:
            continue
        result = results[entry["name"]] = ours(entry, device, options.calls, options.profile)
        print(
            f"{entry['name']}: {result['alone']:.2f} ms alone, {result['queued']:.2f} queued "
            f"(compiled in {result['compile_seconds']:.1f} s)",
            flush=True,
        )
        for kernel in result.get("kernels", [])[:25]:
            print(f"    {kernel['milliseconds']:8.3f} ms {kernel['count']:5d} × {kernel['name'][:110]}")
        if options.peers:
            from peer import beside

            result["peers"] = beside(
                manifest["config"], entry, result, options.calls, compiled=options.compiled
            )
    if options.json:
        options.json.write_text(json.dumps(results))


if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER))
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    main()
