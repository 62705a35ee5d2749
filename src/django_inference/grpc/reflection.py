"""What grpcurl and the like ask for: which services there are, and their messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import grpc
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection import SERVICE_NAME, aio

from django_inference.wire.protos.pool import POOL


class _BothPools:
    """Our own descriptors, and those that gRPC's own services have in the common pool."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        ours, common = getattr(POOL, name), getattr(descriptor_pool.Default(), name)

        def find(*args: Any) -> Any:
            try:
                return ours(*args)
            except KeyError:
                return common(*args)

        return find


def add_to(server: grpc.aio.Server, services: Iterable[str]) -> None:
    """Have a server answer the reflection service.

    Args:
        server: that has not started.
        services: full names of all services of the server.
    """
    pool = cast(descriptor_pool.DescriptorPool, _BothPools())
    servicer = aio.ReflectionServicer([*services, SERVICE_NAME], pool=pool)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
        servicer, server
    )
