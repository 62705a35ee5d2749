"""The model in this process, on a thread of its own.

Once per process: with eight web workers there are eight copies. For tests, notebooks,
small models, and systems where the model host does not run.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import psutil
from django.core.checks import CheckMessage

from django_inference.artifacts.records import StoreSettings
from django_inference.backends.base import BackendOptions, BaseBackend, Serving
from django_inference.backends.local_stream import LocalStream
from django_inference.backends.model_checks import check_model
from django_inference.backends.models import model_spec
from django_inference.backends.streaming import Chunks
from django_inference.conf import PredictorSettings, examine_host
from django_inference.engine.lifecycle import Backoff
from django_inference.exceptions import (
    InferenceError,
    InvalidInput,
    ModelNotReady,
    PredictionTimeout,
)
from django_inference.specs import NORMAL, ReplicaStatus, State, Status
from django_inference.tensors import Signature

if TYPE_CHECKING:
    from django_inference.engine.thread import ModelThread


class LocalOptions(BackendOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`OPTIONS` of `LocalBackend`.

    Attributes:
        preload: load when a server process starts. Not by default: a master that loads a
            framework and then forks (`gunicorn --preload`) leaves its children locks that
            nobody opens.
    """

    preload: bool = False


class LocalBackend(BaseBackend):
    """Loads the model once per process, in the background, at the first call or preload."""

    options_class = LocalOptions

    def __init__(self, settings: PredictorSettings, *, declared_at: float | None = None) -> None:
        super().__init__(settings, declared_at=declared_at)
        self._spec = model_spec(settings, self.options)
        self._thread: ModelThread | None = None
        self._forget()

    @classmethod
    def check(cls, settings: PredictorSettings) -> list[CheckMessage]:
        """Look at runtime, artifact, framework and trust."""
        return check_model(settings)

    def call(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """Predict on the model's thread and wait."""
        _, future = self.put(self.sent(payload), deadline, priority)
        return self.wait(future, deadline)

    async def acall(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """Predict on the model's thread without holding the event loop."""
        _, future = self.put(self.sent(payload), deadline, priority)
        return await self.await_(future, deadline)

    def chunks(self, item: Any, priority: int = NORMAL) -> Chunks:
        """Chunks from the model's thread."""
        return LocalStream(self, item, priority)

    def serving(self, deadline: float) -> Serving | None:
        """The model's thread."""
        thread = self._running()
        if not thread.version:
            # What is being fetched shows when it is here.
            return None
        return Serving(thread.version, lambda: self._thread is thread)

    def signature(self, deadline: float) -> Signature | None:
        """The tensors of the model; waits for the load."""
        thread = self._running()
        if not thread.loaded.wait(max(0.0, deadline - time.monotonic())):
            raise self._too_late()
        if thread.state is State.FAILED:
            raise thread.failure()
        return thread.runner.signature

    def status(self) -> Status:
        """How the model of this process fares."""
        while True:
            thread = self._thread if self._pid == os.getpid() else None
            if thread is None:
                return Status(alias=self.alias, state=State.UNLOADED)
            status = self._status_of(thread)
            # One that a reload has just replaced is draining, and the model is not.
            if self._thread is thread:
                return status

    def _status_of(self, thread: ModelThread) -> Status:
        failed = thread.state is State.FAILED
        runner = thread.runner
        replica = ReplicaStatus(
            pid=os.getpid(),
            state=thread.state,
            load_seconds=runner.load_seconds,
            memory=psutil.Process().memory_info().rss,
            device=runner.device if runner.load_seconds else "",
            framework=runner.framework if runner.load_seconds else "",
            weights=runner.weights if runner.load_seconds else "",
            batching=runner.proof.status if runner.load_seconds else "",
            warnings=runner.warnings if runner.load_seconds else (),
            statistics=thread.page.read(),
        )
        return Status(
            alias=self.alias,
            state=thread.state,
            version=thread.version,
            replicas=(replica,),
            signature=runner.signature,
            progress=thread.progress,
            error=thread.error,
            retry_after=max(0.0, thread.retry_at - time.monotonic()) if failed else None,
        )

    def preload(self) -> None:
        """Start the load, unless it has been started."""
        self._running()

    def reload(self) -> None:
        """Load beside the running model; take its place once that succeeded."""
        with self._guard():
            new, unloads = self._load(), self._unloads
        threading.Thread(target=self._replace, args=(new, unloads), daemon=True).start()

    def unload(self) -> None:
        """Drop the model; running calls are answered first."""
        with self._guard():
            thread, self._thread = self._thread, None
            self._unloads += 1
        if thread is not None:
            thread.close()

    def close(self) -> None:
        """Drop the model."""
        super().close()
        self.unload()

    def sent(self, payload: Any) -> Any:
        """What the model gets of a payload: the same as in another process.

        Raises:
            InvalidInput: it could not be sent to another process.
        """
        # Not at the top: it needs numpy.
        from django_inference.values import reason, travelled

        try:
            return travelled(payload)
        except Exception as error:
            # An array of another library may raise anything.
            raise InvalidInput(
                f"the input cannot be sent: {reason(error)}", alias=self.alias
            ) from error

    def put(self, payload: Any, deadline: float, priority: int) -> tuple[ModelThread, Future[Any]]:
        """Have a payload predicted; say by whom."""
        while True:
            thread = self._running()
            try:
                return thread, thread.put(payload, deadline, priority)
            except ModelNotReady:
                # A reload has just put another thread in its place.
                if self._thread is thread:
                    raise

    def wait(self, future: Future[Any], deadline: float) -> Any:
        """Wait for an answer, or give it up."""
        try:
            return future.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            future.cancel()
            raise self._too_late() from None

    async def await_(self, future: Future[Any], deadline: float) -> Any:
        """As `wait`, without holding the event loop."""
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise self._too_late() from None

    def _running(self) -> ModelThread:
        with self._guard():
            thread = self._thread
            if thread is None or self._is_worth_another_try(thread):
                thread = self._thread = self._load()
            return thread

    def _load(self) -> ModelThread:
        # Not at the top: it needs numpy, which `manage.py check` and the like are spared.
        from django_inference.engine.thread import ModelThread

        host, _ = examine_host()
        store = StoreSettings(host.artifact_dir, host.artifact_limit)
        return ModelThread(self._spec, self._backoff, store)

    def _is_worth_another_try(self, thread: ModelThread) -> bool:
        return thread.state is State.FAILED and (
            time.monotonic() >= thread.retry_at or thread.has_changed
        )

    def _replace(self, new: ModelThread, unloads: int) -> None:
        new.loaded.wait()
        if new.state is not State.READY:
            with self._guard():
                if self._thread is not None:
                    self._thread.error = new.error
                elif self._unloads == unloads:
                    self._thread = new
            return
        old: ModelThread | None = new
        with self._guard():
            # Whoever has unloaded the model meanwhile wants none in its place.
            if self._unloads == unloads:
                old, self._thread = self._thread, new
        if old is not None:
            old.close()

    def _too_late(self) -> InferenceError:
        thread = self._thread
        if thread is None or not thread.loaded.is_set():
            return ModelNotReady("is still being loaded.", alias=self.alias, retry_after=1.0)
        return PredictionTimeout("no answer before the deadline.", alias=self.alias)

    def _guard(self) -> threading.Lock:
        if self._pid != os.getpid():
            # After a fork the thread is gone and its lock may be held by nobody. The copy
            # of the model must not be used either: TensorFlow and others hang in a child.
            self._forget()
        return self._lock

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._backoff = Backoff()
        self._thread = None
        self._unloads = 0
