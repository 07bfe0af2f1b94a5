"""How many files and sockets the process may hold."""

from __future__ import annotations

import logging
import sys

_log = logging.getLogger(__name__)


def raise_open_file_limit() -> int:
    """Lifts the soft limit of open files to the hard one, as any server may; the limit in force."""
    try:
        import resource
    except ImportError:  # Windows has none
        return sys.maxsize
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError) as error:
            _log.warning("The limit of open files stays at %d: %s", soft, error)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
