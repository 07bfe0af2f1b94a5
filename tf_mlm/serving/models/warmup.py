"""Replays the recorded requests of a version before it takes real ones.

`assets.extra/tf_serving_warmup_requests` is a TFRecord file of `PredictionLog`s. They start in file
order against the version being loaded, as many at a time as there are cores, so that XLA compiles on all
of them; a request that fails makes the load fail.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from tf_mlm.serving import tensor_codec
from tf_mlm.serving.call import Call
from tf_mlm.serving.errors import Code, ServingError, as_serving_error, invalid_argument
from tf_mlm.serving.example_service import ExampleService
from tf_mlm.serving.input_limits import InputLimits
from tf_mlm.serving.metrics import Metrics
from tf_mlm.serving.models.servable import Servable
from tf_mlm.serving.service import DEFAULT_SIGNATURE, ModelSpec, Service

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000


class _OneVersion:
    """Stands in for the model manager: every spec means the version being warmed."""

    def __init__(self, servable: Servable) -> None:
        self._servable = servable

    @contextlib.contextmanager
    def lease(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[Servable]:
        yield self._servable


def read_records(path: Path) -> Iterator[Any]:
    """The `PredictionLog`s of a warm-up file.

    Raises:
        ServingError: DATA_LOSS when it is not a TFRecord file, INVALID_ARGUMENT when a record does
            not parse or there are more than 1000.
    """
    records = iter(tf.compat.v1.io.tf_record_iterator(str(path)))
    count = 0
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except tf.errors.DataLossError as error:
            raise ServingError(
                Code.DATA_LOSS, f"{error.message}. Please verify your warmup data is in TFRecord format."
            ) from error
        count += 1
        if count > MAX_RECORDS:
            raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
        try:
            yield prediction_log_pb2.PredictionLog.FromString(record)
        except DecodeError as error:
            raise invalid_argument(f"Failed to parse warmup record: {record[:100]!r}") from error


def replay(service: Service, log: Any) -> None:
    """One recorded request, run through the core; its answer is thrown away."""
    examples = ExampleService(service)
    kind = log.WhichOneof("log_type")
    if kind is None:
        return
    request = getattr(log, kind).request
    # TensorFlow prepares runs that can be stopped, as strangers' requests are, apart from others.
    call = Call()
    if kind == "predict_log":
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        decode = functools.partial(tensor_codec.decode, limits=service.limits)
        with service.lease(ModelSpec(request.model_spec.name or "warmup")) as servable:
            service.predict(servable, name, request.inputs, decode, list(request.output_filter), call)
    elif kind in ("classify_log", "regress_log"):
        run = examples.classify if kind == "classify_log" else examples.regress
        request.model_spec.name = request.model_spec.name or "warmup"
        run(request, call)
    elif kind == "multi_inference_log":
        examples.multi_inference(request, call)
    else:
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")


def warm_up(
    servable: Servable,
    directory: Path,
    iterations: int,
    metrics: Metrics,
    check_method_names: bool,
    *,
    threads: int = 1,
) -> int:
    """Replays a version's warm-up file, if it has one; returns the number of requests run.

    Args:
        iterations: how often each record is run.
        threads: how many run at a time. One where requests are batched: merged with others, a record would
            not warm up the shapes it was recorded for.

    Raises:
        ServingError: of the first request that fails.
    """
    path = directory / WARMUP_FILE
    if not path.is_file():
        return 0
    # A metrics object of its own: warm-up is not traffic.
    # Nor does the operator's own file meet the limits on strangers' requests.
    limits = InputLimits(max_strings=2**31, max_expanded_elements=2**31, max_request_bytes=2**31)
    service = Service(_OneVersion(servable), Metrics(), check_method_names, limits)  # type: ignore[arg-type]
    start, runs, code = time.perf_counter(), 0, Code.OK
    try:
        repeated = (log for log in read_records(path) for _ in range(max(1, iterations)))
        with ThreadPoolExecutor(threads, "warm-up") as pool:
            for _ in pool.map(functools.partial(replay, service), repeated):
                runs += 1
    except Exception as error:
        code = as_serving_error(error).code
        raise
    finally:
        microseconds = (time.perf_counter() - start) * 1e6
        metrics.warmup_latency.observe(microseconds, str(directory), code.name)
        metrics.warmup_records_read.add(str(directory), code.name, by=runs)
    return runs
