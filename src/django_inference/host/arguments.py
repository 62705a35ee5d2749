"""The settings of the host as the arguments of its program."""

from __future__ import annotations

from django_inference.specs import HostSettings


def arguments(host: HostSettings) -> list[str]:
    """Return what `python -m django_inference.host` is given, whoever starts it."""
    given = [
        *("--runtime-dir", host.runtime_dir),
        *("--graceful-timeout", str(host.graceful_timeout)),
    ]
    if host.memory_budget is not None:
        given += ["--memory-budget", str(host.memory_budget)]
    if host.artifact_dir:
        given += ["--artifact-dir", host.artifact_dir]
    if host.artifact_limit is not None:
        given += ["--artifact-limit", str(host.artifact_limit)]
    return given
