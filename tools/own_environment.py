"""Starts a tool's module in the project's own environment, which it makes where TensorFlow is not to be had.

Standard library only: it runs in whatever Python calls the tool.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(module: str, extras: str = "test") -> None:
    """Calls the command line `main` of a module.

    Args:
        module: below the checkout, `tests` or `tools`.
        extras: what an environment made for it installs.
    """
    tool = Path(sys.argv[0])
    if importlib.util.find_spec("tensorflow") is None:
        subprocess.run([str(ROOT / "tools" / "environment"), extras], check=True)
        python = str(ROOT / ".venv" / "bin" / "python")
        os.execv(python, [python, str(tool), *sys.argv[1:]])
    sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tools")]
    importlib.import_module(module).main(prog_name=f"tools/{tool.name}")
