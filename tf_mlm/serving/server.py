"""`ModelServer`, the embedded server as an object: a model manager, the core, and gRPC and REST around them.

from tf_mlm.serving.server import ModelServer, ServerOptions

with ModelServer(ServerOptions(model_name="mlm", model_base_path="/models/mlm")) as server:
    Client(f"grpc://127.0.0.1:{server.grpc_port}/mlm")
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

from tf_mlm.serving.access_log import AccessLog
from tf_mlm.serving.command_line.config_protos import read_text_proto
from tf_mlm.serving.errors import Code, as_serving_error, invalid_argument
from tf_mlm.serving.grpc.api import GrpcServer
from tf_mlm.serving.input_limits import InputLimits
from tf_mlm.serving.metrics import Metrics
from tf_mlm.serving.models.config import ModelServerConfig, single_model_config
from tf_mlm.serving.models.loader import Loader
from tf_mlm.serving.models.manager import ModelManager
from tf_mlm.serving.models.store import LoadOptions, ModelStore
from tf_mlm.serving.options import ServerOptions
from tf_mlm.serving.rest.api import RestApi
from tf_mlm.serving.rest.server import RestServer
from tf_mlm.serving.service import Service

__all__ = ["ModelServer", "ServerOptions"]

_log = logging.getLogger(__name__)


class ModelServer:
    """Serves models until it is stopped; usable as a context manager.

    As in TF-Serving, ports open only after every model has a version that answers.

    Attributes:
        grpc_port, rest_port: the ports in use, `None` while closed.

    Raises:
        ServingError: from `start`, when a model cannot be loaded or a port not be opened.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.grpc_port: int | None = None
        self.rest_port: int | None = None
        self.metrics = Metrics()
        self._loader = Loader(options, self.metrics)
        store = ModelStore(
            self._loader,
            LoadOptions(
                num_load_threads=options.num_load_threads,
                num_unload_threads=options.num_unload_threads,
                max_num_load_retries=options.max_num_load_retries,
                load_retry_interval=options.load_retry_interval,
            ),
        )
        self.manager = ModelManager(
            store, options.file_system_poll_wait, options.allow_version_labels_for_unavailable_models
        )
        limits = InputLimits(
            options.max_strings_per_request, options.max_expanded_elements, options.max_request_bytes
        )
        self.service = Service(
            self.manager,
            self.metrics,
            options.enable_signature_method_name_check,
            limits,
            options.max_request_seconds,
        )
        self._access_log = AccessLog(options.access_log)
        self._grpc: GrpcServer | None = None
        self._rest: RestServer | None = None
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._stop_lock = threading.Lock()
        self._config_watch: threading.Thread | None = None

    def _read_config(self) -> Any:
        options = self.options
        if options.model_config_file:
            return read_text_proto(options.model_config_file, ModelServerConfig())
        if not options.model_base_path:
            raise invalid_argument(
                "Both server_options.model_base_path and server_options.model_config_file are empty!"
            )
        _log.info(
            "Building single TensorFlow model file config:  model_name: %s model_base_path: %s",
            options.model_name,
            options.model_base_path,
        )
        return single_model_config(options.model_name, options.model_base_path)

    def start(self) -> ModelServer:
        """Loads the models, then opens the ports."""
        try:
            self.manager.apply(self._read_config())
            self._open_grpc()
            self._open_rest()
        except BaseException:
            self.stop(grace=0)
            raise
        if self.options.model_config_file and self.options.model_config_file_poll_wait > 0:
            self._config_watch = threading.Thread(target=self._watch_config, name="config", daemon=True)
            self._config_watch.start()
        self._ready.set()
        return self

    def _open_grpc(self) -> None:
        options = self.options
        if options.grpc_port is None and not options.grpc_socket_path:
            raise invalid_argument(
                "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set"
            )
        self._grpc = GrpcServer(self.service, options, self._access_log)
        self.grpc_port = self._grpc.port
        if self.grpc_port is not None:
            _log.info("Running gRPC ModelServer at %s:%d ...", options.grpc_host, self.grpc_port)
        if options.grpc_socket_path:
            _log.info("Running gRPC ModelServer at UNIX socket %s ...", options.grpc_socket_path)

    def _open_rest(self) -> None:
        """A REST port that cannot be opened is logged; gRPC stays up."""
        options = self.options
        if options.rest_port is None:
            return
        if options.rest_port and options.rest_port == self.grpc_port:
            _log.error("The REST port %d is the gRPC port; the REST API is not served", options.rest_port)
            return
        try:
            self._rest = RestServer(RestApi(self.service, options, self._access_log), options)
        except OSError as error:
            _log.error(
                "Failed to start HTTP Server at %s:%d: %s. Is the port in use? "
                "Choose another --rest_api_port",
                options.rest_host,
                options.rest_port,
                error,
            )
            return
        self.rest_port = self._rest.port
        _log.info("Exporting HTTP/REST API at:localhost:%d ...", self.rest_port)

    def _watch_config(self) -> None:
        """Re-reads the config file and applies it; errors are logged and the old state kept.

        A file whose models never come up is waited for only as long as it stays as it is.
        """
        pause = self.options.model_config_file_poll_wait
        while not self._stopping.wait(pause):
            outdated, content = threading.Event(), self._config_content()
            work = threading.Thread(
                target=self._apply_file, args=(outdated,), name="config-apply", daemon=True
            )
            work.start()
            while work.is_alive():
                work.join(pause)
                if self._stopping.is_set() or self._config_content() != content:
                    outdated.set()

    def _config_content(self) -> bytes | None:
        try:
            return Path(self.options.model_config_file).read_bytes()
        except OSError:
            return None

    def _apply_file(self, outdated: threading.Event) -> None:
        try:
            self.manager.apply(self._read_config(), outdated)
        except Exception as caught:
            error = as_serving_error(caught)
            if error.code is not Code.CANCELLED:
                _log.error("Applying %s failed: %s", self.options.model_config_file, error)

    def wait_until_ready(self, timeout: float | None = None) -> bool:
        """Whether the ports are open, waiting for it at most `timeout` seconds."""
        return self._ready.wait(timeout)

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until the server has stopped."""
        return self._stopped.wait(timeout)

    def stop(self, grace: float | None = None) -> None:
        """Stops accepting, lets requests in flight finish (bounded), unloads the models."""
        grace = self.options.shutdown_grace if grace is None else grace
        deadline = time.monotonic() + grace

        def rest_of_grace() -> float:
            return max(0.5, deadline - time.monotonic())

        with self._stop_lock:
            if self._stopped.is_set():
                return
            self._stopping.set()
            self._ready.clear()
            listening = [each for each in (self._grpc, self._rest) if each is not None]
            closers = [threading.Thread(target=each.stop, args=(grace,), daemon=True) for each in listening]
            for closer in closers:
                closer.start()
            for closer in closers:
                closer.join(rest_of_grace() + 5)
            self.manager.close(rest_of_grace())
            self._loader.close(rest_of_grace())
            self._access_log.close()
            self._stopped.set()

    def __enter__(self) -> ModelServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
