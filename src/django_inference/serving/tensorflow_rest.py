"""TensorFlow Serving's REST interface without the HTTP: a path and a body in, a body out.

Facts: https://www.tensorflow.org/tfx/serving/api_rest. Paths ignore case, the names of models
aside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Any, TypeAlias

import msgspec

from django_inference.driving import InThread, arun, run
from django_inference.exceptions import InvalidInput
from django_inference.plain import to_plain
from django_inference.serving.steps import LONG
from django_inference.serving.tensorflow_inputs import from_document, from_examples
from django_inference.serving.tensorflow_serving import (
    Metadata,
    Prediction,
    Read,
    apredict,
    classified,
    model_metadata,
    model_status,
    predict,
    regressed,
)
from django_inference.serving.tensorflow_versions import Choice
from django_inference.tensors import Signature, TensorSpec
from django_inference.wire.bodies import dump
from django_inference.wire.examples import decode_examples
from django_inference.wire.tensorflow_documents import PredictDocument, decode_predict
from django_inference.wire.tensorflow_serving import write_response
from django_inference.wire.tensorflow_types import DATA_TYPES

#: Is given the rows of a request before any model is; may refuse them by raising.
Admit: TypeAlias = Callable[[int], None]

#: What follows the name of a model.
STATUS, METADATA, PREDICT, CLASSIFY, REGRESS = (
    "status",
    "metadata",
    "predict",
    "classify",
    "regress",
)

_VERSION = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_WHAT = r"(?:/(?P<get>metadata)|:(?P<post>predict|classify|regress))?"
_PATH = re.compile(rf"/v1/models/(?P<model>[^/:]+){_VERSION}{_WHAT}", re.IGNORECASE)
_METHOD_NAME = "tensorflow/serving/predict"
_LARGEST = 2**63


class Target(msgspec.Struct, frozen=True):
    """What a path asks for.

    Attributes:
        choice: the model.
        what: `status`, `metadata`, `predict`, `classify` or `regress`.
        method: of HTTP, that it is asked with.
    """

    choice: Choice
    what: str

    @property
    def method(self) -> str:
        """The method of HTTP that it is asked with."""
        return "GET" if self.what in (STATUS, METADATA) else "POST"


def target_of(path: str) -> Target | None:
    """What a path asks for, such as `/v1/models/mlp/versions/3:predict`; None for no such path.

    Args:
        path: decoded, from `/v1` on.
    """
    found = _PATH.fullmatch(path)
    if found is None or len(found["version"] or "") > 19 or int(found["version"] or 0) >= _LARGEST:
        return None
    choice = Choice(
        model=found["model"],
        version=int(found["version"]) if found["version"] else None,
        label=found["label"] or "",
    )
    return Target(choice, (found["get"] or found["post"] or STATUS).lower())


def malformed(method: str, path: str) -> InvalidInput:
    """What a path that is none is answered with."""
    return InvalidInput(f"Malformed request: {method} {path[:200]}")


def respond(target: Target, body: bytes = b"", admit: Admit | None = None) -> bytes:
    """Answer a request: the JSON of status 200.

    Args:
        target: what is asked for.
        body: of the request.
        admit: is given its rows.

    Raises:
        NotServed: there is no such model or version.
        InvalidInput: the body does not fit.
        InferenceError: what else a call may raise.
    """
    answer: bytes = run(_steps(target, body, admit))
    return answer


async def arespond(target: Target, body: bytes = b"", admit: Admit | None = None) -> bytes:
    """As `respond`, without holding the event loop."""
    answer: bytes = await arun(_steps(target, body, admit))
    return answer


class _Ask(msgspec.Struct):
    choice: Choice
    read: Read
    is_long: bool

    def run(self) -> Prediction:
        return predict(self.choice, self.read)

    async def arun(self) -> Prediction:
        return await apredict(self.choice, self.read, is_long=self.is_long)


def _steps(target: Target, body: bytes, admit: Admit | None) -> Generator[Any, Any, bytes]:
    choice, is_long = target.choice, len(body) > LONG
    if target.what == STATUS:
        return _status((yield InThread(lambda: model_status(choice))))
    if target.what == METADATA:
        return _metadata(choice, (yield InThread(lambda: model_metadata(choice))))
    if target.what == PREDICT:
        document = yield from _decoded(decode_predict, body)
        choice = msgspec.structs.replace(choice, signature_name=document.signature_name)
        if admit is not None:
            admit(document.rows)
        answer = yield _Ask(choice, from_document(document), is_long)
        return _predicted(document, answer)
    signature_name, examples = yield from _decoded(decode_examples, body)
    choice = msgspec.structs.replace(choice, signature_name=signature_name)
    if admit is not None:
        admit(len(examples.examples))
    answer = yield _Ask(choice, from_examples(examples), is_long)
    results: list[Any] = classified(answer) if target.what == CLASSIFY else regressed(answer)
    return dump({"results": results}, finite=False)


def _decoded(decode: Callable[[bytes], Any], body: bytes) -> Generator[Any, Any, Any]:
    return (yield InThread(lambda: decode(body))) if len(body) > LONG else decode(body)


def _predicted(document: PredictDocument, answer: Prediction) -> bytes:
    if isinstance(answer.outputs, list):
        return dump({"predictions": to_plain(answer.outputs)})
    return write_response(answer.outputs, by_rows=document.by_rows)


def _status(versions: list[Any]) -> bytes:
    return dump(
        {
            "model_version_status": [
                {
                    "version": str(version.version),
                    "state": version.state,
                    "status": {
                        "error_code": version.error_code,
                        "error_message": version.error_message,
                    },
                }
                for version in versions
            ]
        }
    )


def _metadata(choice: Choice, found: Metadata) -> bytes:
    said = {name: _signature_def(each) for name, each in found.by_name.items()}
    return dump(
        {
            "model_spec": {
                "name": choice.model,
                "signature_name": "",
                "version": str(found.version),
            },
            "metadata": {"signature_def": {"signature_def": said}},
        }
    )


def _signature_def(signature: Signature | None) -> dict[str, Any]:
    return {
        "inputs": {spec.name: _tensor_info(spec) for spec in signature.inputs} if signature else {},
        "outputs": (
            {spec.name: _tensor_info(spec) for spec in signature.outputs} if signature else {}
        ),
        "method_name": _METHOD_NAME,
    }


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "dtype": DATA_TYPES.get(spec.dtype, "DT_INVALID"),
        "tensor_shape": {
            "dim": [{"size": str(length), "name": ""} for length in spec.shape],
            "unknown_rank": False,
        },
    }
