"""A predictor's key `REST`: how it is served over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from django.utils.module_loading import import_string

from django_inference.conf.validation import CheckIds, InvalidPredictor, examine, types_of

Rate = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[1-9]\d*/(s|sec|second|m|min|minute|h|hour|d|day)$",
        description="a number and a period (str), such as '100/min'",
    ),
]
Dotted = Annotated[str, msgspec.Meta(description="the dotted path of a class (str)")]
Classes = Annotated[
    tuple[str, ...] | None,
    msgspec.Meta(description="a list of dotted paths of classes (str) or None"),
]

#: What `throttle` may limit: calls, and items or rows in them.
LIMITED = ("requests", "rows")

#: By key: the method that tells that a class is of the right kind, and the kind in words.
#: A look at the method needs no import of Django REST framework.
_KINDS = {
    "authentication_classes": ("authenticate", "an authentication class"),
    "permission_classes": ("has_permission", "a permission class"),
    "throttle_classes": ("allow_request", "a throttle class"),
    "parser_classes": ("parse", "a parser class"),
    "renderer_classes": ("render", "a renderer class"),
    "serializer_class": ("run_validation", "a serializer class"),
}
CLASS_KEYS = tuple(_KINDS)


class RestSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`REST` of one predictor; what is None is left to Django REST framework's settings.

    Attributes:
        enabled: the predictor has endpoints; False answers 404, as if it were not declared.
        authentication_classes: dotted paths; how callers say who they are.
        permission_classes: dotted paths; who may call.
        throttle_classes: dotted paths; how often.
        throttle: rates for each caller, by `requests` and `rows`, beside those classes.
        parser_classes: dotted paths; which bodies are read.
        renderer_classes: dotted paths; in which forms the answer comes.
        serializer_class: dotted path of what validates a JSON body or a form; None derives it
            from the signature.
        max_body_bytes: longer bodies are answered 413; None is no limit.
    """

    enabled: bool = True
    authentication_classes: Classes = None
    permission_classes: Classes = None
    throttle_classes: Classes = None
    throttle: dict[str, Any] = {}
    parser_classes: Classes = None
    renderer_classes: Classes = None
    serializer_class: Dotted | None = None
    max_body_bytes: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        msgspec.Meta(description="a number of bytes (int >= 1) or None"),
    ] = 32 * 2**20


def examine_rest(alias: str, raw: Mapping[str, Any]) -> tuple[RestSettings, list[InvalidPredictor]]:
    """Read `REST` of one predictor; wrong values are replaced by their defaults."""
    place = f"INFERENCE[{alias!r}]['REST']"
    check_ids = CheckIds(unknown="django_inference.E033", wrong="django_inference.E034")
    values, mistakes = examine(
        raw, types_of(RestSettings), alias=alias, place=place, check_ids=check_ids
    )
    if "throttle" in values:
        values["throttle"], wrong = examine(
            values["throttle"],
            dict.fromkeys(LIMITED, Rate),
            alias=alias,
            place=f"{place}['throttle']",
            check_ids=check_ids,
        )
        mistakes += wrong
    return RestSettings(**values), mistakes


def rest_classes(alias: str, rest: RestSettings, key: str) -> tuple[Any, ...] | None:
    """Import the classes that one key of `REST` names; None where it names none.

    Raises:
        InvalidPredictor: one cannot be imported, or is of another kind.
    """
    said: str | tuple[str, ...] | None = getattr(rest, key)
    if said is None:
        return None
    return tuple(_import(alias, key, dotted) for dotted in _each(said))


def examine_rest_classes(alias: str, rest: RestSettings) -> list[InvalidPredictor]:
    """Every class that `REST` names and that cannot be used."""
    mistakes: list[InvalidPredictor] = []
    for key in CLASS_KEYS:
        for dotted in _each(getattr(rest, key) or ()):
            try:
                _import(alias, key, dotted)
            except InvalidPredictor as mistake:
                mistakes.append(mistake)
    return mistakes


def _each(said: str | tuple[str, ...]) -> tuple[str, ...]:
    return (said,) if isinstance(said, str) else said


def _import(alias: str, key: str, dotted: str) -> Any:
    place = f"INFERENCE[{alias!r}]['REST'][{key!r}]"
    method, kind = _KINDS[key]
    try:
        found = import_string(dotted)
    except ImportError as error:
        raise InvalidPredictor(
            f"{place}: {dotted!r} cannot be imported: {error}",
            alias=alias,
            key=key,
            check_id="django_inference.E035",
        ) from error
    # What `A | B` makes of two permissions is no class, but can be called like one.
    if hasattr(found, method) or (callable(found) and not isinstance(found, type)):
        return found
    raise InvalidPredictor(
        f"{place}: {dotted!r} is not {kind}: it has no method {method}().",
        alias=alias,
        key=key,
        check_id="django_inference.E036",
    )
