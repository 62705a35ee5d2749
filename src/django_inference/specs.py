"""What is said about a model: how to load it, and how it fares.

These structures travel between processes as msgpack, so they hold plain values only and
import neither Django nor numpy.
"""

from __future__ import annotations

import hashlib
import time
import traceback
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from django_inference.tensors import Signature

#: Characters that are kept: the messages and tracebacks of some libraries hold whole inputs.
MAX_MESSAGE = 2_000
MAX_TRACEBACK = 64_000


#: How urgent a call is; its place in here is what travels.
Priority: TypeAlias = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
NORMAL = PRIORITIES.index("normal")


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
            batch by themselves. In the model host nobody waits once all who have called
            within the last second are waiting.
        max_queue: requests that wait for the model at the most; one more is answered
            `Overloaded` at once, which helps its caller more than a deadline that passes.
        warmup: run the model once before it takes traffic.
        share_weights: keep the weights in memory that all replicas share, where the runtime
            can. Some models run slower so.
        batching: `proven` lets requests share a run after runs have shown that each gets
            the answer that it gets alone; `always` takes that for granted; with `never`,
            each request is a run of its own and is not cut.
        batch_tolerance: by how much a number may differ between the two, relative to numbers
            above 1; None for what rounding in the type of the output explains.
        audit: share of the shared runs, after the proof, that are compared again.
    """

    max_batch_size: Annotated[int, msgspec.Meta(ge=1)] = 32
    max_batch_delay: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    max_queue: Annotated[int, msgspec.Meta(ge=1)] = 1024
    warmup: bool = True
    share_weights: bool = False
    batching: Literal["proven", "always", "never"] = "proven"
    batch_tolerance: Annotated[float, msgspec.Meta(ge=0)] | None = None
    audit: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.001


class Supervision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the model host looks after the workers of one model.

    None of it changes an answer, so a changed value takes effect without a new version.

    Attributes:
        replicas: worker processes that hold the model.
        threads: of the framework, for each replica; None shares the usable cores among
            the replicas, and gives each cores of its own where there are enough.
        devices: `cuda:0`, `cpu` and the like, for the replicas in turn. When left out,
            several replicas take turns on `CUDA_VISIBLE_DEVICES`.
        run_timeout: seconds after which a run is taken for hung: its worker is killed and
            replaced. Longer than any honest run; None never gives up.
        load_timeout: seconds after which a load, warm-up included, is taken for hung
            likewise.
        idle_unload: seconds without a call after which the memory is given back; the next
            call loads the model again. None keeps it.
        max_requests: answers after which a worker is replaced, for code that leaks. The
            new one is loaded first, so there is no gap. None never replaces it.
        max_memory: resident bytes of a worker above which it is replaced likewise.
        watch: load again when the files of the artifact change.
        quarantine: seconds for which an input that has killed the model twice is refused
            unrun, so that a storm of retries cannot take the model down.
        canary: share of the calls (0 to 1) that a new version is given beside the one that
            serves, until somebody promotes or rolls it back; 0 moves all traffic at once.
        shadow: share of the calls that a new version is given as a copy, to be compared and
            not answered, until somebody promotes or rolls it back.
        tolerance: by how much a number of a shadow's answer may differ.
        max_request_bytes: a longer input is refused.
        max_response_bytes: a longer result is refused.
    """

    replicas: Annotated[int, msgspec.Meta(ge=1)] = 1
    threads: Annotated[int, msgspec.Meta(ge=1)] | None = None
    devices: tuple[Annotated[str, msgspec.Meta(pattern=r"^(cpu|cuda(:\d+)?)$")], ...] = ()
    run_timeout: Annotated[float, msgspec.Meta(gt=0)] | None = 300.0
    load_timeout: Annotated[float, msgspec.Meta(gt=0)] | None = 1800.0
    idle_unload: Annotated[float, msgspec.Meta(gt=0)] | None = None
    max_requests: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_memory: Annotated[int, msgspec.Meta(ge=1)] | None = None
    watch: bool = False
    quarantine: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    canary: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    shadow: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    tolerance: Annotated[float, msgspec.Meta(ge=0)] = 1e-4
    max_request_bytes: Annotated[int, msgspec.Meta(ge=1)] = 1 << 30
    max_response_bytes: Annotated[int, msgspec.Meta(ge=1)] = 1 << 30


