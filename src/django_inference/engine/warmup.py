"""The first run of a model, before it takes traffic."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Protocol

from django_inference.engine.batching import Request
from django_inference.engine.examples import zeros
from django_inference.engine.load_proof import Question
from django_inference.engine.sending import check_answer
from django_inference.exceptions import InferenceError
from django_inference.runtimes.base import BaseRuntime
from django_inference.specs import ModelSpec
from django_inference.tensors import Signature

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
        InferenceError: the runtime's own example failed, or an answer cannot be sent to
            callers. Zeros may fail, since a model need not take them: that is logged only.
    """
    example = runtime.warmup()
    if example is not None:
        answer = outcome(runner, [example])
        if isinstance(answer, InferenceError):
            raise answer
        check_answer(answer, runner.spec.alias)
        return
    example = zeros(runner.signature)
    if example is not None:
        answer = outcome(runner, example)
        if isinstance(answer, InferenceError):
            logger.warning("warm-up with zeros failed alias=%s: %s", runner.spec.alias, answer)
        else:
            check_answer(answer, runner.spec.alias)


def outcome(runner: Runs, payload: Any) -> Any:
    """What the model answers to a payload that nobody sent: a result or an error."""
    question = Question(payload)
    runner.run([question])
    return question.outcome
