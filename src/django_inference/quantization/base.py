"""What is asked of the quantisers, and what each of them gives."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from django_inference.specs import ModelSpec
    from django_inference.tensors import Tensors


class CannotQuantize(Exception):
    """A model cannot be quantised as it was asked for; the message says why."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """How a model shall be quantised.

    Attributes:
        to: whole numbers of 8 bits, or floats of 16.
        is_static: the ranges of what flows through the model are found beforehand, on
            samples. Else only its weights become integers, and the rest while it runs.
        activations: the integers that flow through a static model; its weights are signed.
        every_operator: a static model has integers between its layers, too, not only in
            those with weights.
        per_channel: each channel of a weight has a scale of its own.
        portable: the result is right on every processor. Else its weights use all of their
            bits where this processor multiplies them exactly, and so does any that loads it.
        exclude: patterns of the names of nodes that stay as they are; None for what is known
            to suffer: the head of a YOLO.
    """

    to: Literal["int8", "fp16"] = "int8"
    is_static: bool = False
    activations: Literal["uint8", "int8"] = "uint8"
    every_operator: bool = False
    per_channel: bool = True
    portable: bool = True
    exclude: tuple[str, ...] | None = None


class Made(NamedTuple):
    """A quantised model, and what has to be set for it to run.

    Attributes:
        path: of the file.
        runtime: dotted path.
        runtime_options: its keyword arguments.
        note: what its user should know, or an empty text.
        needs: sets of instructions of which an x86 processor must have one.
    """

    path: Path
    runtime: str
    runtime_options: dict[str, Any]
    note: str = ""
    needs: tuple[str, ...] = ()


class Quantizer(Protocol):
    """What the module of a framework has."""

    def raw(self, spec: ModelSpec) -> ModelSpec:
        """The same artifact, run on tensors and by nothing else than the framework."""

    def make(
        self, spec: ModelSpec, wanted: Wanted, samples: Sequence[Tensors], folder: Path
    ) -> Made:
        """Write the quantised model into an empty folder.

        Args:
            spec: of the model, whose artifact is on this disk.
            wanted: how.
            samples: what the model takes; one at least.
            folder: for the file.

        Raises:
            CannotQuantize: it cannot be done so.
        """

    def recorded(self) -> AbstractContextManager[list[Tensors]] | None:
        """While it is open, what models of this framework are given goes to the list.

        None where the framework cannot be listened to.
        """


def require(module: str, extra: str) -> None:
    """See that a module is installed, without importing it.

    Raises:
        CannotQuantize: it is not; the message says how to install it.
    """
    if find_spec(module) is None:
        raise CannotQuantize(
            f"it needs the module {module!r}, which is not installed: "
            f'pip install "django-inference[{extra}]"'
        )
