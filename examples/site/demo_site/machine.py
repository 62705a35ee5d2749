"""Which processes serve the site, and what they weigh."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psutil

from django_inference import predictors
from django_inference.specs import State, Status


@dataclass(frozen=True)
class Process:
    """One process of the site.

    Attributes:
        pid: 0 while there is none.
        memory: resident bytes.
    """

    pid: int
    memory: int = 0

    @property
    def megabytes(self) -> str:
        """The memory, as people say it."""
        return f"{self.memory / 1_000_000:,.0f} MB" if self.memory else "–"


@dataclass(frozen=True)
class Model:
    """One model and the process that holds it."""

    alias: str
    state: str
    process: Process
    load_seconds: float
    version: str
    error: str

    @property
    def load_time(self) -> str:
        """How long the load took."""
        return f"{self.load_seconds:.1f} s" if self.load_seconds else "–"


@dataclass(frozen=True)
class Machine:
    """All the processes of the site.

    Attributes:
        this_pid: the web worker that answers this request.
        web_workers: all of them, this one included.
        host: the supervisor of the model host.
        models: each with the process that holds it.
    """

    this_pid: int
    web_workers: list[Process]
    host: Process
    models: list[Model]

    def model(self, alias: str) -> Model:
        """One of the models."""
        return next(model for model in self.models if model.alias == alias)


def web_worker_pids() -> list[int]:
    """The processes that serve this site: this one, and those its parent started like it."""
    this = psutil.Process()
    parent = this.parent()
    if parent is None:
        return [this.pid]
    like_this = this.cmdline()
    pids = {this.pid}
    for sibling in parent.children():
        try:
            if sibling.cmdline() == like_this:
                pids.add(sibling.pid)
        except psutil.Error:
            continue
    return sorted(pids)


def model(status: Status) -> Model:
    """What the pages say about one model."""
    return Model(
        alias=status.alias,
        state=status.state.value,
        process=Process(status.pid, status.memory),
        load_seconds=status.load_seconds,
        version=status.version,
        error=status.error.message if status.error else "",
    )


def machine() -> Machine:
    """Look at every process of the site."""
    statuses = [predictors[alias].status() for alias in predictors]
    host = max((status.host_pid for status in statuses), default=0)
    return Machine(
        this_pid=os.getpid(),
        web_workers=[Process(pid, _memory(pid)) for pid in web_worker_pids()],
        host=Process(host, _memory(host)),
        models=[model(status) for status in statuses],
    )


def is_on_its_way(status: Status) -> bool:
    """Nothing is wrong: the model is only not loaded yet. A new attempt after a failure is."""
    return status.error is None and status.state in (State.UNLOADED, State.LOADING)


def _memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid else 0
    except psutil.Error:
        return 0
