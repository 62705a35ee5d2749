"""A model in this process, and the one thread that loads and runs it."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from typing import Any

from django_inference.artifacts.records import StoreSettings
from django_inference.engine.batching import Request
from django_inference.engine.failures import OF_THE_MODEL
from django_inference.engine.lifecycle import Backoff, version_of
from django_inference.engine.locating import Locating
from django_inference.engine.runner import Runner
from django_inference.engine.sending import unsendable
from django_inference.engine.streams import OVER, Stream
from django_inference.exceptions import ModelLoadFailed, ModelNotReady
from django_inference.metrics import StatisticsPage
from django_inference.nested import outer
from django_inference.specs import ErrorReport, ModelSpec, Progress, State
from django_inference.values import travelled


class FutureRequest(Request):
    """A request whose answer is awaited in the same process."""

    __slots__ = ("_alias", "future")

    def __init__(self, alias: str, payload: Any, deadline: float, priority: int) -> None:
        super().__init__(payload, deadline, time.monotonic(), False, priority, outer().chain)
        self._alias = alias
        self.future: Future[Any] = Future()

    @property
    def is_abandoned(self) -> bool:
        """Whether the caller has cancelled the future."""
        return self.future.cancelled()

    def begins(self, batch: int) -> None:
        """Nobody asks."""

    def answer(self, outcome: Any) -> None:
        """Wake the caller, unless it has given up."""
        if self.future.set_running_or_notify_cancel():
            if isinstance(outcome, Exception):
                self.future.set_exception(outcome)
                return
            try:
                self.future.set_result(outcome if outcome is OVER else travelled(outcome))
            except Exception as error:
                # Whatever the model has returned: an array of another library may raise anything.
                self.future.set_exception(unsendable(error, self._alias))


class ModelThread:
    """Loads a model in the background and answers what was put meanwhile.

    Args:
        spec: the declared model.
        backoff: told whether the load succeeded.
        store: where copies of what lies elsewhere go; None for a model on this disk.

    Attributes:
        state: of the model.
        loaded: done when the load has ended, one way or the other.
        version: of what is being loaded; empty while it is still being fetched.
        error: the last one.
        retry_at: `time.monotonic()` before which a failed load is not worth repeating.
        page: the counts.
        runner: for its signature and load seconds.
    """

    def __init__(
        self, spec: ModelSpec, backoff: Backoff, store: StoreSettings | None = None
    ) -> None:
        self.state = State.LOADING
        self.loaded = threading.Event()
        self._locating = Locating(spec, store)
        self.version = "" if self._locating.is_remote else version_of(spec)
        self.error: ErrorReport | None = None
        self.retry_at = 0.0
        self.page = StatisticsPage()
        self.runner = Runner(spec, self.page, self._report, self._locating.enter, store=store)
        self._spec = spec
        self._backoff = backoff
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[FutureRequest | Stream | None] = queue.SimpleQueue()
        threading.Thread(target=self._main, name=f"inference-{spec.alias}", daemon=True).start()

    def put(self, payload: Any, deadline: float, priority: int) -> Future[Any]:
        """Have a payload predicted, after the load if need be.

        Args:
            payload: as for a `Request`. A stream that has begun is gone on with to its end.
            deadline: `time.monotonic()`.
            priority: index of `specs.PRIORITIES`.

        Raises:
            ModelLoadFailed: the load has failed.
            ModelNotReady: the model is being unloaded.
        """
        is_under_way = isinstance(payload, Stream) and payload.has_begun
        with self._lock:
            if self.state is State.FAILED:
                raise self.failure()
            if self.state is State.DRAINING and not is_under_way:
                raise ModelNotReady("is being unloaded.", alias=self._spec.alias, retry_after=1.0)
            request = FutureRequest(self._spec.alias, payload, deadline, priority)
            self._queue.put(request)
        return request.future

    def end(self, stream: Stream) -> None:
        """Say that nobody wants more of a stream. Does not wait."""
        if not stream.is_over:
            stream.is_over = True
            self._queue.put(stream)

    def close(self) -> None:
        """Answer what has been put so far, then give the memory back.

        Streams that are open go on to their ends.
        """
        with self._lock:
            if self.state is not State.FAILED:
                self.state = State.DRAINING
                self._queue.put(None)

    @property
    def progress(self) -> Progress | None:
        """How far the load is; None once that has ended."""
        return None if self.loaded.is_set() else self._locating.progress

    @property
    def has_changed(self) -> bool:
        """Whether a load would give another version now, as far as this disk tells."""
        now = version_of(self._spec, self._locating.content)
        return bool(self.version) and self.version != now

    def failure(self) -> ModelLoadFailed:
        """Why the load failed, as an error for a caller."""
        error = self.error or ErrorReport(message="the load failed")
        return ModelLoadFailed(
            f"the model could not be loaded: {error.message}",
            alias=self._spec.alias,
            retry_after=max(1.0, self.retry_at - time.monotonic()),
            details=error.traceback,
        )

    def _report(self, error: ErrorReport) -> None:
        self.error = error

    def _main(self) -> None:
        try:
            self.runner.spec = self._locating.located()
            self.version = version_of(self._spec, self._locating.content)
            self.runner.load()
        except OF_THE_MODEL as error:
            self._locating.close()
            self._load_failed(error)
            return
        self._backoff.succeeded()
        with self._lock:
            if self.state is State.LOADING:
                self.state = State.READY
        self.loaded.set()
        self._serve()
        self.runner.close()
        self._locating.close()

    def _serve(self) -> None:
        runner = self.runner
        is_ending = False
        while not is_ending or runner.waiting or runner.streams:
            if not is_ending or runner.streams:
                is_ending = self._admit() or is_ending
            runner.step()
            runner.streams.close_abandoned()

    def _admit(self) -> bool:
        """Wait for a request and admit all that are there; True when the end is among them.

        Returns early where a stream has been given up, so that it is closed.
        """
        options = self._spec.options
        until = 0.0
        while True:
            try:
                if not self.runner.waiting:
                    request = self._queue.get()
                    until = time.monotonic() + options.max_batch_delay
                else:
                    wait = 0.0
                    if options.max_batch_delay and self.runner.gains_by_waiting:
                        wait = max(0.0, until - time.monotonic())
                    request = self._queue.get(block=wait > 0.0, timeout=wait)
            except queue.Empty:
                return False
            if not isinstance(request, FutureRequest):
                return request is None
            self.runner.admit(request)

    def _load_failed(self, error: BaseException) -> None:
        with self._lock:
            self.error = ErrorReport.of(error)
            self.retry_at = time.monotonic() + self._backoff.failed()
            self.state = State.FAILED
        self.loaded.set()
        while not self._queue.empty():
            request = self._queue.get()
            if isinstance(request, FutureRequest):
                request.answer(self.failure())
