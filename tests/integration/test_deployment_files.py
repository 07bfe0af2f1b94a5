"""Every file of the top-level `serving/` against the messages, schemas, flags and buckets it relies on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose
from conformance.flags import FLAGS
from dockerfile_parse import DockerfileParser
from google.protobuf import text_format
from google.protobuf.message import Message
from tensorflow_serving.config import model_server_config_pb2

from tf_mlm.cli import group
from tf_mlm.config import Buckets
from tf_mlm.serving.command_line.config_protos import BatchingParameters, MonitoringConfig

SERVING = Path(__file__).parents[2] / "serving"
CONFIG = SERVING / "config"
MESSAGES: dict[str, type[Message]] = {
    "models.config": model_server_config_pb2.ModelServerConfig,
    "batching.config": BatchingParameters,
    "monitoring.config": MonitoringConfig,
}
KUBERNETES_VERSIONS = ("1.29.0", kubernetes_validate.latest_version())


def config(name: str) -> Any:
    return text_format.Parse((CONFIG / name).read_text(), MESSAGES[name]())


def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    """Everything that `kubectl apply -k serving` would send, by kind and name."""
    kustomization = yaml.safe_load((SERVING / "kustomization.yaml").read_text())
    documents = [
        document
        for resource in kustomization["resources"]
        for document in yaml.safe_load_all((SERVING / resource).read_text())
    ]
    for generator in kustomization["configMapGenerator"]:
        data = {Path(file).name: (SERVING / file).read_text() for file in generator["files"]}
        metadata = {"name": generator["name"]}
        documents.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def pod() -> dict[str, Any]:
    return manifests()["Deployment", "mlm"]["spec"]["template"]["spec"]


def container() -> dict[str, Any]:
    (only,) = pod()["containers"]
    return only


def compose() -> dict[str, Any]:
    return yaml.safe_load((SERVING / "compose.yaml").read_text())["services"]["mlm"]


def containerfile() -> dict[str, str]:
    """Instruction → value; every instruction used here but COPY appears once."""
    parser = DockerfileParser(fileobj=(SERVING / "Containerfile").open("rb"))
    return {step["instruction"]: step["value"] for step in parser.structure}


def flag_lists() -> dict[str, list[str]]:
    return {
        "Containerfile": json.loads(containerfile()["CMD"]),
        "compose.yaml": compose()["command"],
        "deployment.yaml": container()["args"],
    }


def flags() -> dict[str, str]:
    return dict(flag.removeprefix("--").split("=", 1) for flag in compose()["command"])


# ---- configuration files -------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_text_protos_parse_into_the_real_messages(name: str) -> None:
    assert config(name).ByteSize() > 0


def test_no_configuration_file_is_left_out() -> None:
    assert {path.name for path in CONFIG.iterdir()} == set(MESSAGES)
    assert set(manifests()["ConfigMap", "mlm-config"]["data"]) == set(MESSAGES)


def test_batches_are_the_buckets_of_the_default_export() -> None:
    batching = config("batching.config")
    assert tuple(batching.allowed_batch_sizes) == Buckets().batch
    assert batching.max_batch_size.value == Buckets().batch[-1]
    assert batching.pad_variable_length_inputs


def test_one_name_for_the_model_everywhere() -> None:
    (model,) = config("models.config").model_config_list.config
    assert model.base_path == f"/models/{model.name}"
    assert model.model_platform == "tensorflow"
    probes = [container()[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")]
    check = " ".join(compose()["healthcheck"]["test"])
    for path in [*probes, *re.findall(r"/v1/models/\S+", check)]:
        assert re.fullmatch(rf"/v1/models/{model.name}(/metadata)?", path)


# ---- flags ---------------------------------------------------------------------------------------


def test_container_compose_and_kubernetes_pass_the_same_flags() -> None:
    first, *others = flag_lists().values()
    assert first
    for other in others:
        assert other == first


@pytest.mark.parametrize("file", sorted(flag_lists()))
def test_flags_are_flags_of_the_server(file: str) -> None:
    for flag in flag_lists()[file]:
        match = re.fullmatch(r"--(\w+)=(\S+)", flag)
        assert match, f"{flag!r}: the server understands --name=value only"
        assert match[1] in FLAGS


def test_flags_named_in_the_readme_exist() -> None:
    text = (SERVING / "README.md").read_text()
    # Of docker compose, tf-mlm and tools/conformance.
    tools = {"wait", "no-xla", "batch-buckets", "help", "quantize", "arithmetic", "dtype", "tune"}
    named = set(re.findall(r"--([a-z][\w-]+)", text))
    assert named - tools <= FLAGS
    assert "xla_cpu_compilation_enabled" in named


def test_there_are_48_flags() -> None:
    assert len(FLAGS) == 48


def test_files_named_by_flags_are_mounted() -> None:
    named = {Path(value) for name, value in flags().items() if name.endswith("_file")}
    assert named == {Path("/config") / name for name in MESSAGES}
    assert compose()["volumes"] == ["./models:/models:ro", "./config:/config:ro"]
    (mount,) = container()["volumeMounts"]
    assert mount["mountPath"] == "/config"
    assert pod()["volumes"] == [{"name": mount["name"], "configMap": {"name": "mlm-config"}}]


def test_xla_is_on() -> None:
    assert flags()["xla_cpu_compilation_enabled"] == "true"


def test_threads_agree_with_cores() -> None:
    cores = int(container()["resources"]["limits"]["cpu"])
    assert compose()["cpus"] == cores
    assert int(flags()["tensorflow_intra_op_parallelism"]) == cores
    assert int(flags()["tensorflow_inter_op_parallelism"]) == cores
    batching = config("batching.config")
    assert batching.num_batch_threads.value == cores
    for name in ("rest_api_num_threads", "grpc_max_threads"):
        assert int(flags()[name]) > batching.max_batch_size.value


# ---- container and compose -----------------------------------------------------------------------


def test_container_file_builds_on_a_pinned_stock_image() -> None:
    steps = containerfile()
    match = re.fullmatch(r"tensorflow/serving:(\d+)\.(\d+)\.\d+", steps["FROM"])
    assert match, f"pin the version of the image, got {steps['FROM']!r}"
    assert (int(match[1]), int(match[2])) >= (2, 19)
    assert compose()["image"] == steps["FROM"]
    assert set(steps) <= {"COMMENT", "FROM", "COPY", "EXPOSE", "USER", "CMD"}, (
        "the entry point is the image's own"
    )
    assert steps["EXPOSE"] == "8500 8501"
    assert steps["USER"] == compose()["user"]


def test_container_file_copies_what_exists() -> None:
    parser = DockerfileParser(fileobj=(SERVING / "Containerfile").open("rb"))
    copies = [step["value"].split() for step in parser.structure if step["instruction"] == "COPY"]
    assert copies == [["config", "/config"], ["models", "/models"]]  # models/ is where the export goes
    assert CONFIG.is_dir()


def test_compose_file_follows_the_specification() -> None:
    specification = PyCompose.from_yaml((SERVING / "compose.yaml").read_text())
    specification.validate()
    assert specification.service_names() == ["mlm"]
    broken = (SERVING / "compose.yaml").read_text().replace("restart: unless-stopped", "restart: perhaps")
    with pytest.raises(ValueError, match="restart"):
        PyCompose.from_yaml(broken).to_spec()


def test_compose_publishes_on_this_machine_only() -> None:
    assert compose()["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]


# ---- kubernetes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("key", sorted(manifests()), ids="-".join)
def test_manifests_match_the_schemas(key: tuple[str, str], version: str) -> None:
    kubernetes_validate.validate(manifests()[key], version, strict=True)


def test_the_validator_notices_a_misspelt_field() -> None:
    broken = manifests()["Deployment", "mlm"]
    broken["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES_VERSIONS[-1], strict=True)


def test_kustomization_lists_every_manifest() -> None:
    kustomization = yaml.safe_load((SERVING / "kustomization.yaml").read_text())
    assert set(kustomization) <= {"apiVersion", "kind", "resources", "configMapGenerator", "images"}
    assert sorted(kustomization["resources"]) == sorted(
        str(path.relative_to(SERVING)) for path in (SERVING / "kubernetes").glob("*.yaml")
    )
    assert container()["image"] in {image["name"] for image in kustomization["images"]}
    kinds = {kind for kind, _ in manifests()}
    assert kinds == {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "ConfigMap"}


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_job_over_a_corpus_has_a_share_for_every_pod(version: str) -> None:
    job = yaml.safe_load((SERVING / "kubernetes" / "jobs" / "corpus.yaml").read_text())
    kubernetes_validate.validate(job, version, strict=True)
    (only,) = job["spec"]["template"]["spec"]["containers"]
    command = only["command"][-1].split()
    assert command[command.index("--shard") + 1] == f'"$JOB_COMPLETION_INDEX/{job["spec"]["completions"]}"'
    assert command[command.index("--workers") + 1] == only["resources"]["requests"]["cpu"]
    score = group.get_command(click.Context(group), "score")
    options = {option for parameter in score.params for option in parameter.opts}
    assert {word for word in command if word.startswith("--")} <= options
    mounts = {mount["name"] for mount in only["volumeMounts"]}
    assert mounts == {volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]}


def test_everything_selects_the_pods_of_the_deployment() -> None:
    labels = manifests()["Deployment", "mlm"]["spec"]["template"]["metadata"]["labels"]
    selectors = [manifests()["Deployment", "mlm"]["spec"]["selector"]["matchLabels"]]
    selectors += [
        document["spec"]["selector"] for (kind, _), document in manifests().items() if kind == "Service"
    ]
    selectors.append(manifests()["PodDisruptionBudget", "mlm"]["spec"]["selector"]["matchLabels"])
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    target = manifests()["HorizontalPodAutoscaler", "mlm"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in manifests()


def test_ports_by_name() -> None:
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}  # what the image's entry point opens
    (service,) = [manifests()["Service", "mlm"]["spec"]["ports"]]
    assert {port["targetPort"]: port["port"] for port in service} == ports
    for kind in ("startup", "readiness", "liveness"):
        assert container()[f"{kind}Probe"]["httpGet"]["port"] in ports


def test_pods_answer_until_every_client_has_moved_on() -> None:
    arguments = dict(item.split("=") for item in flags()["grpc_channel_arguments"].split(","))
    age = int(arguments["grpc.max_connection_age_ms"]) + int(arguments["grpc.max_connection_age_grace_ms"])
    command, seconds = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "/bin/sleep"
    assert age / 1000 < int(seconds) < pod()["terminationGracePeriodSeconds"]


def test_roll_outs_and_evictions_keep_pods_up() -> None:
    assert "replicas" not in manifests()["Deployment", "mlm"]["spec"], "the autoscaler owns the number"
    assert manifests()["Deployment", "mlm"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    smallest = manifests()["HorizontalPodAutoscaler", "mlm"]["spec"]["minReplicas"]
    assert smallest > manifests()["PodDisruptionBudget", "mlm"]["spec"]["maxUnavailable"]


def test_start_up_has_time_to_warm_up() -> None:
    probe = container()["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 600


def test_the_embedded_server_knows_the_same_flags() -> None:
    command = [sys.executable, "-m", "tf_mlm.serving.model_server", "--help"]
    usage = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout
    assert set(re.findall(r"--(\w+)", usage)) >= FLAGS
