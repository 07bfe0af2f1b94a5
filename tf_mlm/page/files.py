"""The files of the page, and the headers that bind a browser to them.

They are plain: what lies in `static/` is what the browser gets, without a build step.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
from collections.abc import Mapping

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
INDEX = "/index.html"
# Only these files run, talk and look; nothing is embedded or embeds. With Trusted Types and no policy for
# them, the browser itself refuses to read any string as HTML or as a script.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
    ("Cache-Control", "no-store"),
)


@dataclasses.dataclass(frozen=True)
class File:
    """What a path gives."""

    body: bytes
    content_type: str


def files() -> Mapping[str, File]:
    """Path to file; `/` is the page itself.

    Example:
        >>> from tf_mlm.page.files import files
        >>> files()["/"].content_type
        'text/html; charset=utf-8'
    """
    found = {}
    for entry in importlib.resources.files("tf_mlm.page").joinpath("static").iterdir():
        kind = _TYPES.get(entry.name[entry.name.rfind(".") :])
        if kind:
            found[f"/{entry.name}"] = File(entry.read_bytes(), kind)
    return {"/": found[INDEX], **found}
