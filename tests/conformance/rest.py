"""Checks of one POST under `/v1/models`, shared by the sections about bodies."""

from __future__ import annotations

from typing import Any

from conformance.expectations import contains, equal
from conformance.server import Server

M = "/v1/models"


def answers(server: Server, path: str, body: Any, expected: Any) -> None:
    """200, and a body that is this JSON value."""
    reply = server.post(f"{M}/{path}", body)
    equal(reply.status, 200, f"HTTP status (body {reply.text[:300]!r})")
    equal(reply.json, expected, "body")


def refuses(server: Server, path: str, body: Any, *parts: str, status: int = 400) -> None:
    """This status, and an error text with these parts."""
    reply = server.post(f"{M}/{path}", body)
    equal(reply.status, status, f"HTTP status (body {reply.text[:300]!r})")
    contains(reply.error, *parts, what="error")


def echo(signature: str, instances: str) -> str:
    """A row-form body for the `dtypes` model, with the JSON text of its instances as given."""
    return f'{{"signature_name": "{signature}", "instances": {instances}}}'
