"""Section 2: versions appear and go, labels move, loads fail and are retried, warm-up runs."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format

from conformance import models_tf1
from conformance.case import Needs, Section
from conformance.expectations import close, contains, equal, eventually, remains, rpc_error
from conformance.fleet import Config, Fleet, fleet, fleet_case
from conformance.launcher import Launcher

directories = Section("2.1 Version directories", Needs.LAUNCHER)
policies = Section("2.2 Version policies", Needs.LAUNCHER)
transitions = Section("2.3-2.5 Transitions and failures", Needs.LAUNCHER)
labels = Section("2.6 Labels", Needs.LAUNCHER)
reloads = Section("2.7 Reloads", Needs.LAUNCHER)

NO_BUNDLE = (
    "Specified file path does not appear to contain a SavedModel bundle "
    "(should have a file called `saved_model.pb`)"
)


# ---- version directories -------------------------------------------------------------------------


@fleet_case(directories, "leading zeros count: 00000123 is version 123")
def _(models: Fleet) -> None:
    models.put("zeros", "00000123", like="3")
    models.serve("zeros")
    models.expect_states("zeros", {123: "AVAILABLE"})
    models.expect_answer("zeros", 3.0, version=123)


@fleet_case(directories, "names that are not numbers are ignored")
def _(models: Fleet) -> None:
    for other in ("tmp", "1.bak", "non_numerical_child", "2a"):
        models.path("ignored", other).mkdir(parents=True)
    models.serve("ignored", "1")
    models.expect_states("ignored", {1: "AVAILABLE"})


@fleet_case(directories, "a file called 5 is version 5, and fails to load")
def _(models: Fleet) -> None:
    models.serve("file", "1")
    models.path("file", "5").write_text("not a directory")
    models.expect_failure("file", 5, "NOT_FOUND")
    models.expect_answer("file", 1.0)
    models.expect_states("file", {5: "END", 1: "AVAILABLE"})


@fleet_case(directories, "1, 01 and 001: the lexicographically last name is served")
def _(models: Fleet) -> None:
    models.put("spellings", "001", like="2")
    models.put("spellings", "01", like="2")
    models.serve("spellings", "1")
    models.expect_states("spellings", {1: "AVAILABLE"})
    models.expect_answer("spellings", 1.0)


@fleet_case(directories, "no usable child left: everything is unloaded")
def _(models: Fleet) -> None:
    models.serve("emptied", "1")
    models.path("emptied", "1").rename(models.path("emptied", "gone"))
    models.expect_states("emptied", {1: "END"})
    rpc_error(
        lambda: models.server.predict("emptied", {"x": [0.0]}),
        "NOT_FOUND",
        "Servable not found for request: Latest(emptied)",
    )
    models.path("emptied", "gone").rename(models.path("emptied", "1"))
    models.expect_answer("emptied", 1.0)


@fleet_case(directories, "a base path that goes missing: loaded versions stay")
def _(models: Fleet) -> None:
    models.serve("moved", "1")
    away = models.root / "models-away"
    models.path("moved").rename(away)
    try:
        remains(lambda: close(models.server.predict("moved", {"x": [0.0]})["y"], [1.0]), duration=2.5)
    finally:
        away.rename(models.path("moved"))


@fleet_case(directories, "while one base path is missing, no model gets new versions")
def _(models: Fleet) -> None:
    models.serve("present", "1")
    models.serve("absent", "1")
    away = models.root / "absent-away"
    models.path("absent").rename(away)
    try:
        time.sleep(1.1)  # the poll that was under way has ended
        models.put("present", "2")
        remains(lambda: equal(models.server.states("present"), {1: "AVAILABLE"}), duration=2.0)
    finally:
        away.rename(models.path("absent"))
    models.expect_answer("present", 2.0)


# ---- policies ------------------------------------------------------------------------------------


# title → model, its policy in text form, which of the versions 1, 2 and 3 are served.
POLICIES = {
    "unset: the largest number on disk": ("latest", "", [3]),
    "latest { num_versions: 2 }: the two largest": ("latest_two", "latest { num_versions: 2 }", [2, 3]),
    "latest { num_versions: 0 } counts as one": ("latest_zero", "latest { num_versions: 0 }", [3]),
    "all: every number": ("every", "all {}", [1, 2, 3]),
    "specific: the listed ones that exist": (
        "listed",
        "specific { versions: 1 versions: 3 versions: 77 }",
        [1, 3],
    ),
}


def selects(launcher: Launcher, name: str, policy: str, served: list[int]) -> None:
    models = fleet(launcher)
    text_format.Parse(policy, models.set(name).model_version_policy)
    models.serve(name, "1", "2", "3")
    models.expect_states(name, dict.fromkeys(served, "AVAILABLE"))
    for version in served:
        models.expect_answer(name, float(version), version=version)


policies.each(POLICIES, selects)


@fleet_case(policies, "specific with an empty list unloads everything; a changed policy takes effect")
def _(models: Fleet) -> None:
    models.serve("policy", "1", "2")
    models.set("policy").model_version_policy.specific.versions.append(1)
    models.reload()
    models.expect_states("policy", {2: "END", 1: "AVAILABLE"})
    models.set("policy").model_version_policy.specific.ClearField("versions")
    models.set("policy").model_version_policy.specific.SetInParent()
    models.reload()
    models.expect_states("policy", {2: "END", 1: "END"})


# ---- transitions and failures --------------------------------------------------------------------


@fleet_case(transitions, "a hot swap never fails a request; END entries stay listed")
def _(models: Fleet) -> None:
    models.serve("swap", "1")
    answers: list[float] = []
    errors: list[Exception] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                answers.append(float(models.server.predict("swap", {"x": [0.0]})["y"][0]))
            except Exception as error:
                errors.append(error)

    client = threading.Thread(target=ask)
    client.start()
    try:
        for version in ("2", "3"):
            models.put("swap", version)
            models.expect_answer("swap", float(version))
    finally:
        done.set()
        client.join()
    assert not errors, f"{len(errors)} requests failed during the swap, first: {errors[0]!r}"
    equal(answers, sorted(answers), "answers in order of time (old version first, never back)")
    models.expect_states("swap", {3: "AVAILABLE", 2: "END", 1: "END"})


@fleet_case(transitions, "the newest version removed: the one before it is loaded again")
def _(models: Fleet) -> None:
    models.serve("rollback", "1", "2")
    models.expect_answer("rollback", 2.0)
    shutil.rmtree(models.path("rollback", "2"))
    models.expect_answer("rollback", 1.0)
    models.expect_states("rollback", {2: "END", 1: "AVAILABLE"})


@fleet_case(transitions, "a broken new version: NOT_FOUND in its status, the old one keeps serving")
def _(models: Fleet) -> None:
    models.serve("broken", "1")
    models.path("broken", "2").mkdir()
    models.expect_failure("broken", 2, "NOT_FOUND", NO_BUNDLE, str(models.path("broken", "2")))
    models.expect_states("broken", {2: "END", 1: "AVAILABLE"})
    models.expect_answer("broken", 1.0)


@fleet_case(transitions, "a failed version is not tried again until it has left and come back")
def _(models: Fleet) -> None:
    models.serve("repaired", "1")
    models.path("repaired", "2").mkdir()
    models.expect_failure("repaired", 2, "NOT_FOUND")
    shutil.copytree(
        models.launcher.repository.models / "counter" / "2", models.path("repaired", "2"), dirs_exist_ok=True
    )
    remains(lambda: equal(models.server.states("repaired"), {2: "END", 1: "AVAILABLE"}), duration=2.5)
    models.path("repaired", "2").rename(models.path("repaired", "away"))

    def has_left() -> None:  # two polls without the version
        equal(models.server.states("repaired")[1], "AVAILABLE")

    remains(has_left, duration=2.5)
    models.path("repaired", "away").rename(models.path("repaired", "2"))
    models.expect_answer("repaired", 2.0)


@fleet_case(transitions, "export.meta: session bundles are refused as UNIMPLEMENTED")
def _(models: Fleet) -> None:
    models.serve("bundle", "1")
    fresh = models.path("bundle", "making")
    fresh.mkdir()
    (fresh / "export.meta").write_bytes(b"")
    fresh.rename(models.path("bundle", "2"))
    models.expect_failure("bundle", 2, "UNIMPLEMENTED", "Session Bundle is deprecated and removed.")


@fleet_case(transitions, "tags that differ: NOT_FOUND naming the wanted tags")
def _(models: Fleet) -> None:
    models.serve("tags", "1")
    fresh = models_tf1.write(
        models.path("tags", "making"), models_tf1.add_constant(2.0), tags=("serve", "gpu")
    )
    fresh.rename(models.path("tags", "2"))
    models.expect_failure(
        "tags", 2, "NOT_FOUND", "Could not find meta graph def matching supplied tags: { serve }"
    )


@transitions.case("a load is retried: LOADING until it succeeds", needs=Needs.PROCESS)
def _(launcher: Launcher) -> None:
    base = launcher.directory("retries") / "m"
    launcher.repository.copy_model("counter", "1", base / "1")
    with launcher.running(
        f"--model_base_path={base}",
        "--model_name=m",
        "--max_num_load_retries=100000",
        "--load_retry_interval_micros=200000",
    ) as process:
        (base / "2").mkdir()
        eventually(lambda: equal(process.states("m").get(2), "LOADING"))
        remains(lambda: equal(process.states("m"), {2: "LOADING", 1: "AVAILABLE"}), duration=1.0)
        fresh = launcher.repository.copy_model("counter", "2", base / "copy")
        for child in fresh.iterdir():
            if child.name != "saved_model.pb":
                child.rename(base / "2" / child.name)
        (fresh / "saved_model.pb").rename(base / "2" / "saved_model.pb")
        eventually(lambda: equal(process.states("m"), {2: "AVAILABLE", 1: "END"}))
        close(process.predict("m", {"x": [0.0]})["y"], [2.0])
        contains(process.stderr, "Retrying of Loading servable: {name: m version: 2} retry:", what="stderr")


@transitions.case(
    "a version removed while its load is retried: retries end, others are not touched", needs=Needs.PROCESS
)
def _(launcher: Launcher) -> None:
    base = launcher.directory("cancelled") / "m"
    launcher.repository.copy_model("counter", "1", base / "1")
    with launcher.running(
        f"--model_base_path={base}",
        "--model_name=m",
        "--max_num_load_retries=100000",
        "--load_retry_interval_micros=500000",
    ) as process:
        (base / "2").mkdir()
        eventually(lambda: equal(process.states("m").get(2), "LOADING"))
        (base / "2").rmdir()
        eventually(lambda: equal(process.states("m"), {2: "END", 1: "AVAILABLE"}))
        close(process.predict("m", {"x": [0.0]})["y"], [1.0])


# ---- labels --------------------------------------------------------------------------------------


@fleet_case(labels, "a label on a loaded version answers over gRPC and REST, and can move")
def _(models: Fleet) -> None:
    models.set("labelled").model_version_policy.all.SetInParent()
    models.serve("labelled", "1", "2")
    models.expect_states("labelled", {2: "AVAILABLE", 1: "AVAILABLE"})
    for version in (1, 2):
        models.set("labelled").version_labels["prod"] = version
        models.set("labelled").version_labels["also"] = version
        models.reload()
        models.expect_answer("labelled", float(version), label="prod")
        models.expect_answer("labelled", float(version), label="also")
        reply = models.server.post("/v1/models/labelled/labels/prod:predict", {"instances": [0.0]})
        equal(reply.json, {"predictions": [float(version)]}, "REST answer")


@fleet_case(labels, "a label on a version that is not loaded fails the reload")
def _(models: Fleet) -> None:
    models.serve("early", "1")
    models.set("early").version_labels["next"] = 2
    try:
        rpc_error(
            models.reload,
            "FAILED_PRECONDITION",
            "Request to assign label to version 2 of model early, "
            "which is not currently available for inference",
        )
    finally:
        models.set("early").ClearField("version_labels")
        models.reload()


@fleet_case(labels, "a label taken out of the config is unknown again")
def _(models: Fleet) -> None:
    models.serve("unlabelled", "1")
    models.set("unlabelled").version_labels["prod"] = 1
    models.reload()
    models.expect_answer("unlabelled", 1.0, label="prod")
    models.set("unlabelled").ClearField("version_labels")
    models.reload()
    rpc_error(
        lambda: models.server.predict("unlabelled", {"x": [0.0]}, label="prod"),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: prod",
    )


# ---- reloads -------------------------------------------------------------------------------------


@fleet_case(reloads, "the call returns when a new model is available")
def _(models: Fleet) -> None:
    models.put("added", "1")
    models.set("added")
    response = models.server.reload(models.config)
    equal(response.status.error_code, 0, "status in the response")
    close(models.server.predict("added", {"x": [0.0]})["y"], [1.0])


@fleet_case(reloads, "a model that is no longer listed is unloaded; its status remains")
def _(models: Fleet) -> None:
    models.serve("removed", "1")
    models.drop("removed")
    models.reload()
    models.expect_states("removed", {1: "END"})
    rpc_error(
        lambda: models.server.predict("removed", {"x": [0.0]}),
        "NOT_FOUND",
        "Servable not found for request: Latest(removed)",
    )


@fleet_case(reloads, "a new model that fails: UNKNOWN, naming model, version and error")
def _(models: Fleet) -> None:
    models.path("hopeless", "1").mkdir(parents=True)
    models.set("hopeless")
    try:
        rpc_error(
            models.reload,
            "UNKNOWN",
            "1 model(s) did not become available: {{name: hopeless version: 1} due to error: ",
            NO_BUNDLE,
        )
    finally:
        models.drop("hopeless")
        models.reload()
    models.expect_answer("resident", 1.0)


@fleet_case(reloads, "metric_names: how much each metric grew during the call")
def _(models: Fleet) -> None:
    from tensorflow_serving.apis import model_management_pb2

    name = "/tensorflow/serving/no_such_metric"
    request = model_management_pb2.ReloadConfigRequest(config=models.config, metric_names=[name])
    response = models.server.models.HandleReloadConfigRequest(request, timeout=30)
    equal([(metric.name, metric.int64_value_increase) for metric in response.metric], [(name, 0)], "metrics")


@fleet_case(reloads, "model_config_file_poll_wait_seconds unset: a rewritten file changes nothing")
def _(models: Fleet) -> None:
    models.serve("unchanged", "1")
    models.config_file.write_text("model_config_list {}")
    remains(lambda: close(models.server.predict("unchanged", {"x": [0.0]})["y"], [1.0]), duration=2.0)


def write_config(path: Path, models: Path, names: Iterable[str]) -> None:
    config = Config()
    for name in names:
        config.model_config_list.config.add(
            name=name, base_path=str(models / name), model_platform="tensorflow"
        )
    beside = path.with_suffix(".new")
    beside.write_text(str(config))
    beside.rename(path)


@reloads.case(
    "model_config_file_poll_wait_seconds=1: a rewritten file is applied, a broken one is not",
    needs=Needs.PROCESS,
)
def _(launcher: Launcher) -> None:
    path, models = launcher.directory("polled") / "models.config", launcher.repository.models
    write_config(path, models, ["half_plus_two"])
    with launcher.running(
        f"--model_config_file={path}", "--model_config_file_poll_wait_seconds=1"
    ) as process:
        close(process.predict("half_plus_two", {"x": [2.0]})["y"], [3.0])
        write_config(path, models, ["half_plus_three"])
        eventually(lambda: close(process.predict("half_plus_three", {"x": [2.0]})["y"], [4.0]))
        eventually(lambda: equal(process.states("half_plus_two"), {123: "END"}))
        path.write_text("no model config")
        remains(lambda: close(process.predict("half_plus_three", {"x": [2.0]})["y"], [4.0]), duration=2.5)


SECTIONS = (directories, policies, transitions, labels, reloads)
