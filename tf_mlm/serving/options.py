"""Everything a server can be told, as one frozen dataclass. Standard library only.

The defaults of the shared settings are `tensorflow_model_server`'s. Three limits are ours; they are
generous enough that an honest client never meets them.
"""

from __future__ import annotations

import dataclasses
import os

_CPUS = os.cpu_count() or 1
_REST_SIZES = (
    "rest_max_header_bytes",
    "rest_max_body_bytes",
    "rest_max_json_values",
    "rest_max_buffered_bytes",
    "rest_max_connections",
    "rest_max_connections_per_address",
)
_GRPC_TIMES = ("grpc_receive_timeout", "grpc_answer_timeout", "grpc_idle_timeout")
_REST_TIMES = ("rest_header_timeout", "rest_body_timeout", "rest_idle_timeout", "rest_write_timeout")
# Runs that go on although nobody waits for them; beyond so many of one protocol, no more are begun.
MAX_STUCK_RUNS = 64


def spare(places: int) -> int:
    """Beside the places that one model may hold, those that are kept for the others."""
    return max(1, places // 4)


@dataclasses.dataclass(frozen=True)
class SslOptions:
    """PEM contents for gRPC over TLS."""

    server_key: bytes
    server_cert: bytes
    custom_ca: bytes = b""
    client_verify: bool = False


@dataclasses.dataclass(frozen=True)
class BatchingOptions:
    """Merging of requests into batches; times are in seconds.

    Raises:
        ValueError: at construction, when a setting breaks a rule; the text is TF-Serving's.

    Example:
        >>> from tf_mlm.serving.options import BatchingOptions
        >>> BatchingOptions(max_batch_size=8, allowed_batch_sizes=(1, 4, 8)).execution_size
        8
    """

    max_batch_size: int = 1000
    batch_timeout: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int = _CPUS
    thread_pool_name: str = "model_server_batch_threads"
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False

    @property
    def execution_size(self) -> int:
        """The most rows one run gets."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size:
            return self.max_execution_batch_size
        return self.max_batch_size

    def __post_init__(self) -> None:
        if self.num_batch_threads < 1:
            raise ValueError(f"num_batch_threads must be positive; was {self.num_batch_threads}")
        if self.max_batch_size < 1:
            raise ValueError(f"max_batch_size must be positive; was {self.max_batch_size}")
        if self.batch_timeout < 0:
            raise ValueError(
                f"batch_timeout_micros must be non-negative; was {round(self.batch_timeout * 1e6)}"
            )
        if self.max_enqueued_batches < 0:
            raise ValueError(f"max_enqueued_batches must be non-negative; was {self.max_enqueued_batches}")
        if self.execution_size > self.max_batch_size:
            raise ValueError(
                f"max_execution_batch_size must be at most max_batch_size ({self.max_batch_size}); "
                f"was {self.execution_size}"
            )
        # As in TF-Serving, this holds with splitting, too, and nothing is said of the order.
        sizes = self.allowed_batch_sizes
        if sizes and sizes[-1] != self.max_batch_size:
            raise ValueError(
                "Last entry in allowed_batch_sizes must match max_batch_size; "
                f"last entry was {sizes[-1]}; expected {self.max_batch_size}"
            )


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """What a `ModelServer` serves, where it listens, and its limits.

    Times are in seconds. A port of 0 picks a free one; `None` turns that protocol off.

    Attributes:
        model_config_file: text `ModelServerConfig`; wins over `model_name` and `model_base_path`.
        grpc_max_threads, rest_api_num_threads: requests to one model that are worked on at once; those to
            other models have a quarter more. 0 stands for 4 per CPU as in TF-Serving, but at least 16, or 64
            with batching, where those that wait for their batch count.
        grpc_receive_timeout: the whole message of a call must have come in.
        grpc_answer_timeout: its answer must have been taken; then the call is ended.
        grpc_idle_timeout: a connection without calls is closed.
        max_request_bytes: larger requests are refused (RESOURCE_EXHAUSTED, HTTP 413).
        max_strings_per_request: texts or serialized examples in one request, all its inputs together.
        max_expanded_elements: elements that a tensor's shape may ask for beyond those its bytes carry.
        max_request_seconds: no request is worked on for longer, whatever its deadline; 0 for no limit.
        rest_max_header_bytes: the head of an HTTP request (414, 431), each header counted as 32 bytes more.
        rest_max_body_bytes: the body of one, inflated (413); `max_request_bytes` holds too.
        rest_max_json_values: numbers, strings and so on in one body; a list or object counts for eight (400).
        rest_max_buffered_bytes: bodies and answers held for all REST clients together; beyond it, bodies of
            more than 64 KiB are refused (429) and the answers that wait longest for their client dropped.
        rest_max_connections, rest_max_connections_per_address: beyond so many, the one that has waited
            longest without a complete request makes room; where none waits, the new one is refused (503).
        rest_header_timeout, rest_body_timeout: the whole head, the whole body must have come (408).
        rest_idle_timeout: a connection without a request is closed.
        rest_write_timeout: an answer must have been taken, or the connection is dropped.
        max_concurrent_requests: requests in progress per protocol, beyond which new ones are refused
            (RESOURCE_EXHAUSTED, HTTP 429); 0 for no limit.
        shutdown_grace: how long requests in flight may take to finish when the server stops.
        access_log: file for one JSON line per request, `-` for standard error.
    """

    model_name: str = "default"
    model_base_path: str = ""
    model_config_file: str = ""
    model_config_file_poll_wait: float = 0.0
    allow_version_labels_for_unavailable_models: bool = False

    grpc_host: str = "127.0.0.1"
    grpc_port: int | None = 0
    grpc_socket_path: str = ""
    grpc_max_threads: int = 0
    grpc_receive_timeout: float = 60.0
    grpc_answer_timeout: float = 60.0
    grpc_idle_timeout: float = 600.0
    grpc_channel_arguments: tuple[tuple[str, int | str], ...] = ()
    ssl: SslOptions | None = None
    enable_grpc_healthcheck_service: bool = False
    enable_serialization_as_tensor_content: bool = False

    rest_host: str = "127.0.0.1"
    rest_port: int | None = 0
    rest_api_num_threads: int = 0
    rest_api_timeout: float = 30.0
    rest_api_enable_cors_support: bool = False
    prometheus_path: str = ""
    rest_max_header_bytes: int = 32 * 1024
    rest_max_body_bytes: int = 32 * 2**20
    rest_max_json_values: int = 4 * 2**20
    rest_max_buffered_bytes: int = 256 * 2**20
    rest_max_connections: int = 4096
    rest_max_connections_per_address: int = 2048
    rest_header_timeout: float = 20.0
    rest_body_timeout: float = 60.0
    rest_idle_timeout: float = 60.0
    rest_write_timeout: float = 60.0

    batching: BatchingOptions | None = None
    enable_per_model_batching_parameters: bool = False

    file_system_poll_wait: float = 1.0
    num_load_threads: int = 0
    num_unload_threads: int = 0
    max_num_load_retries: int = 5
    load_retry_interval: float = 60.0
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    enable_signature_method_name_check: bool = False

    saved_model_tags: tuple[str, ...] = ("serve",)
    session_config: bytes = b""
    session_parallelism: int = 0
    intra_op_parallelism: int = 0
    inter_op_parallelism: int = 0

    max_request_bytes: int = 64 * 2**20
    max_strings_per_request: int = 10_000
    max_expanded_elements: int = 2**20
    max_request_seconds: float = 60.0
    max_concurrent_requests: int = 1024
    shutdown_grace: float = 30.0
    access_log: str = ""

    @property
    def most_runs(self) -> int:
        """Graph runs that can be under way at once, those that nobody waits for any more included."""
        return sum(places + spare(places) + MAX_STUCK_RUNS for places in self._places)

    @property
    def _places(self) -> tuple[int, ...]:
        return self.grpc_max_threads, self.rest_api_num_threads, max(1, self.rest_api_num_threads // 8)

    def __post_init__(self) -> None:
        least = 16 if self.batching is None else 64
        for name in ("grpc_max_threads", "rest_api_num_threads"):
            if not getattr(self, name):
                object.__setattr__(self, name, max(least, 4 * _CPUS))
        for name in ("grpc_port", "rest_port"):
            port = getattr(self, name)
            if port is not None and not 0 <= port <= 65535:
                raise ValueError(f"`{name}` must be a port number from 0 to 65535. Received: {port}.")
        for name in ("grpc_max_threads", "rest_api_num_threads", *_REST_SIZES):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {getattr(self, name)}.")
        for name in (*_REST_TIMES, *_GRPC_TIMES):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be more than 0 seconds. Received: {getattr(self, name)}.")
