"""The model on the machines of Celery's workers: calls go through a queue."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Generator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from django_inference.backends.base import BackendOptions, BaseBackend
from django_inference.backends.loading import backend_class
from django_inference.backends.publishing import Publisher
from django_inference.backends.queue_checks import check_queued, inner_settings
from django_inference.conf import InvalidPredictor, PredictorSettings
from django_inference.driving import InThread, Step, arun, run
from django_inference.exceptions import PredictionTimeout, RemoteError
from django_inference.specs import NORMAL, EndpointStatus, ErrorReport, State, Status
from django_inference.tensors import Signature

if TYPE_CHECKING:
    from django_inference.backends.queued import Question

Steps: TypeAlias = Generator[InThread | Step, Any, Any]

#: The name of the one task, which `tasks` holds.
PREDICT = "django_inference.predict"
#: Seconds between two looks for an answer: short ones for models that are quick.
FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.05
#: Seconds that `status` waits for the workers to say what they do.
LOOK = 1.0
#: Seconds that a worker has beyond the deadline before Celery kills what hangs.
GRACE = 10.0

#: The queues that this process's Celery worker takes tasks from; `tasks` fills it in.
taken_here: set[str] = set()


class CeleryOptions(BackendOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`OPTIONS` of `CeleryBackend`.

    Attributes:
        app: dotted path of the Celery app; None is the one that the site has made.
        queue: that the workers take the calls from; None leaves it to the app's routes.
        backend: dotted path of the backend by which a worker runs the model.
        backend_options: its `OPTIONS`.
        concurrency: calls of `map` that are under way at once.
        storage: alias in `STORAGES` of what is too long for a message.
        inline_limit: bytes that are not.
    """

    app: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    queue: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    backend: str = "django_inference.backends.host.HostBackend"
    backend_options: dict[str, Any] = {}
    concurrency: Annotated[int, msgspec.Meta(ge=1)] = 4
    storage: str = "default"
    inline_limit: Annotated[int, msgspec.Meta(ge=0)] = 65_536


