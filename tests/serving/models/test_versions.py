"""Version directories and policies."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tf_mlm.serving.errors import ServingError
from tf_mlm.serving.models.config import read_models
from tf_mlm.serving.models.versions import BasePathError, VersionLabels, VersionPolicy, find_versions


def test_only_whole_numbers_count(tmp_path: Path) -> None:
    for name in ("1", "00000123", "tmp", "2.bak", ".3.tmp", "99999999999999999999"):
        (tmp_path / name).mkdir()
    (tmp_path / "5").touch()
    found = find_versions("m", tmp_path)
    assert found == {1: tmp_path / "1", 123: tmp_path / "00000123", 5: tmp_path / "5"}


def test_the_last_spelling_of_a_number_wins(tmp_path: Path) -> None:
    for name in ("1", "01", "001"):
        (tmp_path / name).mkdir()
    assert find_versions("m", tmp_path) == {1: tmp_path / "1"}


def test_no_version_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert find_versions("m", tmp_path) == {}
    assert "Did you forget to name your leaf directory as a number" in caplog.text


def test_missing_base_path(tmp_path: Path) -> None:
    with pytest.raises(BasePathError, match=r"Could not find base path .*/nowhere for servable m"):
        find_versions("m", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (VersionPolicy(), [9]),
        (VersionPolicy("latest", count=2), [5, 9]),
        (VersionPolicy("latest", count=7), [1, 5, 9]),
        (VersionPolicy("all"), [1, 5, 9]),
        (VersionPolicy("specific", versions=(1, 4)), [1]),
        (VersionPolicy("specific"), []),
    ],
)
def test_policies(policy: VersionPolicy, chosen: list[int]) -> None:
    found = {version: Path(str(version)) for version in (5, 1, 9)}
    assert sorted(policy.select("m", found)) == chosen


MODEL = 'config {{ name: "m" base_path: "{path}" {more} }}'


def read(text: str):
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(f"model_config_list {{ {text} }}", config)
    return read_models(config)


def test_a_config_reads_policies_and_labels() -> None:
    more = (
        'model_platform: "tensorflow", model_version_policy: { latest { num_versions: 3 } };'
        ' version_labels: { key: "stable" value: 7 }'
    )
    model = read(MODEL.format(path="/m", more=more))["m"]
    assert (model.policy, model.labels) == (VersionPolicy("latest", count=3), {"stable": 7})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            MODEL.format(path="/m", more='model_platform: "tensorflow"') * 2,
            "Illegal to list model m multiple times",
        ),
        (
            MODEL.format(path="m", more='model_platform: "tensorflow"'),
            r"Expected model m to have an absolute path or URI; got base_path\(\)=m",
        ),
        (MODEL.format(path="/m", more=""), "Illegal setting neither"),
        (
            MODEL.format(path="/m", more='model_platform: "tensorflow" model_type: TENSORFLOW'),
            "Illegal setting both",
        ),
        (MODEL.format(path="/m", more='model_platform: "x"'), "Model m requests unsupported platform x"),
    ],
)
def test_config_errors(text: str, message: str) -> None:
    with pytest.raises(ServingError, match=message):
        read(text)


@pytest.mark.parametrize("may_wait", [False, True])
def test_a_new_label_may_wait_and_an_old_one_moves_to_no_absent_version(may_wait: bool) -> None:
    labels = VersionLabels(may_wait)

    def assign(version: int) -> None:
        labels.assign({"m": {"stable": version}}, is_available=lambda name, number: number == 1)

    if may_wait:
        assign(2)
        assert labels.version("m", "stable") == 2
    else:
        with pytest.raises(ServingError, match="version 2 of model m, which is not currently available"):
            assign(2)
    assign(1)
    with pytest.raises(ServingError, match="version 3 of model m, which is not currently available"):
        assign(3)
    assert labels.version("m", "stable") == 1
    labels.assign({"m": {}}, is_available=lambda name, number: False)
    with pytest.raises(ServingError, match="Unrecognized servable version label: stable"):
        labels.version("m", "stable")
