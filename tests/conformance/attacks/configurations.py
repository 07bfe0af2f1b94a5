"""Configuration: reloads by the dozen, and files that are none."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.config import model_server_config_pb2

from conformance.attacks.attack import Kind
from conformance.attacks.site import Site

KIND = Kind("configuration")
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"


PLATFORM = ' model_platform: "tensorflow"'
# Entries that stand behind a good one in the list.
BAD_ENTRIES: dict[str, str] = {
    "a NUL in a path": 'name: "a" base_path: "/a\x00b"' + PLATFORM,
    "an escaped NUL in a path": 'name: "a" base_path: "/a\\000b"' + PLATFORM,
    "an escaped NUL in a name": 'name: "a\\000" base_path: "/none"' + PLATFORM,
    "a name too long": f'name: "{"n" * 5000}" base_path: "/none"' + PLATFORM,
    "a path too long": f'name: "a" base_path: "/{"n" * 5000}"' + PLATFORM,
    "no name": 'base_path: "/none"' + PLATFORM,
    "no path": 'name: "a"' + PLATFORM,
    "no platform": 'name: "a" base_path: "/none"',
    "a path that is nowhere": 'name: "a" base_path: "/none"' + PLATFORM,
    "a path that is a file": 'name: "a" base_path: "/etc/hostname"' + PLATFORM,
    "no UTF-8": 'name: "\xff\xfe" base_path: "/none"' + PLATFORM,
    "a label to nowhere": 'name: "a" base_path: "/none" version_labels { key: "stable" value: 9 }' + PLATFORM,
    "a version without end": 'name: "a" base_path: "/none"'
    + " model_version_policy { specific { versions: 99999999999999999999 } }"
    + PLATFORM,
}
BAD_FILES: dict[str, bytes] = {
    "noise": bytes(range(256)) * 10,
    "only half of it": b'model_config_list { config { name: "a',
    "a megabyte of brackets": b"model_config_list {" * 50_000,
}


def bad_files(good: model_server_config_pb2.ModelServerConfig) -> dict[str, bytes]:
    entries = "\n".join(f"config {{ {entry} }}" for entry in good.model_config_list.config)
    files = {
        title: f"model_config_list {{ {entries} config {{ {entry} }} }}".encode("latin-1")
        for title, entry in BAD_ENTRIES.items()
    }
    return files | BAD_FILES


def config_of(site: Site) -> model_server_config_pb2.ModelServerConfig:
    """What the server under attack was started with."""
    flag = next(p for p in site.target.command if p.startswith("--model_config_file="))
    text = Path(flag.partition("=")[2]).read_text()
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


@KIND.attack("80 reloads of a model without a directory")
def _(site: Site) -> None:
    config = config_of(site)
    with tempfile.TemporaryDirectory() as directory:
        config.model_config_list.config.add(
            name="nowhere", base_path=f"{directory}/nowhere", model_platform="tensorflow"
        )
        data = model_management_pb2.ReloadConfigRequest(config=config).SerializeToString()
        stub = site.target.channel.unary_unary(RELOAD)
        calls = [stub.future(data, timeout=site.seconds + 5) for _ in range(site.many(80))]
        time.sleep(site.seconds)
        for call in calls:
            if call.done() and call.exception() is not None:
                site.answered(f"gRPC {call.code().name}")
            call.cancel()
    config = config_of(site)
    data = model_management_pb2.ReloadConfigRequest(config=config).SerializeToString()
    code = site.call(RELOAD, data)
    site.expect(code == "OK", f"the next good reload was answered {code}")


@KIND.attack("a storm of good reloads")
def _(site: Site) -> None:
    data = model_management_pb2.ReloadConfigRequest(config=config_of(site)).SerializeToString()
    for _ in site.until_over(0.02):
        site.call(RELOAD, data)


@KIND.attack("reloads of what is in no configuration")
def _(site: Site) -> None:
    good = config_of(site)
    for name, path in (
        ("a", "relative"),
        ("", "/none"),
        ("half_plus_two", "/none"),
        ("a\x00b", "/none"),
        ("a", "/no\x00ne"),
        ("n" * 5000, "/none"),
        ("a", "/" + "n" * 5000),
    ):
        config = model_server_config_pb2.ModelServerConfig()
        config.CopyFrom(good)
        config.model_config_list.config.add(name=name, base_path=path, model_platform="tensorflow")
        data = model_management_pb2.ReloadConfigRequest(config=config).SerializeToString()
        # A model that never comes is waited for, as TF-Serving does: the client gives up.
        code = site.call(RELOAD, data, timeout=3.0)
        site.answered(code)
    data = model_management_pb2.ReloadConfigRequest(config=good).SerializeToString()
    code = site.call(RELOAD, data)
    site.expect(code == "OK", f"the next good reload was answered {code}")


@KIND.attack("bad files, then a good one", own_server=True)
def _(site: Site) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "models.config"
        with site.own_server() as first:  # its flags say where the models are
            good = config_of(first)
        few, all_ = model_server_config_pb2.ModelServerConfig(), good
        few.model_config_list.config.extend(all_.model_config_list.config[:1])
        new = all_.model_config_list.config[1].name
        file.write_text(str(few))
        with site.own_server(f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=1") as own:
            for title, data in bad_files(few).items():
                replace(file, data)
                time.sleep(1.5)
                code = own.predict("half_plus_two", {"x": [1.0]}, timeout=10)
                site.expect(code == "OK", f"after a file with {title}: {code}")
                replace(file, str(all_).encode())
                if not appears(own, new, present=True):
                    site.violated(f"after a file with {title} the next good one is not taken")
                    return
                replace(file, str(few).encode())
                if not appears(own, new, present=False):
                    site.violated(f"after a file with {title} a model does not go")
                    return


def replace(file: Path, data: bytes) -> None:
    beside = file.with_suffix(".new")
    beside.write_bytes(data)
    beside.rename(file)


def appears(site: Site, model: str, present: bool, timeout: float = 20.0) -> bool:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        available = "AVAILABLE" in site.target.states(model).values()
        if available == present:
            return True
        time.sleep(0.1)
    return False


KINDS = (KIND,)
