"""Versions as TensorFlow Serving has them: positive integers, and labels.

A version is a digest here. Its number is its first 12 hexadecimal digits, 48 bits, which every
client's numbers hold exactly. A version that is a decimal number already, such as that of a
model on a real TensorFlow Serving, is that number. 0 stands for a version that is not known.

The label `stable` is the version that answers calls, and `canary` the one on trial beside it.
"""

from __future__ import annotations

import hashlib
import string
from functools import lru_cache

import msgspec

from django_inference.exceptions import InferenceError, ModelLoadFailed
from django_inference.handle import Predictor
from django_inference.serving.lookup import NotServed
from django_inference.specs import State, Status

STABLE, CANARY = "stable", "canary"

_DIGITS = 12
_LARGEST = 2**63 - 1
_STATES = {
    State.LOADING: "LOADING",
    State.READY: "AVAILABLE",
    State.DRAINING: "UNLOADING",
    State.FAILED: "END",
}


class Unsupported(InferenceError):
    """The protocol has this, and this server has not."""

    status_code = 501
    public = "This is not supported."

    def for_client(self, *, debug: bool = False) -> str:
        """The message itself, which says what is not."""
        return self.message or self.public


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which model is asked for.

    Attributes:
        model: the alias of the predictor.
        version: its number; None for whichever answers calls.
        label: that goes by a name; empty for none. Not both.
        signature_name: empty for the default one.
    """

    model: str
    version: int | None = None
    label: str = ""
    signature_name: str = ""


class VersionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one version fares.

    Attributes:
        version: its number, 0 where it is not known yet.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error_code: as gRPC calls it; `OK` where nothing is wrong.
        error_message: for clients.
        label: that it goes by, or empty.
    """

    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""
    label: str = ""


@lru_cache(maxsize=1024)
def number_of(version: str) -> int:
    """The number of a version; 0 for none."""
    if version.isascii() and version.isdigit() and int(version[:20]) <= _LARGEST:
        return int(version[:20])
    head = version[:_DIGITS]
    if len(head) < _DIGITS or not set(head) <= set(string.hexdigits):
        head = hashlib.sha256(version.encode()).hexdigest()[:_DIGITS] if version else "0"
    return int(head, 16)


def statuses(predictor: Predictor) -> list[VersionStatus]:
    """The versions that there are: the one that answers, one on trial, one being loaded.

    Loads nothing. A version that is not loaded because nobody has called it yet is in START;
    one whose memory was given back is in END, and so is one whose load failed, with the error.
    """
    status = predictor.status()
    found = [_serving(status)]
    if status.trial is not None:
        number = number_of(status.trial.version)
        found.append(VersionStatus(version=number, state="AVAILABLE", label=CANARY))
    # `pending` while the files are still being fetched, before there is a digest.
    if status.next_version not in ("", "pending"):
        found.append(VersionStatus(version=number_of(status.next_version), state="LOADING"))
    return found


def chosen(predictor: Predictor, choice: Choice) -> list[VersionStatus]:
    """Those of the versions that are asked for.

    Raises:
        NotServed: there is none of that number or label.
    """
    found = [
        version
        for version in statuses(predictor)
        if choice.version in (None, version.version) and choice.label in ("", version.label)
    ]
    if not found:
        raise _no_version(choice)
    return found


def check_callable(predictor: Predictor, choice: Choice, deadline: float) -> None:
    """Refuse to call a version that does not answer calls; waits for the first load.

    Raises:
        NotServed: there is none of that number or label.
        Unsupported: it is on trial: chance decides which calls it gets.
        InferenceError: the model cannot be loaded.
    """
    if choice.version is None and choice.label in ("", STABLE):
        return
    if choice.version is not None and not predictor.status().version:
        predictor.backend.signature(deadline)
    if chosen(predictor, choice)[0].label != STABLE:
        raise Unsupported(
            f"the model {choice.model!r} gives the version that is on trial or being loaded a "
            "share of the calls, and no call of its own."
        )


def _serving(status: Status) -> VersionStatus:
    number = number_of(status.version)
    state = _STATES.get(status.state) or ("END" if status.version else "START")
    if status.state is State.FAILED:
        return VersionStatus(
            version=number,
            state=state,
            error_code="UNAVAILABLE",
            error_message=ModelLoadFailed.public,
            label=STABLE,
        )
    return VersionStatus(version=number, state=state, label=STABLE)


def _no_version(choice: Choice) -> NotServed:
    which = f"label {choice.label[:200]!r}" if choice.label else f"version {choice.version}"
    return NotServed(f"the model {choice.model!r} has no {which} now.")
