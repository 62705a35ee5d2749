"""What is said about a model: how to load it, and how it fares.

These structures travel between processes as msgpack, so they hold plain values only and
import neither Django nor numpy.
"""

from __future__ import annotations

import hashlib
import time
import traceback
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from django_inference.tensors import Signature

#: Characters that are kept: the messages and tracebacks of some libraries hold whole inputs.
MAX_MESSAGE = 2_000
MAX_TRACEBACK = 64_000


class State(StrEnum):
    """Where a model is in its life."""

    UNLOADED = "UNLOADED"
    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"
    DRAINING = "DRAINING"


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one model is run, wherever it runs.

    Attributes:
        max_batch_size: rows that one call of the runtime takes at the most.
        max_batch_delay: seconds to wait for more requests before a batch that is not
            full runs. 0 adds no delay: requests that arrive during a run form the next
            batch by themselves.
        warmup: run the model once before it takes traffic.
    """

    max_batch_size: Annotated[int, msgspec.Meta(ge=1)] = 32
    max_batch_delay: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    warmup: bool = True


class PythonEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """What a process needs to import a runtime of the user's own.

    Attributes:
        settings_module: for `django.setup()`, since the runtime may import models.
        path: the import path of the process that declared the model.
    """

    settings_module: str
    path: tuple[str, ...]


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A declared model: everything a process needs to load and run it.

    Attributes:
        alias: the name of the predictor.
        runtime: dotted path of a Runtime class, or of a function.
        runtime_options: keyword arguments of the runtime.
        artifact: absolute path of the artifact; None for code without one.
        sha256: the digest that the artifact must have, or None.
        trusted: the artifact may run code when it is loaded.
        options: how it is run.
        replicas: how many workers of the host hold it.
        environment: set for a runtime of the user's own, None for a built-in one.
    """

    alias: str
    runtime: str
    runtime_options: dict[str, Any] = {}
    artifact: str | None = None
    sha256: str | None = None
    trusted: bool = False
    options: EngineOptions = EngineOptions()
    replicas: int = 1
    environment: PythonEnvironment | None = None

    def digest(self) -> str:
        """What two equal declarations have in common: 16 hexadecimal digits.

        The alias, the replicas and the import path are left out: none changes an answer.
        """
        said = (
            self.runtime,
            self.runtime_options,
            self.artifact,
            self.sha256,
            self.trusted,
            self.options,
        )
        encoded = msgspec.msgpack.Encoder(order="deterministic", enc_hook=repr).encode(said)
        return hashlib.sha256(encoded).hexdigest()[:16]


class HostSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The model host's own settings: `INFERENCE_HOST`, with its defaults.

    Attributes:
        runtime_dir: absolute folder of the host's socket, lock and log; only this user
            may enter it.
        autostart: a client that finds no host starts one.
        linger: seconds that the host stays after its last client process is gone.
        graceful_timeout: seconds that running predictions get when the host stops.
        start_timeout: seconds that a client waits for a host that it started.
        python: the interpreter that runs the host.
    """

    runtime_dir: str
    autostart: bool = True
    linger: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    graceful_timeout: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    start_timeout: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    python: str = ""


class ErrorReport(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong last, for the person on call.

    Attributes:
        message: one line.
        traceback: of the process where it happened.
        at: seconds since the epoch.
    """

    message: str
    traceback: str = ""
    at: float = 0.0

    @classmethod
    def of(cls, error: BaseException) -> ErrorReport:
        """Say what is known of an exception, now."""
        # The end of a long traceback says more than its beginning.
        said = printable("".join(traceback.format_exception(error)))[-MAX_TRACEBACK:]
        return cls(message=one_line(error), traceback=said, at=time.time())


def one_line(error: BaseException) -> str:
    """The type and the first line of an exception, for a log or a table."""
    try:
        said = printable(error).strip().split("\n", 1)[0][:MAX_MESSAGE]
    except Exception as reason:
        said = f"its message cannot be shown: {type(reason).__name__}"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def printable(value: object) -> str:
    """Return text that can travel: names of files may hold what UTF-8 has no bytes for."""
    return str(value).encode(errors="replace").decode()


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one worker since it was started.

    Attributes:
        requests: answered, the failed ones included.
        failures: answered with an error.
        expired: dropped unrun, because their deadline had passed.
        rows: items or tensor rows run.
        batches: calls of the runtime.
        run_seconds: spent in the runtime.
        batch_sizes: for each upper bound (rows), how many batches were of that size.
        latencies: for each upper bound (seconds), how many requests took that long, from
            being sent to being answered.
    """

    requests: int = 0
    failures: int = 0
    expired: int = 0
    rows: int = 0
    batches: int = 0
    run_seconds: float = 0.0
    batch_sizes: dict[str, int] = {}
    latencies: dict[str, int] = {}


class ReplicaStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process (or, locally, one thread) that holds the model.

    Attributes:
        pid: 0 while there is none.
        state: of this replica.
        load_seconds: how long its last load took, warm-up included.
        memory: resident bytes of the process.
        restarts: how often it was started again after it had exited.
        statistics: since it was started.
    """

    pid: int
    state: State
    load_seconds: float = 0.0
    memory: int = 0
    restarts: int = 0
    statistics: Statistics = Statistics()


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How one predictor fares.

    Attributes:
        alias: the predictor.
        state: of the version that answers, or of the one being loaded when none does.
        backend: dotted path of its backend.
        version: digest of artifact, runtime and options; empty before the first load.
        next_version: that is being loaded beside it; empty when none is.
        replicas: what holds the model now.
        signature: of the loaded model, where it declares one.
        error: the last one, kept until the next load succeeds.
        retry_after: seconds until the next attempt to load, after a failure.
        host_pid: the model host's supervisor, 0 where there is none.
    """

    alias: str
    state: State
    backend: str = ""
    version: str = ""
    next_version: str = ""
    replicas: tuple[ReplicaStatus, ...] = ()
    signature: Signature | None = None
    error: ErrorReport | None = None
    retry_after: float | None = None
    host_pid: int = 0

    @property
    def pid(self) -> int:
        """The first replica's process, 0 where there is none."""
        return self.replicas[0].pid if self.replicas else 0

    @property
    def load_seconds(self) -> float:
        """The slowest replica's load, in seconds."""
        return max((replica.load_seconds for replica in self.replicas), default=0.0)

    @property
    def memory(self) -> int:
        """Resident bytes of all the replicas together."""
        return sum(replica.memory for replica in self.replicas)
