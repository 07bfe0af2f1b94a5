"""The file beside an export that says what it is; read without TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DESCRIPTION = Path("assets.extra", "tf_mlm.json")


def read_description(version_directory: Path) -> dict[str, Any]:
    """The `tf_mlm.json` of an export, or an empty object for any other SavedModel."""
    path = version_directory / DESCRIPTION
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
