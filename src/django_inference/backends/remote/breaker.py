"""When a server is left alone, and how much may be sent again."""

from __future__ import annotations

#: Resends that are allowed before calls have earned any, and the most that can be saved up.
RESERVE = 20.0


class Breaker:
    """The circuit to one server: open after failures in a row, then tried by one call at a time.

    Whoever uses it holds the pool's lock.

    Args:
        failures: in a row that open the circuit.
        seconds: for which it stays open, until one call may try.
    """

    def __init__(self, failures: int, seconds: float) -> None:
        self._most = failures
        self._seconds = seconds
        self._failures = 0
        self._opened_until = 0.0
        self._is_probing = False

    @property
    def is_open(self) -> bool:
        """Whether the server is left alone, or tried by one call only."""
        return self._failures >= self._most

    def lets_pass(self, now: float) -> bool:
        """Whether a call may be sent now (`time.monotonic()`)."""
        return not self.is_open or (now >= self._opened_until and not self._is_probing)

    def wait(self, now: float) -> float:
        """Seconds until one call may try."""
        return max(0.0, self._opened_until - now) if self.is_open else 0.0

    def takes(self) -> None:
        """A call is sent."""
        self._is_probing = self.is_open

    def released(self) -> None:
        """A call ended without an answer, for no fault of the server's."""
        self._is_probing = False

    def answered(self) -> None:
        """A call was answered."""
        self._failures = 0
        self._is_probing = False

    def failed(self, now: float) -> None:
        """A call was lost."""
        self._failures += 1
        self._is_probing = False
        if self.is_open:
            self._opened_until = now + self._seconds

    def invite(self) -> None:
        """Let the next call try: the server has answered a question about its health."""
        self._opened_until = 0.0


class Budget:
    """How many requests may be sent again: a share of the calls, and a reserve.

    Where every server is in trouble, resends would only add to it. Whoever uses it holds the
    pool's lock.

    Args:
        share: resends that each call earns.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved = RESERVE if share else 0.0

    def earn(self) -> None:
        """A call was made."""
        self._saved = min(RESERVE, self._saved + self._share)

    def take(self) -> bool:
        """Whether one request may be sent again; it is paid for."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
