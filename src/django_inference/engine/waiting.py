"""What waits for the model, and which of it shares the next call of the runtime."""

from __future__ import annotations

from collections import deque
from typing import Any

from django_inference.engine.batching import Unit
from django_inference.specs import PRIORITIES


class Waiting:
    """Units by priority, and by what they can be joined with.

    Within a priority the kinds that cannot be joined take turns, so that none waits for
    the end of another; within a kind the order of arrival is kept.

    Args:
        max_rows: of one batch. A longer unit is a batch of its own.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._lanes: list[dict[Any, deque[Unit]]] = [{} for _ in PRIORITIES]
        self._units = 0

    def __len__(self) -> int:
        """How many units wait."""
        return self._units

    @property
    def has_lone(self) -> bool:
        """Whether a unit waits that shares its batch with no other."""
        return any(isinstance(key, Unit) for lane in self._lanes for key in lane)

    def add(self, unit: Unit) -> None:
        """Let a unit wait."""
        lane = self._lanes[unit.request.priority]
        key = unit if unit.alone else unit.key
        if key in lane:
            lane[key].append(unit)
        else:
            lane[key] = deque((unit,))
        self._units += 1

    def next_batch(self) -> list[Unit]:
        """Take what the next call of the runtime shall run; empty when nothing waits."""
        for urgency, lane in enumerate(self._lanes):
            if lane:
                key = next(iter(lane))
                batch: list[Unit] = []
                room = self._max_rows
                # What is less urgent and fits costs nothing where there is room left.
                for other in self._lanes[urgency:]:
                    room = self._fill(batch, other, key, room)
                self._units -= len(batch)
                return batch
        return []

    def _fill(self, batch: list[Unit], lane: dict[Any, deque[Unit]], key: Any, room: int) -> int:
        units = lane.get(key)
        if units is None:
            return room
        while units and (units[0].rows <= room or not batch):
            unit = units.popleft()
            batch.append(unit)
            room -= unit.rows
        # To the end of the line, or out of it.
        del lane[key]
        if units:
            lane[key] = units
        return room
