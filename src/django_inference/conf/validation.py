"""How a dict of settings is compared with what it should hold."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from django.core.exceptions import ImproperlyConfigured

from django_inference.words import nearest


class InvalidPredictor(ImproperlyConfigured):
    """A mistake in `INFERENCE` or `INFERENCE_HOST`.

    Attributes:
        message: where it is, what was expected and what was given.
        hint: what to write instead, or an empty string.
        alias: the predictor; empty for `INFERENCE_HOST`.
        key: of the settings, or the name that is not known.
        meant: the valid name that an unknown key comes nearest to, or an empty string.
        check_id: the system check that reports it.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        alias: str = "",
        key: str = "",
        meant: str = "",
        check_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.alias = alias
        self.key = key
        self.meant = meant
        self.check_id = check_id

    def __str__(self) -> str:
        """The message and the hint: an exception shows no more than this line."""
        return f"{self.message} {self.hint}" if self.hint else self.message


class CheckIds(NamedTuple):
    """The system checks that report what `examine` finds."""

    unknown: str
    wrong: str
    missing: str = ""


def examine(
    raw: Mapping[str, Any],
    types: Mapping[str, Any],
    *,
    place: str,
    check_ids: CheckIds,
    alias: str = "",
    required: Collection[str] = (),
) -> tuple[dict[str, Any], list[InvalidPredictor]]:
    """Compare a dict with the types of its keys.

    Args:
        raw: as written in the settings.
        types: what each key takes.
        place: where in the settings the dict is, for the messages.
        check_ids: which system check reports what.
        alias: the predictor.
        required: the keys that must be there.

    Returns:
        The values that fit, converted, and every mistake.
    """
    values: dict[str, Any] = {}
    mistakes: list[InvalidPredictor] = []

    def mistake(check_id: str, message: str, key: str, hint: str = "", meant: str = "") -> None:
        mistakes.append(
            InvalidPredictor(
                message, hint=hint, alias=alias, key=key, meant=meant, check_id=check_id
            )
        )

    for key, value in raw.items():
        if key not in types:
            meant = nearest(key, types)
            message = f"{place} has no key {key!r}."
            mistake(check_ids.unknown, message, str(key), did_you_mean(key, types), meant)
            continue
        try:
            values[key] = msgspec.convert(value, types[key])
        except msgspec.ValidationError as error:
            message = f"{place}[{key!r}]: {describe(types[key], error)}, given {given(value)}."
            mistake(check_ids.wrong, message, key)
    for key in required:
        if key not in raw:
            message = f"{place} lacks the key {key!r}: {describe(types[key])}."
            mistake(check_ids.missing, message, key)
    return values, mistakes


def types_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """What each key of a structure takes."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


def describe(expected: Any, error: msgspec.ValidationError | None = None) -> str:
    """A type in words, as in `expected int >= 1`.

    Args:
        expected: the type.
        error: what refused a value; it says more than the type when only a part of the
            value does not fit.
    """
    if get_origin(expected) is Annotated:
        for note in get_args(expected)[1:]:
            if isinstance(note, msgspec.Meta) and note.description:
                return f"expected {note.description}"
    if choices := _choices(expected):
        return "expected one of " + ", ".join(map(repr, choices))
    if error is None:
        try:
            msgspec.convert(_Nothing(), expected)
        except msgspec.ValidationError as refusal:
            error = refusal
        else:
            return "expected a value"
    text, _, place = str(error).partition(" - at ")
    text = text.partition(", got ")[0]
    for json, python in (("object", "dict"), ("array", "list"), ("null", "None"), ("`", "")):
        text = text.replace(json, python)
    text = text[:1].lower() + text[1:].replace(" | ", " or ")
    place = place.replace("`", "").removeprefix("$")
    return f"{text} at {place}" if place else text


def _choices(expected: Any) -> list[Any]:
    if get_origin(expected) is Literal:
        return [*get_args(expected)]
    if isinstance(expected, type) and issubclass(expected, Enum):
        return [member.value for member in expected]
    return []


def given(value: Any) -> str:
    """A value and its type, cut short."""
    return f"{reprlib.repr(value)} ({type(value).__name__})"


def did_you_mean(name: object, choices: Collection[str]) -> str:
    """A hint that names the nearest choice, or all of them when none is near."""
    if meant := nearest(name, choices):
        return f"Did you mean {meant!r}?"
    return f"It takes {', '.join(sorted(choices))}." if choices else ""


class _Nothing:
    """Fits no type, so that its refusal says what would."""
