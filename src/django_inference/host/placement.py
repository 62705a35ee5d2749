"""Which cores, threads and devices a worker gets, so that replicas do not fight."""

from __future__ import annotations

import math
import os
from pathlib import Path

from django_inference.specs import Supervision

#: How libraries are told the number of their threads; what a user has set stays.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class Placement:
    """Where one replica runs.

    Args:
        rules: of the model.
        index: of the replica, from 0.

    Attributes:
        cores: the only ones that it may run on; empty where it shares all of them.
        environment: the variables that it gets beyond those of the host.

    Raises:
        OSError: the host does not see the device.
    """

    def __init__(self, rules: Supervision, index: int) -> None:
        cores = _cores()
        share = _usable(len(cores)) // rules.replicas
        place = index % rules.replicas
        self.cores: tuple[int, ...] = ()
        # Under a quota, containers see each other's cores: pinning would pile them up on
        # the first few.
        if rules.replicas > 1 and share and _usable(len(cores)) == len(cores):
            self.cores = tuple(cores[place * share : (place + 1) * share])
        threads = str(rules.threads or max(1, share))
        self.environment = {
            name: threads for name in THREADS if rules.threads or name not in os.environ
        }
        device = _device(rules, index)
        if device is not None:
            self.environment["CUDA_VISIBLE_DEVICES"] = device


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _usable(cores: int) -> int:
    """How many cores may be used.

    A container with `--cpus=2` on a large machine sees every core, and is throttled when
    it uses more than two.
    """
    try:
        allowed, period = _QUOTA.read_text().split()
        return min(cores, max(1, math.floor(int(allowed) / int(period))))
    except (OSError, ValueError):
        return cores


def _device(rules: Supervision, index: int) -> str | None:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = [name for name in named.split(",") if name] if named is not None else None
    if rules.devices:
        device = rules.devices[index % len(rules.devices)]
        kind, _, number = device.partition(":")
        if kind == "cpu":
            return ""
        if visible is None:
            return number or "0"
        if not visible:
            # Hidden on purpose: frameworks fall back to the processor.
            return ""
        # As the framework counts: cuda:0 is the first of the devices that the host sees.
        if int(number or 0) >= len(visible):
            raise OSError(
                f"there is no {device}: the host sees {len(visible)} (CUDA_VISIBLE_DEVICES)"
            )
        return visible[int(number or 0)]
    if visible and rules.replicas > 1:
        return visible[index % len(visible)]
    return None
