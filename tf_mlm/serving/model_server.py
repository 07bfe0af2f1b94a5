"""The program `python -m tf_mlm.serving.model_server`, which stands in for `tensorflow_model_server`.

It reads the flags, sets signals and logs, and runs a `ModelServer` of `tf_mlm.serving.server`.

Same flags, same start-up rules, same texts on standard output and exit codes; differences are
that SIGTERM and SIGINT let requests in flight finish and exit with 0, and that `--help` exits
with 0.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from tf_mlm import __version__
from tf_mlm.lean_import import import_tensorflow_alone
from tf_mlm.serving.command_line import flags

_PROGRAM = "tensorflow_model_server"
_FAILED = 255
_LATEST_END = 5.0  # seconds after the grace


def _say(text: str) -> None:
    print(text, flush=True)


class _TensorFlowFormatter(logging.Formatter):
    """Lines as TensorFlow writes them: time, letter of the level, file and line."""

    default_msec_format = "%s.%03d000"

    def format(self, record: logging.LogRecord) -> str:
        head = f"{self.formatTime(record, '%Y-%m-%d %H:%M:%S')}: {record.levelname[0]} "
        text = super().format(record)
        return f"{head}{record.name.replace('.', '/')}.py:{record.lineno}] {text}"


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_TensorFlowFormatter("%(message)s"))
    logger = logging.getLogger("tf_mlm")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _serve(parsed: flags.Parsed) -> int:
    """Serves until a signal; the exit status."""
    # Imported late, so that `--help` does not wait for TensorFlow.
    from tf_mlm.serving.command_line.flag_options import server_options
    from tf_mlm.serving.errors import Code, ServingError
    from tf_mlm.serving.server import ModelServer

    serving = stopping = False

    def on_signal(number: int, _frame: object) -> None:
        # It interrupts this very thread, wherever that is: whatever takes a lock here can wait for itself.
        nonlocal stopping
        if stopping:
            os._exit(128 + number)  # a second signal does not wait
        stopping = True
        if not serving:
            os._exit(0)  # nothing has been served yet

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    # So long a thread waits for Python's lock while others compute; a request waits for it many times.
    sys.setswitchinterval(0.001)
    try:
        server = ModelServer(server_options(parsed.values))
        # What has been imported lives as long as the process. Collections, which hold up every request
        # and of which an unload needs one, need not look at it again.
        gc.freeze()
        server.start()
        serving = True
    except ServingError as error:
        _say(f"Failed to start server. Error: {error.code.name}: {error.message}")
        return _FAILED
    except ValueError as error:
        _say(f"Failed to start server. Error: {Code.INVALID_ARGUMENT.name}: {error}")
        return _FAILED
    logging.getLogger("tf_mlm.serving.model_server").info("Entering the event loop ...")
    while not stopping:
        server.wait(0.2)
    # Should something not end that nobody has thought of, the process does.
    last = threading.Timer(server.options.shutdown_grace + _LATEST_END, os._exit, [0])
    last.daemon = True
    last.start()
    server.stop()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server; returns the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        parsed = flags.parse(given)
    except ValueError as error:
        print(error, file=sys.stderr)
        _say(flags.usage(_PROGRAM))
        return _FAILED
    if parsed.unknown == "--help":
        _say(flags.usage(_PROGRAM))
        return 0
    if parsed.values["version"]:
        from importlib.metadata import version

        _say(f"TensorFlow ModelServer: tf-mlm {__version__}\nTensorFlow Library: {version('tensorflow')}")
        return 0
    if parsed.unknown is not None:
        _say(f"unknown argument: {parsed.unknown}\n{flags.usage(_PROGRAM)}")
    _log_to_stderr()
    import_tensorflow_alone()
    with contextlib.suppress(OSError, ValueError, AttributeError):  # there may be no standard error
        faulthandler.enable()  # should the process crash, its log says what every thread was doing
    return _serve(parsed)


def leave(status: int) -> NoReturn:
    """Ends the process: TensorFlow's and gRPC's own threads have nothing left to do, but may take seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main())
