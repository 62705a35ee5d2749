"""`predict_queryset`, as it is called."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from typing import Any

from django.db.models import QuerySet

from django_inference.handle import Predictor
from django_inference.querysets.filling import Filled, Filling
from django_inference.querysets.position import Position
from django_inference.querysets.reading import Input, Reader
from django_inference.querysets.writing import Output, Writer
from django_inference.registry import predictors
from django_inference.specs import Priority

#: Calls of the predictor that one batch of rows makes, unless it is said otherwise.
CALLS = 16


def predict_queryset(
    queryset: QuerySet[Any],
    predictor: str | Predictor,
    *,
    input: Input,
    output: Output,
    batch_size: int | None = None,
    timeout: float | None = None,
    priority: Priority = "normal",
    progress: Callable[[int, int], object] | None = None,
    on_error: Callable[[Any, Exception], object] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Filled:
    """Predict for every row, and write the answers into the rows.

    Rows are taken in the order of their primary keys, a batch at a time: read, predicted, and
    written by one `bulk_update` in a transaction. Only the fields of `output` are written, no
    signal is sent, and no more than a batch is held in memory.

    Args:
        queryset: of model instances, without a slice. Its order is replaced.
        predictor: or its alias.
        input: a field, a dotted path over relations, a function of the row, or one of these
            for each tensor by its name. Files are read as bytes.
        output: a field for the whole answer, fields by the names of outputs, or a function of
            the row and the answer that returns values by the names of fields.
        batch_size: rows that are written at a time: what a kill may lose.
        timeout: seconds for each call of the predictor.
        priority: of each call.
        progress: is called after each batch with the rows that are done, and all of them.
        on_error: is called with a row that cannot be read, predicted or written, and the
            error. Such rows are left as they are; without this, the first ones are logged.
        checkpoint: a file that keeps the position: a later run goes on behind it. Not needed
            where the queryset leaves out the rows that are done.

    Raises:
        InferenceError: the model as a whole cannot answer. What was written stays.
        CheckpointError: the checkpoint is of another model, or in use.
        ValueError: there is no such field, or a queryset of something else.
    """
    if isinstance(predictor, str):
        predictor = predictors[predictor]
    model = queryset.model
    filling = Filling(queryset, predictor, Reader(model, input), Writer(model, output))
    filling.options = {"timeout": timeout, "priority": priority}
    filling.on_error = on_error
    size = batch_size or CALLS * predictor.backend.options.max_batch_size
    if checkpoint is None:
        return filling.run(size, progress)
    about = {"model": model._meta.label, "output": _named(output)}
    with closing(Position(checkpoint, predictor.backend, about)) as filling.position:
        return filling.run(size, progress)


def _named(output: Output) -> str:
    if callable(output):
        return str(getattr(output, "__qualname__", type(output).__qualname__))
    return output if isinstance(output, str) else json.dumps(dict(output), sort_keys=True)
