"""Shell completion, as the manual sets it up."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from docs.blocks import ROOT


def complete(instruction: str, **variables: str) -> str:
    environment = {**os.environ, "_TF_MLM_COMPLETE": instruction, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-c", "from tf_mlm.cli import main; main([])"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_program(shell: str) -> None:
    program = complete(f"{shell}_source")
    assert "_tf_mlm_completion" in program
    assert f"_TF_MLM_COMPLETE={shell}_complete" in program


def test_verbs_and_options_are_completed() -> None:
    assert "plain,serve" in complete("bash_complete", COMP_WORDS="tf-mlm ser", COMP_CWORD="1")
    assert "plain,--rest-port" in complete("bash_complete", COMP_WORDS="tf-mlm serve --rest", COMP_CWORD="2")
