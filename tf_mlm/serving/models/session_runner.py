"""One version of a model: loaded as TF-Serving loads it, run by tensor names.

A SavedModel is imported into a TF1 session by tags. Every kind of export runs there (TF1, TF2,
Keras, tf.text, XLA-compiled functions), shapes are not compared with the signature, and a call
costs some 30 µs where an eager signature costs 500.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from tf_mlm.serving.call import Call
from tf_mlm.serving.errors import Code, ServingError, as_serving_error, invalid_argument
from tf_mlm.serving.models.cancellation import Canceller, Stoppable
from tf_mlm.serving.models.raw_session import RawSession, output, run_options
from tf_mlm.serving.models.served_signature import ServedSignature
from tf_mlm.serving.models.thread_pools import ThreadPools

_log = logging.getLogger(__name__)
_MAX_STOPPABLE_RUNS = 128
_MAX_FILTERED_SETS = 8


@dataclasses.dataclass(frozen=True)
class SessionOptions:
    """How a SavedModel is opened: its tags, and the session's threads and configuration.

    Attributes:
        most_runs: runs that may be under way at once; 0 for runs that cannot be stopped.
    """

    tags: tuple[str, ...] = ("serve",)
    session_config: bytes = b""
    session_parallelism: int = 0
    intra_op_parallelism: int = 0
    inter_op_parallelism: int = 0
    most_runs: int = 0

    def config_proto(self) -> Any:
        config = config_pb2.ConfigProto(allow_soft_placement=True)
        config.MergeFromString(self.session_config)
        if not config.graph_options.HasField("rewrite_options"):
            # TensorFlow's rewriting of graphs takes seconds a signature, gains nothing on these models, and
            # makes some that do not run: a compiled function in a loop in a loop, beside what stops a run.
            config.graph_options.rewrite_options.disable_meta_optimizer = True
        intra, inter = self.intra_op_parallelism, self.inter_op_parallelism
        if intra <= 0 and inter <= 0:
            intra = inter = self.session_parallelism
        if intra > 0:
            config.intra_op_parallelism_threads = intra
        if inter > 0:
            config.inter_op_parallelism_threads = inter
        return config


def check_saved_model(directory: Path) -> None:
    """Raises the error TF-Serving gives for a version directory without a SavedModel."""
    if (directory / "export.meta").exists():
        raise ServingError(Code.UNIMPLEMENTED, "Session Bundle is deprecated and removed.")
    if not any((directory / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise ServingError(
            Code.NOT_FOUND,
            "Specified file path does not appear to contain a SavedModel bundle "
            f"(should have a file called `saved_model.pb`)\nSpecified file path: {directory}",
        )


def _import_custom_ops() -> None:
    """Registers tf.text's ops; a model that uses none of them runs without the package."""
    try:
        import tensorflow_text  # noqa: F401
    except ImportError:
        _log.warning(
            "tensorflow-text is not installed: models with tf.text ops will not load. "
            "Install it with `pip install tensorflow-text`."
        )


