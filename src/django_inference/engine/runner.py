"""One model, loaded and run on the thread that made it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from django_inference import runtimes
from django_inference.artifacts import Artifact
from django_inference.artifacts.records import StoreSettings
from django_inference.engine.adapters import model_of
from django_inference.engine.answers import Answers
from django_inference.engine.batching import Request, Unit
from django_inference.engine.golden import check_golden
from django_inference.engine.load_proof import prove_at_load
from django_inference.engine.models import Model, Offender
from django_inference.engine.proof import Proof
from django_inference.engine.quantized import travelling_golden
from django_inference.engine.runs import Runs
from django_inference.engine.streams import Stream, Streams
from django_inference.engine.waiting import Waiting
from django_inference.engine.warmup import warm_up
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
        on_batching: called with `ReplicaStatus.batching` when that has changed.
        store: where what a runtime makes of its artifact is kept; None: nowhere.

    Attributes:
        proof: whether requests share runs.
        streams: that are open.
    """

    def __init__(
        self,
        spec: ModelSpec,
        page: StatisticsPage,
        report: Callable[[ErrorReport], None] = lambda report: None,
        on_stage: Callable[[str], None] = lambda stage: None,
        on_batching: Callable[[str], None] = lambda status: None,
        store: StoreSettings | None = None,
    ) -> None:
        self.spec = spec
        self.signature: Signature | None = None
        self.load_seconds = 0.0
        self._page = page
        self._report = report
        self._on_stage = on_stage
        self._on_batching = on_batching
        self._answers = Answers(spec.alias, page, report)
        self.proof = Proof(spec.alias, spec.options)
        self._store = store
        self._runtime: BaseRuntime
        self._model: Model
        self._runs: Runs
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
            if why := runtimes.mistaken(artifact.path, spec.runtime):
                raise ValueError(why)
        travelling = travelling_golden(artifact, spec)
        self._runtime = runtimes.create(spec.runtime, spec.runtime_options)
        self._runtime.share_weights = spec.options.share_weights and self._runtime.can_share_weights
        with serving(spec.alias):
            self._runtime.load(artifact)
        self._model = model_of(self._runtime, spec.options.max_batch_size)
        self.proof = Proof(spec.alias, spec.options, self._model.may_join, self._on_batching)
        self.streams = Streams(self._runtime, self._page, self._report)
        self.signature = self._model.signature
        self._waiting = Waiting(self._model.max_rows)
        self._runs = Runs(
            spec.alias, self._model, self._call, self.proof, self._answers, self._waiting
        )
        if spec.options.warmup:
            self._on_stage("warming up")
            warm_up(self, self._runtime)
            self._on_stage("proving")
            asked = [golden.input for golden in (*spec.golden, *travelling)]
            examples = _payloads([*self._runtime.examples(), *asked])
            prove_at_load(self._model, self._call, examples, self.proof)
            self.signature = self._model.signature
        if spec.golden or travelling:
            self._on_stage("golden")
        check_golden(self, spec.golden)
        check_golden(self, travelling, " in its file")
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
    def warnings(self) -> tuple[str, ...]:
        """What the runtime found doubtful when it loaded the model."""
        return tuple(map(printable, self._runtime.warnings))

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
        full = self.spec.options.max_batch_size
        return 0 < size < full and not (self._waiting.has_lone or self.proof.reason)

    def admit(self, request: Request) -> None:
        """Let a request wait for its batch, or answer it at once where that is hopeless."""
        now = monotonic()
        if request.deadline < now:
            self._answers.expire(request)
            return
        if request.is_abandoned:
            self._answers.abandon(request)
            return
        is_stream = isinstance(request.payload, Stream)
        if len(self._waiting) >= self.spec.options.max_queue and not (
            # Who has got chunks already was let in long ago.
            is_stream and request.payload.has_begun
        ):
            self._answers.refuse(request, len(self._waiting))
            return
        try:
            with serving(self.spec.alias, [request]):
                parts = (
                    self.streams.units(request)
                    if is_stream
                    else self._model.units(request, self._may_cut)
                )
        except Offender as offender:
            self._answers.fail(request, offender.__cause__ or offender, offender.index)
            return
        except Exception as error:
            self._answers.fail(request, error)
            return
        request.waiting = len(parts)
        request.results = [None] * len(parts)
        if not parts:
            self._answers.give(request, [])
        for part in parts:
            self._waiting.add(part)

    def step(self) -> None:
        """Run the next batch, if anything waits."""
        if batch := self._waiting.next_batch():
            self._runs.run(batch)

    def run(self, requests: Iterable[Request]) -> None:
        """Answer every request, in as few calls of the runtime as their shapes allow."""
        for request in requests:
            self.admit(request)
        while self._waiting:
            self.step()

    def _may_cut(self, key: Any) -> bool:
        proof = self.proof
        # The runs of a fixed number of rows at load were of that number: cutting adds nothing.
        at_load = proof.agreed_at_load and not proof.reason and self._model.fixed_rows > 1
        return at_load or proof.joins(key)

    def _call(self, batch: list[Unit], *, with_zeros: bool = False) -> list[Any]:
        page = self._page
        rows = 0
        for unit in batch:
            rows += unit.rows
        began = monotonic()
        page.run_begins(began)
        try:
            with serving(self.spec.alias, [unit.request for unit in batch]):
                if isinstance(batch[0].inputs, Stream):
                    return [self.streams.next(batch[0].inputs)]
                return self._model.call(batch, rows, with_zeros)
        finally:
            page.run_ends(rows, monotonic() - began)


def _payloads(examples: Iterable[Any]) -> list[Any]:
    """Make payloads of examples, some of which are single items."""
    return [each if isinstance(each, dict | list) else [each] for each in examples]
