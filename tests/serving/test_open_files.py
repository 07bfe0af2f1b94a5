"""The limit of open files."""

from __future__ import annotations

import resource

from tf_mlm.serving.open_files import raise_open_file_limit


def test_the_soft_limit_becomes_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lower = 512 if hard == resource.RLIM_INFINITY else hard - 1
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
        allowed = raise_open_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert allowed > lower
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