class SessionRunner:
    """A SavedModel in a session. Thread-safe; runs release Python's lock."""

    def __init__(self, directory: Path, options: SessionOptions) -> None:
        check_saved_model(directory)
        _import_custom_ops()
        self._lock = threading.Lock()
        config = options.config_proto()
        self._pools = ThreadPools(config, options.most_runs)
        self._session = RawSession(config)
        try:
            meta_graph = self._load(directory, options.tags)
        except BaseException:
            self._session.close()
            raise
        self.signatures = {
            name: ServedSignature.from_proto(definition)
            for name, definition in meta_graph.signature_def.items()
        }
        self._outputs: dict[str, Any] = {}
        self._signature_sets = {
            tuple(sorted({info.name for info in signature.outputs.values()}))
            for signature in self.signatures.values()
        }
        self._sets = set(self._signature_sets)
        self._preparing = False
        self._canceller = self._make_canceller(options.most_runs)

    def _make_canceller(self, runs: int) -> Canceller | None:
        """Without one, runs end by themselves and by their time-outs only."""
        if not runs:
            return None
        outputs: dict[tuple[str, ...], list[Any]] = {}
        for names in filter(None, self._signature_sets):
            with contextlib.suppress(ServingError):
                outputs[names] = [self._tensor(name) for name in names]
        try:
            return Canceller(self._session, min(runs, _MAX_STOPPABLE_RUNS), outputs)
        except Exception:
            _log.exception("Requests to this model go on when their client goes; only time ends them")
            return None

    def _tensor(self, tensor_name: str) -> Any:
        name = tensor_name if ":" in tensor_name else f"{tensor_name}:0"
        try:
            with self._lock:
                return self._session.graph.get_tensor_by_name(name)
        except (KeyError, ValueError) as error:
            raise invalid_argument(
                f"Tensor {tensor_name}, specified in either feed_devices or fetch_devices "
                "was not found in the Graph"
            ) from error

    def _load(self, directory: Path, tags: Sequence[str]) -> meta_graph_pb2.MetaGraphDef:
        try:
            return self._session.load(directory, tags)
        except RuntimeError as error:
            if "MetaGraphDef associated with tags" not in str(error):
                raise
            raise ServingError(
                Code.NOT_FOUND,
                "Could not find meta graph def matching supplied tags: { "
                + " ".join(tags)
                + " }. To inspect available tag-sets in the SavedModel, please use the SavedModel CLI: "
                "`saved_model_cli`",
            ) from error

    def _output(self, tensor_name: str) -> Any:
        try:
            return self._outputs[tensor_name]
        except KeyError:
            pass
        return self._outputs.setdefault(tensor_name, output(self._tensor(tensor_name)))

    def run(
        self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str], call: Call | None = None
    ) -> list[np.ndarray]:
        """Values of the fetched tensors.

        Args:
            feeds: tensor name to array.
            fetches: tensor names.
            call: whose run this is; when its time is over the run is cancelled.

        Raises:
            ServingError: with the code and message of the kernel that failed.
        """
        if call is not None:
            call.check()
        timeout = None if call is None else call.remaining()
        feed_outputs = {self._output(name): value for name, value in feeds.items()}
        names, prepares = self._fetched(tuple(sorted(set(fetches))))
        try:
            with self._pools.taken() as pool, run_options(timeout, pool) as options:
                values = self._run(options, feed_outputs, names, call)
        except tf.errors.OpError as error:
            if call is not None and call.over:
                raise call.error() from error
            raise as_serving_error(error) from error
        except UnicodeDecodeError as error:
            # A kernel quoted a request's bytes, and its message is no text; the code is lost with it.
            raise invalid_argument(error.object.decode("utf-8", "replace")) from error
        finally:
            if prepares:
                self._prepared(names)
        arrays = {
            name: np.array(value, object) if isinstance(value, (bytes, str)) else np.asarray(value)
            for name, value in zip(names, values, strict=True)
        }
        return [arrays[name] for name in fetches]

    def _fetched(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
        """What is fetched for these outputs, and whether this run is the one that prepares it.

        TensorFlow prepares, and keeps, a plan per set of outputs, which can take seconds of all cores. Output
        filters can name any subset: so only some get a plan of their own, one at a time, and by one run.
        Meanwhile, and from then on for the others, all outputs of the signature are computed and the rest
        is left aside.
        """
        whole = next((each for each in self._signature_sets if set(names) <= set(each)), names)
        with self._lock:
            if names in self._sets:
                return names, False
            kept = len(self._sets) - len(self._signature_sets)
            if self._preparing or kept >= _MAX_FILTERED_SETS:
                return whole, False
            self._preparing = True
            return names, True

    def _prepared(self, names: tuple[str, ...]) -> None:
        with self._lock:
            self._sets.add(names)
            self._preparing = False

    def _run(
        self, options: Any, feeds: dict[Any, np.ndarray], names: tuple[str, ...], call: Call | None
    ) -> Any:
        outputs = [self._output(name) for name in names]
        # A kernel inside a function that fails can be reported as the waiting node that fell with it. With
        # that node out of the way the run tells what was wrong, or at the latest without it: that makes
        # another plan, which TensorFlow has to prepare first.
        for released in (False, True):
            stoppable = None if call is None else self._stoppable(names)
            if call is None or stoppable is None:
                break
            if released:
                stoppable.release()
            try:
                return self._run_stoppable(options, feeds, outputs, stoppable, call)
            except tf.errors.CancelledError:
                if call.over:
                    raise
        return self._session.run(options, feeds, outputs)

    def _stoppable(self, names: tuple[str, ...]) -> Stoppable | None:
        if self._canceller is None or not names:
            return None
        return self._canceller.begin(names, lambda: [self._tensor(name) for name in names])

    def _run_stoppable(
        self,
        options: Any,
        feeds: dict[Any, np.ndarray],
        outputs: list[Any],
        stoppable: Stoppable,
        call: Call,
    ) -> Any:
        succeeded = False
        try:
            with call.when_cancelled(stoppable.stop):
                values = self._session.run(options, {**feeds, **stoppable.feeds}, outputs, stoppable.targets)
            succeeded = True
            return values
        finally:
            stoppable.end(succeeded)

    def close(self) -> None:
        """Gives the memory of variables and compiled functions back."""
        self._outputs.clear()
        self._session.close()
        self._canceller = None
        del self._session
        gc.collect()
