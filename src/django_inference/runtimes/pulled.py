"""An iterator made of a function that hands its values out.

Libraries that make a result piece by piece often call something back with each piece, and
return at the end. Here such a function runs on a thread of its own, but only while somebody
waits for its next piece: at any moment either the function runs or whoever iterates, never
both. So the model is still run by one thread at a time, and nothing is made ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from threading import Semaphore, Thread
from typing import Any, TypeAlias

Hand: TypeAlias = Callable[[Any], None]


class _Unwanted(BaseException):
    """Raised in the function where it hands out what nobody wants any more."""


def pulled(function: Callable[[Hand], object]) -> Generator[Any, None, None]:
    """Yield what a function hands out.

    Args:
        function: is given what it shall call with each value. Once the generator has been
            closed, that raises, which ends the function.

    Raises:
        BaseException: whatever the function raises.
    """
    asked, answered = Semaphore(0), Semaphore(0)
    values: list[Any] = []
    errors: list[BaseException] = []
    is_over = is_unwanted = False

    def hand(value: Any) -> None:
        if not is_unwanted:
            values.append(value)
            answered.release()
            asked.acquire()
        if is_unwanted:
            raise _Unwanted

    def run() -> None:
        nonlocal is_over
        try:
            function(hand)
        except _Unwanted:
            pass
        except BaseException as error:
            errors.append(error)
        is_over = True
        answered.release()

    # A function that hangs shall not keep the process from leaving.
    thread = Thread(target=run, name="inference-pulled", daemon=True)
    thread.start()
    try:
        while True:
            answered.acquire()
            if is_over:
                break
            yield values.pop()
            asked.release()
    finally:
        is_unwanted = True
        asked.release()
        thread.join()
    if errors:
        raise errors[0]
