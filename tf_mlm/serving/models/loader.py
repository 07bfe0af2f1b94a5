"""Opens one version directory: session, batching around it, warm-up through both."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from tf_mlm.serving.batching.runner import BatchingRunner
from tf_mlm.serving.batching.scheduler import BatchScheduler
from tf_mlm.serving.errors import Code, as_serving_error, invalid_argument
from tf_mlm.serving.metrics import Metrics
from tf_mlm.serving.models.servable import Runner, Servable
from tf_mlm.serving.models.session_runner import SessionOptions, SessionRunner
from tf_mlm.serving.models.warmup import warm_up
from tf_mlm.serving.options import BatchingOptions, ServerOptions

_log = logging.getLogger(__name__)
PER_MODEL_FILE = "batching_params.pbtxt"


class Loader:
    """What the model store calls to load a version.

    Args:
        options: tags, session settings, batching and warm-up.
        metrics: where loads, batches and warm-ups are counted.
    """

    def __init__(self, options: ServerOptions, metrics: Metrics) -> None:
        self._options = options
        self._metrics = metrics
        self._session_options = SessionOptions(
            tags=options.saved_model_tags,
            session_config=options.session_config,
            session_parallelism=options.session_parallelism,
            intra_op_parallelism=options.intra_op_parallelism,
            inter_op_parallelism=options.inter_op_parallelism,
            most_runs=options.most_runs,
        )
        self._scheduler: BatchScheduler | None = None
        if options.batching is not None:
            self._scheduler = BatchScheduler(options.batching.num_batch_threads)

    def __call__(self, name: str, version: int, directory: Path) -> Servable:
        start, code = time.perf_counter(), Code.OK
        try:
            return self._load(name, version, directory)
        except Exception as error:
            code = as_serving_error(error).code
            raise
        finally:
            self._metrics.load_attempt_count.add(str(directory), code.name)
            self._metrics.load_latency.add(str(directory), by=int((time.perf_counter() - start) * 1e6))

    def _load(self, name: str, version: int, directory: Path) -> Servable:
        batching = self._batching(directory)
        session = SessionRunner(directory, self._session_options)
        runner: Runner = session
        if batching is not None:
            assert self._scheduler is not None
            runner = BatchingRunner(session, batching, self._scheduler, self._metrics)
        servable = Servable(name, version, session.signatures, runner)
        try:
            if self._options.enable_model_warmup:
                iterations = self._options.num_request_iterations_for_warmup
                check = self._options.enable_signature_method_name_check
                threads = (os.cpu_count() or 1) if batching is None else 1
                warm_up(servable, directory, iterations, self._metrics, check, threads=threads)
        except BaseException:
            servable.close()
            raise
        return servable

    def _batching(self, directory: Path) -> BatchingOptions | None:
        """The version's own parameters where those are asked for, else the server's."""
        if self._options.batching is None or not self._options.enable_per_model_batching_parameters:
            return self._options.batching
        path = directory / PER_MODEL_FILE
        if not path.is_file():
            return None
        from tf_mlm.serving.batching.parameters_file import read_batching_options

        try:
            return read_batching_options(path)
        except ValueError as error:
            raise invalid_argument(str(error)) from error

    def close(self, timeout: float = 30.0) -> None:
        if self._scheduler is not None:
            self._scheduler.close(timeout)
