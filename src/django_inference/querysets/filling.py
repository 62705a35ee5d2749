"""Batch after batch of a table: read, predict, write."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec
from django.db import router, transaction
from django.db.models import Model, QuerySet

from django_inference.backends.mapping import MapOptions, map_items
from django_inference.exceptions import InferenceError
from django_inference.handle import Predictor
from django_inference.querysets.position import Position
from django_inference.querysets.reading import UNREADABLE, Reader
from django_inference.querysets.writing import Unwritable, Writer

logger = logging.getLogger("django_inference")

#: Errors that are logged and told at the end; a mistake in a name may make one of every row.
ERRORS = 100


class Filled(msgspec.Struct, frozen=True):
    """What has become of the rows; with a checkpoint, of those of former runs too.

    Attributes:
        rows: that have been written.
        failed: that have not.
        errors: why, by the primary key; of the first hundred of this run.
    """

    rows: int
    failed: int
    errors: dict[Any, str]


class Filling:
    """One pass over a queryset.

    Args:
        queryset: whose rows are filled.
        predictor: that is asked.
        reader: of inputs.
        writer: of answers.

    Attributes:
        options: of each call of the predictor.
        on_error: is told of rows that cannot be filled; None logs the first ones.
        position: of a checkpoint, or None.
    """

    options: Mapping[str, Any] = {}
    on_error: Callable[[Any, Exception], object] | None = None
    position: Position | None = None

    def __init__(
        self, queryset: QuerySet[Any], predictor: Predictor, reader: Reader, writer: Writer
    ) -> None:
        _refuse_what_has_no_rows(queryset)
        if reader.related and queryset.query.select_related is not True:
            queryset = queryset.select_related(*reader.related)
        self._queryset = queryset.order_by("pk")
        self._model = queryset.model
        # What is read from a replica is written to the primary.
        self._database = queryset._db or router.db_for_write(self._model)  # type: ignore[attr-defined]
        self._predictor = predictor
        self._read = reader
        self._write = writer
        self._rows = self._failed = 0
        self._errors: dict[Any, str] = {}

    def run(self, size: int, progress: Callable[[int, int], object] | None) -> Filled:
        """Fill every row; so many are read and written at a time."""
        rest = self._queryset
        if self.position is not None and self.position.last is not None:
            self._rows, self._failed = self.position.rows, self.position.failed
            last = self._model._meta.pk.to_python(self.position.last)
            rest = rest.filter(pk__gt=last)
        total = rest.count() + self._rows + self._failed if progress is not None else 0
        while rows := list(rest[:size]):
            self._fill(rows)
            rest = self._queryset.filter(pk__gt=rows[-1].pk)
            if progress is not None:
                progress(self._rows + self._failed, total)
        return Filled(self._rows, self._failed, self._errors)

    def _fill(self, rows: list[Model]) -> None:
        # A row that a join has brought twice is one row.
        unique = list({row.pk: row for row in rows}.values())
        changed: defaultdict[tuple[str, ...], list[Model]] = defaultdict(list)
        for row, answer in self._answers(unique):
            try:
                changed[self._write(row, answer)].append(row)
            except Unwritable as error:
                self._refuse(row, error)
        if self.position is not None:
            self.position.check()
        self._rows += sum(map(len, changed.values()))
        manager = self._model._base_manager.using(self._database)
        with transaction.atomic(using=self._database):
            for fields, group in changed.items():
                if fields:
                    manager.bulk_update(group, fields)
            if self.position is not None:
                last = self._model._meta.pk.value_to_string(rows[-1])
                # With a transaction around all of this, that one decides.
                transaction.on_commit(
                    partial(self.position.move, last, self._rows, self._failed),
                    using=self._database,
                )

    def _answers(self, rows: list[Model]) -> Iterator[tuple[Model, Any]]:
        """The rows that could be read and predicted, each with its answer."""
        asked: deque[Model] = deque()

        def inputs() -> Iterator[Any]:
            for row in rows:
                try:
                    item = self._read(row)
                except UNREADABLE as error:
                    self._refuse(row, error)
                else:
                    asked.append(row)
                    yield item

        # What a position is kept of is one model's work.
        front = self._predictor.front if self.position is None else self._predictor.backend
        options = MapOptions(return_exceptions=True, **self.options)
        for answer in map_items(front, inputs(), options):
            row = asked.popleft()
            if isinstance(answer, InferenceError):
                self._refuse(row, answer)
            else:
                yield row, answer

    def _refuse(self, row: Model, error: Exception) -> None:
        self._failed += 1
        is_told = len(self._errors) < ERRORS
        if is_told:
            self._errors[row.pk] = str(error)
        if self.on_error is not None:
            self.on_error(row, error)
        elif is_told:
            label = self._model._meta.label
            logger.warning("not filled row=%s pk=%s error=%s", label, row.pk, error)


def _refuse_what_has_no_rows(queryset: QuerySet[Any]) -> None:
    """Look for what cannot be taken batch by batch.

    Raises:
        ValueError: the queryset gives no rows, or not all of them.
    """
    if queryset.query.is_sliced:
        raise ValueError("predict_queryset() takes no slice: filter by the primary key instead.")
    if queryset.query.combinator:
        raise ValueError("predict_queryset() takes no union: filter by Q objects instead.")
    if queryset._fields is not None:  # type: ignore[attr-defined]
        raise ValueError(
            "predict_queryset() needs instances: leave out values() and values_list()."
        )
