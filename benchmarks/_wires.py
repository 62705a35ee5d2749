"""The same prediction over each wire: the bytes of a request, and a client that only sends them.

The client is a socket and the bytes that go over it, made beforehand: what is timed is the
server and the wire, not somebody's client library. By gRPC it is grpcio's channel, which is
given the message as bytes and hands the answer out as bytes.
"""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from django_inference.wire.open_inference import InferRequest
from django_inference.wire.open_inference_bodies import JSON_LENGTH, write_request
from django_inference.wire.open_inference_proto import request_to_proto
from django_inference.wire.protos import tensorflow_serving_pb2 as tfs
from django_inference.wire.tensor_proto import to_proto

Array = np.ndarray[Any, Any]
Call = Callable[[], bytes]

#: Seconds that one answer may take.
PATIENCE = 60.0

_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Wire:
    """One way to ask.

    Attributes:
        name: for the table.
        path: of the URL, or the full name of the method.
        body: of the request, or the message.
        headers: beside the usual ones; None where it is gRPC.
    """

    name: str
    path: str
    body: bytes
    headers: dict[str, str] | None

    @property
    def is_text(self) -> bool:
        """Whether the answer has its numbers as text."""
        return self.headers == _JSON


def bare(value: Array) -> Wire:
    """A Django view that reads the body and answers a constant."""
    return Wire("bare Django view", "/bare/", _blob(value), {})


def drf_json(model: str, value: Array) -> Wire:
    """The endpoint of Django REST framework, with nested lists."""
    body = json.dumps({"inputs": {"x": value.tolist()}}).encode()
    return Wire("REST framework, JSON", f"/api/{model}/", body, _JSON)


def oip_json(model: str, value: Array) -> Wire:
    """The Open Inference Protocol with lists."""
    body = write_request(_request(model, value), binary=False).joined()
    return Wire("Open Inference, JSON", f"/v2/models/{model}/infer", body, _JSON)


def oip_binary(model: str, value: Array) -> Wire:
    """The Open Inference Protocol with blobs."""
    body = write_request(_request(model, value), binary=True)
    headers = {JSON_LENGTH: str(body.json_length)}
    return Wire("Open Inference, binary", f"/v2/models/{model}/infer", body.joined(), headers)


def oip_grpc(model: str, value: Array) -> Wire:
    """The Open Inference Protocol by gRPC."""
    message = request_to_proto(_request(model, value)).SerializeToString()
    return Wire("Open Inference, gRPC", "/inference.GRPCInferenceService/ModelInfer", message, None)


def tfs_rest(model: str, value: Array) -> Wire:
    """TensorFlow Serving's rows, which need no name where a model has one input."""
    body = json.dumps({"instances": value.tolist()}).encode()
    return Wire("TensorFlow Serving, REST", f"/v1/models/{model}:predict", body, _JSON)


def tfs_grpc(model: str, value: Array) -> Wire:
    """TensorFlow Serving by gRPC, with `tensor_content`."""
    asked = tfs.PredictRequest()
    asked.model_spec.name = model
    asked.inputs["x"].MergeFrom(to_proto(value, "x"))
    path = "/tensorflow.serving.PredictionService/Predict"
    return Wire("TensorFlow Serving, gRPC", path, asked.SerializeToString(), None)


def caller(wire: Wire, port: int) -> Call:
    """A function that asks once and returns the answer; the connection stays open."""
    if wire.headers is not None:
        return HttpCaller(wire, port)
    import grpc

    channel = grpc.insecure_channel(
        f"127.0.0.1:{port}",
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    method: Any = channel.unary_unary(wire.path)
    return lambda: bytes(method(wire.body, timeout=PATIENCE))


class HttpCaller:
    """Sends one request again and again over one connection.

    Raises:
        RuntimeError: the answer has another status than 200.
    """

    def __init__(self, wire: Wire, port: int) -> None:
        self._port = port
        self._socket = self._connected()
        head = [f"POST {wire.path} HTTP/1.1", "Host: 127.0.0.1"]
        head += [f"{name}: {value}" for name, value in (wire.headers or {}).items()]
        head += [f"Content-Length: {len(wire.body)}", "", ""]
        self._request = "\r\n".join(head).encode() + wire.body
        self._left = b""

    def __call__(self) -> bytes:
        """Ask once."""
        if select.select([self._socket], [], [], 0)[0]:
            # Nothing is due: the server has hung up while other wires had their turns.
            self._socket.close()
            self._socket = self._connected()
        self._socket.sendall(self._request)
        data = self._left
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head, data = data[:end], data[end + 4 :]
        if b" 200 " not in head[:16]:
            raise RuntimeError(f"it answered {head[:200]!r}: {data[:200]!r}")
        length = _length(head)
        while len(data) < length:
            data += self._more()
        self._left = data[length:]
        return data[:length]

    def _connected(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self._port), PATIENCE)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _more(self) -> bytes:
        data = self._socket.recv(1 << 20)
        if not data:
            raise RuntimeError("the server hung up.")
        return data


def _blob(value: Array) -> bytes:
    return value.tobytes()


def _request(model: str, value: Array) -> InferRequest:
    return InferRequest(model=model, inputs={"x": value})


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    raise RuntimeError(f"the answer does not say how long it is: {head[:200]!r}")
