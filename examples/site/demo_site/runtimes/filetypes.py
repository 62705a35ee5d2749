"""The type of a file by its content, with Magika's network (ONNX).

The network looks at 1024 bytes from the start and 1024 from the end. What surrounds it,
the features before and the thresholds after, follows Magika's own Python code, so that the
answers are the same.
"""

from __future__ import annotations

import json
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django_inference import InvalidInput, Signature, TensorSpec
from django_inference.artifacts import Artifact
from django_inference.runtimes.onnx import OnnxRuntime

if TYPE_CHECKING:
    from django_inference.tensors import Tensors


class Verdict(IntEnum):
    """Who decides: files of a few bytes are never shown to the network."""

    NETWORK = 0
    EMPTY = 1
    TEXT = 2
    UNKNOWN = 3


#: The labels of files that the network does not see.
RULED = {Verdict.EMPTY: "empty", Verdict.TEXT: "txt", Verdict.UNKNOWN: "unknown"}


class FileTypes(OnnxRuntime):
    """Files in, labels out.

    Beside `model.onnx` lies `config.min.json`: the sizes, labels and thresholds.

    Args:
        descriptions: path of Magika's `content_types_kb.min.json`, which names the group,
            the media type and a description of each label.
        top: how many guesses of the network are returned.
        **options: of `OnnxRuntime`.
    """

    def __init__(self, descriptions: str, top: int = 5, **options: Any) -> None:
        super().__init__(**options)
        self._descriptions = descriptions
        self._top = top
        self._config: dict[str, Any] = {}
        self._kinds: dict[str, dict[str, Any]] = {}

    def load(self, artifact: Artifact | None) -> None:
        """Load the network, and widen its signature by the verdict on short files."""
        super().load(artifact)
        assert artifact is not None and self.signature is not None
        config = artifact.path.with_name("config.min.json")
        self._config = json.loads(config.read_text(encoding="utf-8"))
        self._kinds = json.loads(Path(self._descriptions).read_text(encoding="utf-8"))
        verdict = TensorSpec("verdict", "int8", (-1,))
        self.signature = Signature(
            inputs=(*self.signature.inputs, verdict),
            outputs=(*self.signature.outputs, verdict),
        )

    def preprocess(self, item: Any) -> Tensors:
        """Turn the bytes of a file into `bytes` int32 [2048] and `verdict` int8.

        Raises:
            InvalidInput: the item is not bytes.
        """
        import numpy as np

        if not isinstance(item, bytes):
            raise InvalidInput(f"a file is sent as bytes, not as {type(item).__name__}.")
        config = self._config
        block, shortest = config["block_size"], config["min_file_size_for_dl"]
        start = item[:block].lstrip()[: config["beg_size"]]
        end = item[-block:].rstrip()[-config["end_size"] :]
        features = np.full(
            config["beg_size"] + config["end_size"], config["padding_token"], "int32"
        )
        features[: len(start)] = np.frombuffer(start, "uint8")
        # The end is aligned to the right: its padding comes before it.
        features[len(features) - len(end) :] = np.frombuffer(end, "uint8")
        verdict = Verdict.NETWORK
        if not item:
            verdict = Verdict.EMPTY
        elif len(item) < shortest or len(start) < shortest:
            verdict = Verdict.TEXT if _is_utf8(item[:block]) else Verdict.UNKNOWN
        return {"bytes": features, "verdict": np.array(verdict, "int8")}

    def predict(self, inputs: Tensors) -> Tensors:
        """Ask the network; the verdicts pass by it."""
        verdict = inputs["verdict"]
        return {**super().predict({"bytes": inputs["bytes"]}), "verdict": verdict}

    def postprocess(self, result: Any) -> dict[str, Any]:
        """Turn the probabilities of one file into a label and the best guesses."""
        verdict = Verdict(int(result["verdict"]))
        if verdict is not Verdict.NETWORK:
            return {**self._describe(RULED[verdict]), "score": 1.0, "guesses": []}
        scores, labels = result["target_label"], self._config["target_labels_space"]
        best = scores.argsort()[::-1][: self._top]
        guesses = [{"label": labels[i], "score": float(scores[i])} for i in best]
        label = self._settle(guesses[0]["label"], guesses[0]["score"])
        return {**self._describe(label), "score": guesses[0]["score"], "guesses": guesses}

    def _settle(self, guess: str, score: float) -> str:
        config = self._config
        label: str = config["overwrite_map"].get(guess, guess)
        if score >= config["thresholds"].get(guess, config["medium_confidence_threshold"]):
            return label
        # Too unsure of the type, but still trusted on whether it is text.
        return "txt" if self._kinds[label]["is_text"] else "unknown"

    def _describe(self, label: str) -> dict[str, Any]:
        kind = self._kinds[label]
        is_text = bool(kind["is_text"])
        return {
            "label": label,
            "description": kind["description"] or label,
            "group": kind["group"] or "unknown",
            "mime_type": kind["mime_type"]
            or ("text/plain" if is_text else "application/octet-stream"),
            "is_text": is_text,
        }


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
