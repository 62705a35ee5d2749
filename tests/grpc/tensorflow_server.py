"""Both protocols by gRPC, served by a thread of this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django_inference.conf import serve_settings
from django_inference.grpc.server import Server
from django_inference.serving.access import Gate


@contextmanager
def running() -> Iterator[str]:
    """Serve as `INFERENCE_SERVE` says, at a free port; yield the address."""
    settings = serve_settings(GRPC="127.0.0.1:0", REST=None)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="grpc-server", daemon=True)
    thread.start()

    async def start() -> Server:
        server = Server(settings, Gate(settings))
        await server.start()
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
