"""The processor's instructions for products of 8-bit integers.

x86 processors with AVX2 or AVX512 alone multiply unsigned by signed bytes in a way that cuts the
sum of two products off at 16 bits: where weights use all of their 8 bits, answers are wrong, and
nothing fails. VNNI, in either of its forms, sums up in 32 bits.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from functools import cache

#: Of which one suffices, as Linux names them.
VNNI = ("avx512_vnni", "avx_vnni")
#: Those that a message names, since they decide how fast integers are.
_SHOWN = (*VNNI, "amx_int8", "avx512f", "avx2", "avx", "sse4_1")


@cache
def instructions() -> frozenset[str] | None:
    """Return the sets of instructions of this processor; None for what is no x86 processor.

    Empty where the system does not say: then the model is run as if there were none.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686", "x86"):
        return None
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            found = re.search(r"^flags\s*:(.*)$", file.read(), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(found[1].split()) if found else frozenset()


def has_any(needed: Sequence[str]) -> bool:
    """Whether the processor has one of the sets of instructions, or is none of x86."""
    found = instructions()
    return found is None or not found.isdisjoint(needed)


def saturates() -> bool:
    """Whether products of unsigned and signed bytes are cut off here."""
    return not has_any(VNNI)


def shown() -> str:
    """What the processor has, for a message."""
    found = instructions() or frozenset()
    return next((each for each in _SHOWN if each in found), "none that its system names")
