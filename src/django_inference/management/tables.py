"""The state of models as a person reads it in a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from django_inference.specs import State, Status

_COLOURS = {
    State.READY: "green",
    State.LOADING: "yellow",
    State.DRAINING: "yellow",
    State.FAILED: "bold red",
    State.UNLOADED: "dim",
}


def status_table(statuses: Sequence[Status]) -> RenderableType:
    """Draw a row a predictor, and below the table the last error of each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("predictor", "state", "version", "pid"):
        table.add_column(heading, overflow="fold")
    for heading in ("load", "memory", "requests", "failures", "mean batch", "restarts"):
        table.add_column(heading, justify="right")
    table.add_column("runs on", overflow="fold")
    for status in statuses:
        table.add_row(*_row(status))
    below = [_error(status) for status in statuses if status.error is not None]
    below += [_invalid(status) for status in statuses if _invalid_count(status)]
    below += [_warnings(status) for status in statuses if _warned(status)]
    below += [_cache(status) for status in statuses if status.cache is not None]
    below += [_endpoints(status) for status in statuses if status.endpoints]
    below += [_trial(status) for status in statuses if status.trial is not None]
    below += [_unbatched(status) for status in statuses if any(_refutations(status))]
    return Group(table, *below)


def host_line(pid: int, folder: str) -> str:
    """Say which process answers for the models, and where its log lies."""
    return f"model host: pid {pid or '-'}, folder {folder}"


def is_loading(status: Status) -> bool:
    """Whether something is on its way that may be waited for."""
    if status.state in (State.LOADING, State.UNLOADED):
        return True
    # The next version has failed, and waits, when it is to be tried again.
    return bool(status.next_version) and status.retry_after is None


def has_failed(status: Status) -> bool:
    """Whether what was to be loaded is not READY; the version before it may be."""
    return status.state is not State.READY or bool(status.next_version)


def _row(status: Status) -> list[str | Text]:
    counts = [replica.statistics for replica in status.replicas]
    batches = sum(count.batches for count in counts)
    pids = ", ".join(str(replica.pid) for replica in status.replicas if replica.pid)
    return [
        status.alias,
        _state(status),
        status.version or "-",
        pids or "-",
        f"{status.load_seconds:.2f} s" if status.load_seconds else "-",
        f"{status.memory / 2**20:.0f} MB" if status.memory else "-",
        str(sum(count.requests for count in counts)),
        str(sum(count.failures for count in counts)),
        f"{sum(count.rows for count in counts) / batches:.1f}" if batches else "-",
        str(sum(replica.restarts for replica in status.replicas)),
        _runs_on(status) or "-",
    ]


def _runs_on(status: Status) -> str:
    """As in `torch 2.13.0, cuda:0, own weights`: each once, however many replicas there are."""
    frameworks = [replica.framework for replica in status.replicas if replica.framework]
    devices = [replica.device for replica in status.replicas if replica.device]
    weights = [f"{replica.weights} weights" for replica in status.replicas if replica.weights]
    return ", ".join(dict.fromkeys([*frameworks, *devices, *weights]))


def _state(status: Status) -> Text:
    text = Text(status.state.value, style=_COLOURS[status.state])
    if status.retry_after is not None:
        text.append(f" (again in {status.retry_after:.0f} s)", style="not bold")
    elif status.progress is not None and status.state is State.READY:
        text.append(f" (next version: {status.progress.stage})", style="not bold")
    elif status.progress is not None and status.progress.stage != "loading":
        text.append(f" ({status.progress.stage})", style="not bold")
    return text


def _error(status: Status) -> Text:
    assert status.error is not None
    ago = f" ({max(0.0, time.time() - status.error.at):.0f} s ago)" if status.error.at else ""
    return Text.assemble("\n", (f"{status.alias}: ", "bold"), status.error.message, (ago, "dim"))


def _invalid_count(status: Status) -> int:
    return sum(replica.statistics.invalid for replica in status.replicas)


def _invalid(status: Status) -> Text:
    """What callers got wrong, which is no failure of the model's."""
    count = _invalid_count(status)
    return Text.assemble("\n", (f"{status.alias}: ", "bold"), f"{count} invalid inputs refused")


def _warned(status: Status) -> tuple[str, ...]:
    """The warnings of all replicas, each once."""
    return tuple(dict.fromkeys(said for each in status.replicas for said in each.warnings))


def _warnings(status: Status) -> Text:
    return Text("\n").join(
        [
            Text.assemble("\n", (f"{status.alias}: ", "bold"), ("warning: ", "yellow"), said)
            for said in _warned(status)
        ]
    )


def _cache(status: Status) -> Text:
    counts = status.cache
    assert counts is not None
    return Text.assemble(
        *("\n", (f"{status.alias}: ", "bold")),
        f"cache {counts.hits} hits, {counts.misses} misses, {counts.joined} joined",
    )


def _endpoints(status: Status) -> Text:
    """A line a server, as in `grpc://models:8001 healthy, circuit closed`."""
    health = {True: "healthy", False: "not healthy", None: "not asked"}
    return Text("\n").join(
        [Text.assemble("\n", (f"{status.alias}: ", "bold"), "servers")]
        + [
            Text(f"  {each.url} {health[each.healthy]}, circuit {each.circuit}")
            for each in status.endpoints
        ]
    )


def _refutations(status: Status) -> list[str]:
    """Why requests do not share runs, unless the settings ask for that."""
    said = dict.fromkeys(replica.batching for replica in status.replicas)
    return [each for each in said if each.startswith("not batched: ") and "; " in each]


def _unbatched(status: Status) -> Text:
    return Text.assemble("\n", (f"{status.alias}: ", "bold"), "; ".join(_refutations(status)))


def _trial(status: Status) -> Text:
    trial = status.trial
    assert trial is not None
    shares = f"canary {trial.canary:g}, shadow {trial.shadow:g}"
    counts = f"{trial.equal} equal, {trial.different} different"
    example = f": {trial.example}" if trial.example else ""
    return Text.assemble(
        *("\n", (f"{status.alias}: ", "bold")),
        f"version {trial.version} on trial ({shares}), {counts}{example}",
    )
