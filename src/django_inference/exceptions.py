"""Every error a caller can meet.

    InferenceError                  500
    ├── ModelNotReady               503  loading, restarting or not loaded; try again
    ├── ModelLoadFailed             503  the last load failed; the next attempt is scheduled
    ├── Overloaded                  429  the queue is full
    ├── PredictionTimeout           504  the deadline passed
    ├── InvalidInput                400  the input does not fit the model
    ├── ModelCrashed                500  the input killed the model's process twice
    ├── PredictionFailed            500  the model's own code raised
    ├── RemoteError                 502  a server on another machine misbehaved
    ├── JobCancelled                409  the job was cancelled: there is no result
    └── EngineUnavailable           503  the queue of jobs cannot be reached

Mistakes in settings are `django_inference.conf.InvalidPredictor`, which is Django's
`ImproperlyConfigured`. `CheckpointError` is no error of a prediction, but of what a long run keeps.
"""

from __future__ import annotations

import math
from typing import ClassVar


class InferenceError(Exception):
    """A prediction could not be made.

    Attributes:
        alias: the predictor that was asked.
        message: what happened, without the alias.
        retry_after: seconds after which another try makes sense, or None.
        status_code: the HTTP status that says the same.
        public: what a client of the site may be told; the message may hold paths and
            values of the server.
        details: the traceback in the process that holds the model, or an empty string.
    """

    status_code: ClassVar[int] = 500
    public: ClassVar[str] = "The model failed on this input."

    def __init__(
        self,
        message: str = "",
        *,
        alias: str = "",
        retry_after: float | None = None,
        details: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.alias = alias
        self.retry_after = retry_after
        self.details = details

    @property
    def kind(self) -> str:
        """The name of the public error that this is: a subclass goes by its base's."""
        return next(
            kind.__name__ for kind in type(self).__mro__ if BY_NAME.get(kind.__name__) is kind
        )

    @property
    def retry_after_seconds(self) -> int | None:
        """For `Retry-After`: whole, rounded up, at least 1; None where it makes no sense."""
        if self.retry_after is None or not math.isfinite(self.retry_after):
            return 1 if self.status_code in (429, 503) else None
        return max(1, math.ceil(self.retry_after))

    def for_client(self, *, debug: bool = False) -> str:
        """What a client of the site is told; the whole message with `debug`."""
        return self.message if debug and self.message else self.public

    def __str__(self) -> str:
        """The alias first: the person on call reads this line in a log."""
        return f"Predictor {self.alias!r}: {self.message}" if self.alias else self.message


class ModelNotReady(InferenceError):
    """The model is not loaded yet, or is being restarted."""

    status_code = 503
    public = "The model is not ready yet. Try again later."


class ModelLoadFailed(InferenceError):
    """The model's last load failed. It is tried again by itself."""

    status_code = 503
    public = "The model could not be loaded. Try again later."


class Overloaded(InferenceError):
    """More requests wait than `max_queue` allows."""

    status_code = 429
    public = "Too many predictions are waiting. Try again later."


class PredictionTimeout(InferenceError):
    """The deadline passed before there was an answer."""

    status_code = 504
    public = "There was no answer in time."


class InvalidInput(InferenceError):
    """The input does not fit the model's signature, or cannot be sent."""

    status_code = 400
    public = "The input does not fit the model."

    def for_client(self, *, debug: bool = False) -> str:
        """The message itself, which is about what the client has sent."""
        return self.message or self.public


class ModelCrashed(InferenceError):
    """The process that holds the model died twice while it ran this input alone."""

    public = "The model crashed on this input."


class PredictionFailed(InferenceError):
    """The model's own code raised; `details` holds its traceback."""


class RemoteError(InferenceError):
    """A model server on another machine answered with an error, or not at all."""

    status_code = 502
    public = "The model's server did not answer as it should."


class JobCancelled(InferenceError):
    """Somebody has cancelled the job before it was done."""

    status_code = 409
    public = "The job was cancelled."


class EngineUnavailable(InferenceError):
    """The queue that carries jobs to the workers does not take one now.

    `submit` does not raise it: the job waits in the database until the queue is back.
    """

    status_code = 503
    public = "The queue cannot be reached. Try again later."


class CheckpointError(ValueError):
    """A checkpoint is of other items or of another model, or another run is using it."""


#: By class name: how an error travels between processes without being pickled.
BY_NAME: dict[str, type[InferenceError]] = {
    error.__name__: error
    for error in (
        InferenceError,
        ModelNotReady,
        ModelLoadFailed,
        Overloaded,
        PredictionTimeout,
        InvalidInput,
        ModelCrashed,
        PredictionFailed,
        RemoteError,
        JobCancelled,
        EngineUnavailable,
    )
}
