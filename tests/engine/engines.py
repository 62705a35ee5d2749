"""The engine without a thread or a process around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django_inference.engine.batching import Request
from django_inference.engine.runner import Runner
from django_inference.metrics import StatisticsPage
from django_inference.specs import NORMAL, EngineOptions, ErrorReport, ModelSpec, Statistics

FOREVER = float("inf")


class Asked(Request):
    """A request that keeps its answers, and the sizes of the batches it was in."""

    def __init__(
        self,
        payload: Any,
        deadline: float = FOREVER,
        alone: bool = False,
        priority: int = NORMAL,
    ) -> None:
        super().__init__(payload, deadline, time.monotonic(), alone, priority)
        self.outcomes: list[Any] = []
        self.batches: list[int] = []
        self.has_given_up = False

    @property
    def is_abandoned(self) -> bool:
        return self.has_given_up

    @property
    def outcome(self) -> Any:
        """The answer; a request that was answered twice, or never, has none."""
        (outcome,) = self.outcomes
        return outcome

    def begins(self, batch: int) -> None:
        self.batches.append(batch)

    def answer(self, outcome: Any) -> None:
        self.outcomes.append(outcome)


class Engine:
    """A loaded runner, with what it counted and reported."""

    def __init__(self, spec: ModelSpec) -> None:
        self.page = StatisticsPage()
        self.reports: list[ErrorReport] = []
        self.runner = Runner(spec, self.page, self.reports.append)

    def run(self, *payloads: Any) -> list[Any]:
        """The answers to payloads, or requests, that wait together."""
        requests = [p if isinstance(p, Asked) else Asked(p) for p in payloads]
        self.runner.run(requests)
        return [request.outcome for request in requests]

    @property
    def statistics(self) -> Statistics:
        return self.page.read()


def spec(runtime: str, options: EngineOptions | None = None, **runtime_options: Any) -> ModelSpec:
    """A model of the alias `m`, whose runtime is one of `tests.sample_runtimes`.

    It shares runs without a proof, unless its options say otherwise.
    """
    return ModelSpec(
        alias="m",
        runtime=f"tests.sample_runtimes.{runtime}",
        runtime_options=runtime_options,
        options=options or EngineOptions(batching="always"),
    )


def loaded(runtime: str, options: EngineOptions | None = None, **runtime_options: Any) -> Engine:
    """An engine that is ready."""
    engine = Engine(spec(runtime, options, **runtime_options))
    engine.runner.load()
    return engine


def recorded(function: Callable[[Any], Any]) -> tuple[Callable[[Any], Any], list[Any]]:
    """A function, and the list of what it was called with."""
    calls: list[Any] = []

    def record(argument: Any) -> Any:
        calls.append(argument)
        return function(argument)

    return record, calls
