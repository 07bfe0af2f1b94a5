"""`grpc://host:port/name` and `http://host:port/name`: where a model is asked, and which version of it."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse

_PATH = re.compile(r"/(?P<name>[^/]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/]+))?/?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Target:
    """A parsed target. `version` and `label` are optional, as in `.../name/versions/3`.

    Raises:
        ValueError: for anything that is not such an address.

    Example:
        >>> from tf_mlm.serving.client.target import Target
        >>> Target.parse("grpc://localhost:8500/mlm/versions/3").version
        3
    """

    scheme: str
    address: str
    name: str
    version: int | None = None
    label: str | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        try:
            parts = urllib.parse.urlsplit(text)
            has_port = parts.port is not None
        except ValueError:
            parts, has_port = urllib.parse.urlsplit(""), False
        path = _PATH.fullmatch(parts.path)
        if parts.scheme not in ("grpc", "grpcs", "http", "https") or not has_port or not path or parts.query:
            raise ValueError(
                "A target must look like grpc://host:8500/name or http://host:8501/name (grpcs or https with "
                f"TLS), and /versions/NUMBER or /labels/LABEL may follow the name. Received: {text!r}."
            )
        version = path["version"]
        return cls(
            parts.scheme,
            parts.netloc,
            urllib.parse.unquote(path["name"]),
            int(version) if version else None,
            urllib.parse.unquote(path["label"]) if path["label"] else None,
        )

    @property
    def has_tls(self) -> bool:
        return self.scheme in ("grpcs", "https")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address}/{self.name}"
