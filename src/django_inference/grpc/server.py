"""The server: where it listens, what it takes, and how it leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2_grpc

from django_inference.conf import ServeSettings
from django_inference.grpc import health, reflection
from django_inference.grpc.admission import Admission
from django_inference.grpc.methods import handlers
from django_inference.grpc.services import SERVICERS, servicers
from django_inference.serving.access import Gate
from django_inference.serving.listening import CannotListen


class Server:
    """Both protocols by gRPC, to be made and used in one event loop.

    Args:
        settings: of the server; `grpc` must be set.
        gate: lets calls in.

    Attributes:
        port: that it listens at, once it has started.
    """

    def __init__(self, settings: ServeSettings, gate: Gate) -> None:
        self.port = 0
        self._settings = settings
        self._health = health.Health(SERVICERS)
        self._server = grpc.aio.server(
            interceptors=[Admission(gate)],
            options=[
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                ("grpc.so_reuseport", int(settings.reuse_port)),
                # Clients that keep a connection open through a proxy ask now and then.
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
            maximum_concurrent_rpcs=settings.max_concurrent,
        )
        self._server.add_generic_rpc_handlers(
            tuple(
                handlers(name, servicer, gate) for name, servicer in servicers(self._health).items()
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, self._server)
        if settings.reflection:
            reflection.add_to(self._server, [*SERVICERS, health.SERVICE])
        self._follower: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            CannotListen: somebody else does, or a certificate cannot be used.
        """
        address = self._settings.grpc or ""
        credentials = _credentials(self._settings)
        try:
            if credentials is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise CannotListen(
                f"gRPC cannot listen at {address}: the port is taken, the address is not of this "
                "machine, or the certificate and its key cannot be used"
            ) from error
        await self._health.look()
        await self._server.start()
        self._follower = asyncio.create_task(self._health.follow())

    async def look(self) -> None:
        """Look at the models now, not when the next look is due."""
        await self._health.look()

    async def stop(self) -> None:
        """Take no more calls, and answer those under way, within the grace.

        What is not answered by then is CANCELLED.
        """
        await self._health.drain()
        await self._server.stop(self._settings.grace)
        if self._follower is not None:
            self._follower.cancel()


def _credentials(settings: ServeSettings) -> grpc.ServerCredentials | None:
    if settings.certificate is None or settings.private_key is None:
        return None
    authorities = None if settings.client_ca is None else _read(settings.client_ca)
    return grpc.ssl_server_credentials(
        [(_read(settings.private_key), _read(settings.certificate))],
        root_certificates=authorities,
        require_client_auth=authorities is not None,
    )


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CannotListen(f"{path} cannot be read: {error.strerror}") from error
