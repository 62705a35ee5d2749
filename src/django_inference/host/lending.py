"""Results that a caller reads where they lie, in the arena, instead of in a copy.

A copy of a long result takes as long as sending it does. So a long result is lent: the caller
gets arrays that look into the arena, and what is sent next goes behind them for as long as
one of them is still in use.
"""

from __future__ import annotations

import os
import weakref
from typing import Any

import numpy as np

from django_inference.host.arena import HEADER

#: Bytes of the shortest tensor that is lent: a shorter one is copied in the same time.
LENT_FROM = 1 << 18

Array = np.ndarray[Any, Any]


class Loans:
    """What one connection's arena has lent. One thread at a time."""

    def __init__(self) -> None:
        self._floor = self._end = HEADER
        self._lent: list[weakref.ref[Array]] = []
        self._forks = 0
        self._is_open = True

    def free_from(self) -> int:
        """Where the next message may begin. Its answer is lent if nothing else still is."""
        if self._lent:
            if self._forks != _forks:
                # A child of this process may look at the same memory, for as long as it likes.
                self._floor = self._end
                self._lent.clear()
            elif any(tensor() is not None for tensor in self._lent):
                self._is_open = False
                return self._end
            else:
                self._lent.clear()
        self._is_open = self._floor == HEADER
        return self._floor

    def give(self, tensor: Array) -> Array:
        """Return the tensor itself if it may be lent, or a copy.

        Args:
            tensor: a new array whose base is the arena's memory: numpy then keeps this very
                object alive for every array that is derived from it.
        """
        if not self._is_open or tensor.nbytes < LENT_FROM:
            return tensor.copy()
        self._forks = _forks
        self._lent.append(weakref.ref(tensor))
        return tensor

    def end(self, end: int) -> None:
        """Say where the message ends whose tensors `give` was asked for."""
        if self._is_open:
            self._end = end


_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_parent=_count_fork)
