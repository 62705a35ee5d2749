"""Runtimes that tests declare; workers of a real model host import them from here."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from django_inference.artifacts import Artifact
from django_inference.exceptions import InvalidInput
from django_inference.runtimes.base import Runtime, TensorRuntime
from django_inference.tensors import BatchAxis, Signature, Tensors, TensorSpec

FLOATS = Signature((TensorSpec("x", "float32", (-1, 4)),), (TensorSpec("y", "float32", (-1, 4)),))


class Items(Runtime):
    """Runs the function that a test gives it, so it works in the same process only."""

    def __init__(
        self,
        *,
        predict: Callable[[list[Any]], Any] = list,
        load: Callable[[Artifact | None], None] | None = None,
        preprocess: Callable[[Any], Any] | None = None,
        postprocess: Callable[[Any], Any] | None = None,
        warmup: Callable[[], Any] | None = None,
        close: Callable[[], None] | None = None,
        stream: Callable[[Any], Any] | None = None,
    ) -> None:
        self._predict = predict
        for name, hook in (
            ("stream", stream),
            ("load", load),
            ("preprocess", preprocess),
            ("postprocess", postprocess),
            ("warmup", warmup),
            ("close", close),
        ):
            if hook is not None:
                setattr(self, name, hook)

    def predict(self, items: list[Any]) -> list[Any]:
        results: list[Any] = self._predict(items)
        return results


class Arrays(TensorRuntime):
    """As `Items`, with named tensors; y is twice x when no function is given."""

    def __init__(
        self,
        *,
        predict: Callable[[Tensors], Tensors] | None = None,
        signature: Signature | None = FLOATS,
        preprocess: Callable[[Any], Any] | None = None,
        postprocess: Callable[[Any], Any] | None = None,
        warmup: Callable[[], Any] | None = None,
        batch_axis: BatchAxis = "auto",
    ) -> None:
        self._predict = predict
        self.signature = signature
        self.batch_axis = batch_axis
        for name, hook in (
            ("preprocess", preprocess),
            ("postprocess", postprocess),
            ("warmup", warmup),
        ):
            if hook is not None:
                setattr(self, name, hook)

    def predict(self, inputs: Tensors) -> Tensors:
        return {"y": inputs["x"] * 2} if self._predict is None else self._predict(inputs)


def _wait_for(path: str) -> None:
    """Until the test makes the file, at most ten seconds."""
    for _ in range(1000):
        if os.path.exists(path):
            return
        time.sleep(0.01)


def _ticket(path: str) -> int:
    """The number of this call among those of all processes."""
    for number in itertools.count(1):
        try:
            os.close(os.open(f"{path}-ticket-{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return number
    raise AssertionError


class Unreadable:
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise RuntimeError("this tensor needs its gradient")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Actor(Runtime):
    """Does what an item says, `{"do": …, "with": …}`, and echoes any other item.

    Args:
        journal: a file that gets a line `<what> <pid>` for each load and close.
        load_seconds: that the load takes.
        salt: makes another version of the same model; the item "salt" is answered with it.
        kill_at: the load kills the process while this file exists.
        gates: the n-th load waits for the file of this name with n at its end.
    """

    def __init__(
        self,
        *,
        journal: str = "",
        load_seconds: float = 0.0,
        salt: str = "",
        kill_at: str = "",
        gates: str = "",
    ) -> None:
        self._journal = journal
        self._load_seconds = load_seconds
        self._salt = salt
        self._kill_at = kill_at
        self._gates = gates
        self._artifact = ""
        self._leak: list[bytes] = []

    def load(self, artifact: Artifact | None) -> None:
        self._note("load")
        time.sleep(self._load_seconds)
        if self._gates:
            _wait_for(f"{self._gates}{_ticket(self._gates)}")
        if self._kill_at and Path(self._kill_at).exists():
            os._exit(7)
        if artifact is not None:
            self._artifact = artifact.path.read_text()
            if self._artifact == "broken":
                raise RuntimeError("the artifact is broken")
        self._note("loaded")

    def preprocess(self, item: Any) -> Any:
        match item:
            case {"do": "exit early"}:
                os._exit(8)
        return item

    def predict(self, items: list[Any]) -> list[Any]:
        return [self._act(item, len(items)) for item in items]

    def postprocess(self, result: Any) -> Any:
        match result:
            case {"do": "exit late"}:
                os._exit(10)
        return result

    def stream(self, item: Any) -> Iterator[Any]:
        """Does one thing after the other; counts for ever where there is nothing to do."""
        self._note("opened")
        try:
            for each in itertools.count() if item is None else item:
                yield self._act(each, 1)
        finally:
            self._note("closed")

    def close(self) -> None:
        self._note("close")

    def _act(self, item: Any, batch: int) -> Any:
        match item:
            case {"do": "pid"}:
                return os.getpid()
            case {"do": "batch"}:
                return batch
            case {"do": "salt"}:
                return self._salt
            case {"do": "artifact"}:
                return self._artifact
            case {"do": "score"}:
                return float(self._artifact)
            case {"do": "leak", "with": count}:
                self._leak.append(b"x" * count)
                return os.getpid()
            case {"do": "segfault"}:
                os.kill(os.getpid(), signal.SIGSEGV)
            case {"do": "hang unless", "with": path}:
                while not os.path.exists(path):
                    time.sleep(0.01)
                return os.getpid()
            case {"do": "affinity"}:
                return sorted(os.sched_getaffinity(0))
            case {"do": "variable", "with": name}:
                return os.environ.get(name)
            case {"do": "sleep", "with": seconds}:
                time.sleep(seconds)
                return os.getpid()
            case {"do": "wait", "with": path}:
                _wait_for(path)
                return os.getpid()
            case {"do": "note", "with": word}:
                self._note(word)
                return word
            case {"do": "raise", "with": message}:
                raise ValueError(message)
            case {"do": "refuse", "with": message}:
                raise InvalidInput(message)
            case {"do": "exit"}:
                os._exit(9)
            case {"do": "object"}:
                return object()
            case {"do": "array that raises"}:
                return Unreadable()
            case {"do": "raise what cannot be said"}:
                raise Unspeakable
            case {"do": "raise a name of a file"}:
                raise FileNotFoundError(os.fsdecode(b"caf\xe9.png"))
            case {"do": "raise at length", "with": count}:
                raise ValueError("x" * count)
            case {"do": "refuse with an error"}:
                raise InvalidInput(KeyError("pixels"))  # type: ignore[arg-type]
            case {"do": "deep"}:
                nested: Any = []
                for _ in range(100_000):
                    nested = [nested]
                return nested
            case {"do": "talk nonsense to the supervisor"}:
                os.write(int(sys.argv[1]), b"\xff" * 100)
                return None
            case {"do": "bytes", "with": count}:
                return bytes(count)
            case {"do": "shape"}:
                return list(np.shape(item["of"]))
        return item

    def _note(self, word: str) -> None:
        if self._journal:
            # One write of a short line: appended whole, whoever else writes.
            with open(self._journal, "ab", buffering=0) as file:
                file.write(f"{word} {os.getpid()}\n".encode())


def nap(items: list[float]) -> list[None]:
    """Sleep as long as the items say."""
    time.sleep(sum(items))
    return [None] * len(items)


def echo(items: list[Any]) -> list[Any]:
    return items


def upper(items: list[str]) -> list[str]:
    return [item.upper() for item in items]


def lengths(items: list[bytes]) -> list[int]:
    """A plain function as a runtime."""
    return [len(item) for item in items]


def names_of_models(items: list[str]) -> list[list[str]]:
    """The Django models of each app, which only a process that has set up Django knows."""
    from django.apps import apps

    return [
        [model._meta.label_lower for model in apps.get_app_config(app).get_models()]
        for app in items
    ]


class Calls(Runtime):
    """Has the predictor that an item names predict the item in it; echoes any other.

    Args:
        backend: of all the models.
        runtime_dir: of their host.
    """

    def __init__(self, *, backend: str, runtime_dir: str) -> None:
        self._declared = nested_models(backend, runtime_dir)
        self._host = {"RUNTIME_DIR": runtime_dir}

    def load(self, artifact: Artifact | None) -> None:
        from django.conf import settings

        # In a worker, the settings of the tests are as they are in the file.
        if not settings.INFERENCE:
            settings.INFERENCE, settings.INFERENCE_HOST = self._declared, self._host

    def predict(self, items: list[Any]) -> list[Any]:
        return [_call(item) for item in items]


def nested_models(backend: str, runtime_dir: str) -> dict[str, Any]:
    """`a`, `b` and `c`, which call each other, and `told`, which says what it knows of it."""
    shared = {"BACKEND": backend, "OPTIONS": {"timeout": 60.0}}
    options = {"backend": backend, "runtime_dir": runtime_dir}
    caller = {"RUNTIME": "tests.sample_runtimes.Calls", "RUNTIME_OPTIONS": options, **shared}
    told = {"RUNTIME": "tests.sample_runtimes.tells", **shared}
    return {"a": caller, "b": caller, "c": caller, "told": told}


def _call(item: Any) -> Any:
    from asgiref.sync import async_to_sync

    from django_inference import predictors

    match item:
        case {"call": alias, "item": inner, **how}:
            if "sleep" in how:
                inner = {"sleep": how["sleep"]}
            priority: Any = how.get("priority_of_next") or "normal"
            if how.get("asynchronous"):
                return async_to_sync(predictors[alias].apredict_one)(inner)
            return predictors[alias].predict_one(inner, timeout=60.0, priority=priority)
    return item


def tells(items: list[Any]) -> list[Any]:
    """The chain that a model belongs to, the seconds it has left, and its priority."""
    from django_inference.nested import outer

    served = outer()
    for item in items:
        if isinstance(item, dict):
            time.sleep(item["sleep"])
    return [(served.chain, served.deadline - time.monotonic(), served.priority) for _ in items]
