"""What is asked of a server, in the words of either wire."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple


class HttpAsk(NamedTuple):
    """A request over HTTP.

    Attributes:
        method: GET or POST.
        path: after the path of the endpoint.
        body: in pieces.
        headers: of this request alone.
    """

    method: str
    path: str
    body: tuple[bytes | bytearray | memoryview, ...] = ()
    headers: Mapping[str, str] = {}

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return sum(len(piece) for piece in self.body)


class HttpReply(NamedTuple):
    """An answer of status 200, or what `Question.accepts` takes for one.

    Attributes:
        status: of HTTP.
        headers: by lower-case names.
        body: all of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class GrpcAsk(NamedTuple):
    """A request over gRPC.

    Attributes:
        method: as in `/package.Service/Method`.
        message: protobuf.
        answer: class of the answer.
        streams: any number of answers come.
    """

    method: str
    message: Any
    answer: type[Any]
    streams: bool = False


class Question(ABC):
    """Asked of one server after another, until one answers.

    Attributes:
        model: the name that it is about, for errors.
    """

    model: str = ""

    def first(self, facts: dict[str, Any]) -> Question | None:
        """What has to be asked of a server over HTTP before this; None where all is known."""
        return None

    def unanswered(self, facts: dict[str, Any]) -> None:
        """A server does not know this question: note what follows from that."""

    @abstractmethod
    def http(self, left: float, facts: dict[str, Any]) -> HttpAsk:
        """In the words of HTTP.

        Args:
            left: seconds that the server has.
            facts: what is known of the server; kept while it is up.
        """

    @abstractmethod
    def of_http(self, reply: HttpReply, facts: dict[str, Any]) -> Any:
        """Read the answer.

        Raises:
            ValueError: it is of another protocol; so does `InvalidInput` of the formats.
        """

    @abstractmethod
    def grpc(self, left: float) -> GrpcAsk:
        """In the words of gRPC."""

    @abstractmethod
    def of_grpc(self, message: Any) -> Any:
        """Read the answer. Raises as `of_http`."""
