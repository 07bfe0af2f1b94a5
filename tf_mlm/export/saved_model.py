"""One SavedModel that takes raw strings: every signature, warm-up records and a description.

BASE_PATH/VERSION/
    saved_model.pb, variables/, assets/          the model and its vocabulary
    assets.extra/tf_serving_warmup_requests      what TF-Serving replays before it is ready
    assets.extra/tf_mlm.json                     config, buckets, versions, evaluation
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_text
from tensorflow.core.protobuf import saved_model_pb2  # type: ignore[import-untyped]

import tf_mlm
from tf_mlm import signatures
from tf_mlm.config import Buckets, Limits, to_json
from tf_mlm.export import batching
from tf_mlm.export.description import DESCRIPTION
from tf_mlm.export.operations import check_operations
from tf_mlm.export.private_tensorflow import write_fingerprint
from tf_mlm.export.quantization import check_arithmetic, stored_as
from tf_mlm.export.reload_check import check_reloaded
from tf_mlm.export.state import state_of
from tf_mlm.export.tuning import Tuning, measure
from tf_mlm.export.warmup import check_warmup, write_warmup
from tf_mlm.model.graph_rewriting import graphs_as_written
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.questions import Inference
from tf_mlm.model.tuned_programs import TunedPrograms, candidates
from tf_mlm.version_directory import new_version, version_path


@graphs_as_written()
def export(
    model: MaskedLM,
    base_path: str | os.PathLike[str],
    *,
    version: int | None = None,
    buckets: Buckets | None = None,
    top_k: int = 10,
    xla: bool = True,
    arithmetic: str = "float",
    tune: bool = False,
    long_texts: str = "refuse",
    limits: Limits | None = None,
    evaluation: Mapping[str, Any] | None = None,
    accuracy: Mapping[str, Any] | None = None,
    model_name: str = "mlm",
) -> Path:
    """Writes a version directory that TF-Serving can serve, and checks it by loading it again.

    Args:
        model: a `MaskedLM` with a preprocessor, such as `tf_mlm.load` or `quantize` returns.
        base_path: TF-Serving's `model_base_path`; made when absent.
        version: the version's number; one more than the largest there is, unless given.
        buckets: the shapes that XLA compiles (default: batches up to 32, lengths to the model's limit).
        top_k: how many fills per mask `serving_default` returns.
        xla: compile the numeric programs, with a `_portable` twin of every signature for servers that
            refuse XLA; without, there are only plain signatures, which run on any server.
        arithmetic: `"int8"` multiplies the int8 weights of a quantised model in integers, without XLA, on
            servers that have oneDNN, which is every one for x86; `"bfloat16"` those of
            `tf_mlm.export.quantization.to_bfloat16` as they are, without XLA, on any server, fast where the
            processor can. The `_portable` twins multiply floats.
        tune: measure on this machine, bucket by bucket, which is fastest: XLA, floats without it, or what
            `arithmetic` names; and let each bucket run that. `tf_mlm.json` keeps the times. Takes minutes,
            as XLA compiles every program for it.
        long_texts: what to do with masks and embeddings beyond the largest length bucket: `"refuse"` them or
            read `"windows"`; see `tf_mlm.model.questions.Inference`.
        limits: the most that one request may ask for (default: `Limits()`, which is generous).
        evaluation: figures to keep in `tf_mlm.json`.
        accuracy: the same of a quantised model (`tf_mlm.export.quantization.quantize`) beside its original.
        model_name: the model name written into the warm-up records.

    Returns:
        The version directory.

    Raises:
        ValueError: for a version that is no whole number, buckets longer than the model's positions or more
            than a server would warm up, an operation that stock TF-Serving does not have, int8 or bfloat16
            arithmetic of a model whose weights are not stored so, or int8 where TensorFlow has none, or
            nothing to choose from when tuning.
        FileExistsError: when the version is there already; it is not touched.
        ExportMismatchError: when the reloaded export answers differently from the model.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as base_path:
        ...     export(model, base_path, top_k=5, xla=False).name
        '1'
    """
    path = version_path(Path(base_path), version)
    check_arithmetic(model, arithmetic)
    inference = Inference(
        model,
        buckets=buckets,
        top_k=top_k,
        xla=xla and arithmetic == "float",
        long_texts=long_texts,
        limits=limits or Limits(),
        arithmetic=arithmetic,
    )
    check_warmup(inference)
    # Behind what refuses: measuring takes minutes.
    inference, tuning = _tuned(inference, xla) if tune else (inference, None)
    functions = signature_functions(inference)
    if xla:
        twins = signature_functions(inference.portable())
        functions |= {name + signatures.PORTABLE: function for name, function in twins.items()}
    root = tf.Module(name="export")
    root.state = state_of(inference)
    with new_version(path) as directory:
        tf.saved_model.save(root, str(directory), signatures=functions)
        _state_shapes(directory, {"hidden": inference.hidden_size})
        counts = check_operations(directory)
        records = write_warmup(inference, directory, model_name)
        description = {
            **_description(model, inference),
            "warmup_records": records,
            "tuning": tuning.to_json() if tuning else None,
            "signatures": sorted(functions),
            "operations": dict(sorted(counts.items())),
            "accuracy": dict(accuracy or {}),
            "evaluation": dict(evaluation or {}),
        }
        (directory / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        parameters = batching.batching_parameters(inference.buckets)
        (directory / batching.FILE).write_text(parameters, encoding="utf-8")
        check_reloaded(model, directory, inference.arithmetic, is_mixed=tune)
    return path


def _tuned(inference: Inference, xla: bool) -> tuple[Inference, Tuning]:
    """The same with the fastest programs for each bucket, and how long all of them took."""
    model, buckets, arithmetic = inference.model, inference.buckets, inference.arithmetic
    if not xla and arithmetic == "float":
        raise ValueError(
            "Tuning chooses between XLA, floats without it, and int8 or bfloat16. Received: xla=False, "
            "arithmetic='float', which leaves one. Allow XLA, or export int8 or bfloat16."
        )
    found = candidates(model, top_k=inference.top_k, xla=xla, arithmetic=arithmetic)
    tuning = measure(found, buckets, model.head.vocabulary_size)
    return inference.running(TunedPrograms(found, buckets, tuning.choices)), tuning


def _description(model: MaskedLM, inference: Inference) -> dict[str, Any]:
    """What `tf_mlm.json` says of every export of a model with these settings."""
    return {
        "format": 1,
        "xla": inference.xla,
        "top_k": inference.top_k,
        "buckets": to_json(inference.buckets),
        "max_length": inference.buckets.length[-1],
        "long_texts": inference.long_texts,
        "limits": to_json(inference.limits),
        "programs": inference.programs.compilations(inference.buckets),
        "model": to_json(model.config),
        "tokenizer": to_json(inference.preprocessor.vocabulary.config),
        "vocabulary_size": model.head.vocabulary_size,
        "dtype": model.head.precision.name,
        "weights": stored_as(model) or model.head.precision.variable,
        "quantization": "int8" if stored_as(model) == "int8" else None,
        "arithmetic": inference.arithmetic,
        "versions": {
            "tf_mlm": tf_mlm.__version__,
            "tensorflow": tf.__version__,
            "tensorflow_text": tensorflow_text.__version__,
        },
    }


def signature_functions(inference: Inference) -> dict[str, Callable[..., Any]]:
    """One traced function per signature, under the signature's name."""
    answers = inference.answers
    functions = {}
    for signature in signatures.SIGNATURES:
        # Of unknown rank, as a session feeds whatever it is sent: `tf_mlm.model.rules.with_axes` looks first.
        specs = {
            alias: tf.TensorSpec(None, tensor.dtype, name=alias) for alias, tensor in signature.inputs.items()
        }
        # The keyword call fixes the aliases; autograph would only slow the trace down.
        answer = answers[signature.name]
        function = tf.function(lambda answer=answer, **inputs: answer(**inputs), autograph=False)
        functions[signature.name] = function.get_concrete_function(**specs)
    return functions


def _state_shapes(version_directory: Path, sizes: Mapping[str, int]) -> None:
    """Puts the shapes of the contract into the signatures, where clients look for them.

    The graph's inputs are of unknown rank; what a server says of a model's inputs comes from here.
    """
    path = version_directory / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for signature in signatures.SIGNATURES:
        for name in (signature.name, signature.portable_name):
            found = proto.meta_graphs[0].signature_def
            if name not in found:
                continue
            for alias, tensor in signature.inputs.items():
                shape = tf.TensorShape([sizes.get(axis) for axis in tensor.shape])
                found[name].inputs[alias].tensor_shape.CopyFrom(shape.as_proto())
    path.write_bytes(proto.SerializeToString(deterministic=True))
    write_fingerprint(version_directory)
