"""One JSON line per request, if asked for."""

from __future__ import annotations

import datetime
import io
import json
import logging
import sys
import threading
from collections.abc import Callable

from tf_mlm.serving.errors import invalid_argument

_log = logging.getLogger(__name__)


def _open(target: str) -> io.FileIO:
    """Unbuffered: a line that cannot be written is lost at once, and not kept to be tried again."""
    if target == "-":
        return io.FileIO(sys.stderr.fileno(), "w", closefd=False)
    try:
        return io.FileIO(target, "a")
    except OSError as error:
        raise invalid_argument(
            f"The access log must be a file that can be written. Received: {target} ({error.strerror}). "
            "Create its directory, or use - for standard error"
        ) from error


class AccessLog:
    """Writes a line per request to a file (`-` for standard error); does nothing without one.

    Requests are answered whether or not their line can be written.

    Raises:
        ServingError: INVALID_ARGUMENT when the file cannot be opened.

    Example:
        >>> from tf_mlm.serving.access_log import AccessLog
        >>> AccessLog("").write("grpc", "Predict", "mlm", "OK", 0.002)
    """

    def __init__(self, target: str) -> None:
        self._lock = threading.Lock()
        self._file = _open(target) if target else None
        self._failing = False

    def write(
        self,
        protocol: str,
        method: str,
        model: str,
        code: str,
        seconds: float,
        peer: Callable[[], str] | None = None,
        **more: object,
    ) -> None:
        if self._file is None:
            return
        line = json.dumps(
            {
                "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
                "protocol": protocol,
                "method": method,
                "model": model,
                "code": code,
                "milliseconds": round(seconds * 1000, 3),
                "peer": peer() if peer else None,
                **more,
            }
        )
        with self._lock:
            if self._file is None:  # closed meanwhile
                return
            try:
                self._file.write(line.encode() + b"\n")
                self._failing = False
            except OSError as error:
                if not self._failing:  # said once, not for every request
                    _log.error("The access log cannot be written: %s", error)
                self._failing = True

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = None
