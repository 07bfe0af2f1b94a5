"""Jobs whose files and output lie in object stores: the same bytes as on a disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from corpus.outputs import do, parts
from tf_mlm.corpus.engines import local
from tf_mlm.corpus.plan import Job, finish
from tf_mlm.corpus.storage import Output
from tf_mlm.errors import ConfigError

fsspec = pytest.importorskip("fsspec")
Plan = Callable[..., Job]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on a server that speaks S3."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    fsspec.filesystem("s3").mkdir(f"bucket{port}")  # the server's memory outlives it
    yield f"s3://bucket{port}"
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("s3"))
    fsspec.filesystem("memory").rm("/", recursive=True)
    return "memory://bucket"


@pytest.mark.parametrize("verb", ["score", "tokenize"])
def test_it_is_the_same_to_the_byte(plan: Plan, files: Path, tmp_path: Path, store: str, verb: str) -> None:
    system, inside = fsspec.core.url_to_fs(store)
    pattern = "*" if verb == "score" else "a.txt"
    for path in files.iterdir():
        system.pipe_file(f"{inside}/in/{path.name}", path.read_bytes())
    job = plan(f"{store}/in/{pattern}", verb=verb, output=f"{store}/out", unit_bytes=2000)
    assert [done.error for done in do(job)] == [None] * len(job.units)
    assert job.missing() == []
    finish(job)
    output = Output(f"{store}/out")
    assert {"plan.json", "_SUCCESS", job.part(0)} < output.names()
    do(plan(files / pattern, verb=verb, unit_bytes=2000, output=tmp_path / "disk"))
    on_disk = parts(tmp_path / "disk")
    if verb == "score":  # a row without an id of its own is called by where it lies
        here, there = str(files).encode(), system.unstrip_protocol(f"{inside}/in").encode()
        expected = {name: data.replace(here, there) for name, data in on_disk.items()}
        assert {name: output.read(name) for name in on_disk} == expected
    else:
        assert len(on_disk) == 2 * len(job.units)
        assert {name: len(output.read(name)) for name in on_disk} == {n: len(d) for n, d in on_disk.items()}
    with pytest.raises(ConfigError, match="`batch` was 8 and is now 9"):
        plan(f"{store}/in/{pattern}", verb=verb, output=f"{store}/out", unit_bytes=2000, batch=9)


def test_files_over_http(plan: Plan, tmp_path: Path) -> None:
    """A file that can only be read, by its address."""
    import functools
    import http.server
    import threading

    pytest.importorskip("aiohttp")
    (tmp_path / "a.txt").write_text("the cat sat\na dog ran\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        job = plan(f"http://127.0.0.1:{server.server_address[1]}/a.txt")
        assert sum(done.rows for done in do(job)) == 2
        server.shutdown()


def test_what_cannot_be_reached_is_one_line(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("memory").rm("/", recursive=True)
    with pytest.raises(ConfigError, match=r"memory://bucket/no/\*`, which matches nothing"):
        plan("memory://bucket/no/*")
    with pytest.raises(ConfigError, match="nonsense://a"):
        plan("nonsense://a/b")


def test_missing_credentials_are_one_line(plan: Plan, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(ConfigError, match=r"cannot be reached.*the credentials in the environment"):
        plan(f"{s3}/in/*")


@pytest.mark.slow
def test_workers_reach_it_too(plan: Plan, files: Path, s3: str) -> None:
    system, inside = fsspec.core.url_to_fs(s3)
    system.pipe_file(f"{inside}/a.txt", (files / "a.txt").read_bytes())
    job = plan(f"{s3}/a.txt", output=f"{s3}/out")
    found = list(local.run(job, range(len(job.units)), 1))
    assert sum(done.rows for done in found) == 40
    assert job.missing() == []