class Golden(msgspec.Struct, frozen=True, array_like=True):
    """A question whose answer is known.

    Attributes:
        input: as for `Predictor.predict` where it is a dict or a list, else one item.
        expected: the answer, with lists for arrays.
        tolerance: by how much a number may differ.
    """

    input: Any
    expected: Any
    tolerance: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class PythonEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """What a process needs to import code of the user's own.

    Attributes:
        settings_module: for `django.setup()`, since the code may import models.
        path: the import path of the process that declared the model.
        source: file of the code; changing it makes a new version. Empty where there
            is none.
    """

    settings_module: str
    path: tuple[str, ...]
    source: str = ""


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A declared model: everything a process needs to load and run it.

    Attributes:
        alias: the name of the predictor.
        runtime: dotted path of a Runtime class, or of a function.
        runtime_options: keyword arguments of the runtime.
        artifact: absolute path of the artifact, or where else it lies; None for code
            without one.
        sha256: the digest that the artifact must have, or None.
        trusted: the artifact may run code when it is loaded.
        options: how it is run.
        golden: answers that a version must give before it takes traffic.
        supervision: how the host looks after its workers.
        environment: set where code of the user's own is run, None where there is none.
        artifact_environment: set where Django is needed to fetch the artifact.
    """

    alias: str
    runtime: str
    runtime_options: dict[str, Any] = {}
    artifact: str | None = None
    sha256: str | None = None
    trusted: bool = False
    options: EngineOptions = EngineOptions()
    golden: tuple[Golden, ...] = ()
    supervision: Supervision = Supervision()
    environment: PythonEnvironment | None = None
    artifact_environment: PythonEnvironment | None = None

    def digest(self) -> str:
        """What two equal declarations have in common: 16 hexadecimal digits.

        The alias, the supervision and the import path are left out: none changes an answer.
        """
        said = (
            self.runtime,
            self.runtime_options,
            self.artifact,
            self.sha256,
            self.trusted,
            self.options,
            self.golden,
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
        memory_budget: resident bytes that all workers together may take; above it the
            models that were not called for the longest time are unloaded, until the next
            call. None: no limit.
        artifact_dir: absolute folder of the copies of artifacts that lie elsewhere.
        artifact_limit: bytes that these copies may take; above it those go that were not
            used for the longest time. None: no limit.
    """

    runtime_dir: str
    autostart: bool = True
    linger: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    graceful_timeout: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    start_timeout: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    python: str = ""
    memory_budget: Annotated[int, msgspec.Meta(ge=1)] | None = None
    artifact_dir: str = ""
    artifact_limit: Annotated[int, msgspec.Meta(ge=1)] | None = None


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
        requests: answered, with errors too.
        failures: answered with an error that is not the caller's mistake.
        invalid: answered `InvalidInput`, which is the caller's mistake.
        expired: dropped unrun, because their deadline had passed.
        refused: answered `Overloaded`.
        abandoned: dropped unrun, because the caller had given up.
        streams: open now; each of their chunks counts as a request of one row.
        rows: items or tensor rows run.
        batches: calls of the runtime.
        run_seconds: spent in the runtime.
        batch_sizes: for each upper bound (rows), how many batches were of that size.
        latencies: for each upper bound (seconds), how many requests took that long, from
            being sent to being answered.
    """

    requests: int = 0
    failures: int = 0
    invalid: int = 0
    expired: int = 0
    refused: int = 0
    abandoned: int = 0
    streams: int = 0
    rows: int = 0
    batches: int = 0
    run_seconds: float = 0.0
    batch_sizes: dict[str, int] = {}
    latencies: dict[str, int] = {}

    @property
    def successes(self) -> int:
        """Requests that were answered with a result."""
        return self.requests - self.failures - self.invalid


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a load is.

    Attributes:
        stage: `fetching`, `loading`, `warming up`, `proving` or `golden`.
        done: bytes that are here, while it is fetching.
        total: bytes that there will be; 0 where nobody knows.
        seconds: since this stage began.
    """

    stage: str
    done: int = 0
    total: int = 0
    seconds: float = 0.0


class ReplicaStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process (or, locally, one thread) that holds the model.

    Attributes:
        pid: 0 while there is none.
        state: of this replica.
        load_seconds: how long its last load took, warm-up included.
        memory: resident bytes of the process.
        device: where the model runs, such as `cpu` or `cuda:0`, as its runtime says.
        framework: name and version of what runs it, as its runtime says.
        weights: with `share_weights`: `shared`, or `own` where the runtime cannot share them,
            so that one replica with threads on all cores is the better choice.
        batching: `proven`, `proven at load` until requests have shared runs, `unproven`
            while neither has happened, `always`, or `not batched: ` and the reason.
        warnings: what its runtime found doubtful when it loaded the model, in sentences.
        restarts: how often it was started again after it had exited.
        statistics: since it was started.
    """

    pid: int
    state: State
    load_seconds: float = 0.0
    memory: int = 0
    device: str = ""
    framework: str = ""
    weights: str = ""
    batching: str = ""
    warnings: tuple[str, ...] = ()
    restarts: int = 0
    statistics: Statistics = Statistics()


class CacheCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What the cache of a predictor has saved. An item counts as one, and so does a batch.

    Attributes:
        hits: found in the cache.
        misses: not found there, and asked of the model.
        joined: answered with what an equal call got that was under way in the same process.
    """

    hits: int = 0
    misses: int = 0
    joined: int = 0

    def __add__(self, other: CacheCounts) -> CacheCounts:
        """Both together."""
        return CacheCounts(
            hits=self.hits + other.hits,
            misses=self.misses + other.misses,
            joined=self.joined + other.joined,
        )


class TrialStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a new version fares that is tried beside the one that serves.

    Attributes:
        version: the new one.
        replicas: that hold it, with the counts of the calls they were given.
        canary: its share of the calls.
        shadow: the share of the calls that it gets a copy of.
        equal: copies that it answered as the serving version did.
        different: copies that it answered otherwise, or not.
        example: the last difference in words, cut short.
    """

    version: str
    replicas: tuple[ReplicaStatus, ...]
    canary: float
    shadow: float
    equal: int = 0
    different: int = 0
    example: str = ""


class EndpointStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one server of a remote model fares, as this process knows it.

    Attributes:
        url: as in `OPTIONS["endpoints"]`.
        healthy: what it said of the model last; None before it was asked.
        circuit: `closed`, or `open` after failures in a row: it is tried by one call at a time.
        outstanding: calls that it has not answered yet.
        requests: that were sent to it, resends included.
        failures: that it has not answered at all.
    """

    url: str
    healthy: bool | None = None
    circuit: Literal["closed", "open"] = "closed"
    outstanding: int = 0
    requests: int = 0
    failures: int = 0


class FallbackCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What the fallback of a predictor has done in this process.

    Attributes:
        answered: calls that it has answered in the predictor's place.
        failed: calls that it could not answer either.
    """

    answered: int = 0
    failed: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How one predictor fares.

    Attributes:
        alias: the predictor.
        state: of the version that answers, or of the one being loaded when none does.
        backend: dotted path of its backend.
        version: digest of artifact, runtime and options; empty before the first load, and
            while its files are still being fetched.
        next_version: that is being loaded beside it; empty when none is, and `pending` while
            its files are still being fetched.
        progress: how far the version is that is being loaded, or None.
        trial: the version that is tried beside it, if one is.
        replicas: what holds the model now.
        cache: what the cache of its answers has saved; None without one.
        endpoints: the servers of a remote model.
        fallback: what `OPTIONS["fallback"]` has done; None without one.
        signature: of the loaded model, where it declares one.
        error: the last one, with its time; it stays when all is well again.
        retry_after: seconds until the next attempt to load, after a failure.
        host_pid: the model host's supervisor, 0 where there is none.
    """

    alias: str
    state: State
    backend: str = ""
    version: str = ""
    next_version: str = ""
    progress: Progress | None = None
    trial: TrialStatus | None = None
    replicas: tuple[ReplicaStatus, ...] = ()
    cache: CacheCounts | None = None
    endpoints: tuple[EndpointStatus, ...] = ()
    fallback: FallbackCounts | None = None
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
