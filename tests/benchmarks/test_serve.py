"""What `tf-mlm bench serve` stands on: a server process, both protocols, and clients that ask together."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest

from benchmarks import serve
from benchmarks.served import Crowd, over_both, serving


def test_both_protocols_answer_as_the_session_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "LAYERS", 2)
    serve._save_chain(tmp_path / "m" / "1")
    inputs = {"x": np.linspace(-1, 1, serve.WIDTH, dtype=np.float32)[None]}
    expected = serve._in_process(tmp_path / "m" / "1", "dense", inputs, "y")(3)
    assert expected.shape == (3, serve.WIDTH)
    with serving(tmp_path / "m") as ports:
        for protocol in over_both(ports, "dense", inputs, "y"):
            np.testing.assert_allclose(Crowd(protocol, 4)(2), expected[:1], rtol=1e-5, atol=1e-5)
        over_grpc, over_rest = over_both(ports, "nothing", inputs, "y")
        with pytest.raises(grpc.RpcError, match="Serving signature key"):
            Crowd(over_grpc, 2)(1)
        with pytest.raises(ConnectionError, match="The server answered 400: Serving signature name"):
            Crowd(over_rest, 2)(1)
        outcome = serve._overhead(
            "one row", protocol.client(), serve._in_process(tmp_path / "m" / "1", "dense", inputs, "y")
        )
    served, direct, added = outcome.milliseconds.values()
    assert 0 < direct < served
    assert added == served - direct
