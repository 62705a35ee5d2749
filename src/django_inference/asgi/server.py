"""The application under granian, in an event loop that others share."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

from granian.constants import Interfaces
from granian.server.embed import Server as Granian

from django_inference.asgi.application import Application
from django_inference.conf import ServeSettings
from django_inference.serving.listening import CannotListen

#: Seconds that it takes at the most until the port answers.
_PATIENCE = 10.0
#: Seconds beyond the grace, for what is left to do then.
_LEAVE = 2.0


class Server:
    """Both protocols by REST, to be made and used in one event loop.

    Args:
        settings: of the server; `rest` must be set.

    Attributes:
        port: that it listens at, once it has started.
    """

    def __init__(self, settings: ServeSettings) -> None:
        name, _, port = (settings.rest or "").rpartition(":")
        self.port = int(port)
        self._name = name.strip("[]")
        self._settings = settings
        self._granian: Any = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            CannotListen: somebody else does, or a certificate cannot be used.
        """
        family, address = await self._resolved()
        if not self._settings.reuse_port:
            self.port = self._free(family, address)
        try:
            self._granian = Granian(
                Application(),
                address=address,
                port=self.port,
                interface=Interfaces.ASGI,
                websockets=False,
                backlog=1024,
                log_enabled=False,
                # Django's own settings say what is logged, and how.
                log_dictconfig={
                    "incremental": True,
                    "formatters": {},
                    "handlers": {},
                    "loggers": {},
                    "root": {},
                },
                **self._certificates(),
            )
        except (OSError, ValueError) as error:
            raise CannotListen(f"REST cannot use the certificate and its key: {error}") from error
        self._task = asyncio.create_task(self._granian.serve())
        await self._wait_listening(family, address)

    async def stop(self) -> None:
        """Take no more requests, and answer those under way, within the grace."""
        if self._task is None:
            return
        self._granian.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._task, self._settings.grace + _LEAVE)

    async def _resolved(self) -> tuple[int, str]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._name, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise CannotListen(f"REST cannot listen at {self._settings.rest}: {error}") from error
        family, _, _, _, address = found[0]
        return family, str(address[0])

    def _free(self, family: int, address: str) -> int:
        """The port, if nobody listens there; granian itself would share it with them."""
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, self.port))
                probe.listen(1)
            except (OSError, OverflowError) as error:
                raise CannotListen(
                    f"REST cannot listen at {self._settings.rest}: {error}"
                ) from error
            port: int = probe.getsockname()[1]
            return port

    async def _wait_listening(self, family: int, address: str) -> None:
        assert self._task is not None
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while not self._task.done() and asyncio.get_running_loop().time() < deadline:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.settimeout(0.2)
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(probe.connect, (address, self.port))
                    return
            await asyncio.sleep(0.02)
        raise CannotListen(f"REST does not listen at {self._settings.rest}")

    def _certificates(self) -> dict[str, Any]:
        settings = self._settings
        if settings.certificate is None or settings.private_key is None:
            return {}
        authorities = None if settings.client_ca is None else Path(settings.client_ca)
        return {
            "ssl_cert": Path(settings.certificate),
            "ssl_key": Path(settings.private_key),
            "ssl_ca": authorities,
            "ssl_client_verify": authorities is not None,
        }
