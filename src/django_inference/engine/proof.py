"""What is known of whether requests may share a run of a model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django_inference.specs import EngineOptions

logger = logging.getLogger("django_inference.engine")

#: Units that are run one by one and together in one proof run.
SHARED_UNITS = 4
#: Proof runs that must agree before requests share runs.
AGREEMENTS = 3
#: Keys that are remembered; above it they are proven again.
MOST_KEYS = 10_000

_ADVICE = (
    "declare RUNTIME_OPTIONS['batch_axis'], or allow for it by OPTIONS['batch_tolerance'] if it "
    "is rounding"
)


class Proof:
    """Decides whether requests share runs, by what proof runs have shown.

    A proof run runs some requests one by one and then together. Each gets the answer of its
    own run. Once enough of them have agreed, requests share runs; the first for each new
    combination of shapes and parameters is a proof run, and so is now and then a later one.
    One that does not agree ends the sharing of runs for this version.

    Args:
        alias: of the predictor.
        options: of the engine.
        may_join: the model's declaration allows that requests share a run.
        on_change: called with `status` when that has changed.

    Attributes:
        reason: why requests do not share runs; empty where they may.
        agreed_at_load: examples have agreed at load.
    """

    def __init__(
        self,
        alias: str,
        options: EngineOptions,
        may_join: bool = True,
        on_change: Callable[[str], None] = lambda status: None,
    ) -> None:
        self.agreed_at_load = False
        self.reason = ""
        if not may_join:
            self.reason = "no batch axis"
        elif options.batching == "never":
            self.reason = "OPTIONS['batching'] is 'never'"
        self.tolerance = options.batch_tolerance
        self._always = options.batching == "always"
        self._alias = alias
        self._on_change = on_change
        self._agreements = 0
        self._keys: set[Any] = set()
        self._audit_every = round(1 / options.audit) if options.audit else 0
        self._until_audit = self._audit_every

    @property
    def status(self) -> str:
        """In words: see `ReplicaStatus.batching`."""
        if self.reason:
            return f"not batched: {self.reason}"
        if self._always:
            return "always"
        if self._agreements >= AGREEMENTS:
            return "proven"
        return "proven at load" if self.agreed_at_load else "unproven"

    def joins(self, key: Any) -> bool:
        """Whether units of a key may share a run, and the rows of one be cut."""
        if self.reason:
            return False
        return self._always or (self._agreements >= AGREEMENTS and key in self._keys)

    def audits(self) -> bool:
        """Whether the next shared run is to be a proof run, though its key is proven."""
        if not self._audit_every or self._always:
            return False
        self._until_audit -= 1
        if self._until_audit > 0:
            return False
        self._until_audit = self._audit_every
        return True

    def agreed(self, key: Any, *, are_different: bool) -> None:
        """Count a proof run that has agreed.

        Args:
            key: of its units.
            are_different: its units differ. Equal ones prove little: where nothing else is
                known of a model, they do not count.
        """
        if not (are_different or self.agreed_at_load):
            return
        if len(self._keys) >= MOST_KEYS:
            self._keys.clear()
        self._keys.add(key)
        before = self.status
        self._agreements += 1
        if self.status != before:
            self._on_change(self.status)

    def refuted(self, said: str) -> None:
        """End the sharing of runs for this version.

        Args:
            said: what differed, or could not be divided.
        """
        if self.reason:
            return
        self.reason = f"{said} when requests share a run; {_ADVICE}"
        logger.warning("not batched alias=%s: %s", self._alias, self.reason)
        self._on_change(self.status)
