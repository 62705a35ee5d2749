"""When a load is tried again, and what makes a version another one."""

from __future__ import annotations

import hashlib

from django_inference.artifacts import Artifact
from django_inference.specs import ModelSpec


class Backoff:
    """Exponential back-off: 1, 2, 4, … seconds, up to a minute.

    Args:
        first: seconds before the first new attempt.
        longest: seconds that no wait exceeds.
    """

    def __init__(self, first: float = 1.0, longest: float = 60.0) -> None:
        self._first = first
        self._longest = longest
        self._failures = 0

    def failed(self) -> float:
        """Count a failure; return the seconds to wait before the next attempt."""
        # The exponent is bounded because 2.0 ** 1024 overflows after a long night.
        wait = self._first * 2.0 ** min(self._failures, 30)
        self._failures += 1
        return min(wait, self._longest)

    def succeeded(self) -> None:
        """Forget the failures."""
        self._failures = 0


def version_of(spec: ModelSpec, content: str = "") -> str:
    """The version that a load would give now: 12 hexadecimal digits.

    It changes with the runtime, its options, the files of the artifact and the source of a
    runtime of the user's own. A missing artifact has a version too, so that its arrival is
    seen as a change.

    Args:
        spec: of the model.
        content: digest of an artifact that was fetched: its files are the same on every
            machine, but not the times at which they came.
    """
    seen = [spec.digest(), content]
    source = spec.environment.source if spec.environment is not None else ""
    for path in ("" if content else spec.artifact, source):
        if path:
            try:
                seen.append(Artifact(path).fingerprint())
            except OSError:
                seen.append("missing")
    return hashlib.sha256(" ".join(seen).encode()).hexdigest()[:12]
