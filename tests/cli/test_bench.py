"""`tf-mlm bench` is a checkout's; elsewhere it says so."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from tf_mlm.cli import bench


def test_without_a_checkout_one_line_says_that_it_needs_one(tmp_path: Path) -> None:
    command = bench.find(tmp_path)
    with pytest.raises(click.ClickException, match=r"needs a checkout of tf_mlm's source, .* run it there\."):
        command.main(["head", "--peers"], standalone_mode=False)


def test_in_a_checkout_it_is_the_benchmarks_command() -> None:
    assert "cold-start" in bench.command.get_help(click.Context(bench.command))
