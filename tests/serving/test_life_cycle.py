"""A live server while its disk and configuration change."""

from __future__ import annotations

import gc
import shutil
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2
from waiting import eventually

from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.models import manager as model_manager
from tf_mlm.serving.models.versions import find_versions
from tf_mlm.serving.server import ModelServer, ServerOptions

X = {"x": np.float32([2.0])}


def place(models: Path, name: str, base: Path, version: str) -> Path:
    base.mkdir(parents=True, exist_ok=True)
    hidden = base / f".{version}.tmp"
    shutil.copytree(models / name, hidden)
    return hidden.rename(base / version)


def states(served, name: str = "m") -> dict[str, str]:
    listed = served.http.get(f"/v1/models/{name}").json()["model_version_status"]
    return {entry["version"]: entry["state"] for entry in listed}


@pytest.fixture
def single(serve, models: Path, tmp_path: Path):
    """A server of one model `m`, version 1 adding 2."""
    place(models, "half_plus_two", tmp_path / "m", "1")
    served = serve(model_name="m", model_base_path=str(tmp_path / "m"))
    yield served
    served.server.stop()


def test_a_new_version_takes_over_without_a_failed_request(single, models: Path, tmp_path: Path) -> None:
    stop, answers, failures = threading.Event(), set(), []

    def ask() -> None:
        while not stop.is_set():
            try:
                answers.add(float(single.predict("m", X)["y"][0]))
            except grpc.RpcError as error:
                failures.append(error)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    eventually(lambda: 3.0 in answers)
    place(models, "half_plus_three", tmp_path / "m", "2")
    eventually(lambda: 4.0 in answers)
    eventually(lambda: states(single) == {"1": "END", "2": "AVAILABLE"})
    stop.set()
    for asker in askers:
        asker.join()
    assert not failures
    assert answers == {3.0, 4.0}


def test_a_broken_version_leaves_the_old_one_serving(single, tmp_path: Path) -> None:
    (tmp_path / "m" / "2").mkdir()
    eventually(lambda: states(single) == {"1": "AVAILABLE", "2": "END"})
    entry = single.http.get("/v1/models/m/versions/2").json()["model_version_status"][0]
    assert entry["status"]["error_code"] == "NOT_FOUND"
    assert "does not appear to contain a SavedModel bundle" in entry["status"]["error_message"]
    assert single.predict("m", X)["y"].tolist() == [3.0]


def test_an_empty_base_path_unloads_and_a_missing_one_does_not(single, tmp_path: Path) -> None:
    moved = (tmp_path / "m").rename(tmp_path / "away")
    time.sleep(0.2)  # several polls
    assert single.predict("m", X)["y"].tolist() == [3.0]
    (tmp_path / "m").mkdir()
    eventually(lambda: states(single) == {"1": "END"})
    assert single.post("m:predict", {"instances": [1.0]}).status_code == 404
    (tmp_path / "m").rmdir()
    moved.rename(tmp_path / "m")
    eventually(lambda: states(single) == {"1": "AVAILABLE"})


def open_sessions() -> int:
    gc.collect()
    return sum(isinstance(thing, tf.compat.v1.Session) for thing in gc.get_objects())


def test_unloading_gives_memory_back(single, models: Path, tmp_path: Path) -> None:
    place(models, "half_plus_three", tmp_path / "m", "2")
    eventually(lambda: states(single) == {"1": "END", "2": "AVAILABLE"})
    before = open_sessions()
    assert before >= 1
    shutil.rmtree(tmp_path / "m" / "1")
    for version in range(3, 7):
        place(models, "half_plus_two", tmp_path / "m", str(version))
        eventually(lambda version=version: states(single).get(str(version)) == "AVAILABLE")
        eventually(lambda: sorted(states(single).values())[1:] == ["END"] * (len(states(single)) - 1))
    assert open_sessions() == before


# ---- configuration -----------------------------------------------------------------------------


def config_text(*models: tuple[str, Path, str]) -> str:
    listed = (
        f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {more} }}'
        for name, path, more in models
    )
    return f"model_config_list {{ {' '.join(listed)} }}"


def reload(served, text: str, *metrics: str):
    request = model_management_pb2.ReloadConfigRequest(metric_names=metrics)
    text_format.Parse(text, request.config)
    return served.model.HandleReloadConfigRequest(request, timeout=30)


@pytest.fixture
def pair(models: Path, tmp_path: Path) -> Path:
    place(models, "half_plus_two", tmp_path / "two", "1")
    place(models, "half_plus_three", tmp_path / "three", "1")
    return tmp_path


