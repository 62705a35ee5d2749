"""What a request asks for: named tensors, several items, or one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.settings import api_settings

from django_inference.handle import Predictor
from django_inference.plain import to_array
from django_inference.wire.npy import read_npy

if TYPE_CHECKING:
    from django_inference.jobs.models import Job

_NEITHER = 'Expected an object with exactly one of "inputs", "items" and "item".'


@dataclass(frozen=True)
class Inputs:
    """Named tensors with the batch on axis 0, or one array for the model's only input."""

    value: Any
    answered_as: ClassVar[str] = "outputs"

    @property
    def rows(self) -> int:
        """How many predictions it asks for; 1 where nobody can tell."""
        tensors = self.value.values() if isinstance(self.value, Mapping) else (self.value,)
        # A hook of a subclass may have left nested lists as they are; an array may be a scalar.
        return max((len(one) for one in tensors if getattr(one, "shape", one)), default=1)

    def predict(self, predictor: Predictor, timeout: float | None) -> Any:
        """Return the outputs by name."""
        return predictor.predict(self.value, timeout=timeout)

    async def apredict(self, predictor: Predictor, timeout: float | None) -> Any:
        """As `predict`, to be awaited."""
        return await predictor.apredict(self.value, timeout=timeout)

    def submit(self, predictor: Predictor, **options: Any) -> Job:
        """Have it predicted sometime; the options are those of `Predictor.submit`."""
        job: Job = predictor.submit(self.value, **options)
        return job


@dataclass(frozen=True)
class Items:
    """A list of items."""

    value: list[Any]
    answered_as: ClassVar[str] = "results"

    @property
    def rows(self) -> int:
        """How many predictions it asks for."""
        return len(self.value)

    def predict(self, predictor: Predictor, timeout: float | None) -> Any:
        """Return one result an item."""
        return predictor.predict(self.value, timeout=timeout)

    async def apredict(self, predictor: Predictor, timeout: float | None) -> Any:
        """As `predict`, to be awaited."""
        return await predictor.apredict(self.value, timeout=timeout)

    def submit(self, predictor: Predictor, **options: Any) -> Job:
        """Have it predicted sometime; the options are those of `Predictor.submit`."""
        job: Job = predictor.submit(self.value, **options)
        return job


@dataclass(frozen=True)
class Item:
    """One item."""

    value: Any
    answered_as: ClassVar[str] = "result"
    rows: ClassVar[int] = 1

    def predict(self, predictor: Predictor, timeout: float | None) -> Any:
        """Return its result."""
        return predictor.predict_one(self.value, timeout=timeout)

    async def apredict(self, predictor: Predictor, timeout: float | None) -> Any:
        """As `predict`, to be awaited."""
        return await predictor.apredict_one(self.value, timeout=timeout)

    def submit(self, predictor: Predictor, **options: Any) -> Job:
        """Have it predicted sometime; the options are those of `Predictor.submit`."""
        job: Job = predictor.submit(self.value, one=True, **options)
        return job


AnyInputs = Inputs | Items | Item


def from_data(data: Any) -> AnyInputs:
    """Read a parsed body: bytes, or an object with exactly one of the three keys.

    Raises:
        ValidationError: it is something else; the message says for each field what.
    """
    if isinstance(data, AnyInputs):
        return data
    if isinstance(data, bytes):
        return Item(data)
    if not isinstance(data, Mapping):
        raise ValidationError({api_settings.NON_FIELD_ERRORS_KEY: [_NEITHER]})
    mistakes = {str(key): ["Unknown field."] for key in list(data)[:10] if key not in _READERS}
    known = [key for key in _READERS if key in data]
    for key in known[1:]:
        mistakes[key] = [f'Not together with "{known[0]}".']
    if not known:
        mistakes[api_settings.NON_FIELD_ERRORS_KEY] = [_NEITHER]
    if mistakes:
        raise ValidationError(mistakes)
    return _READERS[known[0]](data[known[0]])


def from_files(files: Mapping[str, list[Any]], read: Callable[[Any], Any]) -> AnyInputs:
    """Take every uploaded file as one item.

    Args:
        files: by the name of their form field.
        read: turns a file into an item.

    Raises:
        ParseError: there is no file.
        ValidationError: the files are in several fields, so nobody knows their order.
    """
    if not files:
        raise ParseError("No file was uploaded.")
    first, *others = files
    if others:
        message = f'Send all files in one field; this request has some in "{first}" too.'
        raise ValidationError({name: [message] for name in others})
    items = [read(file) for file in files[first]]
    return Items(items) if len(items) > 1 else Item(items[0])


def _inputs(value: Any) -> Inputs:
    if isinstance(value, list | bytes):
        try:
            return Inputs(_array(value))
        except ValueError as error:
            raise ValidationError({"inputs": [str(error)]}) from error
    if not isinstance(value, Mapping) or not value:
        raise ValidationError({"inputs": ["Expected an object of nested lists by name."]})
    tensors: dict[str, Any] = {}
    mistakes: dict[str, list[str]] = {}
    for name, rows in value.items():
        try:
            tensors[str(name)] = _array(rows)
        except ValueError as error:
            if len(mistakes) < 10:
                mistakes[str(name)] = [str(error)]
    if mistakes:
        raise ValidationError({"inputs": mistakes})
    return Inputs(tensors)


def _array(rows: Any) -> Any:
    """Nested lists, or the bytes of a `.npy` file, as an array."""
    return read_npy(rows) if isinstance(rows, bytes) else to_array(rows, mixed=True)


def _items(value: Any) -> Items:
    if not isinstance(value, list):
        raise ValidationError({"items": ["Expected a list."]})
    return Items(value)


_READERS: dict[str, Callable[[Any], AnyInputs]] = {
    "inputs": _inputs,
    "items": _items,
    "item": Item,
}
