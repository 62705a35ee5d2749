"""What the backends need of a protocol: its questions, whatever the wire."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from django_inference.backends.remote.questions import Question
from django_inference.exceptions import InvalidInput
from django_inference.tensors import Signature, Tensors


class Described(NamedTuple):
    """What a server says of a model.

    Attributes:
        signature: None where it tells no inputs.
        version: that answers; empty where it tells none.
    """

    signature: Signature | None
    version: str


class Predicted(NamedTuple):
    """What a server answered.

    Attributes:
        outputs: by name.
        version: of the model that made them; empty where it tells none.
    """

    outputs: Tensors
    version: str

    @classmethod
    def own(cls, outputs: Tensors, version: str) -> Predicted:
        """With arrays that may be written to, and do not keep the bytes of the answer."""
        writable = {
            name: output if output.flags.writeable else output.copy()
            for name, output in outputs.items()
        }
        return cls(writable, version)


class Protocol(ABC):
    """The questions about one model."""

    @abstractmethod
    def ready(self) -> Question:
        """Whether calls are answered; True or False."""

    @abstractmethod
    def metadata(self) -> Question:
        """Tensors and version; `Described`."""

    @abstractmethod
    def infer(self, inputs: Tensors, described: Described, priority: int) -> Question:
        """A prediction; `Predicted`."""

    def stream(self, inputs: Tensors, described: Described, priority: int) -> Question:
        """Predictions of one item; the first one, with the `Reading` of the others.

        Raises:
            InvalidInput: the protocol knows none.
        """
        raise InvalidInput("the servers of this protocol do not stream.")

    def load(self) -> Question:
        """The order to load the model, again where it is loaded.

        Raises:
            LookupError: the protocol has none.
        """
        raise LookupError("the servers of this protocol load their models by themselves.")

    def unload(self) -> Question:
        """The order to unload the model. Raises as `load`."""
        raise LookupError("the servers of this protocol unload their models by themselves.")
