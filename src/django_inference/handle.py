"""The handle on one declared model.

Not in a module named `predictor`: a submodule of that name would hide the object in
`from django_inference import predictor`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from typing import TYPE_CHECKING, Any

import msgspec
from asgiref.sync import sync_to_async
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from django_inference.backends.base import BaseBackend
from django_inference.backends.fallback import WithFallback
from django_inference.backends.front import Front
from django_inference.backends.mapping import MapOptions, amap_items, map_items
from django_inference.specs import Priority, Status
from django_inference.tensors import Signature

if TYPE_CHECKING:
    from django_inference.jobs.models import Job


class Predictor:
    """The handle on one declared model, made by `predictors`. Threads may share it.

    What a call may raise is listed in `django_inference.exceptions`. `timeout` is in
    seconds, `OPTIONS["timeout"]` when left out, and counts from the call: a model that is
    still being loaded is waited for within it.

    Attributes:
        alias: its name in `INFERENCE`.
        backend: where it runs.
        front: what calls go to: the backend, or the backend with its fallback.
    """

    def __init__(self, backend: BaseBackend, fallback: Callable[[], Front] | None = None) -> None:
        self.alias = backend.alias
        self.backend = backend
        self.front: Front = backend if fallback is None else WithFallback(backend, fallback)

    def __repr__(self) -> str:
        """As in `<Predictor 'detector' on HostBackend>`."""
        return f"<Predictor {self.alias!r} on {type(self.backend).__name__}>"

    def predict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict a batch.

        Args:
            inputs: named tensors, `{name: array}` with the batch on axis 0; one such array
                alone where the model has one input; or a list of items.
            timeout: in seconds.
            priority: `high`, `normal` or `low`: what is more urgent is run first.

        Returns:
            `{name: array}` for tensors, with as many rows; a list with one result an item
            for a list.
        """
        return self.front.predict(inputs, timeout=timeout, priority=priority)

    async def apredict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """As `predict`, to be awaited."""
        return await self.front.apredict(inputs, timeout=timeout, priority=priority)

    def predict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict one item: what the runtime's `preprocess` takes, or one row of tensors.

        Returns:
            Its one result; for tensors `{name: array}` without the batch axis.
        """
        return self.front.predict_one(item, timeout=timeout, priority=priority)

    async def apredict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """As `predict_one`, to be awaited."""
        return await self.front.apredict_one(item, timeout=timeout, priority=priority)

    def stream(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Generator[Any, None, None]:
        """Predict one item, and take its result piece by piece, as the model makes it.

        Nothing is sent before the first chunk is asked for, and none is made ahead of it.
        Whoever wants no more closes the generator (leaving a loop does so, sooner or later):
        that ends the generation.

        Args:
            item: as for `predict_one`, of a model whose runtime has a method `stream`.
            timeout: seconds to wait for each chunk; for the first one, the wait for a model
                that is still being loaded is among them.
            priority: of each chunk.

        Yields:
            The chunks. An error ends the stream.
        """
        return self.front.stream(item, timeout=timeout, priority=priority)

    def astream(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> AsyncGenerator[Any, None]:
        """As `stream`, for `async for`."""
        return self.front.astream(item, timeout=timeout, priority=priority)

    def map(
        self,
        items: Iterable[Any],
        *,
        timeout: float | None = None,
        priority: Priority = "normal",
        ordered: bool = True,
        return_exceptions: bool = False,
        progress: Callable[[int, int | None], object] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Iterator[Any]:
        """Predict many items, spread over batches and replicas.

        Args:
            items: any iterable; it is read as results are taken, so it may be endless.
            timeout: seconds for each batch.
            priority: of each batch.
            ordered: yield results in the order of the items; or pairs of an item's index and
                its result, as they are completed.
            return_exceptions: yield the error of an item that cannot be predicted in the place
                of its result. Errors of the model as a whole are raised all the same.
            progress: is called after each batch with the number of items that are done, and of
                all; None where `items` has no length.
            checkpoint: a file that keeps the results. A later run with the same items and the
                same version of the model takes them from there, and predicts the others; a
                fallback is not asked.

        Yields:
            One result an item. Without `return_exceptions`, the first item that cannot be
            predicted raises, after the results of those before it.

        Raises:
            CheckpointError: the checkpoint is of other items or another model, or in use.
        """
        return map_items(
            self.front if checkpoint is None else self.backend,
            items,
            MapOptions(
                timeout=timeout,
                priority=priority,
                ordered=ordered,
                return_exceptions=return_exceptions,
                progress=progress,
                checkpoint=checkpoint,
            ),
        )

    def amap(self, items: Iterable[Any] | AsyncIterable[Any], **options: Any) -> AsyncIterator[Any]:
        """As `map`, for `async for`.

        Args:
            items: may be an asynchronous iterable too.
            options: those of `map`.
        """
        front = self.front if options.get("checkpoint") is None else self.backend
        return amap_items(front, items, MapOptions(**options))

    def submit(
        self,
        inputs: Any,
        *,
        owner: Any = None,
        priority: Priority = "normal",
        timeout: float | None = None,
        idempotency_key: str = "",
        one: bool = False,
        submitter: str = "",
        target: Any = None,
    ) -> Job:
        """Have a prediction made by a worker of a queue, sometime; return at once.

        It is written into the database, in the caller's transaction: it is made if and only
        if that is committed, whatever becomes of this process, the queue and the model.

        Args:
            inputs: as for `predict`; one item, as for `predict_one`, with `one`.
            owner: the user who asks, if any.
            priority: of the job in its queue, and of the call.
            timeout: seconds that one run may take; `JOBS["timeout"]` when left out.
            idempotency_key: a second submission with the same one, by the same owner or
                submitter, returns the first one's job.
            one: the inputs are one item.
            submitter: an opaque name of who asks without being a user, such as a token of
                their session.
            target: plain values that a receiver of `job_finished` finds in `Job.target`.

        Returns:
            Its row: `job.result(timeout=30)` waits.

        Raises:
            InvalidInput: the inputs cannot be kept, or the key was used with others.
            ImproperlyConfigured: the site has no `django_inference.jobs`.
        """
        if not apps.is_installed("django_inference.jobs"):
            raise ImproperlyConfigured(
                "submit() needs a table of jobs: add 'django_inference.jobs' to INSTALLED_APPS, "
                "and run 'manage.py migrate'."
            )
        # By its label, since jobs call predictors: this module lies below theirs.
        jobs: Any = apps.get_app_config("django_inference_jobs")
        job: Job = jobs.submit(
            self,
            inputs,
            owner=owner,
            priority=priority,
            timeout=timeout,
            idempotency_key=idempotency_key,
            one=one,
            submitter=submitter,
            target=target,
        )
        return job

    async def asubmit(self, inputs: Any, **options: Any) -> Job:
        """As `submit`, to be awaited."""
        return await sync_to_async(self.submit)(inputs, **options)

    @property
    def signature(self) -> Signature | None:
        """The tensors of the model, read from its artifact; None where it has none.

        The model is loaded for it if need be, so this may raise what a call may raise.
        """
        return self.backend.signature(self.backend.deadline(None))

    async def asignature(self) -> Signature | None:
        """As `signature`, to be awaited."""
        return await asyncio.to_thread(lambda: self.signature)

    def status(self) -> Status:
        """How the predictor fares. Loads nothing, starts nothing, and is quick."""
        status = self.backend.status()
        kind = type(self.backend)
        cached = self.backend.cached
        return msgspec.structs.replace(
            status,
            backend=f"{kind.__module__}.{kind.__qualname__}",
            # What somebody has summed up is more than what was counted here.
            cache=status.cache if cached is None else status.cache or cached.counts.here(),
            fallback=self.front.counts if isinstance(self.front, WithFallback) else None,
        )

    async def astatus(self) -> Status:
        """As `status`, to be awaited."""
        return await asyncio.to_thread(self.status)

    def preload(self, *, wait: bool = False, timeout: float | None = None) -> None:
        """Have the model loaded before the first call needs it.

        Args:
            wait: return when it is ready, not at once.
            timeout: seconds to wait.
        """
        self.backend.preload()
        if wait:
            self.backend.signature(self.backend.deadline(timeout))

    async def apreload(self, *, wait: bool = False, timeout: float | None = None) -> None:
        """As `preload`, to be awaited."""
        await asyncio.to_thread(self.preload, wait=wait, timeout=timeout)

    def reload(self) -> None:
        """Load again beside what runs; traffic moves when that is ready. Does not wait."""
        self.backend.reload()

    async def areload(self) -> None:
        """As `reload`, to be awaited."""
        await asyncio.to_thread(self.reload)

    def rollback(self) -> None:
        """Serve the version before this one again, until other settings are declared.

        Raises:
            LookupError: there is none, or its files have been replaced.
        """
        self.backend.rollback()

    async def arollback(self) -> None:
        """As `rollback`, to be awaited."""
        await asyncio.to_thread(self.rollback)

    def promote(self) -> None:
        """Give the version on trial (`OPTIONS` `canary` or `shadow`) all the traffic.

        Raises:
            LookupError: none is on trial.
        """
        self.backend.promote()

    async def apromote(self) -> None:
        """As `promote`, to be awaited."""
        await asyncio.to_thread(self.promote)

    def unload(self) -> None:
        """Give the model's memory back; running calls are answered first.

        The next call loads it again.
        """
        self.backend.unload()

    async def aunload(self) -> None:
        """As `unload`, to be awaited."""
        await asyncio.to_thread(self.unload)
