"""The process that fetches an artifact, as the host sees it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Callable

import msgspec

from django_inference.artifacts.orders import (
    MAX_LINE,
    Came,
    Failed,
    Fetched,
    News,
    Order,
    Tagged,
    line,
)
from django_inference.artifacts.records import StoreSettings
from django_inference.specs import ErrorReport, ModelSpec


class FetchError(Exception):
    """The files could not be had; the report says why."""

    def __init__(self, report: ErrorReport) -> None:
        super().__init__(report.message)
        self.report = report


def order_for(spec: ModelSpec, store: StoreSettings, tag: str | None = None) -> Order:
    """Say what has to be fetched for a model; with a tag, what has to be asked."""
    assert spec.artifact is not None
    return Order(
        location=spec.artifact,
        store=store,
        sha256=spec.sha256,
        environment=spec.artifact_environment,
        tag=tag,
    )


async def carry_out(order: Order, on_came: Callable[[Came], None]) -> Fetched | Tagged:
    """Have a process carry out an order; it is killed when this is cancelled.

    Raises:
        FetchError: it could not.
    """
    ours, theirs = socket.socketpair()
    process = None
    try:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "django_inference.artifacts", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=MAX_LINE)
        with contextlib.closing(writer):
            writer.write(line(order))
            while True:
                news = await _next(reader, process)
                if isinstance(news, Failed):
                    raise FetchError(news.error)
                if isinstance(news, Came):
                    on_came(news)
                else:
                    return news
    except OSError as error:
        raise FetchError(report(f"cannot start a process to fetch it: {error}")) from error
    finally:
        ours.close()
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _next(reader: asyncio.StreamReader, process: asyncio.subprocess.Process) -> News:
    try:
        text = await reader.readuntil(b"\n")
        news: News = msgspec.json.decode(text, type=News)
    except (asyncio.IncompleteReadError, ConnectionError):
        code = await process.wait()
        how = f"signal {-code}" if code < 0 else f"status {code}"
        raise FetchError(report(f"the process that fetches it ended with {how}")) from None
    except (asyncio.LimitOverrunError, msgspec.DecodeError) as error:
        raise FetchError(report(f"the process that fetches it talks nonsense: {error}")) from error
    return news


def report(message: str) -> ErrorReport:
    """Say what went wrong here, now."""
    return ErrorReport(message=message, at=time.time())
