"""Parameters of a request that say how it is to be run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_inference.exceptions import InvalidInput
from django_inference.specs import Priority

#: By the protocol's numbers: 0 is the server's choice, and 1 the most urgent.
_PRIORITIES: tuple[Priority, ...] = ("normal", "high", "normal")


def priority_of(parameters: Mapping[str, Any]) -> Priority:
    """How urgent a request is, by its parameter `priority`: 1 is high, 2 normal, more low.

    Raises:
        InvalidInput: it is no such number.
    """
    number = _whole(parameters, "priority", "a whole number, 1 being the most urgent")
    return _PRIORITIES[number] if number < len(_PRIORITIES) else "low"


def timeout_of(parameters: Mapping[str, Any], longest: float) -> float:
    """Seconds that a request may take, by its parameter `timeout` in microseconds.

    Args:
        parameters: of the request.
        longest: in seconds; a client cannot ask for more, and gets it where it asks for none.

    Raises:
        InvalidInput: it is no such number.
    """
    microseconds = _whole(parameters, "timeout", "a whole number of microseconds")
    return min(microseconds / 1e6, longest) if microseconds else longest


def _whole(parameters: Mapping[str, Any], name: str, expected: str) -> int:
    value = parameters.get(name)
    if value is None:
        return 0
    # gRPC clients send some numbers as texts.
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if type(value) is not int or value < 0:
        raise InvalidInput(f"the parameter {name!r} is {expected}, not {str(value)[:40]!r}.")
    return min(value, 2**63)
