"""From what a predictor answers to the values of fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from django.core.exceptions import ValidationError
from django.db.models import (
    BinaryField,
    BooleanField,
    CharField,
    DecimalField,
    Field,
    FloatField,
    IntegerField,
    JSONField,
    Model,
    TextField,
)

from django_inference.plain import to_plain
from django_inference.words import nearest

Output: TypeAlias = str | Mapping[str, str] | Callable[[Any, Any], Mapping[str, Any]]

#: Fields that take one value, and not a list of them.
_SINGLE = (BooleanField, CharField, DecimalField, FloatField, IntegerField, TextField)


class Unwritable(ValueError):
    """The answer for a row does not fit the field."""


class Writer:
    """Sets the fields of a row.

    Args:
        model: of the rows.
        output: a field for the whole answer; fields by the names of outputs; or a function
            that is given the row and the answer, and returns values by the names of fields.

    Raises:
        ValueError: there is no such field.
    """

    def __init__(self, model: type[Model], output: Output) -> None:
        self._model = model
        self._values: Callable[[Any, Any], Mapping[str, Any]]
        if isinstance(output, str):
            self._values = lambda row, answer: {output: answer}
            names = [output]
        elif isinstance(output, Mapping):
            self._values = lambda row, answer: _chosen(answer, output)
            names = list(output.values())
        else:
            self._values = output
            names = []
        for name in names:
            field_named(model, name)

    def __call__(self, row: Model, answer: Any) -> tuple[str, ...]:
        """Set the fields; return their names.

        Raises:
            Unwritable: the answer does not fit.
        """
        values = self._values(row, answer)
        for name, value in values.items():
            field = field_named(self._model, name)
            setattr(row, field.attname, fitting(field, value))
        return tuple(sorted(values))


def field_named(model: type[Model], name: str) -> Field[Any, Any]:
    """A field that can be written.

    Raises:
        ValueError: there is none of that name.
    """
    writable = {field.name: field for field in model._meta.concrete_fields if not field.primary_key}
    try:
        return writable[name]
    except KeyError:
        near = nearest(name, list(writable))
        hint = f" Did you mean {near!r}?" if near else ""
        raise ValueError(f"{model._meta.label} has no field {name!r} to write to.{hint}") from None


def _chosen(answer: Any, names: Mapping[str, str]) -> dict[str, Any]:
    if not isinstance(answer, Mapping):
        raise Unwritable(f"the answer is a {type(answer).__name__} and has no named outputs")
    missing = [name for name in names if name not in answer]
    if missing:
        raise Unwritable(f"the answer has no output {missing[0]!r}, but {', '.join(answer)}")
    return {field: answer[name] for name, field in names.items()}


def fitting(field: Field[Any, Any], value: Any) -> Any:
    """The value as the field takes it: plain, of its type, and not too long for it.

    Raises:
        Unwritable: it is none that the field takes.
    """
    if isinstance(field, BinaryField) and isinstance(value, bytes):
        return value
    try:
        plain = to_plain(value)
        if isinstance(field, JSONField):
            return plain
        if isinstance(plain, dict) and len(plain) == 1:
            # A model with one output is the usual case,
            (plain,) = plain.values()
        while isinstance(field, _SINGLE) and isinstance(plain, list) and len(plain) == 1:
            # and so is one that gives each row an axis of its own.
            (plain,) = plain
        if isinstance(plain, dict | list) and isinstance(field, CharField | TextField):
            raise Unwritable(f"a {type(plain).__name__} does not fit the field {field.name!r}")
        made = field.to_python(plain)
        if made is None and not field.null:
            raise Unwritable(f"the field {field.name!r} takes no null")
        field.run_validators(made)
    except ValidationError as error:
        raise Unwritable(f"the field {field.name!r}: {' '.join(error.messages)}") from error
    except (TypeError, ValueError) as error:
        if isinstance(error, Unwritable):
            raise
        raise Unwritable(f"the field {field.name!r}: {error}") from error
    return made
