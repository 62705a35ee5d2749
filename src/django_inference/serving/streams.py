"""Any number of answers to one request of the Open Inference Protocol.

A model that streams is asked for its chunks, and each is an answer; any other model gives one.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np

from django_inference.backends.base import BaseBackend
from django_inference.exceptions import InvalidInput
from django_inference.serving.items import items_of
from django_inference.serving.lookup import check_version, predictor_named
from django_inference.serving.open_inference import ainfer
from django_inference.serving.outputs import outputs_of
from django_inference.serving.parameters import priority_of, timeout_of
from django_inference.serving.payloads import payload_of
from django_inference.wire.open_inference import InferRequest, InferResponse

#: Models that were found not to stream: they are not asked a second time.
_plain: weakref.WeakSet[BaseBackend] = weakref.WeakSet()
#: As a runtime and a backend say it that cannot.
_CANNOT = "does not stream"


async def ainfer_stream(request: InferRequest) -> AsyncIterator[InferResponse]:
    """Predict, and yield the answers as the model makes them.

    Leaving the iterator ends the generation.

    Args:
        request: of one item, or of one row, where the model streams. Its parameter `timeout` is
            for each answer.

    Raises:
        NotServed: there is no such model or version.
        InferenceError: what else a call may raise.
    """
    predictor = predictor_named(request.model)
    if predictor.backend not in _plain:
        item = await _only_item(request)
        if item is not None:
            chunks = _chunks(request, item[0])
            try:
                first = await anext(chunks, None)
            except InvalidInput as error:
                if _CANNOT not in error.message:
                    raise
                _plain.add(predictor.backend)
            else:
                if first is not None:
                    yield first
                    async for chunk in chunks:
                        yield chunk
                return
            finally:
                await chunks.aclose()
    yield await ainfer(request)


async def _only_item(request: InferRequest) -> tuple[Any] | None:
    backend = predictor_named(request.model).backend
    deadline = backend.deadline(timeout_of(request.parameters, backend.options.timeout))
    signature = await asyncio.to_thread(backend.signature, deadline)
    items = items_of(request.inputs, signature)
    if items is not None:
        return (items[0],) if len(items) == 1 else None
    if any(not array.ndim or len(array) != 1 for array in request.inputs.values()):
        return None
    payload = payload_of(request.inputs, signature)
    return ({name: array[0] for name, array in payload.items()},)


async def _chunks(request: InferRequest, item: Any) -> Any:
    predictor = predictor_named(request.model)
    backend = predictor.backend
    timeout = timeout_of(request.parameters, backend.options.timeout)
    if request.version:
        deadline = backend.deadline(timeout)
        await asyncio.to_thread(check_version, predictor, request.version, deadline)
    chunks = predictor.astream(item, timeout=timeout, priority=priority_of(request.parameters))
    try:
        async for chunk in chunks:
            yield _response(request, chunk)
    finally:
        await chunks.aclose()


def _response(request: InferRequest, chunk: Any) -> InferResponse:
    by_name = isinstance(chunk, Mapping) and all(
        isinstance(value, np.ndarray | np.generic) for value in chunk.values()
    )
    outputs = outputs_of(request, chunk if by_name and chunk else [chunk])
    # A chunk's memory may be lent until the next one is asked for.
    owned = {name: np.array(array) for name, array in outputs.items()}
    return InferResponse(model=request.model, version=request.version, id=request.id, outputs=owned)
