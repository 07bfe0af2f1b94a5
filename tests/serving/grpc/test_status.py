"""What a gRPC client is told of an error."""

from __future__ import annotations

import pytest

from tf_mlm.serving.grpc.status import status_message


@pytest.mark.parametrize("character", ["n", "%", "\u00e9", "\N{PILE OF POO}", "\udc80"])
def test_a_status_message_fits_its_header(character: str) -> None:
    cut = status_message(character * 5000)
    assert cut.endswith("...TRUNCATED")
    assert sum(1 if c.isascii() else 3 * len(c.encode()) for c in cut) <= 4096 + len("...TRUNCATED")
    assert status_message(character.encode("utf-8", "replace").decode() * 3)[-1] != "D"
