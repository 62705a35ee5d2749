"""NVIDIA Triton with a few Python models; run by its own interpreter, ports as arguments.

Prints `ready` when it serves. Nothing of this project is installed there.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

Array = np.ndarray[Any, Any]

NUMBERS = {
    "bool": np.bool_,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "fp16": np.float16,
    "fp32": np.float32,
    "fp64": np.float64,
}


@batch  # type: ignore[untyped-decorator]
def double(x: Array) -> dict[str, Array]:
    if x.size and x.max() > 1000:
        # The row says for how many milliseconds.
        time.sleep((float(x.max()) - 1000) / 1000)
    if x.size and x.min() < 0:
        raise ValueError("the model does not like this")
    return {"y": x * np.float32(2)}


@batch  # type: ignore[untyped-decorator]
def same(**inputs: Array) -> dict[str, Array]:
    return {f"{name}_out": value for name, value in inputs.items()}


def whole(requests: list[Any]) -> list[dict[str, Array]]:
    return [{"total": np.array([request.data["x"].sum()], np.float32)} for request in requests]


def count(requests: list[Any]) -> Iterator[list[dict[str, Array]]]:
    for number in range(int(requests[0].data["x"].max())):
        yield [{"y": np.array([[number]], np.float32)} for _ in requests]


def main(http: int, grpc: int, metrics: int) -> None:
    config = TritonConfig(
        http_address="127.0.0.1",
        grpc_address="127.0.0.1",
        http_port=http,
        grpc_port=grpc,
        metrics_port=metrics,
        exit_timeout_secs=1,
    )
    number = [Tensor(name="x", dtype=np.float32, shape=(-1,))]
    answer = [Tensor(name="y", dtype=np.float32, shape=(-1,))]
    most = ModelConfig(max_batch_size=8)
    kinds = [Tensor(name=name, dtype=dtype, shape=(-1,)) for name, dtype in NUMBERS.items()]
    kinds.append(Tensor(name="bytes", dtype=bytes, shape=(-1,)))
    outputs = [Tensor(name=f"{k.name}_out", dtype=k.dtype, shape=(-1,)) for k in kinds]
    with Triton(config=config) as triton:
        triton.bind("double", double, number, answer, config=most)
        triton.bind("kinds", same, kinds, outputs, config=most)
        triton.bind(
            "count", count, number, answer, config=ModelConfig(decoupled=True, max_batch_size=8)
        )
        triton.bind(
            "whole",
            whole,
            [Tensor(name="x", dtype=np.float32, shape=(3,))],
            [Tensor(name="total", dtype=np.float32, shape=(1,))],
            config=ModelConfig(batching=False),
        )
        triton.run()
        print("ready", flush=True)
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        ended.wait(600)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
