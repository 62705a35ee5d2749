"""What the demo prints."""

from __future__ import annotations

import time
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo_run.folder import Photos
from demo_run.requests import Reply, Status
from demo_run.server import Server, StartFailed

STYLES = {"READY": "green", "LOADING": "yellow", "FAILED": "bold red"}


def wait_for_models(console: Console, server: Server, timeout: float = 180.0) -> Status:
    """Show the models being loaded, until all are ready.

    Raises:
        StartFailed: one failed to load, or it takes too long.
    """
    end = time.monotonic() + timeout
    with Live(console=console, refresh_per_second=8) as live:
        while True:
            status = server.status()
            live.update(_loading(status))
            states = {model["state"] for model in status["models"].values()}
            if states == {"READY"}:
                return status
            if "FAILED" in states or time.monotonic() > end:
                raise StartFailed(server.log_end(server.host_log))
            time.sleep(0.15)


def _loading(status: Status) -> Table:
    table = _table("model", "state", "process", "loaded in", "memory", "version")
    for alias, model in status["models"].items():
        state = model["state"]
        is_ready = state == "READY"
        table.add_row(
            alias,
            Text(state.lower(), STYLES.get(state, "dim")),
            str(model["pid"] or ""),
            f"{model['load_seconds']:.2f} s" if is_ready else "",
            _megabytes(model["memory"]) if is_ready else "",
            model["version"] if is_ready else "",
        )
    return table


def answers(console: Console, rows: list[tuple[str, str, list[Reply]]]) -> None:
    """Print what each model said, and which web workers asked it."""
    table = _table("model", "sample", "answer", "asked by", "median")
    for alias, sample, replies in rows:
        last = replies[-1]
        seconds = sorted(reply.seconds for reply in replies)
        table.add_row(
            alias,
            sample,
            SAYINGS[alias](last.data) if last.status == 200 else f"HTTP {last.status}",
            " ".join(str(pid) for pid in sorted({reply.worker for reply in replies})),
            f"{seconds[len(seconds) // 2] * 1000:.0f} ms of {len(seconds)}",
        )
    console.print(table)


def _faces(data: Any) -> str:
    faces = data["result"]["faces"]
    where = ", ".join("x {:.0f} y {:.0f}, {:.0f} × {:.0f}".format(*face["box"]) for face in faces)
    sure = ", ".join(f"p = {face['probability']:.4f}" for face in faces)
    return f"{len(faces)} face: {where}, {sure}"


def _notes(data: Any) -> str:
    notes = sorted(data["result"]["notes"], key=lambda note: note["midi"])
    return ", ".join(f"{note['name']} (MIDI {note['midi']})" for note in notes)


def _types(data: Any) -> str:
    return ", ".join(result["label"] for result in data["results"])


SAYINGS = {"faces": _faces, "notes": _notes, "types": _types}


def folder(console: Console, photos: Photos) -> None:
    """Print how fast the folder was taken, and when its answers came."""
    first, last = photos.arrivals[:1], photos.arrivals[-1:]
    console.print(
        f"A folder of {photos.finished} photos was submitted in "
        f"{photos.submitted_in * 1000:.0f} ms; the first answer came after "
        f"{sum(first):.1f} s, the last after {sum(last):.1f} s.\n"
    )


def processes(console: Console, server: Server, status: Status) -> None:
    """Print every process of the site, with what it is for."""
    table = _table("process", "pid", "memory", "holds")
    rows = [("web worker", pid, "no model") for pid in status["web_workers"]]
    rows.append(("worker of jobs", server.worker_pid, "no model; runs what the folder submits"))
    rows.append(("model host", status["host"], "no model; starts and watches the others"))
    rows += [
        ("model’s process", model["pid"], f"{alias}, for all the web workers")
        for alias, model in status["models"].items()
    ]
    for name, pid, holds in rows:
        try:
            memory = psutil.Process(pid).memory_info().rss
        except psutil.Error:
            memory = 0
        table.add_row(name, str(pid), _megabytes(memory), holds)
    console.print(table)


def problems(console: Console, found: list[str]) -> None:
    """Print what is wrong, or that nothing is."""
    if not found:
        console.print(Text("Everything is as it should be.", "bold green"))
        return
    lines = Text("\n").join(Text(f"• {problem}") for problem in found)
    console.print(Panel(lines, title=f"{len(found)} wrong", border_style="red", expand=False))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    for column in columns:
        is_number = column in ("pid", "memory", "median", "loaded in")
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    return table


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.0f} MB" if size else ""
