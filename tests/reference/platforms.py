"""What TensorFlow's builds hold, by platform: asked of the platform, so that a build that lost it fails."""

from __future__ import annotations

import platform
import sys

import pytest

HAS_ONEDNN = sys.platform == "linux" and platform.machine() == "x86_64"
needs_onednn = pytest.mark.skipif(
    not HAS_ONEDNN, reason="only TensorFlow's builds for x86 on Linux hold oneDNN's operations"
)
