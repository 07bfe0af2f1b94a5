"""The certificates of a client: whom it trusts, and who it is."""

from __future__ import annotations

import dataclasses
import os
import ssl
from pathlib import Path

PemFile = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Tls:
    """Files in PEM format; without any, whom the machine trusts is trusted.

    Args:
        root_certificates: the authorities that may have signed the server's certificate.
        private_key: of the client, without a passphrase.
        certificate_chain: the client's certificate, and those between it and an authority of the server's.

    Raises:
        ValueError: for a key without a certificate or the other way round, or what is no PEM.
        OSError: for a file that cannot be read.
    """

    root_certificates: PemFile | None = None
    private_key: PemFile | None = None
    certificate_chain: PemFile | None = None

    def __post_init__(self) -> None:
        if (self.private_key is None) != (self.certificate_chain is None):
            raise ValueError(
                "`private_key` and `certificate_chain` belong together. "
                f"Received: {self.private_key} and {self.certificate_chain}."
            )
        if self:
            self.context()

    def __bool__(self) -> bool:
        return any(file is not None for file in dataclasses.astuple(self))

    def context(self) -> ssl.SSLContext:
        """What `ssl` needs of it."""
        try:
            context = ssl.create_default_context(cafile=self.root_certificates)
            if self.private_key is not None and self.certificate_chain is not None:
                context.load_cert_chain(self.certificate_chain, self.private_key, password=_no_passphrase)
        except ssl.SSLError as error:
            raise ValueError(
                f"Certificates and keys must be PEM, and a key that of its certificate ({error}). Received: "
                f"{', '.join(str(file) for file in dataclasses.astuple(self) if file is not None)}."
            ) from error
        return context

    def contents(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """What gRPC needs of it."""
        files = (self.root_certificates, self.private_key, self.certificate_chain)
        roots, key, chain = (None if file is None else Path(file).read_bytes() for file in files)
        return roots, key, chain


def _no_passphrase() -> str:
    """OpenSSL would ask for one at the terminal."""
    raise ValueError("`private_key` must have no passphrase.")
