"""A text `BatchingParameters` file as `BatchingOptions`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tf_mlm.serving.command_line.config_protos import BatchingParameters, read_text_proto
from tf_mlm.serving.options import BatchingOptions


def batching_options(parameters: Any) -> BatchingOptions:
    """Options from a `BatchingParameters` message; what it leaves out keeps its default.

    Raises:
        ValueError: for combinations TF-Serving refuses.
    """
    given = {
        "max_batch_size": "max_batch_size",
        "max_enqueued_batches": "max_enqueued_batches",
        "num_batch_threads": "num_batch_threads",
        "enable_large_batch_splitting": "enable_large_batch_splitting",
        "max_execution_batch_size": "max_execution_batch_size",
    }
    values: dict[str, Any] = {
        option: getattr(parameters, field).value
        for option, field in given.items()
        if parameters.HasField(field)
    }
    if parameters.HasField("batch_timeout_micros"):
        values["batch_timeout"] = parameters.batch_timeout_micros.value / 1e6
    name = parameters.thread_pool_name.value if parameters.HasField("thread_pool_name") else "batch_threads"
    return BatchingOptions(
        **values,
        thread_pool_name=name,
        allowed_batch_sizes=tuple(parameters.allowed_batch_sizes),
        pad_variable_length_inputs=parameters.pad_variable_length_inputs,
    )


def read_batching_options(path: str | Path) -> BatchingOptions:
    """Options from a text-format file."""
    return batching_options(read_text_proto(path, BatchingParameters()))
