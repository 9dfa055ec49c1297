"""In what a model runs: in eight bits where it has that variant and the processor suits it, in float16 if asked to."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import cache
from pathlib import Path

from service.engine.runtime import Provider
from service.errors import ProviderUnavailable
from service.vocabulary import Precision, PrecisionChoice

CPU_INFO = Path("/proc/cpuinfo")
VNNI = frozenset({"avx512_vnni", "avx_vnni"})
"""Instructions that add products of bytes up in 32 bits. Without them sums may overflow, and floats are as quick."""

_log = logging.getLogger(__name__)


@cache
def has_vnni(cpu_info: Path = CPU_INFO) -> bool:
    """Whether this machine's processor has VNNI, by Linux's word; False where it says nothing."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return not VNNI.isdisjoint(flags)


def choose_precision(
    wanted: PrecisionChoice, variants: Collection[Precision], provider: Provider, vnni: bool
) -> Precision:
    """In what a model runs that has these `variants`; where one is asked for by name, it is that or an error.

    `auto` never takes float16: what it is worth has not been measured on a GPU yet.

    Raises:
        ProviderUnavailable: eight bits are asked for on a GPU, or float16 on a CPU.
    """
    if wanted == "float16":
        if provider == "cpu":
            raise ProviderUnavailable("LAMEGAN_PRECISION=float16 is for a GPU, and the device chosen is the CPU.")
        return "float16"
    if wanted == "int8":
        if provider != "cpu":
            raise ProviderUnavailable("LAMEGAN_PRECISION=int8 is for the CPU, and the device chosen is a GPU.")
        if not vnni:
            _log.warning("LAMEGAN_PRECISION=int8, but this processor has no VNNI: results may be wrong, and slower.")
        return "int8"
    return "int8" if wanted == "auto" and "int8" in variants and provider == "cpu" and vnni else "float32"
