"""From a row to what a predictor takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.db.models import Model
from django.db.models.fields.files import FieldFile
from django.utils.module_loading import import_string

from django_inference.exceptions import InvalidInput
from django_inference.words import nearest

Input: TypeAlias = str | Callable[[Any], Any] | Mapping[str, str | Callable[[Any], Any]]

#: What is wrong with one row: no file, a file that is gone, a value that cannot be used.
UNREADABLE = (InvalidInput, ObjectDoesNotExist, OSError, ValueError)


class Reader:
    """Reads the input of a row.

    Args:
        model: of the rows.
        input: a field; a dotted path that may lead over relations (`album.title`); the
            dotted path of a function; a function that is given the row; or one of these for
            each tensor, by its name.

    Attributes:
        related: relations that should come with the rows, as `select_related` takes them.

    Raises:
        ValueError: there is nothing of that name.
    """

    def __init__(self, model: type[Model], input: Input) -> None:
        self.related: set[str] = set()
        self._read: Callable[[Any], Any]
        if isinstance(input, Mapping):
            sources = {name: self._source(model, source) for name, source in input.items()}
            self._read = lambda row: {name: _opened(read(row)) for name, read in sources.items()}
        else:
            read = self._source(model, input)
            self._read = lambda row: _opened(read(row))

    def __call__(self, row: Model) -> Any:
        """The input; one of `UNREADABLE` is raised where there is none."""
        return self._read(row)

    def _source(self, model: type[Model], source: str | Callable[[Any], Any]) -> Callable[..., Any]:
        if callable(source):
            return source
        parts = source.replace("__", ".").split(".")
        if not _has(model, parts[0]):
            return _imported(model, source)
        self._follow(model, parts)
        return lambda row: follow(row, parts)

    def _follow(self, model: type[Model], parts: list[str]) -> None:
        """Note the relations on a path; what comes after them may be any attribute."""
        owner: Any = model
        for count, part in enumerate(parts, 1):
            if not _has(owner, part):
                raise ValueError(_no_such(owner, part))
            try:
                field = owner._meta.get_field(part)
            except FieldDoesNotExist:
                return
            if not (field.many_to_one or field.one_to_one):
                return
            if count < len(parts):
                self.related.add("__".join(parts[:count]))
            owner = field.related_model


def _has(model: Any, name: str) -> bool:
    # `hasattr` alone does not see a field whose descriptor refuses to be read from the class.
    return name in {field.name for field in model._meta.get_fields()} or hasattr(model, name)


def _imported(model: type[Model], source: str) -> Callable[[Any], Any]:
    if "." not in source:
        raise ValueError(_no_such(model, source))
    try:
        found = import_string(source)
    except ImportError as error:
        raise ValueError(
            f"{source!r} is neither a path from {model._meta.label} nor a function: {error}"
        ) from error
    if not callable(found):
        raise ValueError(f"{source} is not a function.")
    return found  # type: ignore[no-any-return]


def _no_such(model: Any, name: str) -> str:
    fields = [field.name for field in model._meta.get_fields()]
    near = nearest(name, fields)
    hint = f" Did you mean {near!r}?" if near else ""
    return f"{model._meta.label} has no {name!r}.{hint}"


def follow(instance: Any, parts: list[str]) -> Any:
    """The value at the end of a path; None where a relation on it leads nowhere."""
    value = instance
    for part in parts:
        if value is None:
            return None
        value = getattr(value, part)
    return value


def content_of(file: FieldFile) -> bytes:
    """The bytes of a file.

    Raises:
        ValueError: the field is empty.
        OSError: it cannot be read.
    """
    if not file.name:
        raise ValueError(f"There is no file in the field {file.field.name!r}.")
    # Apart from the one that the instance holds, which may stand anywhere, or be closed.
    with file.storage.open(file.name) as opened:
        return bytes(opened.read())


def _opened(item: Any) -> Any:
    return content_of(item) if isinstance(item, FieldFile) else item
