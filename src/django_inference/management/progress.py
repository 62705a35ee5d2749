"""How far a load or a transfer is: drawn in a terminal, and in plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table

from django_inference.management.tables import is_loading, status_table
from django_inference.specs import Progress, Status

#: Seconds between two lines where there is no terminal: a log is read afterwards.
PLAIN = 5.0
#: Columns of a bar.
WIDTH = 30


def watch(console: Console, statuses: Callable[[], list[Status]], timeout: float) -> list[Status]:
    """Show the models while they load, until each was READY or FAILED once or time is up.

    Args:
        console: to draw on.
        statuses: returns the status of each model.
        timeout: seconds.

    Returns:
        The status of each model at its first outcome: a load that failed is tried again
        later, and would be LOADING then. The latest status where there was no outcome.
    """
    began = said_at = time.monotonic()
    spinner = Spinner("dots")
    outcomes: dict[str, Status] = {}
    with Live(console=console, refresh_per_second=10, transient=True) as live:
        while True:
            now = [outcomes.get(status.alias, status) for status in statuses()]
            outcomes |= {status.alias: status for status in now if not is_loading(status)}
            elapsed = time.monotonic() - began
            busy = [status for status in now if is_loading(status)]
            if not busy or elapsed > timeout:
                return now
            names = ", ".join(status.alias for status in busy)
            spinner.update(text=f"loading {names} for {elapsed:.1f} s")
            live.update(Group(status_table(now), spinner, _bars(busy)))
            if not console.is_terminal and time.monotonic() - said_at >= PLAIN:
                said_at = time.monotonic()
                for status in busy:
                    # Of the other stages nobody knows how long they take.
                    if status.progress is not None and status.progress.stage == "fetching":
                        said = f"{status.alias}: {in_words(status.progress)}"
                        console.print(said, highlight=False)
            time.sleep(0.1)


@contextmanager
def bar(
    console: Console, what: str, words: Callable[[Progress], str] | None = None
) -> Iterator[Callable[[int, int], None]]:
    """Show how far something is; it is told what is done, and how much there is in all.

    Args:
        console: to draw on.
        what: is being done.
        words: say it; megabytes when left out.
    """
    began = said_at = time.monotonic()
    words = words or in_words
    with Live(console=console, refresh_per_second=10, transient=True) as live:

        def told(done: int, total: int) -> None:
            nonlocal said_at
            seconds = time.monotonic() - began
            progress = Progress(stage=what, done=done, total=total, seconds=seconds)
            live.update(_bar(progress, "", words(progress)))
            if not console.is_terminal and time.monotonic() - said_at >= PLAIN:
                said_at = time.monotonic()
                console.print(words(progress), highlight=False)

        yield told


def in_rows(progress: Progress) -> str:
    """As in `filling 1,200 of 50,000 rows, 5 s`."""
    return (
        f"{progress.stage} {progress.done:,} of {progress.total:,} rows, {progress.seconds:.0f} s"
    )


def in_words(progress: Progress) -> str:
    """As in `fetching 12.0 of 90.0 MB, 5 s`."""
    text = progress.stage
    if progress.total:
        text += f" {megabytes(progress.done)} of {megabytes(progress.total)} MB"
    elif progress.done:
        text += f" {megabytes(progress.done)} MB"
    return f"{text}, {progress.seconds:.0f} s"


def megabytes(count: int) -> str:
    """Bytes in millions, with as many digits as help."""
    return f"{count / 1e6:.1f}" if count < 1e9 else f"{count / 1e6:.0f}"


def _bars(busy: list[Status]) -> RenderableType:
    return Group(
        *(
            _bar(status.progress, status.alias, in_words(status.progress))
            for status in busy
            if status.progress is not None
        )
    )


def _bar(progress: Progress, alias: str, said: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    row: list[RenderableType] = [alias] if alias else []
    if progress.total:
        row.append(ProgressBar(total=progress.total, completed=progress.done, width=WIDTH))
    grid.add_row(*row, said)
    return grid
