"""How a server should merge requests for an export: TF-Serving's `BatchingParameters`, from the buckets.

Every version directory carries them. `tf-mlm serve` passes the file to the stock server
(`--batching_parameters_file`), and a server started with `--enable_per_model_batching_parameters` reads it
from each version by itself, so that the sizes follow a swap to a version with other buckets.
"""

from __future__ import annotations

from tf_mlm.config import Buckets

FILE = "batching_params.pbtxt"
"""Its name in a version directory is TF-Serving's."""


def batching_parameters(buckets: Buckets) -> str:
    """A text `tensorflow.serving.BatchingParameters` message.

    Example:
        >>> [line for line in batching_parameters(Buckets(batch=(1, 8))).split("\\n") if "size" in line]
        ['max_batch_size { value: 8 }', 'allowed_batch_sizes: 1', 'allowed_batch_sizes: 8']
    """
    sizes = "".join(f"allowed_batch_sizes: {size}\n" for size in buckets.batch)
    return f"""\
# The batch buckets of this export: a merged batch is rounded up to a shape that was compiled and warmed up.
max_batch_size {{ value: {buckets.batch[-1]} }}
{sizes}
# Requests differ in length; the signatures take lengths, and padding does not disturb them.
pad_variable_length_inputs: true
# A lone request never waits; under load batches fill while the threads are busy.
batch_timeout_micros {{ value: 0 }}
# Beyond these a server answers UNAVAILABLE (HTTP 503) at once, and clients should back off.
max_enqueued_batches {{ value: 4 }}
"""
