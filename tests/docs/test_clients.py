"""The clients in other languages, against a server, or at least the names they use."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from docs.blocks import ROOT, blocks
from tf_mlm.serving.server import ModelServer, ServerOptions
from tf_mlm.signatures import FILL

CLIENTS = ROOT / "docs" / "examples" / "clients"
PAGE = ROOT / "docs" / "guides" / "call.md"
COMMANDS = {"client.go": ["go", "run"], "Client.java": ["java"], "client.mjs": ["node"]}
TEXT = 'The "[MASK]" sat on the mat.'


@pytest.fixture(scope="module")
def server(materials: Path) -> Iterator[ModelServer]:
    options = ServerOptions(model_name="mlm", model_base_path=str(materials / "models" / "mlm"))
    with ModelServer(options) as server:
        yield server


@pytest.mark.parametrize("file", sorted(COMMANDS))
def test_a_client_fills_a_mask(file: str, server: ModelServer, tmp_path: Path) -> None:
    program, *arguments = COMMANDS[file]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed; the next test reads what {file} sends")
    address = f"http://127.0.0.1:{server.rest_port}"
    command = [program, *arguments, str(CLIENTS / file), address, TEXT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path)
    assert not done.returncode, done.stderr
    if file == "Client.java":
        outputs = json.loads(done.stdout)["outputs"]
        assert len(outputs["tokens"][0]) == 1
        return
    word, score = done.stdout.split()
    assert word
    assert 0 < float(score) <= 1


@pytest.mark.parametrize("file", sorted(COMMANDS))
def test_a_client_uses_names_that_exist(file: str) -> None:
    text = (CLIENTS / file).read_text()
    assert "/v1/models/mlm:predict" in text
    assert "signature_name" in text
    assert FILL.name in text
    assert "inputs" in text
    assert set(re.findall(r'json:"(\w+)"', text)) <= {
        "signature_name",
        "inputs",
        "outputs",
        "error",
        *FILL.outputs,
    }


def test_there_is_a_command_for_each_client() -> None:
    assert {path.name for path in CLIENTS.iterdir()} == COMMANDS.keys()


def test_the_request_of_grpcurl_is_answered(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As grpcurl does it: messages from the protoset alone, and protobuf's JSON."""
    (command,) = [block.text for block in blocks(PAGE) if block.text.startswith("grpcurl")]
    (program,) = [
        block.text for block in blocks(PAGE) if "protoset" in block.text and block.language == "python"
    ]
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    method = re.findall(r"(\S+)/(\w+)$", command.strip())[0]
    body = command.split("-d '")[1].split("'")[0]
    pool = descriptor_pool.DescriptorPool()
    waiting = list(descriptor_pb2.FileDescriptorSet.FromString(Path("tf_serving.protoset").read_bytes()).file)
    known: set[str] = set()
    while waiting:  # a pool wants dependencies first
        file = next(each for each in waiting if set(each.dependency) <= known)
        pool.Add(file)
        known.add(file.name)
        waiting.remove(file)
    described = pool.FindServiceByName(method[0]).FindMethodByName(method[1])
    request = json_format.Parse(body, message_factory.GetMessageClass(described.input_type)())
    answer_class = message_factory.GetMessageClass(described.output_type)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary(
            f"/{method[0]}/{method[1]}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer_class.FromString,
        )
        answer = call(request, timeout=60)
    assert set(answer.outputs) == set(FILL.outputs)
    scores = np.array(answer.outputs["scores"].float_val)
    assert np.all(np.diff(scores) <= 0)