class CeleryBackend(BaseBackend):
    """Sends calls to Celery's workers, and waits for their answers in its result backend.

    In a worker that takes tasks from the queue itself, calls go to the model at once: workers
    that waited for each other's answers would wait for ever.
    """

    options_class = CeleryOptions

    def __init__(self, settings: PredictorSettings, *, declared_at: float | None = None) -> None:
        super().__init__(settings, declared_at=declared_at)
        self.concurrency = self.options.concurrency

    @classmethod
    def check(cls, settings: PredictorSettings) -> list[CheckMessage]:
        """Look at Celery's app and result backend, and at the backend of the workers."""
        return check_queued(settings, find_app)

    @cached_property
    def inner(self) -> BaseBackend:
        """By which a worker runs the model."""
        settings = inner_settings(self.settings)
        return backend_class(settings)(settings, declared_at=self.declared_at)

    @cached_property
    def queue(self) -> str:
        """The name of the queue that calls go into."""
        if self.options.queue is not None:
            return str(self.options.queue)
        found = self._app.amqp.router.route({}, PREDICT, (), {}).get("queue")
        return str(getattr(found, "name", found) or self._app.conf.task_default_queue)

    def call(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """Have a worker predict and wait for it."""
        if self._is_taken_here():
            return self.inner.call(payload, deadline, priority)
        return run(self._ask(payload, deadline, priority))

    async def acall(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """As `call`, without holding the event loop."""
        if self._is_taken_here():
            return await self.inner.acall(payload, deadline, priority)
        return await arun(self._ask(payload, deadline, priority))

    def signature(self, deadline: float) -> Signature | None:
        """The tensors of the model, as a worker tells them; waits for the load."""
        if self._is_taken_here():
            return self.inner.signature(deadline)
        said = run(self._ask(None, deadline, NORMAL))
        return msgspec.convert(said, Signature | None)

    def status(self) -> Status:
        """The workers that take from the queue; READY where there is one."""
        try:
            with self._publisher.connection() as connection:
                inspect = self._app.control.inspect(timeout=LOOK, connection=connection)
                seen = inspect.active_queues() or {}
        except Exception as error:
            return Status(alias=self.alias, state=State.FAILED, error=ErrorReport.of(error))
        workers = [
            name
            for name, queues in sorted(seen.items())
            if any(each["name"] == self.queue for each in queues)
        ]
        return Status(
            alias=self.alias,
            state=State.READY if workers else State.UNLOADED,
            endpoints=tuple(EndpointStatus(url=name, healthy=True) for name in workers),
        )

    def preload(self) -> None:
        """Ask for the model, in the process of a worker; nowhere else."""
        if self._is_taken_here():
            self.inner.preload()

    def reload(self) -> None:
        """Load the model of this machine again.

        Raises:
            LookupError: this is no process of a worker.
        """
        self._here().reload()

    def unload(self) -> None:
        """Give the memory of this machine's model back.

        Raises:
            LookupError: this is no process of a worker.
        """
        self._here().unload()

    def close(self) -> None:
        """Hang up. The model stays loaded."""
        super().close()
        for name in ("_publisher", "inner"):
            if name in self.__dict__:
                self.__dict__[name].close()

    def _ask(self, payload: Any, deadline: float, priority: int) -> Steps:
        """One call, as the waits it consists of; `call` and `acall` differ in how they wait."""
        # Not at the top: it needs numpy, which a web worker is spared until it predicts.
        from django_inference.backends.queued import ask, clean_up

        options = self.options
        question = yield InThread(
            partial(
                ask, payload, self.alias, deadline, priority, options.storage, options.inline_limit
            )
        )
        try:
            task_id = yield InThread(partial(self._publish, question, deadline, priority))
            pause = FIRST_PAUSE
            while not (said := (yield InThread(partial(self._look, task_id, deadline)))):
                yield Step(partial(time.sleep, pause), partial(asyncio.sleep, pause))
                pause = min(1.3 * pause, LONGEST_PAUSE)
        except BaseException:
            clean_up(question)
            raise
        return (yield InThread(partial(self._read, task_id, said, question)))

    def _publish(self, question: Question, deadline: float, priority: int) -> str:
        left = deadline - time.monotonic()
        if left <= 0:
            raise PredictionTimeout("there was no time left to ask a worker.", alias=self.alias)
        publisher = self._publisher
        try:
            return publisher.publish(
                PREDICT,
                (self.alias, msgspec.to_builtins(question)),
                queue=self.options.queue,
                priority=priority,
                # So that nobody computes for nobody.
                expires=left,
                time_limit=left + GRACE,
            )
        except Exception as error:
            said = f"Celery's broker does not take the call: {type(error).__name__}: {error}"
            raise RemoteError(said, alias=self.alias, retry_after=1.0) from error

    def _look(self, task_id: str, deadline: float) -> dict[str, Any] | None:
        """What the result backend says; None while there is time and nothing is said yet."""
        trouble = None
        try:
            meta: dict[str, Any] = self._app.backend.get_task_meta(task_id, cache=False)
            if meta["status"] in ("SUCCESS", "FAILURE", "REVOKED"):
                return meta
        except Exception as error:
            # It may be back before the deadline.
            trouble = error
        if time.monotonic() < deadline:
            return None
        if trouble is not None:
            said = f"Celery's result backend fails: {type(trouble).__name__}: {trouble}"
            raise RemoteError(said, alias=self.alias, retry_after=1.0) from trouble
        said = f"no Celery worker has answered from the queue {self.queue!r} in time."
        raise PredictionTimeout(said, alias=self.alias)

    def _read(self, task_id: str, meta: dict[str, Any], question: Question) -> Any:
        from django_inference.backends.queued import clean_up, read

        try:
            return read(meta, question, self.alias)
        finally:
            clean_up(question, meta)
            with contextlib.suppress(Exception):
                # Else it stays until `result_expires`, which does no harm.
                self._app.backend.forget(task_id)

    def _is_taken_here(self) -> bool:
        if not taken_here:
            return False
        return self.queue in taken_here

    def _here(self) -> BaseBackend:
        if not self._is_taken_here():
            raise LookupError("its model is on the machines of Celery's workers: ask there.")
        return self.inner

    @cached_property
    def _app(self) -> Any:
        try:
            return find_app(self.options.app)
        except (ImportError, LookupError) as error:
            place = f"INFERENCE[{self.alias!r}]['OPTIONS']['app']"
            raise InvalidPredictor(f"{place}: {error}", alias=self.alias) from error

    @cached_property
    def _publisher(self) -> Publisher:
        return Publisher(self._app)


def find_app(dotted: str | None) -> Any:
    """The Celery app of that dotted path, or the one that the site has made.

    Raises:
        ImportError: there is none of that path, or Celery is not installed.
        LookupError: the site has made none.
    """
    # Not at the top: a site is spared it until it sends the first task.
    import celery

    if dotted is not None:
        return import_string(dotted)
    app = celery.current_app._get_current_object()
    if app.loader_cls == "default":
        # What Celery makes up where there is none: it calls a broker on this machine.
        raise LookupError("this process has made no Celery app.")
    return app
