"""Runs batches, and gives each request its own part of what they return."""

from __future__ import annotations

import time
from typing import Any

from django_inference.engine.answers import Answers
from django_inference.engine.batching import Request, Unit
from django_inference.engine.failures import OF_THE_MODEL
from django_inference.engine.models import Indivisible, Model, wrong_size
from django_inference.engine.proof import SHARED_UNITS, Proof
from django_inference.engine.proof_runs import Call, are_different, compare, fresh, kept
from django_inference.engine.streams import Stream
from django_inference.engine.waiting import Waiting
from django_inference.exceptions import InferenceError, InvalidInput
from django_inference.nested import serving


class Runs:
    """Runs the batches of one model.

    Halves of a batch that raised are run again, until the offender is alone.

    Args:
        alias: of the predictor.
        model: loaded.
        call: runs a batch.
        proof: decides whether units share a run.
        answers: for the requests.
        waiting: what is run next; where it is long, nothing is proven again.
    """

    def __init__(
        self, alias: str, model: Model, call: Call, proof: Proof, answers: Answers, waiting: Waiting
    ) -> None:
        self._alias = alias
        self._model = model
        self._call = call
        self._proof = proof
        self._answers = answers
        self._waiting = waiting

    def run(self, batch: list[Unit]) -> None:
        """Run units of one key, together where that is proven to be harmless."""
        batch = self._wanted(batch)
        proof = self._proof
        while batch:
            unit = batch[0]
            is_short = len(batch) == 1 and unit.rows <= self._model.max_rows
            if unit.rows >= self._model.fixed_rows and (unit.alone or is_short):
                self._run_together(batch)
                return
            if proof.joins(unit.key) and not self._is_time_for_an_audit():
                self._run_together(batch)
                return
            if proof.reason:
                for each in batch:
                    self._run_by_itself(each)
                return
            self._prove(batch[:SHARED_UNITS])
            batch = self._wanted(batch[SHARED_UNITS:])

    def _run_together(self, batch: list[Unit]) -> None:
        for unit in batch:
            unit.request.begins(len(batch))
        try:
            results = self._call(batch)
        except Indivisible as reason:
            self._proof.refuted(str(reason))
            self.run(batch)
            return
        except OF_THE_MODEL as error:
            if len(batch) == 1:
                self._answers.fail(batch[0].request, error, batch[0].index)
                return
            middle = len(batch) // 2
            self.run(batch[:middle])
            self.run(batch[middle:])
            return
        for unit, result in zip(batch, results, strict=True):
            self._resolve(unit, result)
        for unit in batch:
            if unit.request.waiting > 0:
                # It waits for other runs, in which a runtime may use its buffers again.
                unit.request.results[unit.index] = kept(unit.request.results[unit.index])

    def _run_by_itself(self, unit: Unit) -> None:
        fixed = self._model.fixed_rows
        if fixed > 1 and unit.rows != fixed:
            self._answers.fail(unit.request, wrong_size(fixed, unit.rows), unit.index)
        elif self._wanted([unit]):
            self._run_together([unit])

    def _prove(self, batch: list[Unit]) -> None:
        """Run units one by one and together; each gets the answer of its own run."""
        ran, outputs = [], []
        for unit in batch:
            if not self._wanted([unit]):
                continue
            unit.request.begins(1)
            try:
                (output,) = self._call([fresh(unit)])
            except Indivisible as reason:
                # Only what was filled up has to be divided.
                self._proof.refuted(str(reason))
                self._answers.fail(
                    unit.request, wrong_size(self._model.fixed_rows, unit.rows), unit.index
                )
            except OF_THE_MODEL as error:
                self._answers.fail(unit.request, error, unit.index)
            else:
                ran.append(unit)
                outputs.append(kept(output))
        if not ran:
            return
        for unit in ran:
            unit.request.begins(len(ran))
        said = compare(self._model, self._call, ran, outputs, self._proof.tolerance)
        if said:
            self._proof.refuted(said)
        elif said is not None:
            self._proof.agreed(ran[0].key, are_different=are_different(ran))
        for unit, output in zip(ran, outputs, strict=True):
            if said and unit.rows < self._model.fixed_rows:
                # The rows that were added have changed the answer, so it is none.
                refusal = wrong_size(self._model.fixed_rows, unit.rows)
                self._answers.fail(unit.request, refusal, unit.index)
            else:
                self._resolve(unit, output)

    def _resolve(self, unit: Unit, result: Any) -> None:
        request = unit.request
        if request.waiting < 0:
            return
        try:
            if isinstance(request.payload, list):
                with serving(self._alias, [request]):
                    result = self._model.result(result)
            request.results[unit.index] = result
            request.waiting -= 1
            if request.waiting == 0 and not isinstance(request.payload, Stream):
                result = self._model.answer(request)
        except Indivisible as reason:
            self._run_whole(request, reason)
            return
        except OF_THE_MODEL as error:
            self._answers.fail(request, error, unit.index)
            return
        if request.waiting == 0:
            self._answers.give(request, result)

    def _run_whole(self, request: Request, reason: Indivisible) -> None:
        """Run a request again in one piece, whose answers cannot be put together."""
        if fixed := self._model.fixed_rows:
            refusal = InvalidInput(f"the model takes {fixed} rows a call, and no more: {reason}.")
            self._answers.fail(request, refusal)
            return
        try:
            units = self._model.units(request, lambda key: False)
        except InferenceError as error:
            self._answers.fail(request, error)
            return
        request.waiting, request.results = len(units), [None] * len(units)
        for unit in units:
            self._run_by_itself(unit)

    def _is_time_for_an_audit(self) -> bool:
        return len(self._waiting) < SHARED_UNITS and self._proof.audits()

    def _wanted(self, batch: list[Unit]) -> list[Unit]:
        now = time.monotonic()
        return [unit for unit in batch if self._is_wanted(unit.request, now)]

    def _is_wanted(self, request: Request, now: float) -> bool:
        if request.waiting < 0:
            return False
        if request.deadline < now:
            self._answers.expire(request)
            return False
        if request.is_abandoned:
            self._answers.abandon(request)
            return False
        return True
