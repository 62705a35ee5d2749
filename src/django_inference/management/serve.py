"""The model server of `manage.py inference_serve`: gRPC and REST in one process and one loop."""

from __future__ import annotations

import asyncio
import importlib
import signal
from collections.abc import Callable
from typing import Any

from django_inference.conf import ServeSettings
from django_inference.registry import predictors
from django_inference.serving.access import gate
from django_inference.serving.listening import CannotListen


class CannotServe(Exception):
    """The server cannot run; the message says why, and what to do."""


async def serve(settings: ServeSettings, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is under way, and return.

    Args:
        settings: of the server.
        say: is given a line for people.

    Raises:
        CannotServe: a package is missing, a port is taken, or a certificate cannot be used.
        InvalidPredictor: a setting is wrong.
    """
    servers = _servers(settings)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    # Before a socket is opened: what starts the model host shall not pass one on to it.
    await asyncio.to_thread(predictors.preload)
    started: list[Any] = []
    try:
        for name, server in servers:
            try:
                await server.start()
            except CannotListen as error:
                raise CannotServe(str(error)) from error
            started.append(server)
            say(f"{name} listens at {_address(settings, name)}:{server.port}")
        await told.wait()
        say(f"leaving: calls under way get {settings.grace:g} s")
    finally:
        await asyncio.gather(*(server.stop() for server in started))
        await asyncio.to_thread(predictors.reset)


def _servers(settings: ServeSettings) -> list[tuple[str, Any]]:
    """The name and the server of each transport that is served."""
    found: list[tuple[str, Any]] = []
    if settings.grpc is not None:
        module = _imported("django_inference.grpc.server")
        found.append(("gRPC", module.Server(settings, gate())))
    if settings.rest is not None:
        module = _imported("django_inference.asgi.server")
        found.append(("REST", module.Server(settings)))
    return found


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "django_inference":
            raise
        raise CannotServe(
            f"the package {package!r} is missing: pip install 'django-inference[serve]'"
        ) from error


def _address(settings: ServeSettings, name: str) -> str:
    address: str = getattr(settings, name.lower())
    return address.rpartition(":")[0]
