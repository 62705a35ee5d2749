"""A function as a model."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.runtimes.base import Runtime
from django_inference.runtimes.loading import import_object

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import BatchAxis

_ONE_BY_ONE = "a function that takes one item at a time needs the option batched=False"
_NOT_ASYNC = "a model runs on a thread without an event loop, so it must be a plain function"


class CallableRuntime(Runtime):
    """A plain function: items in, results out.

    Args:
        function: its dotted path; the function itself only where the model runs in the
            same process.
        batched: it takes a list of items and returns a list of results; otherwise it is
            called once an item.
        batch_axis: None where the function is to be called with the items of one request, all
            of them, because its results depend on each other.
        **kwargs: keyword arguments of every call.
    """

    code_options: ClassVar[tuple[str, ...]] = ("function",)

    def __init__(
        self,
        *,
        function: str | Callable[..., Any],
        batched: bool = True,
        batch_axis: BatchAxis = "auto",
        **kwargs: Any,
    ) -> None:
        self.batch_axis = batch_axis
        self._function = function
        self._name = function if isinstance(function, str) else _name(function)
        self._batched = batched
        self._kwargs = kwargs
        self._call: Callable[..., Any]

    def load(self, artifact: Artifact | None) -> None:
        """Import the function.

        Raises:
            ImportError: it cannot be imported.
            TypeError: it is no plain function, or does not take its keyword arguments.
            ValueError: there is an artifact, which a function has no use for.
        """
        if artifact is not None:
            raise ValueError(
                f"{self._name} is a function, which takes no MODEL: write a subclass of "
                "django_inference.Runtime, whose load() gets it."
            )
        function = self._function
        if isinstance(function, str):
            function = import_object(function)
        self._check(function)
        self._call = partial(function, **self._kwargs)
        self.device, self.framework = "cpu", f"python {platform.python_version()}"

    def predict(self, items: list[Any]) -> list[Any]:
        """Call the function: once, or once an item.

        Raises:
            TypeError: it returned no list, or turned out to be async.
            ValueError: it returned more or fewer results than there are items.
        """
        if self._batched:
            results = self._as_list(self._call(items))
            if len(results) != len(items):
                raise ValueError(
                    f"{self._name} returned {len(results)} results for {len(items)} items; "
                    f"{_ONE_BY_ONE}."
                )
            return results
        results = []
        for item in items:
            results.append(self._call(item))
            if inspect.iscoroutine(results[-1]):
                results.pop().close()
                raise TypeError(f"{self._name} returned a coroutine: {_NOT_ASYNC}.")
        return results

    def _check(self, function: Any) -> None:
        if isinstance(function, type) or not callable(function):
            raise TypeError(
                f"{self._name} is a {type(function).__name__}, not a function; a class must be "
                "a subclass of django_inference.Runtime, and RUNTIME must name it."
            )
        plain = function.func if isinstance(function, partial) else function
        for each in (plain, type(plain).__call__):
            if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
                raise TypeError(f"{self._name} is async: {_NOT_ASYNC}.")
        try:
            inspect.signature(function).bind([], **self._kwargs)
        except TypeError as error:
            given = ", ".join(["items" if self._batched else "item", *self._kwargs])
            raise TypeError(f"{self._name} cannot be called with ({given}): {error}.") from error
        except ValueError:
            # Some functions written in C do not say what they take.
            pass

    def _as_list(self, results: Any) -> list[Any]:
        if isinstance(results, list):
            return results
        if inspect.iscoroutine(results):
            results.close()
            raise TypeError(f"{self._name} returned a coroutine: {_NOT_ASYNC}.")
        if not isinstance(results, str | bytes | dict | set):
            try:
                return list(results)
            except TypeError:
                pass
        raise TypeError(
            f"{self._name} returned a {type(results).__name__}, not a list of results; "
            f"{_ONE_BY_ONE}."
        )


def _name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", None)
    return f"{function.__module__}.{name}" if name else repr(function)
