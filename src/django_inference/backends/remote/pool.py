"""Several servers of one model: which one is asked, and what happens when it fails."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import stamina

from django_inference.backends.remote.addresses import parse_endpoint
from django_inference.backends.remote.breaker import Budget
from django_inference.backends.remote.credentials import Credentials
from django_inference.backends.remote.endpoints import Endpoint
from django_inference.backends.remote.failures import Failure
from django_inference.backends.remote.health import HealthWatch
from django_inference.backends.remote.options import RemoteOptions
from django_inference.backends.remote.questions import Question
from django_inference.driving import arun, run
from django_inference.exceptions import InferenceError, PredictionTimeout, RemoteError
from django_inference.specs import EndpointStatus

#: Rounds over all servers that one call makes at the most.
ROUNDS = 8
#: Seconds between the first two rounds, and between any two at the most.
FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0


class Send(NamedTuple):
    """Ask one server; a thread and a task wait in different ways."""

    endpoint: Endpoint
    question: Question
    deadline: float
    over: float

    def run(self) -> Any:
        """Wait in this thread."""
        return self.endpoint.send(self.question, self.deadline, self.over)

    async def arun(self) -> Any:
        """Wait in this task."""
        return await self.endpoint.asend(self.question, self.deadline, self.over)


Steps: TypeAlias = Generator[Any, Any, Any]


class Pool:
    """The servers of one model. Threads share it; each process dials for itself.

    Args:
        alias: of the predictor, for errors and logs.
        options: of the backend.
        health: makes the question that a healthy server answers with True.
        on_change: told whenever a server was lost or is back: it may hold another version.
    """

    def __init__(
        self,
        alias: str,
        options: RemoteOptions,
        health: Callable[[], Question],
        on_change: Callable[[], None],
    ) -> None:
        self.alias = alias
        self._options = options
        self._health = health
        self._on_change = on_change
        self._open()

    def ask(self, steps: Callable[[], Steps], deadline: float) -> Any:
        """Take steps that ask servers, and take them again after a while where that may help.

        Raises:
            InferenceError: nobody answered; as `django_inference.exceptions` lists them.
        """
        first: Failure | None
        try:
            return run(steps())
        except Failure as failure:
            if not failure.again:
                raise self._told(failure) from failure.__cause__
            first = failure
        try:
            for attempt in self._attempts(deadline):
                with attempt:
                    if first is not None:
                        again, first = first, None
                        raise again
                    return run(steps())
        except Failure as failure:
            raise self._told(failure) from failure.__cause__
        raise AssertionError  # the last attempt has raised

    async def aask(self, steps: Callable[[], Steps], deadline: float) -> Any:
        """As `ask`, without holding the event loop."""
        first: Failure | None
        try:
            return await arun(steps())
        except Failure as failure:
            if not failure.again:
                raise self._told(failure) from failure.__cause__
            first = failure
        try:
            async for attempt in self._attempts(deadline):
                with attempt:
                    if first is not None:
                        again, first = first, None
                        raise again
                    return await arun(steps())
        except Failure as failure:
            raise self._told(failure) from failure.__cause__
        raise AssertionError  # the last attempt has raised

    def asked(self, question: Question, deadline: float) -> Steps:
        """Ask one server after another, each once, until one answers.

        Raises:
            Failure: of the last one that was asked.
        """
        if time.monotonic() >= deadline:
            raise Failure(PredictionTimeout("the deadline passed before it could be sent."))
        tried: list[Endpoint] = []
        failure: Failure | None = None
        while True:
            with self._chosen(tried) as endpoint:
                if endpoint is None:
                    raise failure or self._all_open()
                tried.append(endpoint)
                try:
                    answer = yield self._sent(endpoint, question, deadline, len(tried))
                except Failure as error:
                    failure = error
                    self._failed(endpoint, error)
                else:
                    self._answered(endpoint)
                    return answer
            if not failure.elsewhere or time.monotonic() >= deadline:
                raise failure
            # Who gave no answer at all carries no load that a resend could add to.
            if not failure.is_lost and not self._may_resend():
                raise failure

    def every(self, question: Question, deadline: float) -> list[tuple[Endpoint, Any]]:
        """Ask each server; what it said, or the error.

        For orders such as `reload`: nothing is sent twice, and no circuit is looked at.
        """
        found: list[tuple[Endpoint, Any]] = []
        for endpoint in self.endpoints():
            try:
                found.append((endpoint, endpoint.send(question, deadline, deadline)))
            except Failure as failure:
                found.append((endpoint, self._told(failure)))
        return found

    def look(self, deadline: float) -> None:
        """Ask each server after its health now."""
        self._watch.look(deadline)

    def endpoints(self) -> list[Endpoint]:
        """The servers, as this process knows them."""
        self._guard()
        return self._endpoints

    def status(self) -> tuple[EndpointStatus, ...]:
        """How each server fares."""
        with self._guard():
            return tuple(endpoint.status() for endpoint in self._endpoints)

    def close(self) -> None:
        """Hang up. It may be used again."""
        if self._pid != os.getpid():
            return
        self._watch.close()
        for endpoint in self._endpoints:
            endpoint.close()
        self._open()

    def healthy(self, endpoint: Endpoint, said: bool) -> None:
        """Take note of what a server says of itself."""
        with self._guard():
            is_back = said and (endpoint.is_healthy is False or endpoint.breaker.is_open)
            endpoint.is_healthy = said
            if said:
                endpoint.breaker.invite()
        if is_back:
            self._on_change()

    # What is guarded by the lock.

    @contextmanager
    def _chosen(self, tried: list[Endpoint]) -> Iterator[Endpoint | None]:
        """Take the one with the least to do of those that have not been tried."""
        now = time.monotonic()
        with self._guard():
            if not tried:
                self._budget.earn()
            free = [each for each in self._endpoints if each not in tried]
            free = [each for each in free if each.breaker.lets_pass(now)]
            # Where none is known to be well, one that is not is better than none.
            free = [each for each in free if each.is_healthy is not False] or free
            chosen: Endpoint | None = None
            if free:
                least = min(each.outstanding for each in free)
                chosen = random.choice([each for each in free if each.outstanding == least])
                chosen.outstanding += 1
                chosen.requests += 1
                chosen.breaker.takes()
        if chosen is None:
            yield None
            return
        self._watch.keep_looking()
        try:
            yield chosen
        except BaseException:
            # Cancelled, or a mistake of ours: neither says anything of the server.
            with self._guard():
                chosen.breaker.released()
            raise
        finally:
            with self._guard():
                chosen.outstanding -= 1

    def _answered(self, endpoint: Endpoint) -> None:
        with self._guard():
            endpoint.breaker.answered()

    def _failed(self, endpoint: Endpoint, failure: Failure) -> None:
        with self._guard():
            endpoint.failed(failure.error)
            if failure.is_lost:
                endpoint.failures += 1
                endpoint.facts = {}
                endpoint.breaker.failed(time.monotonic())
            elif isinstance(failure.error, PredictionTimeout):
                # Whose deadline was too short cannot be said.
                endpoint.breaker.released()
            else:
                endpoint.breaker.answered()
        if failure.is_lost:
            self._on_change()

    def _may_resend(self) -> bool:
        with self._guard():
            return self._budget.take()

    def _guard(self) -> threading.Lock:
        if self._pid != os.getpid():
            # What the parent goes on with is not even closed here: to close is to speak.
            self._of_parent = (self._endpoints, self._watch)
            self._open()
        return self._lock

    def _open(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._budget = Budget(self._options.retry_budget)
        credentials = Credentials(self._options)
        self._endpoints = [
            Endpoint(parse_endpoint(url), self._options, credentials)
            for url in dict.fromkeys(self._options.endpoints)
        ]
        self._watch = HealthWatch(self, self._health, self._options.health_interval)

    # How a call goes on.

    def _sent(self, endpoint: Endpoint, question: Question, deadline: float, turn: int) -> Send:
        until = deadline
        most = self._options.attempt_timeout
        if most is not None and turn < len(self._endpoints):
            until = min(deadline, time.monotonic() + most)
        return Send(endpoint, question, until, deadline)

    def _attempts(self, deadline: float) -> Any:
        def is_worth_it(error: Exception) -> bool:
            left = deadline - time.monotonic() - FIRST_WAIT
            return isinstance(error, Failure) and error.again and left > 0 and self._may_resend()

        return stamina.retry_context(
            on=is_worth_it,
            attempts=ROUNDS,
            timeout=max(0.0, deadline - time.monotonic()),
            wait_initial=FIRST_WAIT,
            wait_max=LONGEST_WAIT,
            wait_jitter=FIRST_WAIT,
        )

    def _all_open(self) -> Failure:
        now = time.monotonic()
        with self._guard():
            waits = [each.breaker.wait(now) for each in self._endpoints]
            said = "; ".join(each.error.message for each in self._endpoints if each.error)
        return Failure(
            RemoteError(
                "every circuit is open after failures in a row, so nobody is asked: " + said,
                retry_after=max(0.1, min(waits)),
            )
        )

    def _told(self, failure: Failure) -> InferenceError:
        error = failure.error
        error.alias = self.alias
        return error
