"""The proof runs of a model that was just loaded, before it takes traffic."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from django_inference.engine.agreement import difference
from django_inference.engine.batching import Request, Unit
from django_inference.engine.examples import drawn
from django_inference.engine.failures import OF_THE_MODEL
from django_inference.engine.models import Model, Offender
from django_inference.engine.proof import Proof
from django_inference.engine.proof_runs import Call, are_different, differ, fresh, kept, share
from django_inference.exceptions import InvalidInput
from django_inference.specs import one_line

logger = logging.getLogger("django_inference.engine")

#: By how much answers to made-up inputs may differ where nothing is concluded from it.
ROUGH = 0.05


class Question(Request):
    """A request that no client has sent, with its answer."""

    outcome: Any = None

    def __init__(self, payload: Any) -> None:
        super().__init__(payload, deadline=float("inf"), sent_at=0.0)

    def begins(self, batch: int) -> None:
        """Nothing has to be known after a crash."""

    def answer(self, outcome: Any) -> None:
        """Keep the answer."""
        self.outcome = outcome


def prove_at_load(model: Model, call: Call, examples: Sequence[Any], proof: Proof) -> None:
    """Run two different examples by themselves, together, and in the other order.

    Where the artifact takes a fixed number of rows, they are run in other orders, and each
    beside copies of itself.
    What the model refuses proves nothing: the first requests will.

    Args:
        model: loaded.
        call: runs a batch.
        examples: payloads, the user's own; made-up ones where there are no two of one shape.
        proof: that the result goes to.
    """
    if proof.status != "unproven" or model.fixed_rows == 1:
        return
    try:
        if model.fixed_rows:
            said = _in_orders(model, call, proof.tolerance)
        else:
            said = _shared(model, call, examples, proof.tolerance)
    except OF_THE_MODEL as error:
        logger.info("no proof run with examples: %s", one_line(error))
        return
    if said:
        proof.refuted(said)
    elif said is not None:
        proof.agreed_at_load = True


def _two_alike(model: Model, payloads: Sequence[Any]) -> list[Unit]:
    """The first two units that differ and may share a run; none where there are no two."""
    by_key: dict[Any, Unit] = {}
    for payload in payloads:
        try:
            units = model.units(Question(payload), lambda key: False)
        except (InvalidInput, Offender):
            continue
        for unit in units:
            first = by_key.setdefault(unit.key, unit)
            if not unit.alone and are_different([first, unit]):
                return [first, unit]
    return []


def _shared(
    model: Model, call: Call, examples: Sequence[Any], tolerance: float | None
) -> str | None:
    """Say by what answers differ in shared runs; None where that is not known."""
    units = _two_alike(model, examples)
    are_made_up = not units
    units = units or _two_alike(model, drawn(model.signature))
    if not units:
        return None
    outputs = [kept(call([fresh(unit)])[0]) for unit in units]
    model.observe(units, outputs)
    runs = []
    for order in (slice(None), slice(None, None, -1)):
        shared = share(model, call, units[order])
        assert shared is not None
        runs.append((outputs[order], kept(shared)))

    def said(tolerance: float | None) -> str:
        return next((found for run in runs if (found := differ(*run, tolerance))), "")

    # Inputs that are nothing to the model may make rounding large, in a norm over hardly any
    # variance for one. The first requests are held to the tolerance in any case.
    if said(tolerance) and are_made_up and not said(max(tolerance or 0.0, ROUGH)):
        return None
    if said(tolerance) and difference(outputs[0], call(units[:1])[0], tolerance):
        return "the answers differ from run to run, so nothing can be said of what happens"
    return said(tolerance)


def _in_orders(model: Model, call: Call, tolerance: float | None) -> str | None:
    count = model.fixed_rows
    payloads = drawn(model.signature, (count,))
    if not payloads:
        return None
    (unit,) = model.units(Question(payloads[0]), lambda key: False)
    output = kept(call([fresh(unit)])[0])
    model.observe([unit], [output])
    # What all rows have in common, such as their mean, shows where all are the same.
    for order in (np.arange(count)[::-1], np.zeros(count, int), np.full(count, count - 1)):
        other = call([model.reordered(unit, order)])[0]
        if said := difference(model.rows_of(output, order), other, tolerance):
            return said
    return ""
