"""Celery's side of `CeleryBackend`: the task that predicts, and what a worker does at its start.

A Celery app that calls `autodiscover_tasks()` finds it.
"""

from __future__ import annotations

from typing import Any

from celery import shared_task
from celery.signals import worker_init

from django_inference.backends.base import BaseBackend
from django_inference.backends.celery import PREDICT, CeleryBackend, taken_here
from django_inference.backends.front import Front
from django_inference.registry import predictors


@shared_task(  # type: ignore[untyped-decorator]
    name=PREDICT,
    bind=True,
    # Predictions are pure: when the worker dies, another one may answer in time.
    acks_late=True,
    reject_on_worker_lost=True,
    # Written below: what Celery writes by itself would have a listener in each web worker.
    ignore_result=True,
    store_errors_even_if_ignored=True,
)
def predict(task: Any, alias: str, question: dict[str, Any]) -> None:
    """Answer one call of a `CeleryBackend`.

    Args:
        task: this one.
        alias: of the predictor.
        question: a `backends.queued.Question`, as plain values.
    """
    # Not at the top: it needs numpy, which a worker is spared that only does other things.
    from django_inference.backends.queued import respond

    answer = respond(question, lambda: _found(alias))
    task.update_state(state="SUCCESS", meta=answer)


def _found(alias: str) -> tuple[BaseBackend, Front]:
    predictor = predictors[alias]
    backend = predictor.backend
    if isinstance(backend, CeleryBackend):
        return backend.inner, backend.inner
    # The settings of this machine say by themselves where the model is.
    return backend, predictor.front


def start(sender: Any, **kwargs: Any) -> None:
    """Ask for the models when a worker starts, before it forks its children.

    Not in each child: Celery kills those that are busy for some seconds at their start.
    """
    taken_here.update(sender.app.amqp.queues.consume_from)
    predictors.preload_in_background()


worker_init.connect(start, dispatch_uid="django_inference.tasks.start")
