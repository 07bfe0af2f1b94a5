#!/usr/bin/env python3
"""Writes tf_mlm/export/stock_operations.txt: the operations of a stock TF-Serving 2.19.0; see --help.

TF-Serving's BUILD files say what its server links: all of TensorFlow's core with its kernels
(`@org_tensorflow//tensorflow/core:tensorflow`), TF-Text's `ops_lib`, and the inference operations of
TensorFlow Decision Forests (`SUPPORTED_TENSORFLOW_OPS` in tensorflow_serving/model_servers/BUILD); its
workspace.bzl says at which versions. The lists themselves come from the packages of those versions, asked in
environments of their own:

- TensorFlow 2.19.0: what is registered and has a kernel for the CPU, without the calls back into Python.
- TF-Text 2.12.1, which TF-Serving 2.19 builds against (2.20 takes TF-Text 2.20, which has all of these):
  what importing it registers, without the trimmers, which are no part of `ops_lib` there.
- Decision Forests 1.3.0: named here, as its package needs a TensorFlow of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = Path(__file__).parents[1] / "tf_mlm" / "export" / "stock_operations.txt"
TENSORFLOW = ("tensorflow-cpu==2.19.0",)
TF_TEXT = ("tensorflow-text==2.12.1", "tensorflow-cpu==2.12.1", "numpy<1.24", "setuptools<70")
CALLS_PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
NOT_IN_OPS_LIB = {"TFText>RoundRobinGenerateMasks", "TFText>RoundRobinTrim"}
DECISION_FORESTS = {
    "SimpleMLCreateModelResource": ("container", "shared_name"),
    "SimpleMLInferenceLeafIndexOpWithHandle": (),
    "SimpleMLInferenceOp": ("dense_output_dim", "model_identifier"),
    "SimpleMLInferenceOpWithHandle": ("dense_output_dim",),
    "SimpleMLLoadModelFromPath": ("model_identifier",),
    "SimpleMLLoadModelFromPathWithHandle": ("allow_slow_inference", "file_prefix", "output_types"),
}
HEAD = """\
# The operations that a stock tensorflow_model_server 2.19.0 registers, one a line, each with its attributes.
# TensorFlow 2.19.0 with CPU kernels, TF-Text 2.12.1's ops_lib, Decision Forests 1.3.0's inference.
# Written by tools/stock_operations.py, which tells how they were found.
"""

# Runs in the environment of the version that is asked; prints a line for each operation.
LISTING = """
import sys
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow.python.framework import kernels

def registered():
    found = op_def_pb2.OpList()
    found.ParseFromString(bytes(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())))
    return {op.name: op for op in found.op}

listed = registered()
if "text" in sys.argv:
    import tensorflow_text
    listed = {name: op for name, op in registered().items() if name not in listed}
for name, op in listed.items():
    devices = {kernel.device_type for kernel in kernels.get_registered_kernels_for_op(name).kernel}
    if devices & {"CPU", "DEFAULT"}:
        print("operation", name, *sorted(attribute.name for attribute in op.attr))
"""


def listed(requirements: tuple[str, ...], *arguments: str) -> dict[str, tuple[str, ...]]:
    """Operation to its attributes, as registered by the packages in an environment of their own."""
    with tempfile.TemporaryDirectory(prefix="stock-") as directory:
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        python = f"{directory}/bin/python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        done = subprocess.run(
            [python, "-c", LISTING, *arguments], check=True, stdout=subprocess.PIPE, text=True
        )
    lines = (line.split()[1:] for line in done.stdout.splitlines() if line.startswith("operation "))
    return {name: tuple(attributes) for name, *attributes in lines}


def main() -> None:
    """Writes the list, or checks it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="Write nothing; exit with 1 if the file differs."
    )
    check = parser.parse_args().check
    core = {name: value for name, value in listed(TENSORFLOW).items() if name not in CALLS_PYTHON}
    text = {name: value for name, value in listed(TF_TEXT, "text").items() if name not in NOT_IN_OPS_LIB}
    found = DECISION_FORESTS | core | text
    lines = [" ".join((name, *found[name])) + "\n" for name in sorted(found)]
    written = HEAD + "".join(lines)
    if check:
        raise SystemExit(0 if TARGET.read_text(encoding="utf-8") == written else 1)
    TARGET.write_text(written, encoding="utf-8")
    print(f"{len(core)} of TensorFlow, {len(text)} of TF-Text, {len(DECISION_FORESTS)} of Decision Forests")


if __name__ == "__main__":
    main()
