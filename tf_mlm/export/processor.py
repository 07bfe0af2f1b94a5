"""What the processor of this machine can, as Linux tells: whether products of bfloat16 are fast."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")
"""Either of them multiplies bfloat16 as such; without, numbers are converted to float32 and back."""


def processor_flags(cpuinfo: str) -> frozenset[str]:
    """The flags of the first processor in the text of `/proc/cpuinfo`; none where it lists none.

    Example:
        >>> sorted(processor_flags("model name\\t: A\\nflags\\t\\t: fpu avx2\\n\\nflags\\t\\t: fpu"))
        ['avx2', 'fpu']
    """
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86 and ARM
            return frozenset(value.split())
    return frozenset()


def why_bfloat16_is_slow(cpuinfo: str | None = None) -> str | None:
    """A sentence for whoever runs products of bfloat16 here, or None where they are fast.

    Args:
        cpuinfo: the text of `/proc/cpuinfo`; read, unless given.
    """
    if cpuinfo is None:
        cpuinfo = CPUINFO.read_text(encoding="utf-8") if CPUINFO.is_file() else ""
    if processor_flags(cpuinfo).intersection(BFLOAT16_FLAGS):
        return None
    return (
        f"bfloat16 products are fast on a processor with {' or '.join(BFLOAT16_FLAGS)}. Received: one whose "
        f"flags in {CPUINFO} have neither: answers are right, and slower than in float32. Export without "
        "--dtype bfloat16 for it, or call the `_portable` signatures."
    )
