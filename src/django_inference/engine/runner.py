"""One model, loaded and run on the thread that made it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from django_inference import runtimes
from django_inference.artifacts import Artifact
from django_inference.engine.batching import Request, Unit, plan
from django_inference.engine.models import OF_THE_MODEL, Model, Offender, joined, model_of
from django_inference.engine.warmup import warm_up
from django_inference.exceptions import InferenceError, PredictionFailed, PredictionTimeout
from django_inference.metrics import StatisticsPage
from django_inference.runtimes.base import BaseRuntime
from django_inference.specs import ErrorReport, ModelSpec
from django_inference.tensors import Signature

monotonic = time.monotonic


class Runner:
    """Loads a model, warms it, and answers requests in batches.

    Not thread-safe: TensorFlow sessions and CUDA contexts belong to one thread, so one
    thread makes, loads and runs the runner.

    Args:
        spec: the declared model.
        page: where the counts go.
        report: told of every exception that the model's own code raises.
    """

    def __init__(
        self,
        spec: ModelSpec,
        page: StatisticsPage,
        report: Callable[[ErrorReport], None] = lambda report: None,
    ) -> None:
        self.spec = spec
        self.signature: Signature | None = None
        self.load_seconds = 0.0
        self._page = page
        self._report = report
        self._runtime: BaseRuntime
        self._model: Model

    def load(self) -> None:
        """Load the artifact and warm the model up.

        Raises:
            Exception: whatever the runtime, its import or the warm-up raises.
        """
        began = monotonic()
        spec = self.spec
        artifact = None
        if spec.artifact is not None:
            artifact = Artifact(spec.artifact, sha256=spec.sha256, trusted=spec.trusted)
            artifact.verify()
        self._runtime = runtimes.create(spec.runtime, spec.runtime_options)
        self._runtime.load(artifact)
        self._model = model_of(self._runtime, spec.options.max_batch_size)
        self.signature = self._model.signature
        if spec.options.warmup:
            warm_up(self, self._runtime)
            self._page.clear()
        self.load_seconds = monotonic() - began

    def close(self) -> None:
        """Give back what the runtime holds."""
        self._runtime.close()

    def run(self, requests: Iterable[Request]) -> None:
        """Answer every request, in as few calls of the runtime as their shapes allow."""
        units: list[Unit] = []
        for request in requests:
            if request.deadline < monotonic():
                self._expire(request)
                continue
            try:
                # Preparing an image may kill the process as well as running the model.
                request.begins(1)
                parts = list(self._model.units(request))
                request.begins(0)
            except Offender as offender:
                self._fail(request, offender.__cause__ or offender, offender.index)
                continue
            except Exception as error:
                self._fail(request, error)
                continue
            request.waiting = len(parts)
            request.results = [None] * len(parts)
            if parts:
                units.extend(parts)
            else:
                self._answer(request, [])
        for batch in plan(units, self._model.max_rows):
            self._run(batch)

    # The run: halves of a batch that raised are run again, until the offender is alone.

    def _run(self, batch: list[Unit]) -> None:
        now = monotonic()
        if any(unit.request.deadline < now or unit.request.waiting < 0 for unit in batch):
            batch = [unit for unit in batch if self._is_wanted(unit.request, now)]
            if not batch:
                return
        for unit in batch:
            unit.request.begins(len(batch))
        try:
            results = self._call(batch, now)
        except OF_THE_MODEL as error:
            if len(batch) == 1:
                self._fail(batch[0].request, error, batch[0].index)
                return
            middle = len(batch) // 2
            self._run(batch[:middle])
            self._run(batch[middle:])
            return
        for unit, result in zip(batch, results, strict=True):
            self._resolve(unit, result)

    def _is_wanted(self, request: Request, now: float) -> bool:
        if request.waiting < 0:
            return False
        if request.deadline < now:
            self._expire(request)
            return False
        return True

    def _call(self, batch: list[Unit], now: float) -> list[Any]:
        page = self._page
        rows = 0
        for unit in batch:
            rows += unit.rows
        page.run_begins(now)
        try:
            return self._model.call(batch, rows)
        finally:
            page.run_ends(rows, monotonic() - now)

    # After the run: results become answers.

    def _resolve(self, unit: Unit, result: Any) -> None:
        request = unit.request
        if request.waiting < 0:
            return
        if isinstance(request.payload, list):
            try:
                result = self._model.result(result)
            except OF_THE_MODEL as error:
                self._fail(request, error, unit.index)
                return
        request.results[unit.index] = result
        request.waiting -= 1
        if request.waiting == 0:
            self._answer(request, joined(request))

    def _expire(self, request: Request) -> None:
        self._page.expired()
        self._answer(
            request,
            PredictionTimeout(
                "the deadline passed before the model could run.", alias=self.spec.alias
            ),
        )

    def _fail(self, request: Request, error: BaseException, index: int | None = None) -> None:
        if request.waiting < 0:
            return
        failure: InferenceError
        if isinstance(error, InferenceError):
            failure = _copy(error)
            failure.alias = self.spec.alias
        else:
            report = ErrorReport.of(error)
            failure = PredictionFailed(
                report.message, alias=self.spec.alias, details=report.traceback
            )
            self._report(report)
        if index is not None and isinstance(request.payload, list) and len(request.payload) > 1:
            failure.message = f"item {index}: {failure.message}"
        self._answer(request, failure)

    def _answer(self, request: Request, outcome: Any) -> None:
        request.waiting = -1
        failed = isinstance(outcome, InferenceError)
        self._page.answered(monotonic() - request.sent_at, failed=failed)
        request.answer(outcome)


def _copy(error: InferenceError) -> InferenceError:
    # A model may raise the same object again and again, for callers in different threads.
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error
    return copy
