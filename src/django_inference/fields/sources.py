"""What is predicted of a row: how it is read, and how a change of it is noticed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ObjectDoesNotExist
from django.db.models.fields.files import FieldFile

from django_inference.querysets.reading import content_of, follow

if TYPE_CHECKING:
    from django.db.models import Model

_EMPTY = (None, "", b"")


class Source:
    """Reads one item from an instance.

    Args:
        declared: the name of a field, a dict of such names, or a function of the instance.
    """

    def __init__(self, declared: str | Mapping[str, str] | Callable[[Any], Any]) -> None:
        self.declared = declared

    @property
    def paths(self) -> tuple[str, ...]:
        """The names that are read; none for a function."""
        if isinstance(self.declared, str):
            return (self.declared,)
        return tuple(self.declared.values()) if isinstance(self.declared, Mapping) else ()

    @property
    def fields(self) -> frozenset[str]:
        """The names of the row's own fields among them."""
        return frozenset(path.partition(".")[0] for path in self.paths)

    def read(self, instance: Model) -> Any:
        """The item, in which files are yet to be opened; None where there is nothing."""
        declared = self.declared
        if isinstance(declared, str):
            value = _follow(instance, declared)
            return None if _is_empty(value) else value
        if isinstance(declared, Mapping):
            item = {name: _follow(instance, path) for name, path in declared.items()}
            return None if any(map(_is_empty, item.values())) else item
        value = declared(instance)
        return None if _is_empty(value) else value


def digest_of(item: Any) -> str:
    """What two equal items have in common.

    Of a file that are its name, and on this machine its length and the time of its last
    change: reading it at each save of its row would cost more than that is worth.
    """
    # Django loads this module with the site's models, and numpy has no business there.
    from django_inference import packing

    return packing.digest_of(_with_files(item, _identity))


def opened(item: Any) -> Any:
    """The item as a model takes it: files are their bytes.

    Raises:
        OSError: a file cannot be read.
    """
    return _with_files(item, content_of)


def files_of(instance: Model, source: Source) -> Iterator[FieldFile]:
    """The row's own files that the source reads."""
    for path in source.paths:
        value = instance.__dict__.get(path)
        if isinstance(value, FieldFile):
            yield value


def _with_files(item: Any, change: Callable[[FieldFile], Any]) -> Any:
    if isinstance(item, FieldFile):
        return change(item)
    if isinstance(item, Mapping):
        return {name: _with_files(value, change) for name, value in item.items()}
    return item


def _identity(file: FieldFile) -> list[Any]:
    try:
        found = os.stat(file.path)
    except (NotImplementedError, OSError):
        return ["file", file.name]
    return ["file", file.name, found.st_size, found.st_mtime_ns]


def _follow(instance: Any, path: str) -> Any:
    try:
        return follow(instance, path.split("."))
    except ObjectDoesNotExist:
        return None


def _is_empty(value: Any) -> bool:
    return not value.name if isinstance(value, FieldFile) else _is_one_of(value, _EMPTY)


def _is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    # By type first: an array compares element by element.
    return any(type(value) is type(other) and value == other for other in values)
