"""Every kind of attack, in the order of the threat model."""

from __future__ import annotations

from collections.abc import Sequence

from conformance.attacks import (
    abandoned,
    bodies,
    configurations,
    declarations,
    heads,
    leaving,
    lengths,
    manners,
    names,
    shapes,
    slow_clients,
)
from conformance.attacks.attack import Kind

MODULES = (
    shapes,
    declarations,
    lengths,
    bodies,
    heads,
    slow_clients,
    abandoned,
    leaving,
    names,
    manners,
    configurations,
)
KINDS = tuple(kind for module in MODULES for kind in module.KINDS)


def chosen(only: Sequence[str] = (), match: str = "") -> list[Kind]:
    """The kinds whose title contains one of `only`, with the attacks whose title contains `match`."""
    kinds = []
    for kind in KINDS:
        if only and not any(part.lower() in kind.title.lower() for part in only):
            continue
        fewer = Kind(kind.title, kind.models, kind.batching)
        fewer.attacks = [attack for attack in kind.attacks if match.lower() in attack.title.lower()]
        if fewer.attacks:
            kinds.append(fewer)
    return kinds
