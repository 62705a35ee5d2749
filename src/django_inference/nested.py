"""Calls that a model makes while it is run: `predictors["b"].predict()` inside of a runtime.

The engine says which calls are being served. A call that is made meanwhile has no more time
than they have left, is as urgent as they are, and never goes to a model that waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar, Token
from typing import Any, NamedTuple, Protocol

from django_inference.exceptions import PredictionFailed


class Served(Protocol):
    """What the engine knows of a call."""

    deadline: float
    priority: int
    chain: tuple[str, ...]


class Outer(NamedTuple):
    """The calls that are being served.

    Attributes:
        chain: aliases of the predictors that wait for the answer, the first caller's first.
        deadline: `time.monotonic()` at which the first of the calls is given up.
        priority: of the most urgent one, an index of `specs.PRIORITIES`; None outside of a call.
    """

    chain: tuple[str, ...] = ()
    deadline: float = float("inf")
    priority: int | None = None


_NOTHING = Outer()
_outer: ContextVar[Outer] = ContextVar("django_inference.nested", default=_NOTHING)


class serving:  # noqa: N801 - as a context manager of the standard library
    """Around what a model's own code does for calls.

    A class, since each batch passes here: a generator takes several times as long.

    Args:
        alias: of the predictor.
        calls: that it serves; none while it is being loaded.
    """

    __slots__ = ("_outer", "_token")

    _token: Token[Outer]

    def __init__(self, alias: str, calls: Iterable[Served] = ()) -> None:
        chain: dict[str, None] = {}
        deadline = float("inf")
        priority: int | None = None
        for call in calls:
            if call.chain:
                chain.update(dict.fromkeys(call.chain))
            if call.deadline < deadline:
                deadline = call.deadline
            if priority is None or call.priority < priority:
                priority = call.priority
        self._outer = Outer((*chain, alias), deadline, priority)

    def __enter__(self) -> None:
        """Calls belong to it from here."""
        self._token = _outer.set(self._outer)

    def __exit__(self, *error: object) -> None:
        """What was served before is served again."""
        _outer.reset(self._token)


def outer() -> Outer:
    """What is being served in this context."""
    return _outer.get()


def bounded(alias: str, deadline: float) -> float:
    """The deadline of a call that begins now.

    Args:
        alias: of the predictor that is called.
        deadline: that the call has of itself.

    Raises:
        PredictionFailed: the predictor waits for what this call is a part of.
    """
    served = _outer.get()
    if alias in served.chain:
        way = " → ".join((*served.chain, alias))
        raise PredictionFailed(
            f"the model was called from inside of its own run ({way}): the call would wait for "
            "itself. Call another predictor there, or none.",
            alias=alias,
        )
    return min(deadline, served.deadline)


def urgency(priority: int, usual: Any) -> int:
    """The priority of a call that begins now: that of what is served, unless it says otherwise.

    Args:
        priority: that the call has of itself.
        usual: what it is where nothing was said.
    """
    inherited = _outer.get().priority
    return inherited if priority == usual and inherited is not None else priority