def test_reload_by_rpc(serve, pair: Path) -> None:
    served = serve(model_name="two", model_base_path=str(pair / "two"))
    metric = "/tensorflow/cc/saved_model/load_attempt_count"
    response = reload(served, config_text(("three", pair / "three", "")), metric, "/none")
    assert {entry.name: entry.int64_value_increase for entry in response.metric} == {metric: 0, "/none": 0}
    assert served.predict("three", X)["y"].tolist() == [4.0]
    eventually(lambda: served.post("two:predict", {"instances": [1.0]}).status_code == 404)
    for text, code, message in [
        (
            config_text(*[("a", pair / "two", "")] * 2),
            "INVALID_ARGUMENT",
            "Illegal to list model a multiple times",
        ),
        (config_text(("a", Path("relative"), "")), "INVALID_ARGUMENT", "to have an absolute path or URI"),
        (
            config_text(("three", pair / "three", 'version_labels { key: "x" value: 9 }')),
            "FAILED_PRECONDITION",
            "Request to assign label to version 9 of model three, which is not currently available",
        ),
        (
            config_text(("three", pair / "three", "logging_config {}")),
            "INVALID_ARGUMENT",
            "No request-logger-creator",
        ),
    ]:
        with pytest.raises(grpc.RpcError) as error:
            reload(served, text)
        assert (error.value.code().name, message in error.value.details()) == (code, True)
    reload(served, config_text(("three", pair / "three", 'version_labels { key: "x" value: 1 }')))
    assert served.predict("three", X, label="x")["y"].tolist() == [4.0]
    (pair / "broken" / "1").mkdir(parents=True)
    with pytest.raises(
        grpc.RpcError, match=r"1 model\(s\) did not become available: {{name: broken version: 1}"
    ):
        reload(served, config_text(("three", pair / "three", ""), ("broken", pair / "broken", "")))
    assert served.predict("three", X)["y"].tolist() == [4.0]
    served.server.stop()


def test_a_reload_that_fails_at_a_label_changes_nothing_and_can_be_mended(serve, pair: Path) -> None:
    served = serve(model_name="two", model_base_path=str(pair / "two"))
    label = 'version_labels { key: "x" value: 9 }'
    with pytest.raises(grpc.RpcError, match="Request to assign label to version 9 of model three"):
        reload(served, config_text(("three", pair / "three", label)))
    assert served.predict("two", X)["y"].tolist() == [3.0]
    reload(served, config_text(("three", pair / "three", "")))
    assert served.predict("three", X)["y"].tolist() == [4.0]
    eventually(lambda: states(served, "two") == {"1": "END"})
    served.server.stop()


def test_reload_where_the_file_system_is_not_polled(serve, pair: Path) -> None:
    served = serve(model_name="two", model_base_path=str(pair / "two"), file_system_poll_wait=0)
    for names in (("two", "three"), ("three",)):
        reload(served, config_text(*((name, pair / name, "") for name in names)))
        assert served.predict("three", X)["y"].tolist() == [4.0]
    eventually(lambda: states(served, "two") == {"1": "END"})
    served.server.stop()


def test_a_reload_that_waits_for_ever_ends_with_its_client(serve, pair: Path) -> None:
    served = serve(model_name="two", model_base_path=str(pair / "two"))
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(config_text(("nowhere", pair / "nowhere", "")), request.config)
    with pytest.raises(grpc.RpcError) as error:
        served.model.HandleReloadConfigRequest(request, timeout=0.5)
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    reload(served, config_text(("three", pair / "three", "")))
    assert served.predict("three", X)["y"].tolist() == [4.0]
    served.server.stop()


def test_a_model_removed_during_a_poll_stays_removed(serve, pair: Path, monkeypatch) -> None:
    served = serve(model_name="two", model_base_path=str(pair / "two"))
    looking, go_on = threading.Event(), threading.Event()

    def slow(name: str, base_path: Path) -> dict[int, Path]:
        if threading.current_thread().name == "poll":
            looking.set()
            assert go_on.wait(20)
        return find_versions(name, base_path)

    monkeypatch.setattr(model_manager, "find_versions", slow)
    assert looking.wait(20)
    removal = threading.Thread(target=reload, args=(served, config_text(("three", pair / "three", ""))))
    removal.start()
    time.sleep(0.1)  # the reload is under way while the poll still has the list before it
    go_on.set()
    removal.join(20)
    eventually(lambda: states(served, "two") == {"1": "END"})
    time.sleep(0.3)  # several polls
    assert states(served, "two") == {"1": "END"}
    served.server.stop()


def test_reload_by_file(serve, pair: Path) -> None:
    file = pair / "models.config"
    file.write_text(config_text(("m", pair / "two", "")))
    served = serve(model_config_file=str(file), model_config_file_poll_wait=0.05)
    assert served.predict("m", X)["y"].tolist() == [3.0]
    file.write_text("garbage")
    time.sleep(0.2)  # several polls
    assert served.predict("m", X)["y"].tolist() == [3.0]
    file.write_text(config_text(("m", pair / "two", ""), ("n", pair / "three", "")))
    eventually(lambda: served.post("n:predict", {"instances": [2.0]}).status_code == 200)
    served.server.stop()


