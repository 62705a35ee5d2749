"""The first run of a model, before it takes traffic."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from django_inference.engine.batching import Request
from django_inference.engine.sending import check_answer
from django_inference.exceptions import InferenceError
from django_inference.runtimes.base import BaseRuntime
from django_inference.specs import ModelSpec
from django_inference.tensors import Signature, Tensors

logger = logging.getLogger("django_inference.engine")


class Runs(Protocol):
    """What warm-up needs of a runner."""

    spec: ModelSpec
    signature: Signature | None

    def run(self, requests: Iterable[Request]) -> None:
        """Answer every request."""


def warm_up(runner: Runs, runtime: BaseRuntime) -> None:
    """Predict the runtime's own example, or zeros where the signature says enough.

    Raises:
        InferenceError: the runtime's own example failed, or an answer is one that no caller
            could be sent. Zeros may fail: nobody promised
            that the model takes them, so that is logged and forgotten.
    """
    example = runtime.warmup()
    if example is not None:
        answer = outcome(runner, [example])
        if isinstance(answer, InferenceError):
            raise answer
        check_answer(answer, runner.spec.alias)
        return
    zeros = _zeros(runner.signature)
    if zeros is not None:
        answer = outcome(runner, zeros)
        if isinstance(answer, InferenceError):
            logger.warning("warm-up with zeros failed alias=%s: %s", runner.spec.alias, answer)
        else:
            check_answer(answer, runner.spec.alias)


class _Trial(Request):
    outcome: Any = None

    def begins(self, batch: int) -> None:
        pass

    def answer(self, outcome: Any) -> None:
        self.outcome = outcome


def outcome(runner: Runs, payload: Any) -> Any:
    """What the model answers to a payload that nobody sent: a result or an error."""
    trial = _Trial(payload, deadline=float("inf"), sent_at=0.0)
    runner.run([trial])
    return trial.outcome


def _zeros(signature: Signature | None) -> Tensors | None:
    if signature is None or not signature.inputs:
        return None
    tensors = {}
    for spec in signature.inputs:
        if spec.dtype in ("str", "bytes") or not spec.shape or -1 in spec.shape[1:]:
            return None
        tensors[spec.name] = np.zeros((max(spec.shape[0], 1), *spec.shape[1:]), spec.dtype)
    return tensors
