"""The counts of one worker, in a page of memory that another process may read.

The supervisor reads the page of a worker that is busy, hung or dead without asking it.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left

from django_inference.specs import Statistics

#: Upper bounds of the histograms; one more bucket holds what is above the last.
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LATENCIES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Every slot is eight bytes: an unsigned integer or a double.
_REQUESTS, _FAILURES, _EXPIRED, _ROWS, _BATCHES = range(5)
_RUN_SECONDS, _RUN_STARTED = 5, 6
_REFUSED, _ABANDONED, _LAST_ANSWER, _STREAMS, _INVALID = 7, 8, 9, 10, 11
_SIZES = 16
_LATENCIES = _SIZES + len(BATCH_SIZES) + 1


class StatisticsPage:
    """Written by the one thread that runs the model, read by anyone.

    Args:
        buffer: at least `SIZE` writable bytes; memory of this process when left out.
    """

    SIZE = 4096

    def __init__(self, buffer: mmap.mmap | bytearray | None = None) -> None:
        view = memoryview(bytearray(self.SIZE) if buffer is None else buffer)
        self._counts = view.cast("Q")
        self._seconds = view.cast("d")

    def clear(self) -> None:
        """Start from zero: a worker that is started again counts anew."""
        for slot in range(_LATENCIES + len(LATENCIES) + 1):
            self._counts[slot] = 0

    def run_begins(self, now: float) -> None:
        """The runtime is called. `now` is `time.monotonic()`, which the machine shares."""
        self._seconds[_RUN_STARTED] = now

    def run_ends(self, rows: int, seconds: float) -> None:
        """The runtime has returned or raised."""
        self._seconds[_RUN_STARTED] = 0.0
        counts = self._counts
        counts[_BATCHES] += 1
        counts[_ROWS] += rows
        counts[_SIZES + bisect_left(BATCH_SIZES, rows)] += 1
        self._seconds[_RUN_SECONDS] += seconds

    def answered(self, now: float, latency: float, *, failed: bool, invalid: bool = False) -> None:
        """A request got its answer, `latency` seconds after it was sent.

        Args:
            now: `time.monotonic()`.
            latency: in seconds.
            failed: the answer is an error, and not the caller's mistake.
            invalid: the input was refused, which is the caller's mistake.
        """
        counts = self._counts
        self._seconds[_LAST_ANSWER] = now
        counts[_REQUESTS] += 1
        if failed:
            counts[_FAILURES] += 1
        if invalid:
            counts[_INVALID] += 1
        counts[_LATENCIES + bisect_left(LATENCIES, latency)] += 1

    def expired(self) -> None:
        """A request was dropped before it was run."""
        self._counts[_EXPIRED] += 1

    def refused(self) -> None:
        """A request was answered `Overloaded`."""
        self._counts[_REFUSED] += 1

    def abandoned(self) -> None:
        """A request was dropped since its caller had given up."""
        self._counts[_ABANDONED] += 1

    @property
    def streams(self) -> int:
        """How many streams are open now."""
        return self._counts[_STREAMS]

    @streams.setter
    def streams(self, count: int) -> None:
        self._counts[_STREAMS] = count

    @property
    def last_answer(self) -> float:
        """When the last request was answered (`time.monotonic()`), or 0.0."""
        return self._seconds[_LAST_ANSWER]

    @property
    def requests(self) -> int:
        """How many requests were answered."""
        return self._counts[_REQUESTS]

    @property
    def seconds_per_row(self) -> float:
        """What a row has cost so far, in time of the runtime."""
        return self._seconds[_RUN_SECONDS] / max(1, self._counts[_ROWS])

    @property
    def run_started(self) -> float:
        """When the run that is under way began (`time.monotonic()`), or 0.0."""
        return self._seconds[_RUN_STARTED]

    def read(self) -> Statistics:
        """What has been counted so far."""
        counts = self._counts
        return Statistics(
            requests=counts[_REQUESTS],
            failures=counts[_FAILURES],
            invalid=counts[_INVALID],
            expired=counts[_EXPIRED],
            refused=counts[_REFUSED],
            abandoned=counts[_ABANDONED],
            streams=counts[_STREAMS],
            rows=counts[_ROWS],
            batches=counts[_BATCHES],
            run_seconds=self._seconds[_RUN_SECONDS],
            batch_sizes=self._histogram(_SIZES, BATCH_SIZES),
            latencies=self._histogram(_LATENCIES, LATENCIES),
        )

    def _histogram(self, first: int, bounds: tuple[float, ...]) -> dict[str, int]:
        names = [*(f"{bound:g}" for bound in bounds), "inf"]
        return dict(zip(names, self._counts[first : first + len(names)].tolist(), strict=True))
