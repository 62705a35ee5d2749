"""Copies of calls for a version on trial: compared with the answer given, never answered."""

from __future__ import annotations

import contextlib
import copy
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from django_inference.engine.golden import is_close, shown
from django_inference.exceptions import InvalidInput
from django_inference.host.channel import Channel
from django_inference.host.protocol import Compared, ProtocolError, Trial
from django_inference.specs import PRIORITIES

#: Copies that wait at the most; more are dropped, since no caller may wait for a comparison.
MOST_WAITING = 16
#: Seconds that the version on trial gets for a copy.
PATIENCE = 30.0
#: Seconds between two reports to the supervisor.
REPORT_EVERY = 1.0
#: Characters of an example.
SHOWN = 200


class Shadow:
    """Compares in a thread of its own, which it starts at the first copy.

    Args:
        alias: of the predictor.
        tell: sends a report to the supervisor.
    """

    def __init__(self, alias: str, tell: Callable[[Compared], None]) -> None:
        self._alias = alias
        self._tell = tell
        self._pid = 0
        self._copies: queue.Queue[tuple[Trial, Any, Any]] = queue.Queue(MOST_WAITING)

    def offer(self, trial: Trial, payload: Any, result: Any) -> None:
        """Have a copy of a call compared, unless too many wait."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._copies = queue.Queue(MOST_WAITING)
            threading.Thread(target=self._main, name="inference-shadow", daemon=True).start()
        if self._copies.full():
            return
        # What cannot be copied, or finds no room after all, is not compared.
        with contextlib.suppress(Exception):
            # The caller may change both as soon as it has them.
            self._copies.put_nowait((trial, copy.deepcopy(payload), copy.deepcopy(result)))

    def _main(self) -> None:
        report: Compared | None = None
        told_at = time.monotonic()
        channel: Channel | None = None
        while True:
            try:
                trial, payload, result = self._copies.get(timeout=REPORT_EVERY)
            except queue.Empty:
                pass
            else:
                if report is not None and report.version != trial.version:
                    self._tell(report)
                    report = None
                if channel is None or channel.path not in trial.sockets:
                    channel = self._dial(channel, trial)
                difference = self._difference(channel, trial, payload, result)
                report = _added(report, self._alias, trial, difference)
                if difference.startswith("no answer") and channel is not None:
                    channel.close()
                    channel = None
            if report is not None and time.monotonic() - told_at >= REPORT_EVERY:
                self._tell(report)
                report, told_at = None, time.monotonic()

    def _dial(self, former: Channel | None, trial: Trial) -> Channel | None:
        if former is not None:
            former.close()
        try:
            return Channel(trial.sockets[0], PATIENCE)
        except OSError:
            return None

    def _difference(self, channel: Channel | None, trial: Trial, payload: Any, result: Any) -> str:
        """Say how the version on trial answers otherwise; empty when it does not."""
        if channel is None:
            return "no answer"
        deadline = time.monotonic() + PATIENCE
        low = PRIORITIES.index("low")
        try:
            frame = channel.encode(payload, deadline, priority=low, alone=False)
            reply = channel.exchange(frame, deadline)
        except (OSError, ProtocolError, InvalidInput, TypeError, ValueError) as error:
            return f"no answer: {error}"
        if reply.failure is not None:
            return f"{reply.failure.kind}: {reply.failure.message}"[:SHOWN]
        if is_close(reply.payload, result, trial.tolerance):
            return ""
        return f"{shown(reply.payload, SHOWN)} instead of {shown(result, SHOWN)}"


def _added(report: Compared | None, alias: str, trial: Trial, difference: str) -> Compared:
    equal, different, example = (
        (report.equal, report.different, report.example) if report else (0, 0, "")
    )
    if difference:
        different, example = different + 1, difference
    else:
        equal += 1
    return Compared(alias, trial.version, equal, different, example)
