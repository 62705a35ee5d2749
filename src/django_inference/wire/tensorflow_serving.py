"""TensorFlow Serving's JSON: rows (`instances`, `predictions`), columns (`inputs`, `outputs`).

Facts: https://www.tensorflow.org/tfx/serving/api_rest. A tensor is a number, text or boolean,
or lists of them; a column is a tensor with the batch on axis 0, a row is one entry of axis 0.
What a model has one of needs no name. Here is what a server answers with and what a client sends
and reads; what a server reads is in `tensorflow_documents`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np

from django_inference.exceptions import InvalidInput, PredictionFailed
from django_inference.wire.bodies import dump, load
from django_inference.wire.nesting import Array
from django_inference.wire.tensorflow_documents import LONG, Specs, document_of, tensors_of
from django_inference.wire.texts import as_json

#: What TensorFlow calls the signature that is asked for when none is named.
DEFAULT_SIGNATURE = "serving_default"

_unread = msgspec.json.Decoder(dict[str, msgspec.Raw])


def write_response(outputs: Mapping[str, Array], *, by_rows: bool) -> bytes:
    """The body of an answer: `predictions` by rows, `outputs` by columns.

    A single output goes without its name. Bytes whose name ends in `_bytes`, or which are no
    UTF-8, are written as `{"b64": …}`.

    Raises:
        PredictionFailed: an output has no words in this protocol.
        InvalidInput: rows are asked for, and an output has not one row for each prediction.
    """
    finite = all(_finite(value) for value in outputs.values())
    columns = {name: as_json(name, value) for name, value in outputs.items()}
    if not by_rows:
        said = next(iter(columns.values())) if len(columns) == 1 else columns
        return dump({"outputs": said}, finite=finite)
    lengths = {len(value) if value.ndim else -1 for value in outputs.values()}
    if len(lengths) > 1 or -1 in lengths:
        found = ", ".join(f"{name} {list(value.shape)}" for name, value in outputs.items())
        raise InvalidInput(
            f"the outputs cannot be written by rows ({found}): ask with 'inputs' in place of "
            "'instances'."
        )
    rows = next(iter(columns.values())) if len(columns) == 1 else _rows(columns)
    return dump({"predictions": rows}, finite=finite)


def write_request(
    inputs: Mapping[str, Array], *, signature_name: str = "", by_rows: bool = False
) -> bytes:
    """The body of a request to predict: `inputs`, or `instances` by rows.

    Args:
        inputs: by name, with the batch on axis 0.
        signature_name: left out when empty.
        by_rows: write the rows one by one.

    Raises:
        InvalidInput: an input has no words in this protocol.
    """
    try:
        columns = {name: as_json(name, value) for name, value in inputs.items()}
    except PredictionFailed as error:
        raise InvalidInput(error.message) from error
    said: dict[str, Any] = {"signature_name": signature_name} if signature_name else {}
    if by_rows:
        said["instances"] = _rows(columns)
    else:
        said["inputs"] = columns
    return dump(said, finite=all(_finite(value) for value in inputs.values()))


def read_response(body: bytes | memoryview, specs: Specs = ()) -> dict[str, Array]:
    """The outputs that a server has sent, by name.

    Args:
        body: with `predictions` or `outputs`.
        specs: of the model's outputs; a single one goes by `outputs` where they are unknown.

    Raises:
        InvalidInput: it is no such answer.
    """
    said = _answer(body)
    found = [key for key in ("predictions", "outputs") if key in said]
    if len(found) != 1:
        raise InvalidInput("the answer has neither 'predictions' nor 'outputs'.")
    by_rows = found == ["predictions"]
    outputs = tensors_of(document_of(said[found[0]], by_rows=by_rows), specs)
    return outputs if isinstance(outputs, dict) else {"outputs": outputs}


def _answer(body: bytes | memoryview) -> dict[str, Any]:
    if len(body) > LONG:
        # Where this fails, it is wrong, and the other way says how; or it has NaN in it.
        with suppress(msgspec.MsgspecError, RecursionError):
            return _unread.decode(body)
    said: dict[str, Any] = load(body, dict)
    return said


def _rows(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _finite(value: Array) -> bool:
    if value.dtype.kind == "V":
        # bfloat16 and the like, which numpy knows from an extension only
        value = value.astype(np.float32)
    return value.dtype.kind != "f" or bool(np.isfinite(value).all())
