"""One model, loaded and run on the thread that made it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from django_inference import runtimes
from django_inference.artifacts import Artifact
from django_inference.artifacts.records import StoreSettings
from django_inference.engine.batching import Request, Unit
from django_inference.engine.failures import OF_THE_MODEL, failure_of
from django_inference.engine.golden import check_golden
from django_inference.engine.models import Model, Offender, joined, model_of
from django_inference.engine.streams import Stream, Streams
from django_inference.engine.waiting import Waiting
from django_inference.engine.warmup import warm_up
from django_inference.exceptions import InferenceError, Overloaded, PredictionTimeout
from django_inference.metrics import StatisticsPage
from django_inference.nested import serving
from django_inference.runtimes.base import BaseRuntime
from django_inference.specs import ErrorReport, ModelSpec, printable
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
        on_stage: told what the load does now (`specs.Progress`).
        store: where what a runtime makes of its artifact is kept; None: nowhere.

    Attributes:
        streams: that are open.
    """

    def __init__(
        self,
        spec: ModelSpec,
        page: StatisticsPage,
        report: Callable[[ErrorReport], None] = lambda report: None,
        on_stage: Callable[[str], None] = lambda stage: None,
        store: StoreSettings | None = None,
    ) -> None:
        self.spec = spec
        self.signature: Signature | None = None
        self.load_seconds = 0.0
        self._page = page
        self._report = report
        self._on_stage = on_stage
        self._store = store
        self._runtime: BaseRuntime
        self._model: Model
        self._waiting = Waiting(1)
        self.streams: Streams

    def load(self) -> None:
        """Load the artifact, warm the model up, and ask the golden questions.

        Raises:
            Exception: whatever the runtime, its import or the warm-up raises.
        """
        began = monotonic()
        self._on_stage("loading")
        spec = self.spec
        artifact = None
        if spec.artifact is not None:
            artifact = Artifact(
                spec.artifact, sha256=spec.sha256, trusted=spec.trusted, store=self._store
            )
            artifact.verify()
        self._runtime = runtimes.create(spec.runtime, spec.runtime_options)
        self._runtime.share_weights = spec.options.share_weights and self._runtime.can_share_weights
        with serving(spec.alias):
            self._runtime.load(artifact)
        self._model = model_of(self._runtime, spec.options.max_batch_size)
        self.streams = Streams(self._runtime, self._page, self._report)
        self.signature = self._model.signature
        self._waiting = Waiting(self._model.max_rows)
        if spec.options.warmup:
            self._on_stage("warming up")
            warm_up(self, self._runtime)
        if spec.golden:
            self._on_stage("golden")
        check_golden(self)
        self._page.clear()
        self.load_seconds = monotonic() - began

    def close(self) -> None:
        """Give back what the runtime holds."""
        self.streams.close()
        self._runtime.close()

    @property
    def device(self) -> str:
        """Where the loaded model runs, as its runtime says."""
        return printable(self._runtime.device)

    @property
    def framework(self) -> str:
        """What runs the loaded model, as its runtime says."""
        return printable(self._runtime.framework)

    @property
    def weights(self) -> str:
        """`shared`, or `own` where sharing was asked for in vain; empty where it was not."""
        if not self.spec.options.share_weights:
            return ""
        return "shared" if self._runtime.share_weights else "own"

    @property
    def waiting(self) -> int:
        """How many units wait to be run."""
        return len(self._waiting)

    @property
    def gains_by_waiting(self) -> bool:
        """Whether more requests could share the next batch."""
        size = len(self._waiting)
        return 0 < size < self.spec.options.max_batch_size and not self._waiting.has_lone

    def admit(self, request: Request) -> None:
        """Let a request wait for its batch, or answer it at once where that is hopeless."""
        now = monotonic()
        if request.deadline < now:
            self._expire(request)
            return
        if request.is_abandoned:
            self._page.abandoned()
            return
        is_stream = isinstance(request.payload, Stream)
        if len(self._waiting) >= self.spec.options.max_queue and not (
            # Who has got chunks already was let in long ago.
            is_stream and request.payload.has_begun
        ):
            self._refuse(request)
            return
        try:
            with serving(self.spec.alias, [request]):
                parts = (self.streams if is_stream else self._model).units(request)
        except Offender as offender:
            self._fail(request, offender.__cause__ or offender, offender.index)
            return
        except Exception as error:
            self._fail(request, error)
            return
        request.waiting = len(parts)
        request.results = [None] * len(parts)
        if not parts:
            self._answer(request, [])
        for part in parts:
            self._waiting.add(part)

    def step(self) -> None:
        """Run the next batch, if anything waits."""
        if batch := self._waiting.next_batch():
            self._run(batch)

    def run(self, requests: Iterable[Request]) -> None:
        """Answer every request, in as few calls of the runtime as their shapes allow."""
        for request in requests:
            self.admit(request)
        while self._waiting:
            self.step()

    # The run: halves of a batch that raised are run again, until the offender is alone.

    def _run(self, batch: list[Unit]) -> None:
        now = monotonic()
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
        if request.is_abandoned:
            request.waiting = -1
            self._page.abandoned()
            return False
        return True

    def _call(self, batch: list[Unit], now: float) -> list[Any]:
        page = self._page
        rows = 0
        for unit in batch:
            rows += unit.rows
        page.run_begins(now)
        try:
            with serving(self.spec.alias, [unit.request for unit in batch]):
                if isinstance(batch[0].inputs, Stream):
                    return [self.streams.next(batch[0].inputs)]
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
                with serving(self.spec.alias, [request]):
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

    def _refuse(self, request: Request) -> None:
        self._page.refused()
        waiting = len(self._waiting)
        self._answer(
            request,
            Overloaded(
                f"{waiting} requests wait already (max_queue).",
                alias=self.spec.alias,
                retry_after=waiting * self._page.seconds_per_row,
            ),
        )

    def _fail(self, request: Request, error: BaseException, index: int | None = None) -> None:
        if request.waiting < 0:
            return
        failure = failure_of(error, self.spec.alias, self._report)
        if index is not None and isinstance(request.payload, list) and len(request.payload) > 1:
            failure.message = f"item {index}: {failure.message}"
        self._answer(request, failure)

    def _answer(self, request: Request, outcome: Any) -> None:
        request.waiting = -1
        failed = isinstance(outcome, InferenceError)
        now = monotonic()
        self._page.answered(now, now - request.sent_at, failed=failed)
        request.answer(outcome)
