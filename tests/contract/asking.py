"""Ask a model as several callers at once would, with its framework as the judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from django_inference import Predictor, predictors
from django_inference.exceptions import InvalidInput, ModelLoadFailed

CALLERS = 6
ROUNDS = 4
_numbers = count()


class WrongAnswerError(AssertionError):
    """An answer that the framework does not give, or an error that is not the caller's."""


@dataclass(frozen=True)
class Probe:
    """One question of the table.

    Attributes:
        declared: `MODEL`, `RUNTIME` and the like.
        payloads: what the callers send.
        direct: what the framework, called by itself, answers to a payload. Where it raises,
            the caller has to be refused, and so always where there is no such function.
        same: compares what the runtime answers with that.
        rounds: how often each caller asks.
    """

    declared: Mapping[str, Any]
    payloads: list[Any]
    direct: Callable[[Any], Any] | None = None
    same: Callable[[Any, Any], bool] = field(default=lambda found, expected: same(found, expected))
    rounds: int = ROUNDS


@dataclass(frozen=True)
class Outcome:
    """How a probe ended.

    Attributes:
        refusal: what the caller, or the load, was told; nothing where the answer is right.
        at_load: the refusal is of the load.
        batching: what the proof says of sharing runs.
    """

    refusal: str = ""
    at_load: bool = False
    batching: str = ""

    def __str__(self) -> str:
        if not self.refusal:
            return "right"
        return f"refused{' at load' if self.at_load else ''}: {self.refusal}"


def asked(probe: Probe) -> Outcome:
    """Ask all payloads, from several threads, and compare.

    Raises:
        WrongAnswerError: an answer is another than the framework's, or an error is not
            `InvalidInput`, nor of a load a `ValueError`.
    """
    with loaded(probe.declared) as predictor:
        try:
            predictor.preload(wait=True, timeout=120.0)
        except ModelLoadFailed as error:
            kind, _, said = _short(str(error)).partition(": ")
            if kind != "ValueError":
                raise WrongAnswerError(f"{probe.declared}: {error}") from error
            return Outcome(said, at_load=True)
        at_load = predictor.status().replicas[0].batching
        expected = [_direct(probe, payload) for payload in probe.payloads]

        def caller(number: int) -> list[str]:
            places = [(number + turn) % len(expected) for turn in range(probe.rounds)]
            return [_one(predictor, probe, place, expected[place]) for place in places]

        with ThreadPoolExecutor(CALLERS) as pool:
            refusals = {said for each in pool.map(caller, range(CALLERS)) for said in each}
        after = predictor.status().replicas[0].batching
    if len({bool(said) for said in refusals}) > 1:
        raise WrongAnswerError(f"some are refused, some are not: {sorted(refusals)}")
    if after.startswith("not batched"):
        at_load = "not batched"
    return Outcome(_short(min(refusals)), batching=at_load)


@contextmanager
def loaded(declared: Mapping[str, Any]) -> Iterator[Predictor]:
    """The model, in this process."""
    alias = f"contract{next(_numbers)}"
    settings = {
        "BACKEND": "django_inference.backends.local.LocalBackend",
        "TRUSTED": True,
        "OPTIONS": {"timeout": 120.0},
        **declared,
    }
    if "MODEL" not in settings:
        del settings["TRUSTED"]
    predictor = predictors.register(alias, **settings)
    try:
        yield predictor
    finally:
        predictor.unload()
        predictors.unregister(alias)


def _direct(probe: Probe, payload: Any) -> Any:
    if probe.direct is None:
        return None
    try:
        return probe.direct(payload)
    except Exception:
        # Whatever a framework raises: what it does not take has to be refused.
        return None


def _one(predictor: Predictor, probe: Probe, place: int, expected: Any) -> str:
    payload = probe.payloads[place]
    try:
        found = predictor.predict(payload)
    except InvalidInput as error:
        return error.message
    except Exception as error:
        raise WrongAnswerError(f"{type(error).__name__} for {payload!r}: {error}") from error
    if expected is None:
        raise WrongAnswerError(f"{payload!r} is to be refused, answered {found!r}")
    if not probe.same(found, expected):
        raise WrongAnswerError(f"{payload!r}: {found!r} is not {expected!r}")
    return ""


def same(found: Any, expected: Any) -> bool:
    """Whether named tensors, or nested lists, are the same but for the order of sums."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[k], expected[k]) for k in found)
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape or (found.dtype.kind in "OUS") != (
        expected.dtype.kind in "OUS"
    ):
        return False
    if expected.dtype.kind in "OUSMm":
        return bool(found.tolist() == expected.tolist())
    return bool(np.allclose(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True))


def _short(said: str) -> str:
    """The refusal without what belongs to one model, on one line of a table."""
    said = said.split("could not be loaded: ")[-1].splitlines()[0] if said else ""
    return said.replace("|", "\\|")
