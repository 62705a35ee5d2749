"""Calls that look for their answers in a cache before they bother the model.

The key of an answer is the version that gives it and a digest of the input. An answer is kept
only where that version has surely given it, so none is ever found under another version.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from django_inference.backends.answers import Answers, keys_of
from django_inference.backends.cache_bytes import mistakes_in
from django_inference.backends.counting import Counts
from django_inference.backends.flights import AGAIN, Flights, Outcome, await_, wait
from django_inference.driving import Step, arun, run
from django_inference.exceptions import ModelNotReady, PredictionTimeout
from django_inference.packing import pack, unpack
from django_inference.specs import NORMAL

if TYPE_CHECKING:
    from django_inference.backends.base import BaseBackend, Serving


Steps: TypeAlias = Generator[Step, Any, Any]


class CachedCalls:
    """Stands before a backend's `call` and `acall`.

    Args:
        backend: that makes the calls.
        answers: that are kept.
        counts: of what that has saved.
    """

    def __init__(self, backend: BaseBackend, answers: Answers, counts: Counts) -> None:
        self.counts = counts
        self._backend = backend
        self._answers = answers
        self._flights = Flights()

    def call(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """Answer from the cache, or with what an equal call gets, or predict."""
        return run(self._steps(payload, deadline, priority))

    async def acall(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """As `call`, without holding the event loop."""
        return await arun(self._steps(payload, deadline, priority))

    def close(self) -> None:
        """Hang up."""
        self._answers.close()

    def _steps(self, payload: Any, deadline: float, priority: int) -> Steps:
        """One call, as the waits it consists of; `call` and `acall` differ in how they wait."""
        backend, flights = self._backend, self._flights

        def predicted(wanted: Any) -> Step:
            return Step(
                lambda: backend.call(wanted, deadline, priority),
                lambda: backend.acall(wanted, deadline, priority),
            )

        serving = yield Step(lambda: backend.serving(deadline), lambda: backend.aserving(deadline))
        keys = keys_of(serving.version, payload) if serving is not None else []
        if not keys:
            return (yield predicted(payload))
        name = "+".join(keys)
        while flight := flights.board(name):
            outcome = yield Step(partial(wait, flight, deadline), partial(await_, flight, deadline))
            if outcome is AGAIN and time.monotonic() < deadline:
                continue
            if outcome is None or outcome is AGAIN or outcome.alone:
                # Where it is too late, the backend says so in its own words.
                return (yield predicted(payload))
            self.counts.add(joined=len(keys))
            if outcome.error is not None:
                raise _own(outcome.error) from outcome.error
            return _assembled(payload, [unpack(packed) for packed in outcome.packed])
        try:
            return (yield from self._made(name, keys, serving, payload, predicted))
        finally:
            flights.land(name)

    def _made(
        self,
        name: str,
        keys: list[str],
        serving: Serving,
        payload: Any,
        predicted: Callable[[Any], Step],
    ) -> Steps:
        """Find the answers of that name or make them, and tell those who wait for them."""
        tell = self._flights.tell
        found: dict[int, tuple[bytes, Any]]
        found = yield self._of_cache(lambda: self._answers.find(keys))
        missing = [place for place in range(len(keys)) if place not in found]
        self.counts.add(hits=len(found), misses=len(missing))
        made: dict[int, Any] = {}
        if missing:
            wanted = [payload[place] for place in missing] if found else payload
            try:
                result = yield predicted(wanted)
            except (PredictionTimeout, ModelNotReady):
                # Who waits for it may have more time: one of them tries again.
                raise
            except Exception as error:
                tell(name, Outcome(error=error))
                raise
            results = result if isinstance(payload, list) else [result]
            made = dict(zip(missing, results, strict=True))
        packed = {place: data for place, value in made.items() if (data := _packed(value))}
        # Of the types that they will have when they are found.
        made |= {place: unpack(data) for place, data in packed.items()}
        if len(packed) == len(made):
            every = packed | {place: data for place, (data, _) in found.items()}
            tell(name, Outcome(tuple(every[place] for place in range(len(keys)))))
        else:
            tell(name, Outcome(alone=True))
        if packed and serving.still():
            new = {keys[place]: data for place, data in packed.items()}
            yield self._of_cache(lambda: self._answers.keep(new))
        values = made | {place: value for place, (_, value) in found.items()}
        return _assembled(payload, [values[place] for place in range(len(keys))])

    def _of_cache(self, ask: Callable[[], Any]) -> Step:
        async def arun() -> Any:
            return ask() if self._answers.at_once else await asyncio.to_thread(ask)

        return Step(ask, arun)


def before(backend: BaseBackend) -> CachedCalls:
    """What looks into the cache before a backend is called.

    Raises:
        InvalidPredictor: there is no such cache, or none that answers are kept in.
    """
    options = backend.options
    if mistakes := mistakes_in(backend.alias, options.cache):
        raise mistakes[0]
    answers = Answers(backend.alias, options.cache, options.cache_timeout, options.cache_max_bytes)
    return CachedCalls(backend, answers, Counts(backend.report_cache if backend.sums_up else None))


def _packed(value: Any) -> bytes:
    """The result of one item or batch as bytes; empty where it cannot travel."""
    try:
        return pack(value)
    except Exception:
        # A model in this process may answer with anything.
        return b""


def _assembled(payload: Any, values: list[Any]) -> Any:
    return values if isinstance(payload, list) else values[0]


def _own(error: Exception) -> Exception:
    """A copy: each of those who raise it adds to its traceback."""
    try:
        return copy.copy(error)
    except Exception:
        return error
