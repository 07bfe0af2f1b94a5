"""One JSON line per request, if asked for."""

from __future__ import annotations

import datetime
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO


class AccessLog:
    """Writes a line per request to a file (`-` for standard error); does nothing without one.

    Example:
        >>> from tf_mlm.serving.access_log import AccessLog
        >>> AccessLog("").write("grpc", "Predict", "mlm", "OK", 0.002)
    """

    def __init__(self, target: str) -> None:
        self._lock = threading.Lock()
        self._file: IO[str] | None = None
        if target == "-":
            self._file = sys.stderr
        elif target:
            self._file = Path(target).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115

    def write(
        self,
        door: str,
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
                "door": door,
                "method": method,
                "model": model,
                "code": code,
                "milliseconds": round(seconds * 1000, 3),
                "peer": peer() if peer else None,
                **more,
            }
        )
        with self._lock:
            self._file.write(line + "\n")

    def close(self) -> None:
        if self._file is not None and self._file is not sys.stderr:
            self._file.close()
        self._file = None
