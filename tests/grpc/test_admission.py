"""Whose calls are answered: nothing is parsed, and no model touched, for anybody else."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from pytest_django import Settings

from django_inference.backends.dummy import DummyBackend
from django_inference.serving.access import Caller, NotAuthenticated, Refused, gate
from django_inference.serving.tokens import ApiKeys
from django_inference.serving.users import Anonymous
from django_inference.wire.protos import open_inference_pb2 as pb
from tests.grpc.calling import request, serving

Code = grpc.StatusCode
BY_NAME = "tests.grpc.functions.by_name"
KEYS: dict[str, dict[str, Any]] = {
    "site": {"KEY": "0123456789abcdef-site", "STAFF": True},
    "app": {"KEY": "0123456789abcdef-app", "PREDICTORS": ["mlp"]},
}


@pytest.mark.parametrize("name", ["ModelInfer", "ServerMetadata", "RepositoryIndex", "ModelReady"])
async def test_a_stranger_is_asked_who_it_is(told: DummyBackend, name: str) -> None:
    async with serving(AUTHENTICATION=BY_NAME) as client:
        # What cannot be parsed is not parsed.
        said = await client.refused(name, b"\xff\xff\xff")
        assert said.code() is Code.UNAUTHENTICATED
        answers = client.stream()
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await answers.read()
        assert refusal.value.code() is Code.UNAUTHENTICATED
    assert not told.calls


async def test_somebody_who_is_let_in_nowhere(told: DummyBackend) -> None:
    async with serving(AUTHENTICATION=BY_NAME) as client:
        said = await client.refused("ModelInfer", request("told"), metadata=(("name", "banned"),))
    assert said.code() is Code.PERMISSION_DENIED and not told.calls


async def test_a_hook_that_fails_lets_nobody_in(
    told: DummyBackend, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(AUTHENTICATION="tests.grpc.functions.broken") as client:
        said = await client.refused("ModelInfer", request("told"))
    assert said.code() is Code.INTERNAL and "secret" not in (said.details() or "")
    assert "grpc call failed method=/inference.GRPCInferenceService/ModelInfer" in caplog.text
    assert not told.calls


async def test_whoever_watches_needs_no_name() -> None:
    async with serving(AUTHENTICATION=BY_NAME) as client:
        assert (await client.call("ServerLive")).live is True
        assert (await client.call("ServerReady")).ready is False


@pytest.mark.parametrize("name", ["RepositoryModelLoad", "RepositoryModelUnload"])
async def test_models_are_loaded_by_staff(told: DummyBackend, name: str) -> None:
    asked = pb.RepositoryModelLoadRequest(model_name="told")
    told.returns({})
    async with serving(AUTHENTICATION=BY_NAME) as client:
        said = await client.refused(name, asked, metadata=(("name", "guest"),))
        assert said.code() is Code.PERMISSION_DENIED
        await client.call(name, asked, metadata=(("name", "staff"),))
    async with serving() as client:
        assert (await client.refused(name, asked)).code() is Code.PERMISSION_DENIED


async def test_a_hook_for_permissions(told: DummyBackend) -> None:
    async with serving(PERMISSION="tests.grpc.functions.only_reading") as client:
        assert (await client.call("ServerMetadata")).name == "django-inference"
        said = await client.refused("ModelInfer", request("told"))
    assert said.code() is Code.PERMISSION_DENIED and not told.calls


async def test_keys_of_clients(settings: Settings, told: DummyBackend) -> None:
    settings.INFERENCE_SERVE = {"API_KEYS": KEYS}
    app = (("x-api-key", KEYS["app"]["KEY"]),)
    site = (("authorization", f"Bearer {KEYS['site']['KEY']}"),)
    async with serving(
        AUTHENTICATION="django_inference.serving.tokens.ApiKeys", API_KEYS=KEYS
    ) as client:
        assert (await client.call("ModelInfer", request("mlp"), metadata=app)).outputs
        said = await client.refused("ModelInfer", request("told"), metadata=app)
        assert said.code() is Code.PERMISSION_DENIED and not told.calls
        for wrong in ((), (("x-api-key", "0123456789abcdef-ap"),), (("x-api-key", ""),)):
            said = await client.refused("ModelInfer", request("mlp"), metadata=wrong)
            assert said.code() is Code.UNAUTHENTICATED
        seen = await client.call("RepositoryIndex", metadata=app)
        assert [model.name for model in seen.models] == ["mlp"]
        seen = await client.call("ModelStatistics", metadata=app)
        assert [model.name for model in seen.model_stats] == ["mlp"]
        seen = await client.call("RepositoryIndex", metadata=site)
        assert len(seen.models) == 4


async def test_the_gate_follows_the_settings(settings: Settings) -> None:
    caller = Caller(metadata={})
    assert isinstance(await gate().admit(caller), Anonymous)
    settings.INFERENCE_SERVE = {"AUTHENTICATION": "django_inference.serving.tokens.ApiKeys"}
    with pytest.raises(NotAuthenticated):
        await gate().admit(caller)


async def test_a_key_with_strange_characters_is_no_key(settings: Settings) -> None:
    settings.INFERENCE_SERVE = {"API_KEYS": KEYS}
    assert await ApiKeys()(Caller(metadata={"x-api-key": "\udcff\0"})) is None


@pytest.mark.django_db(transaction=True)
async def test_a_permission_of_django(settings: Settings) -> None:
    settings.INFERENCE_SERVE = {"PERMISSIONS": {"mlp": "auth.use_mlp"}}
    user = await User.objects.acreate(username="anna")
    with pytest.raises(Refused):
        await gate().check(user, "mlp", "infer")
    await gate().check(user, "told", "infer")
    content_type = await ContentType.objects.acreate(app_label="auth", model="thing")
    permission = await Permission.objects.acreate(
        codename="use_mlp", name="use it", content_type=content_type
    )
    await user.user_permissions.aadd(permission)
    again = await User.objects.aget(pk=user.pk)
    await gate().check(again, "mlp", "infer")
    with pytest.raises(Refused):
        await gate().check(Anonymous(), "mlp", "infer")
