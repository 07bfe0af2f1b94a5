"""TLS and client certificates, over both protocols, with both clients."""

from __future__ import annotations

import dataclasses
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance.certificates import Certificates, make_certificates

from tf_mlm.serving.client.client import Client
from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.client.tls import Tls
from tf_mlm.serving.errors import Code
from tf_mlm.serving.options import SslOptions


@dataclasses.dataclass
class Files:
    """One authority's files; its certificate is a server's and a client's."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def of_client(self) -> dict[str, Path]:
        return {
            "root_certificates": self.authority,
            "private_key": self.key,
            "certificate_chain": self.certificate,
        }


def written(certificates: Certificates, directory: Path) -> Files:
    files = Files(*(directory / name for name in ("authority.pem", "certificate.pem", "key.pem")))
    for field in dataclasses.fields(files):
        getattr(files, field.name).write_bytes(getattr(certificates, field.name))
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return written(make_certificates(), tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Of an authority that the server does not know."""
    return written(make_certificates(), tmp_path_factory.mktemp("theirs"))


class TlsRelay:
    """Speaks TLS in front of a port, as a proxy does: the server's REST has none of its own."""

    def __init__(self, port: int, files: Files) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(files.authority)
        context.verify_mode = ssl.CERT_REQUIRED
        self._context, self._behind = context, port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=[connection], daemon=True).start()

    def _relay(self, connection: socket.socket) -> None:
        """One request and its answer at a time, each in one piece; enough for what is asked here."""
        try:
            with (
                self._context.wrap_socket(connection, server_side=True) as outside,
                socket.create_connection(("127.0.0.1", self._behind)) as inside,
            ):
                pump = threading.Thread(target=_pump, args=[inside, outside], daemon=True)
                pump.start()
                _pump(outside, inside)
        except OSError:
            connection.close()

    def close(self) -> None:
        self._listening.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture(scope="module", params=["grpcs", "https"])
def target(request, serve, models: Path, files: Files, tmp_path_factory) -> Iterator[str]:
    """A server that asks its clients for a certificate."""
    base = tmp_path_factory.mktemp("tls") / "m"
    base.mkdir()
    (base / "1").symlink_to(models / "half_plus_two")
    tls = SslOptions(
        files.key.read_bytes(),
        files.certificate.read_bytes(),
        files.authority.read_bytes(),
        client_verify=True,
    )
    server = serve(model_name="m", model_base_path=str(base), ssl=tls).server
    if request.param == "grpcs":
        yield f"grpcs://localhost:{server.grpc_port}/m"
        return
    relay = TlsRelay(server.rest_port, files)
    yield f"https://localhost:{relay.port}/m"
    relay.close()


def test_client_and_server_know_each_other(target: str, files: Files, connect) -> None:
    with connect(target, **files.of_client) as client:
        assert client.predict({"x": [2.0]})["y"].tolist() == [3.0]
        assert client.status()[0]["state"] == "AVAILABLE"


@pytest.mark.parametrize(
    "who", ["no certificate", "another's", "an unknown server", "another name", "no TLS"]
)
def test_strangers_are_refused(target: str, files: Files, strangers: Files, who: str, connect) -> None:
    given = {
        "no certificate": {"root_certificates": files.authority},
        "another's": {**strangers.of_client, "root_certificates": files.authority},
        "an unknown server": {**files.of_client, "root_certificates": strangers.authority},
        "another name": files.of_client,
        "no TLS": {},
    }[who]
    if who == "another name":  # the certificate is that of localhost
        target = target.replace("localhost", "127.0.0.1")
    if who == "no TLS":
        target = target.replace("s://", "://")
    with connect(target, timeout=20, retries=0, **given) as client, pytest.raises(ClientError) as caught:
        client.status()
    assert caught.value.code in (Code.UNAVAILABLE, Code.UNKNOWN)
    assert "\n" not in str(caught.value)


def test_certificates_need_a_target_with_tls(files: Files) -> None:
    for scheme in ("grpc", "http"):
        with pytest.raises(ValueError, match="need a target with TLS, grpcs://"):
            Client(f"{scheme}://localhost:1/m", root_certificates=files.authority)


def test_a_key_and_its_certificate_belong_together(files: Files, strangers: Files) -> None:
    with pytest.raises(ValueError, match="belong together"):
        Tls(private_key=files.key)
    with pytest.raises(ValueError, match="a key that of its certificate"):
        Tls(private_key=files.key, certificate_chain=strangers.certificate)


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_files_must_be_there_and_pem(scheme: str, files: Files, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Client(f"{scheme}://localhost:1/m", root_certificates=tmp_path / "nowhere.pem")
    other = tmp_path / "other.pem"
    other.write_text("hello")
    with pytest.raises(ValueError, match=r"must be PEM.*other\.pem"):
        Client(f"{scheme}://localhost:1/m", root_certificates=other)
    with pytest.raises(ValueError, match=r"must be PEM.*other\.pem"):
        Client(f"{scheme}://localhost:1/m", private_key=other, certificate_chain=files.certificate)


def test_a_key_with_a_passphrase_is_refused(files: Files, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ValueError, match="must have no passphrase"):
        Tls(private_key=locked, certificate_chain=files.certificate)
