"""Runtimes that tests declare."""

from __future__ import annotations

from typing import Any

import numpy as np

from django_inference.runtimes.base import Runtime
from django_inference.runtimes.onnx import OnnxRuntime
from django_inference.runtimes.yolo import YoloRuntime


class Pixels(OnnxRuntime):
    """Takes the bytes of a picture, gives the digit and how sure it is."""

    def preprocess(self, item: bytes) -> Any:
        return {"x": np.frombuffer(item, np.uint8).astype(np.float32)}

    def postprocess(self, result: Any) -> Any:
        scores = result["scores"]
        return [int(scores.argmax()), float(scores.max())]


class Reader(Runtime):
    """The same as a runtime of items, which does not say what its model takes."""

    def load(self, artifact: Any) -> None:
        self._model = Pixels()
        self._model.load(artifact)

    def predict(self, items: list[bytes]) -> list[Any]:
        rows = {"x": np.stack([self._model.preprocess(item)["x"] for item in items])}
        scores = self._model.predict(rows)["scores"]
        return [self._model.postprocess({"scores": row}) for row in scores]


class People(YoloRuntime):
    """The boxes from left to right: how sure the model is decides on no order."""

    def postprocess(self, result: Any) -> Any:
        return sorted(box["box"] for box in super().postprocess(result)["boxes"])
