"""One model on other machines, as one process calls it."""

from __future__ import annotations

import time
from typing import Any

from django_inference.backends.base import Serving
from django_inference.backends.remote.batches import Batches
from django_inference.backends.remote.documents import Documents, result_in, takes_items
from django_inference.backends.remote.options import RemoteOptions
from django_inference.backends.remote.pool import Pool, Steps
from django_inference.backends.remote.protocols import Described, Predicted, Protocol
from django_inference.backends.remote.questions import Question
from django_inference.backends.remote.reading import Reading
from django_inference.engine.fitting import Fitting
from django_inference.exceptions import InferenceError, InvalidInput, PredictionTimeout
from django_inference.tensors import Tensors

#: Seconds for which what a server told of a model is believed where an input does not fit it.
BELIEVED = 5.0


class RemoteClient:
    """Threads and tasks share it; after a fork it dials anew.

    Args:
        alias: of the predictor.
        options: of the backend.
        protocol: the questions about the model.
        cut: rows of one request made of named tensors; None sends them whole.

    Attributes:
        known: what a server told of the model; None before that.
        pool: the servers.
    """

    def __init__(
        self, alias: str, options: RemoteOptions, protocol: Protocol, cut: int | None
    ) -> None:
        self.pool = Pool(alias, options, protocol.ready, self._doubt)
        self.known: Described | None = None
        self._alias = alias
        self._options = options
        self._protocol = protocol
        self._cut = cut
        self._is_doubted = False
        #: Answers of another version than the one that was told of.
        self._of_others = 0
        self._known_at = self._looked_at = 0.0
        self._fitting = Fitting(None)

    def call(self, payload: Any, deadline: float, priority: int) -> Any:
        """Predict and wait."""
        call = _Call(payload)
        try:
            return self.pool.ask(lambda: self._steps(call, deadline, priority), deadline)
        except InferenceError as error:
            error.alias = self._alias
            raise

    async def acall(self, payload: Any, deadline: float, priority: int) -> Any:
        """As `call`, without holding the event loop."""
        call = _Call(payload)
        try:
            return await self.pool.aask(lambda: self._steps(call, deadline, priority), deadline)
        except InferenceError as error:
            error.alias = self._alias
            raise

    def open(self, item: Any, deadline: float, priority: int) -> tuple[Reading, Any]:
        """Begin a stream; what reads it, and its first chunk."""
        try:
            opened: tuple[Reading, Any] = self.pool.ask(
                lambda: self._opening(item, deadline, priority), deadline
            )
            return opened
        except InferenceError as error:
            error.alias = self._alias
            raise

    async def aopen(self, item: Any, deadline: float, priority: int) -> tuple[Reading, Any]:
        """As `open`, without holding the event loop."""
        try:
            opened: tuple[Reading, Any] = await self.pool.aask(
                lambda: self._opening(item, deadline, priority), deadline
            )
            return opened
        except InferenceError as error:
            error.alias = self._alias
            raise

    def chunk(self, predicted: Predicted) -> Any:
        """What the caller of a stream gets for one answer: tensors, or a result."""
        if self.known is not None and takes_items(self.known.signature):
            return result_in(predicted.outputs)
        return predicted.outputs

    def described(self, deadline: float) -> Described:
        """What a server tells of the model."""
        found: Described = self.pool.ask(lambda: self._described(deadline), deadline)
        return found

    async def adescribed(self, deadline: float) -> Described:
        """As `described`, without holding the event loop."""
        found: Described = await self.pool.aask(lambda: self._described(deadline), deadline)
        return found

    def serving(self, declared: str, described: Described) -> Serving:
        """Who answers, for the cache: the declaration, and the version that the server told."""
        version, others = f"{declared}-{described.version}", self._of_others

        def is_still() -> bool:
            return self.known is described and not self._is_doubted and self._of_others == others

        return Serving(version, is_still)

    def order(self, question: Question, deadline: float) -> None:
        """Give every server an order; what takes longer goes on without us.

        Raises:
            InferenceError: none has taken it.
        """
        answers = [answer for _, answer in self.pool.every(question, deadline)]
        self._doubt()
        errors = [answer for answer in answers if isinstance(answer, InferenceError)]
        refusals = [error for error in errors if not isinstance(error, PredictionTimeout)]
        if len(refusals) == len(answers):
            raise refusals[0]

    def look(self, deadline: float) -> None:
        """Ask each server after its health, unless that was done a moment ago."""
        if time.monotonic() - self._looked_at > 1.0:
            self.pool.look(deadline)
            self._looked_at = time.monotonic()

    def close(self) -> None:
        """Hang up."""
        self.pool.close()

    def _steps(self, call: _Call, deadline: float, priority: int) -> Steps:
        described = yield from self._described(deadline)
        if call.batches is None:
            try:
                call.batches = self._batches(call.payload, described)
            except InvalidInput:
                if time.monotonic() - self._known_at < BELIEVED:
                    raise
                # The model may be another one by now.
                self._doubt()
                described = yield from self._described(deadline)
                call.batches = self._batches(call.payload, described)
        for inputs in call.batches.parts[len(call.answers) :]:
            question = self._protocol.infer(inputs, described, priority)
            predicted: Predicted = yield from self.pool.asked(question, deadline)
            if described.version and predicted.version not in ("", described.version):
                self._of_others += 1
                if time.monotonic() - self._known_at > BELIEVED:
                    self._doubt()
            call.answers.append(predicted.outputs)
        return call.batches.answer(call.answers)

    def _opening(self, item: Any, deadline: float, priority: int) -> Steps:
        described = yield from self._described(deadline)
        (inputs,) = self._batches([item], described).parts
        question = self._protocol.stream(inputs, described, priority)
        return (yield from self.pool.asked(question, deadline))

    def _described(self, deadline: float) -> Steps:
        known = self.known
        if known is not None and not self._is_doubted:
            return known
        # Whoever comes meanwhile goes by what was known before.
        self._is_doubted = False
        try:
            told: Described = yield from self.pool.asked(self._protocol.metadata(), deadline)
        except BaseException:
            self._is_doubted = True
            raise
        self._known_at = time.monotonic()
        if told != known:
            self._fitting = Fitting(told.signature)
            self.known = known = told
        return known

    def _batches(self, payload: Any, described: Described) -> Batches | Documents:
        if takes_items(described.signature):
            return Documents(payload, self._options.max_batch_size)
        fitting = self._fitting if self.known is described else Fitting(described.signature)
        most = self._options.max_batch_size
        return Batches(payload, described.signature, fitting, most, self._cut)

    def _doubt(self) -> None:
        self._is_doubted = True


class _Call:
    """One call, over all the rounds that it takes: what is answered is not asked again."""

    def __init__(self, payload: Any) -> None:
        self.payload = payload
        self.batches: Batches | Documents | None = None
        self.answers: list[Tensors] = []
