"""Products of 8-bit integers that are exact on every processor.

ONNX Runtime multiplies unsigned numbers by signed weights. Where the processor cuts such products
off, it can use unsigned weights instead, which is exact, and slower than weights of 7 bits.
"""

from __future__ import annotations

import logging
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from django_inference.artifacts.protobuf import Buffer, fields, varint
from django_inference.runtimes.processor import saturates, shown

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger("django_inference.runtimes")

#: The entry of a session that has it use unsigned weights.
_EXACT = "session.x64quantprecision"
#: Levels of optimisation below that which rewrites the weights.
_TOO_LOW = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC")
#: Products of two unsigned 8-bit numbers with two such weights fit into 16 bits.
_WIDEST = 64
#: Numbers of fields: of ModelProto, GraphProto, NodeProto, TensorProto and StringStringEntryProto.
_GRAPH, _NODE, _INITIALIZER = 7, 1, 5
_INPUT, _OUTPUT, _OP_TYPE = 1, 2, 4
_DATA_TYPE, _INT32_DATA, _NAME, _RAW_DATA, _EXTERNAL_DATA = 2, 5, 8, 9, 13
_KEY, _VALUE = 1, 2
_INT8 = 3
_TO_FLOATS = "DequantizeLinear"
_OF_FLOATS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def exact_products(file: Path, session_options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options with which products are exact on this processor.

    Args:
        file: of the model.
        session_options: those that were asked for.

    Raises:
        ValueError: they forbid it, and the answers would be wrong.
    """
    if _EXACT in session_options or not saturates():
        return session_options
    operators = wide_products(file) if file.suffix == ".onnx" else frozenset()
    level = str(session_options.get("graph_optimization_level", ""))
    if level.endswith(_TOO_LOW):
        # Without optimisation this one gives back floats, which are multiplied as such.
        if operators - {_TO_FLOATS}:
            raise ValueError(
                f"{file} has weights of 8 bits, whose products this processor ({shown()}) cuts "
                f"off, and with {level.rpartition('.')[2]} ONNX Runtime does nothing about it. "
                "Leave graph_optimization_level out, or quantise the original portably, with "
                "weights of 7 bits: manage.py inference quantize."
            )
    elif operators:
        logger.warning(
            "%s has weights of 8 bits, whose products this processor (%s) cuts off: they run as "
            "unsigned integers, which is exact, and slower. Weights of 7 bits are exact and "
            "fast: quantise the original with manage.py inference quantize.",
            file,
            shown(),
        )
    return {**session_options, _EXACT: "1"}


def wide_products(file: Path) -> frozenset[str]:
    """Return the operators that multiply by signed weights of more than 7 bits.

    Of graphs within the graph, nothing is known. Empty for what cannot be read: ONNX Runtime
    says best what is wrong with it.
    """
    try:
        with file.open("rb") as opened:
            data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        return frozenset(_wide_products(data, file.parent))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return frozenset()


class _Node(NamedTuple):
    kind: str
    inputs: set[str]
    outputs: set[str]


def _wide_products(data: Buffer, folder: Path) -> set[str]:
    nodes: list[_Node] = []
    wide: set[str] = set()
    for graph in _messages(data, _GRAPH):
        for each in fields(data, graph.start, graph.stop):
            if each.number not in (_NODE, _INITIALIZER) or not isinstance(each.value, slice):
                continue
            said = _by_number(data, each.value)
            if each.number == _NODE:
                names = [{_text(data, [at]) for at in said.get(n, [])} for n in (_INPUT, _OUTPUT)]
                nodes.append(_Node(_text(data, said.get(_OP_TYPE, [])), *names))
            elif said.get(_DATA_TYPE) == [_INT8] and _is_wide(_integers(data, said, folder)):
                wide.add(_text(data, said.get(_NAME, [])))
    kinds = {node.kind for node in nodes if node.inputs & wide}
    found = {kind for kind in kinds if "Integer" in kind or "Q" in kind}
    # Where only the weights are integers, floats are multiplied.
    if any(node.kind == "QuantizeLinear" for node in nodes):
        back = [node.outputs for node in nodes if node.kind == _TO_FLOATS and node.inputs & wide]
        floats = set().union(*back)
        if any(node.kind in _OF_FLOATS and node.inputs & floats for node in nodes):
            found.add(_TO_FLOATS)
    return found


def _is_wide(integers: np.ndarray[Any, Any]) -> bool:
    # A single number is the zero point of a tensor.
    return integers.size > 1 and max(-int(integers.min()), int(integers.max())) > _WIDEST


def _integers(data: Buffer, said: Mapping[int, list[Any]], folder: Path) -> np.ndarray[Any, Any]:
    """The numbers of a tensor of int8, wherever they are."""
    import numpy as np

    if _RAW_DATA in said:
        at = said[_RAW_DATA][-1]
        return np.frombuffer(data, np.int8, at.stop - at.start, at.start)
    if _EXTERNAL_DATA in said:
        entries = [_by_number(data, entry) for entry in said[_EXTERNAL_DATA]]
        where = {_text(data, e.get(_KEY, [])): _text(data, e.get(_VALUE, [])) for e in entries}
        beside = folder / where["location"]
        offset = int(where.get("offset", 0))
        size = int(where.get("length", beside.stat().st_size - offset))
        return np.memmap(beside, np.int8, "r", offset, size)
    # One by one, or packed: each is a varint, negative ones of ten bytes.
    found: list[int] = []
    for each in said.get(_INT32_DATA, []):
        found += _packed(data, each) if isinstance(each, slice) else [each]
    return np.array(found, np.uint64).astype(np.int8)


def _packed(data: Buffer, at: slice) -> Iterator[int]:
    start = at.start
    while start < at.stop:
        value, start = varint(data, start)
        yield value


def _messages(data: Buffer, number: int) -> Iterator[slice]:
    for each in fields(data):
        if each.number == number and isinstance(each.value, slice):
            yield each.value


def _by_number(data: Buffer, at: slice) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for each in fields(data, at.start, at.stop):
        found.setdefault(each.number, []).append(each.value)
    return found


def _text(data: Buffer, places: list[Any]) -> str:
    return data[places[-1]].decode() if places else ""
