"""Versions of models: those under a base path, those of them that a policy wants, and their labels."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tf_mlm.serving.errors import Code, ServingError, invalid_argument
from tf_mlm.version_directory import numbered

_log = logging.getLogger(__name__)


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


class VersionLabels:
    """Names for versions, of each model its own.

    Args:
        may_wait: lets a new label name a version that is not loaded yet.

    Example:
        >>> from tf_mlm.serving.models.versions import VersionLabels
        >>> labels = VersionLabels()
        >>> labels.assign({"mlm": {"stable": 7}}, is_available=lambda name, version: True)
        >>> labels.version("mlm", "stable")
        7
    """

    def __init__(self, may_wait: bool = False) -> None:
        self._may_wait = may_wait
        self._labels: dict[str, dict[str, int]] = {}

    def assign(
        self, labels: Mapping[str, Mapping[str, int]], is_available: Callable[[str, int], bool]
    ) -> None:
        """Puts the labels of all models into force, in place of those before.

        Raises:
            ServingError: FAILED_PRECONDITION for a version that is not available; then nothing changes.
        """
        for name, versions in labels.items():
            for label, version in versions.items():
                moved = self._labels.get(name, {}).get(label, version) != version
                may_wait = self._may_wait and not moved
                if not may_wait and not is_available(name, version):
                    raise ServingError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {name}, "
                        "which is not currently available for inference",
                    )
        self._labels = {name: dict(versions) for name, versions in labels.items() if versions}

    def version(self, name: str, label: str) -> int:
        """The version of a model that a label names.

        Raises:
            ServingError: INVALID_ARGUMENT where the model has no such label.
        """
        try:
            return self._labels[name][label]
        except KeyError:
            raise invalid_argument(f"Unrecognized servable version label: {label}") from None


class BasePathError(OSError):
    """A base path that cannot be listed."""


def find_versions(name: str, base_path: Path) -> dict[int, Path]:
    """The versions under the base path of a servable, by number.

    Raises:
        BasePathError: when the base path cannot be listed.
    """
    try:
        children = numbered(base_path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BasePathError(
            f"Could not find base path {base_path} for servable {name} ({reason}); "
            "create it and put a version directory such as 1 into it"
        ) from error
    found: dict[int, Path] = {}
    for number, path in children:
        if number in found:
            _log.warning(
                "Servable %s: %s and %s both spell version %d; the latter is used",
                name,
                found[number].name,
                path.name,
                number,
            )
        found[number] = path
    if not found:
        _log.warning(
            "No versions of servable %s found under base path %s. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?",
            name,
            base_path,
        )
    return found
