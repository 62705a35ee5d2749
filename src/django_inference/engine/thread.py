"""A model in this process, and the one thread that loads and runs it."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from typing import Any

from django_inference.engine.batching import Request
from django_inference.engine.lifecycle import Backoff, version_of
from django_inference.engine.models import OF_THE_MODEL
from django_inference.engine.runner import Runner
from django_inference.exceptions import ModelLoadFailed, ModelNotReady
from django_inference.metrics import StatisticsPage
from django_inference.specs import ErrorReport, ModelSpec, State


class FutureRequest(Request):
    """A request whose answer is awaited in the same process."""

    __slots__ = ("future",)

    def __init__(self, payload: Any, deadline: float, priority: int) -> None:
        super().__init__(payload, deadline, time.monotonic(), priority=priority)
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
            else:
                self.future.set_result(outcome)


class ModelThread:
    """Loads a model in the background and answers what was put meanwhile.

    Args:
        spec: the declared model.
        backoff: told whether the load succeeded.

    Attributes:
        state: of the model.
        loaded: done when the load has ended, one way or the other.
        version: of what is being loaded.
        error: the last one.
        retry_at: `time.monotonic()` before which a failed load is not worth repeating.
        page: the counts.
        runner: for its signature and load seconds.
    """

    def __init__(self, spec: ModelSpec, backoff: Backoff) -> None:
        self.state = State.LOADING
        self.loaded = threading.Event()
        self.version = version_of(spec)
        self.error: ErrorReport | None = None
        self.retry_at = 0.0
        self.page = StatisticsPage()
        self.runner = Runner(spec, self.page, self._report)
        self._spec = spec
        self._backoff = backoff
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[FutureRequest | None] = queue.SimpleQueue()
        threading.Thread(target=self._main, name=f"inference-{spec.alias}", daemon=True).start()

    def put(self, payload: Any, deadline: float, priority: int) -> Future[Any]:
        """Have a payload predicted, after the load if need be.

        Raises:
            ModelLoadFailed: the load has failed.
            ModelNotReady: the model is being unloaded.
        """
        with self._lock:
            if self.state is State.FAILED:
                raise self.failure()
            if self.state is State.DRAINING:
                raise ModelNotReady("is being unloaded.", alias=self._spec.alias, retry_after=1.0)
            request = FutureRequest(payload, deadline, priority)
            self._queue.put(request)
        return request.future

    def close(self) -> None:
        """Answer what has been put so far, then give the memory back."""
        with self._lock:
            if self.state is not State.FAILED:
                self.state = State.DRAINING
                self._queue.put(None)

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
            self.runner.load()
        except BaseException as error:
            self._load_failed(error)
            if not isinstance(error, OF_THE_MODEL):
                raise
            return
        self._backoff.succeeded()
        with self._lock:
            if self.state is State.LOADING:
                self.state = State.READY
        self.loaded.set()
        self._serve()
        self.runner.close()

    def _serve(self) -> None:
        is_ending = False
        while not is_ending or self.runner.waiting:
            is_ending = is_ending or self._admit()
            self.runner.step()

    def _admit(self) -> bool:
        """Wait for a request and admit all that are there; True when the end is among them."""
        options = self._spec.options
        until = 0.0
        while True:
            try:
                if not self.runner.waiting:
                    request = self._queue.get()
                    until = time.monotonic() + options.max_batch_delay
                else:
                    is_full = self.runner.waiting >= options.max_batch_size
                    wait = 0.0 if is_full else max(0.0, until - time.monotonic())
                    request = self._queue.get(block=wait > 0.0, timeout=wait)
            except queue.Empty:
                return False
            if request is None:
                return True
            self.runner.admit(request)

    def _load_failed(self, error: BaseException) -> None:
        with self._lock:
            self.error = ErrorReport.of(error)
            self.retry_at = time.monotonic() + self._backoff.failed()
            self.state = State.FAILED
        self.loaded.set()
        while not self._queue.empty():
            if request := self._queue.get():
                request.answer(self.failure())
