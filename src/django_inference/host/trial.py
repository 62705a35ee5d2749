"""A new version that is tried beside the one that serves."""

from __future__ import annotations

from django_inference.host.protocol import Trial
from django_inference.host.version import Version
from django_inference.specs import TrialStatus


class TrialRun:
    """Counts what copies of calls have shown of a version.

    Args:
        version: that is ready, and waits for somebody to promote it or to roll it back.
    """

    def __init__(self, version: Version) -> None:
        self.version = version
        self._equal = self._different = 0
        self._example = ""

    def compared(self, version: str, equal: int, different: int, example: str) -> None:
        """Add what a client has compared; reports of a former trial are left out."""
        if self.version.id == version:
            self._equal += equal
            self._different += different
            self._example = example or self._example

    def update(self) -> Trial | None:
        """Where it stands, for a client that wants to call; None while no worker is ready."""
        ready = self.version.ready
        if not ready:
            return None
        rules = self.version.spec.supervision
        sockets = tuple(str(worker.socket_path) for worker in ready)
        return Trial(self.version.id, sockets, rules.canary, rules.shadow, rules.tolerance)

    def status(self) -> TrialStatus:
        """Where it stands, for a person."""
        return TrialStatus(
            version=self.version.id,
            replicas=tuple(replica.status() for replica in self.version.replicas),
            canary=self.version.spec.supervision.canary,
            shadow=self.version.spec.supervision.shadow,
            equal=self._equal,
            different=self._different,
            example=self._example,
        )
