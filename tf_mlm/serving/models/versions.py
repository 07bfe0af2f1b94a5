"""Which numbered directories under a base path are versions, and which of them a policy wants."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)
_NUMBER = re.compile(r"[+-]?\d+", re.ASCII)
_INT64 = range(-(2**63), 2**63)


@dataclasses.dataclass(frozen=True)
class VersionPolicy:
    """The versions to serve of those on disk.

    Attributes:
        kind: `latest` (the `count` largest), `all`, or `specific` (those in `versions`).

    Example:
        >>> from pathlib import Path
        >>> from tf_mlm.serving.models.versions import VersionPolicy
        >>> sorted(VersionPolicy("latest", count=2).select("m", {n: Path(str(n)) for n in (1, 5, 9)}))
        [5, 9]
    """

    kind: str = "latest"
    count: int = 1
    versions: tuple[int, ...] = ()

    @classmethod
    def from_proto(cls, proto: Any) -> VersionPolicy:
        choice = proto.WhichOneof("policy_choice")
        if choice == "all":
            return cls("all")
        if choice == "specific":
            return cls("specific", versions=tuple(proto.specific.versions))
        return cls("latest", count=max(1, proto.latest.num_versions))

    def select(self, name: str, found: Mapping[int, Path]) -> dict[int, Path]:
        if self.kind == "all":
            return dict(found)
        if self.kind == "latest":
            return {version: found[version] for version in sorted(found)[-self.count :]}
        if not self.versions:
            _log.warning("Servable %s: the specific version policy lists no version; none is served", name)
        for version in self.versions:
            if version not in found:
                _log.warning(
                    "Version %d of servable %s, requested by its policy, was not found", version, name
                )
        return {version: found[version] for version in self.versions if version in found}


class BasePathError(OSError):
    """A base path that cannot be listed."""


def find_versions(name: str, base_path: Path) -> dict[int, Path]:
    """Every child of the base path whose name is a whole number, by that number.

    Leading zeros are allowed; of several spellings of one number the lexicographically last wins.

    Raises:
        BasePathError: when the base path cannot be listed.
    """
    try:
        children = sorted(child.name for child in base_path.iterdir())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BasePathError(
            f"Could not find base path {base_path} for servable {name} ({reason}); "
            "create it and put a version directory such as 1 into it"
        ) from error
    found: dict[int, Path] = {}
    for child in children:
        if not _NUMBER.fullmatch(child.strip()) or int(child) not in _INT64:
            continue
        if int(child) in found:
            _log.warning(
                "Servable %s: %s and %s both spell version %d; the latter is used",
                name,
                found[int(child)].name,
                child,
                int(child),
            )
        found[int(child)] = base_path / child
    if not found:
        _log.warning(
            "No versions of servable %s found under base path %s. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?",
            name,
            base_path,
        )
    return found
