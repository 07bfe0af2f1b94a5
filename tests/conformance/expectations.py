"""Assertions whose failures read well in the tool's table as well as in pytest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np


def short(value: Any, limit: int = 400) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def equal(actual: Any, expected: Any, what: str = "value") -> None:
    assert actual == expected, f"{what}: expected {short(expected)}, got {short(actual)}"


def close(actual: Any, expected: Any, what: str = "value") -> None:
    same = np.shape(actual) == np.shape(expected) and np.allclose(actual, expected, rtol=1e-6, equal_nan=True)
    assert same, f"{what}: expected {short(expected)}, got {short(actual)}"


def contains(text: str, *parts: str, what: str = "text") -> None:
    for part in parts:
        assert part in text, f"{what}: expected it to contain {short(part)!r}, got {short(text)!r}"


def rpc_error(call: Callable[[], Any], code: str, *parts: str) -> str:
    """The details of the gRPC error that `call` must raise with this code and these texts."""
    try:
        answer = call()
    except grpc.RpcError as error:
        details = error.details() or ""
        equal(error.code().name, code, f"status code (details {short(details)!r})")
        contains(details, *parts, what="error text")
        return details
    raise AssertionError(f"expected {code} {short(' … '.join(parts))!r}, got an answer: {short(str(answer))}")


def eventually(check: Callable[[], None], timeout: float = 20.0, interval: float = 0.1) -> None:
    """Passes as soon as `check` does; raises its last AssertionError when time is up."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return check()
        except (AssertionError, grpc.RpcError):
            if time.monotonic() > deadline:
                raise
        time.sleep(interval)


def remains(check: Callable[[], None], duration: float, interval: float = 0.1) -> None:
    """Passes when `check` passes throughout `duration` seconds: for what must not happen."""
    deadline = time.monotonic() + duration
    while time.monotonic() < deadline:
        check()
        time.sleep(interval)
