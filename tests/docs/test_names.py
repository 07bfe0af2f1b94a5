"""What pages name outside of the code that is run: files, fields of configurations, routes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from conformance.flags import FLAGS
from google.protobuf import text_format

from docs.blocks import PAGES, ROOT, Block, blocks, name, of
from tf_mlm.serving.command_line.config_protos import SSLConfig

GUIDES = ROOT / "docs" / "guides"
_PATH = re.compile(r"(?<![\w/.-])((?:serving|tools|docs|tests|tf_mlm)/[\w./-]*\w/?)")
MADE = {"serving/models/mlm"}  # by the export on that page


def only(page: str, text: str) -> Block:
    """The one block of a guide that holds a text."""
    (found,) = [block for block in blocks(GUIDES / page) if text in block.text]
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_exist(page: Path) -> None:
    named = set(_PATH.findall(page.read_text(encoding="utf-8"))) - MADE
    # From the repository, from the page, or, in the picture of the package, from there.
    places = (ROOT, page.parent, ROOT / "tf_mlm")
    assert [path for path in named if not any((place / path).exists() for place in places)] == []


@pytest.mark.parametrize("block", of("yaml", "json"), ids=str)
def test_data_is_well_formed(block: Block) -> None:
    assert json.loads(block.text) if block.language == "json" else list(yaml.safe_load_all(block.text))


def test_kserve_uses_fields_of_its_interface() -> None:
    service = yaml.safe_load(only("serve-production.md", "InferenceService").text)
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    model = service["spec"]["predictor"]["model"]
    assert set(model) == {"modelFormat", "storageUri", "runtimeVersion", "args", "resources"}
    for argument in model["args"]:
        match = re.fullmatch(r"--(\w+)=\w+", argument)
        assert match
        assert match[1] in FLAGS


def test_vertex_ai_is_given_the_routes_and_the_port_of_the_image() -> None:
    command = only("serve-production.md", "gcloud").text
    options = dict(re.findall(r"--([\w-]+)=(\S+)", command))
    assert options["container-predict-route"] == "/v1/models/mlm:predict"
    assert options["container-health-route"] == "/v1/models/mlm"
    exposed = re.findall(r"^EXPOSE (.+)$", (ROOT / "serving" / "Containerfile").read_text(), re.MULTILINE)
    assert options["container-ports"] in exposed[0].split()


def test_the_tls_file_is_read_by_the_servers_own_message() -> None:
    config = text_format.Parse(only("security.md", "server_key").text, SSLConfig())
    assert config.client_verify
    assert config.server_cert.startswith("-----BEGIN CERTIFICATE-----")


def test_the_cluster_is_the_json_that_tensorflow_reads() -> None:
    found = re.search(r"TF_CONFIG='(.+)'", only("many-machines.md", "TF_CONFIG").text)
    assert found
    cluster = json.loads(found[1])
    assert cluster["cluster"][cluster["task"]["type"]][cluster["task"]["index"]] == "10.0.0.1:2222"


def test_limits_of_an_export_are_those_of_the_code() -> None:
    from tf_mlm.config import Limits

    text = (GUIDES / "security.md").read_text()
    limits = Limits()
    assert f"`--max-bytes`: bytes of text in a request | {limits.bytes >> 20} MiB |" in text
    for option, value in (
        ("max-tokens", limits.tokens),
        ("max-copies", limits.copies),
        ("max-values", limits.values),
    ):
        assert re.search(rf"`--{option}`.* \| {value:,} \|", text)
