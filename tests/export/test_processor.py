"""Which processors multiply bfloat16 fast, by what Linux says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tf_mlm.export import processor
from tf_mlm.export.processor import processor_flags, why_bfloat16_is_slow

CPUINFO = """processor\t: 0
model name\t: A Processor
flags\t\t: fpu sse4_2 avx2 avx512f avx512_vnni{more}
bugs\t\t: spectre_v1

processor\t: 1
flags\t\t: fpu avx2
"""


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
def test_either_flag_makes_it_fast(flag: str) -> None:
    assert flag in processor_flags(CPUINFO.format(more=f" {flag}"))
    assert why_bfloat16_is_slow(CPUINFO.format(more=f" {flag}")) is None


@pytest.mark.parametrize(
    "cpuinfo",
    [CPUINFO.format(more=""), CPUINFO.format(more=" my_avx512_bf16x"), "", "Features\t: asimd bf16\n"],
    ids=["without", "another", "nothing", "ARM"],
)
def test_elsewhere_it_is_said_what_is_missing(cpuinfo: str) -> None:
    message = why_bfloat16_is_slow(cpuinfo)
    assert message is not None
    for part in ("avx512_bf16 or amx_bf16", "slower than in float32", "_portable"):
        assert part in message


def test_a_machine_without_the_file_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    assert why_bfloat16_is_slow() is not None
