"""What the values of settings must be, in one form of words."""

from __future__ import annotations

import sys
from typing import Any

from tf_mlm.errors import ConfigError


def require(condition: bool, rule: str, **received: Any) -> None:
    """A `ConfigError` that states the rule and what was received, unless the condition holds."""
    if not condition:
        values = ", ".join(f"{name}={value!r}" for name, value in received.items())
        raise ConfigError(f"{rule} Received: {values}.")


def require_whole(name: str, value: Any, *, least: int) -> None:
    """The same, unless it is a whole number of at least so much."""
    require(
        isinstance(value, int) and not isinstance(value, bool) and value >= least,
        f"`{name}` must be a whole number of at least {least}.",
        **{name: value},
    )


def require_positive(name: str, value: Any) -> None:
    """The same, unless it is a number above zero that a float can hold."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    require(is_number, f"`{name}` must be a number.", **{name: value})
    require(0 < value <= sys.float_info.max, f"`{name}` must be positive and finite.", **{name: value})


def require_bool(name: str, value: Any) -> None:
    """The same, unless it is true or false."""
    require(isinstance(value, bool), f"`{name}` must be true or false.", **{name: value})
