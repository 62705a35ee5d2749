"""Health, reflection, certificates, and how the server leaves."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from django_inference import exceptions, predictors
from django_inference.asgi.server import Server as RestServer
from django_inference.conf import serve_settings
from django_inference.grpc.server import Server
from django_inference.serving.access import Gate
from django_inference.serving.listening import CannotListen
from tests.grpc.calling import PATIENCE, SERVICE, Client, request, serving
from tests.grpc.test_calls import items

Code = grpc.StatusCode
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health(client: Client) -> Any:
    return health_pb2_grpc.HealthStub(client.channel)


async def check(client: Client, service: str) -> int:
    said = await health(client).Check(
        health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE
    )
    status: int = said.status
    return status


async def test_health_follows_the_models() -> None:
    async with serving(AUTHENTICATION="tests.grpc.functions.by_name") as client:
        # It is loaded at the start, and has not been yet.
        assert await check(client, "mlp") == await check(client, "") == NOT_SERVING
        await asyncio.to_thread(predictors["mlp"].preload, wait=True)
        watched = health(client).Watch(
            health_pb2.HealthCheckRequest(service="mlp"), timeout=PATIENCE
        )
        async for said in watched:
            if said.status == SERVING:
                break
        watched.cancel()
        assert await check(client, "") == await check(client, SERVICE) == SERVING
        assert await check(client, "slow") == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await check(client, "nope")
        assert refusal.value.code() is Code.NOT_FOUND


async def test_calls_under_way_are_answered_when_it_leaves() -> None:
    async with serving(GRACE=20.0) as client:
        await client.call("ModelInfer", items("slow", 0.0))
        await client.call("ModelInfer", request("mlp"))
        await client.server.look()
        watched = health(client).Watch(
            health_pb2.HealthCheckRequest(service=SERVICE), timeout=PATIENCE
        )
        await watched.read()
        # Neither a watcher nor an idle stream is waited for.
        idle = client.stream()
        await idle.write(request("mlp"))
        await idle.read()
        under_way = asyncio.ensure_future(client.call("ModelInfer", items("slow", 0.8)))
        await asyncio.sleep(0.3)
        leaving = asyncio.ensure_future(client.server.stop())
        assert (await watched.read()).status == NOT_SERVING
        assert await watched.read() is grpc.aio.EOF
        assert await idle.read() is grpc.aio.EOF
        late = await client.refused("ModelInfer", request("mlp"))
        assert late.code() is Code.UNAVAILABLE
        said = await under_way
        assert said.outputs[0].name == "results"
        await leaving


async def test_what_is_not_answered_within_the_grace_is_cut_off() -> None:
    async with serving(GRACE=0.1) as client:
        await client.call("ModelInfer", items("slow", 0.0))
        under_way = asyncio.ensure_future(client.refused("ModelInfer", items("slow", 2.0)))
        await asyncio.sleep(0.3)
        await client.server.stop()
        assert (await under_way).code() in (Code.CANCELLED, Code.UNAVAILABLE)


async def reflected(client: Client, *asked: Any) -> list[Any]:
    channel: Any = client.channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    return [answer async for answer in stub.ServerReflectionInfo(iter(asked), timeout=PATIENCE)]


async def test_reflection_tells_of_every_service_and_its_messages() -> None:
    async with serving() as client:
        (listed,) = await reflected(
            client, reflection_pb2.ServerReflectionRequest(list_services="")
        )
        names = {service.name for service in listed.list_services_response.service}
        assert {
            SERVICE,
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        } <= names
        answers = await reflected(
            client,
            *(
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)
                for name in sorted(names)
            ),
        )
        found = set()
        for answer in answers:
            for file in answer.file_descriptor_response.file_descriptor_proto:
                proto = descriptor_pb2.FileDescriptorProto.FromString(file)
                found |= {f"{proto.package}.{service.name}" for service in proto.service}
        assert found >= names
        (unknown,) = await reflected(
            client, reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such")
        )
        assert unknown.error_response.error_code == Code.NOT_FOUND.value[0]


async def test_reflection_can_be_switched_off() -> None:
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    async with serving(REFLECTION=False) as client:
        for _ in range(20):
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await reflected(client, asked)
            # The client's own, where the refusal is there before the question is sent.
            if refusal.value.code() is not Code.INTERNAL:
                break
        assert refusal.value.code() is Code.UNIMPLEMENTED


async def test_reflection_is_for_those_who_are_let_in() -> None:
    async with serving(AUTHENTICATION="tests.grpc.functions.by_name") as client:
        channel: Any = client.channel
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            # Nothing is sent: the refusal may come before it has been.
            await stub.ServerReflectionInfo(timeout=PATIENCE).read()
        assert refusal.value.code() is Code.UNAUTHENTICATED


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of an authority, of a server that it vouches for, and of a client."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")
    for name in ("server", "client"):
        openssl(
            "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"
        )
        (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-out", f"{name}.pem", "-extfile", "names"),
        )
    return {path.name: path for path in folder.iterdir()}


async def test_tls(certificates: dict[str, Path]) -> None:
    authority = certificates["ca.pem"].read_bytes()
    async with serving(
        grpc.ssl_channel_credentials(authority),
        CERTIFICATE=certificates["server.pem"],
        PRIVATE_KEY=certificates["server.key"],
    ) as client:
        assert (await client.call("ModelInfer", request("mlp"))).outputs
        address = f"localhost:{client.server.port}"
        async with grpc.aio.insecure_channel(address) as channel:
            said = await Client(channel, client.server).refused("ServerLive", timeout=5.0)
            assert said.code() is Code.UNAVAILABLE


async def test_mutual_tls(certificates: dict[str, Path]) -> None:
    authority = certificates["ca.pem"].read_bytes()
    known = grpc.ssl_channel_credentials(
        authority, certificates["client.key"].read_bytes(), certificates["client.pem"].read_bytes()
    )
    async with serving(
        known,
        CERTIFICATE=certificates["server.pem"],
        PRIVATE_KEY=certificates["server.key"],
        CLIENT_CA=certificates["ca.pem"],
        AUTHENTICATION="tests.grpc.functions.by_certificate",
    ) as client:
        assert (await client.call("ModelInfer", request("mlp"))).outputs
        address = f"localhost:{client.server.port}"
        stranger = grpc.ssl_channel_credentials(authority)
        async with grpc.aio.secure_channel(address, stranger) as channel:
            said = await Client(channel, client.server).refused("ServerLive", timeout=5.0)
            assert said.code() is Code.UNAVAILABLE


async def test_the_same_certificates_serve_rest(certificates: dict[str, Path]) -> None:
    settings = serve_settings(
        REST="127.0.0.1:0",
        CERTIFICATE=certificates["server.pem"],
        PRIVATE_KEY=certificates["server.key"],
        CLIENT_CA=certificates["ca.pem"],
        GRACE=5.0,
    )
    server = RestServer(settings)
    await server.start()
    known = ssl.create_default_context(cafile=certificates["ca.pem"])
    stranger = ssl.create_default_context(cafile=certificates["ca.pem"])
    known.load_cert_chain(certificates["client.pem"], certificates["client.key"])
    url = f"https://localhost:{server.port}/v2/health/live"
    try:
        async with httpx.AsyncClient(verify=known) as client:
            assert (await client.get(url, timeout=PATIENCE)).json() == {"live": True}
        async with httpx.AsyncClient(verify=stranger) as client:
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                await client.get(url, timeout=PATIENCE)
    finally:
        await server.stop()


async def test_a_port_that_is_taken(capfd: pytest.CaptureFixture[str]) -> None:
    async with serving() as client:
        settings = serve_settings(GRPC=f"127.0.0.1:{client.server.port}")
        with pytest.raises(CannotListen, match="the port is taken"):
            await Server(settings, Gate(settings)).start()


async def test_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "server.pem"
    with pytest.raises(CannotListen, match=r"server\.pem cannot be read: No such file"):
        async with serving(CERTIFICATE=missing, PRIVATE_KEY=missing):
            pass


async def test_readiness_waits_for_what_is_loaded_at_the_start() -> None:
    async with serving() as client:
        assert (await client.call("ServerReady")).ready is False
        await asyncio.to_thread(predictors["mlp"].preload, wait=True)
        assert (await client.call("ServerReady")).ready is True


def test_errors_are_told_apart() -> None:
    from django_inference.grpc.codes import CODES

    said = {error.status_code for error in exceptions.BY_NAME.values()} - {500}
    assert said <= CODES.keys()