NUL = 'model_config_list {{ config {{ name: "n" base_path: "{}/a\\000b" model_platform: "tensorflow" }} }}'


@pytest.mark.parametrize(
    "bad",
    [
        NUL,
        "\0\xff",
        'model_config_list {{ config {{ base_path: "{}/two" model_platform: "tensorflow" }} }}',
        'model_config_list {{ config {{ name: "n" base_path: "/'
        + "x" * 300
        + '" model_platform: "tensorflow" }} }}',
        'model_config_list {{ config {{ name: "n" base_path: "{}/none" model_platform: "tensorflow" }} }}',
        "a {{" * 5000,
    ],
    ids=["nul", "bytes", "no name", "too long", "no directory", "deep"],
)
def test_after_a_bad_file_the_next_good_one_is_taken(serve, pair: Path, bad: str) -> None:
    file = pair / "models.config"
    file.write_text(config_text(("m", pair / "two", "")))
    served = serve(model_config_file=str(file), model_config_file_poll_wait=0.05)
    file.write_text(bad.format(pair), encoding="latin-1")
    time.sleep(0.3)  # several polls
    file.write_text(config_text(("n", pair / "three", "")))
    eventually(lambda: served.post("n:predict", {"instances": [2.0]}).status_code == 200)
    served.server.stop()


def test_specific_and_all_policies(serve, models: Path, tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        place(models, "half_plus_two", tmp_path / "m", version)
    file = tmp_path / "models.config"
    policy = "model_version_policy { specific { versions: 1 versions: 3 } }"
    file.write_text(config_text(("m", tmp_path / "m", policy)))
    served = serve(model_config_file=str(file))
    eventually(lambda: states(served) == {"1": "AVAILABLE", "3": "AVAILABLE"})
    reload(served, config_text(("m", tmp_path / "m", "model_version_policy { all {} }")))
    eventually(lambda: states(served) == dict.fromkeys("123", "AVAILABLE"))
    reload(served, config_text(("m", tmp_path / "m", "model_version_policy { latest { num_versions: 1 } }")))
    eventually(lambda: states(served) == {"1": "END", "2": "END", "3": "AVAILABLE"})
    served.server.stop()


def start_fails(code: Code, message: str, **options) -> None:
    options = {"max_num_load_retries": 0, "file_system_poll_wait": 0.05, "shutdown_grace": 1, **options}
    with pytest.raises(ServingError) as error:
        ModelServer(ServerOptions(**options)).start()
    assert (error.value.code, message in error.value.message) == (code, True), error.value


def test_start_failures(models: Path, tmp_path: Path) -> None:
    start_fails(
        Code.INVALID_ARGUMENT, "Both server_options.model_base_path and server_options.model_config_file"
    )
    start_fails(Code.INVALID_ARGUMENT, "to have an absolute path", model_base_path="relative")
    start_fails(Code.NOT_FOUND, "nowhere", model_config_file=str(tmp_path / "nowhere"))
    (tmp_path / "bad.config").write_text("garbage")
    start_fails(
        Code.INVALID_ARGUMENT, "Invalid protobuf file", model_config_file=str(tmp_path / "bad.config")
    )
    (tmp_path / "empty" / "7").mkdir(parents=True)
    start_fails(
        Code.UNKNOWN,
        "1 servable(s) did not become available: {{name: default version: 7} due to error: NOT_FOUND: ",
        model_base_path=str(tmp_path / "empty"),
    )
    place(models, "half_plus_two", tmp_path / "m", "1")
    start_fails(
        Code.UNKNOWN,
        "Could not find meta graph def matching supplied tags: { gpu serve }",
        model_base_path=str(tmp_path / "m"),
        saved_model_tags=("gpu", "serve"),
    )
    (tmp_path / "m" / "2").mkdir()
    (tmp_path / "m" / "2" / "export.meta").touch()
    start_fails(
        Code.UNKNOWN,
        "UNIMPLEMENTED: Session Bundle is deprecated and removed.",
        model_base_path=str(tmp_path / "m"),
    )


def test_an_empty_config_serves_no_models(serve, tmp_path: Path) -> None:
    (tmp_path / "none.config").write_text("")
    served = serve(model_config_file=str(tmp_path / "none.config"))
    assert served.http.get("/v1/models/m").status_code == 404
    served.server.stop()


def test_a_port_in_use(served, models: Path, tmp_path: Path, serve) -> None:
    place(models, "half_plus_two", tmp_path / "m", "1")
    base = str(tmp_path / "m")
    start_fails(
        Code.INVALID_ARGUMENT,
        "Failed to BuildAndStart gRPC server",
        model_base_path=base,
        grpc_port=served.server.grpc_port,
    )
    other = serve(model_base_path=base, rest_port=served.server.rest_port)
    assert other.server.rest_port is None  # logged; gRPC stays up
    assert other.predict("default", X)["y"].tolist() == [3.0]
    other.server.stop()
