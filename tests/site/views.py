"""Plain Django views, sync and async: JSON in, JSON out."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from typing import Any

from django.http import HttpRequest, JsonResponse, StreamingHttpResponse

from django_inference import predictors

FRAMEWORKS = ("numpy", "onnxruntime", "tensorflow", "keras", "torch", "cv2", "PIL")


def plain(request: HttpRequest) -> JsonResponse:
    """A page that has nothing to do with models."""
    return JsonResponse({"pid": os.getpid()})


def modules(request: HttpRequest) -> JsonResponse:
    """Which frameworks this web worker has imported."""
    return JsonResponse(
        {"pid": os.getpid(), "modules": [name for name in FRAMEWORKS if name in sys.modules]}
    )


def predict(request: HttpRequest, alias: str) -> JsonResponse:
    """Predict the rows, or the items, of the body."""
    result = predictors[alias].predict(from_json(json.loads(request.body)))
    return JsonResponse(
        {"pid": os.getpid(), "thread": threading.get_native_id(), "result": to_json(result)}
    )


async def apredict(request: HttpRequest, alias: str) -> JsonResponse:
    """As `predict`, without a thread."""
    result = await predictors[alias].apredict(from_json(json.loads(request.body)))
    return JsonResponse({"pid": os.getpid(), "result": to_json(result)})


def stream(request: HttpRequest, alias: str) -> StreamingHttpResponse:
    """Predict the item of the body, a line a chunk."""
    chunks = predictors[alias].stream(json.loads(request.body))
    return StreamingHttpResponse(f"{chunk}\n" for chunk in chunks)


async def astream(request: HttpRequest, alias: str) -> StreamingHttpResponse:
    """As `stream`, without a thread."""
    chunks = predictors[alias].astream(json.loads(request.body))
    return StreamingHttpResponse(f"{chunk}\n" async for chunk in chunks)


async def cancel(request: HttpRequest) -> JsonResponse:
    """Predict ten items at once and cancel every third while the model runs."""
    tasks = [
        asyncio.create_task(predictors["slow"].apredict_one({"value": value, "seconds": 0.2}))
        for value in range(10)
    ]
    await asyncio.sleep(0.1)
    for task in tasks[::3]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return JsonResponse(
        {"results": [type(r).__name__ if isinstance(r, BaseException) else r for r in results]}
    )


def status(request: HttpRequest, alias: str) -> JsonResponse:
    """How the model fares that this process calls."""
    status = predictors[alias].status()
    return JsonResponse({"state": status.state, "version": status.version, "pid": status.pid})


def reload(request: HttpRequest, alias: str) -> JsonResponse:
    """Have it loaded again."""
    predictors[alias].reload()
    return JsonResponse({})


def from_json(body: Any) -> Any:
    """A list is of items; a dict is of tensors."""
    if isinstance(body, list):
        return body
    # Not at the top: a web worker has no numpy before its first prediction.
    import numpy as np

    return {name: np.asarray(rows, np.float32) for name, rows in body.items()}


def to_json(result: Any) -> Any:
    """The other way round."""
    if isinstance(result, dict):
        return {name: array.tolist() for name, array in result.items()}
    return result
