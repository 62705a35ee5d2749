"""The Open Inference Protocol's paths at the root."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from django_inference.asgi.messages import Answer, Request, as_json
from django_inference.asgi.refusals import WrongMethod
from django_inference.exceptions import ModelNotReady
from django_inference.registry import predictors
from django_inference.serving import open_inference as serving
from django_inference.serving.access import Action, Gate, Refused
from django_inference.serving.lookup import NotServed
from django_inference.serving.steps import LONG
from django_inference.wire.open_inference_bodies import (
    JSON_LENGTH,
    json_length,
    read_repository_request,
    read_request,
    write_response,
)

_PATH = re.compile(
    r"/v2(?:"
    r"/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<what>infer|ready))?"
    r"|/health/(?P<health>live|ready)"
    r"|/repository/models/(?P<alias>[^/]+)/(?P<order>load|unload)"
    r"|/repository/(?P<index>index)"
    r")?/?"
)
_HEADER = JSON_LENGTH.lower()
_JSON_LENGTH = _HEADER.encode()
_BINARY = (b"content-type", b"application/octet-stream")


class OpenInference:
    """Answers requests below `/v2`.

    Args:
        gate: says who may call.
        limit: bytes that a body may have.
    """

    def __init__(self, gate: Gate, limit: int) -> None:
        self._limit = limit
        self._gate = gate

    async def answer(self, request: Request, admit: Callable[[], Any]) -> Answer:
        """Answer a request.

        Args:
            request: whose path begins with `/v2`.
            admit: returns the user, or raises `Refused`.

        Raises:
            Refused: the user may not.
            InferenceError: there is no such path or model, or the call fails.
        """
        found = _PATH.fullmatch(request.path)
        if found is None:
            raise NotServed(f"there is nothing at {request.path[:200]!r}.")
        if found["health"]:
            return await self._health(request, found["health"])
        user = await admit()
        if found["what"] == "infer":
            return await self._infer(request, user, found["model"], found["version"] or "")
        if found["model"]:
            return await self._model(request, user, found)
        if found["order"]:
            return await self._order(request, user, found["alias"], found["order"])
        if found["index"]:
            return await self._index(request, user)
        await self._check(request, "GET", user, "", "read")
        return as_json(serving.server_metadata())

    async def _infer(self, request: Request, user: Any, alias: str, version: str) -> Answer:
        await self._check(request, "POST", user, alias, "infer")
        body = await request.body(self._limit)
        read = partial(
            read_request,
            body,
            alias,
            version,
            json_length=json_length(request.headers.get(_HEADER)),
        )
        said, wanted = await asyncio.to_thread(read) if len(body) > LONG else read()
        response = await serving.ainfer(said)
        write = partial(_written, response, wanted)
        size = sum(array.nbytes for array in response.outputs.values())
        written: Answer = await asyncio.to_thread(write) if size > LONG else write()
        return written

    async def _model(self, request: Request, user: Any, found: re.Match[str]) -> Answer:
        alias, version = found["model"], found["version"] or ""
        await self._check(request, "GET", user, alias, "read")
        if not found["what"]:
            return as_json(await asyncio.to_thread(serving.model_metadata, alias, version))
        if await asyncio.to_thread(serving.model_ready, alias, version):
            return as_json({"name": alias, "ready": True})
        return _not_ready(name=alias, ready=False)

    async def _health(self, request: Request, what: str) -> Answer:
        if request.method != "GET":
            raise WrongMethod(request.method, "GET")
        if what == "live":
            return as_json({"live": True})
        if await asyncio.to_thread(serving.server_ready):
            return as_json({"live": True, "ready": True})
        return _not_ready(live=True, ready=False)

    async def _index(self, request: Request, user: Any) -> Answer:
        await self._check(request, "POST", user, "", "read")
        only_ready, _ = read_repository_request(await request.body(self._limit))
        aliases = [alias for alias in predictors if await self._may_read(user, alias)]
        index = partial(serving.repository_index, aliases, only_ready=only_ready)
        return as_json(await asyncio.to_thread(index))

    async def _order(self, request: Request, user: Any, alias: str, order: str) -> Answer:
        action: Action = "load" if order == "load" else "unload"
        await self._check(request, "POST", user, alias, action)
        _, parameters = read_repository_request(await request.body(self._limit))
        if action == "load":
            await asyncio.to_thread(serving.load, alias, parameters)
        else:
            await asyncio.to_thread(serving.unload, alias)
        return as_json({})

    async def _may_read(self, user: Any, alias: str) -> bool:
        try:
            await self._gate.check(user, alias, "read")
        except Refused:
            return False
        return True

    async def _check(
        self, request: Request, method: str, user: Any, alias: str, action: Action
    ) -> None:
        await self._gate.check(user, alias, action)
        if request.method != method:
            raise WrongMethod(request.method, method)


def _written(response: Any, wanted: Any) -> Answer:
    body = write_response(response, wanted)
    if body.json_length is None:
        return as_json(body.joined())
    return Answer(body.joined(), headers=(_BINARY, (_JSON_LENGTH, b"%d" % body.json_length)))


def _not_ready(**said: Any) -> Answer:
    return as_json({"error": ModelNotReady.public, **said}, 503, retry_after="1")
