"""Every option that the manual names exists."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import click
import pytest
from conformance.flags import FLAGS

from docs.blocks import PAGES, ROOT, name
from tf_mlm.cli import VERBS, group
from tf_mlm.serving.command_line.flags import FLAGS as SERVER

# Of pip, Docker, gcloud, XLA and other programs.
OF_OTHERS = {
    "xla_cpu_max_isa",
    "wait",
    "array",
    "flink_master",
    "region",
    "display-name",
    "container-image-uri",
    "container-ports",
    "container-predict-route",
    "container-health-route",
}
_OPTION = re.compile(r"(?<![\w-])--([a-z][\w-]+)")


@cache
def known() -> set[str]:
    """Options of the verbs, flags of both servers, and whatever the tools take."""
    found = {*FLAGS, *(flag.name for flag in SERVER), "help", "version", "debug"}
    for verb in VERBS:
        command = group.get_command(click.Context(group), verb)
        assert command is not None
        found |= {option.lstrip("-") for each in command.params for option in each.opts + each.secondary_opts}
    tools = [path for path in (ROOT / "tools").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    for tool in (*tools, *(ROOT / "tests" / "conformance").rglob("*command.py")):
        found |= set(_OPTION.findall(tool.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_options_exist(page: Path) -> None:
    named = set(_OPTION.findall(page.read_text(encoding="utf-8")))
    assert named - known() - OF_OTHERS == set()


def test_what_nobody_takes_is_found() -> None:
    assert "steps" in known()
    assert "faster" not in known()
