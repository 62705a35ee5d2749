"""Whether the aliases in `OPTIONS["fallback"]` lead anywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from django_inference.conf.validation import InvalidPredictor, did_you_mean


def fallback_mistake(alias: str, fallbacks: Mapping[str, Any]) -> InvalidPredictor | None:
    """What is wrong with the fallback of a predictor.

    Args:
        alias: of the predictor.
        fallbacks: of every predictor by its alias, None where it has none.
    """
    place = f"INFERENCE[{alias!r}]['OPTIONS']['fallback']"
    way = [alias]
    while (follower := fallbacks.get(way[-1])) is not None:
        if follower not in fallbacks:
            if len(way) > 1:
                # Of another one, which is told about it.
                return None
            return _mistake(
                alias,
                "E050",
                f"{place}: there is no predictor {follower!r}.",
                did_you_mean(follower, _others(alias, fallbacks)),
            )
        if follower in way:
            if follower != alias:
                return None
            return _mistake(
                alias,
                "E051",
                f"{place}: the fallbacks go round in a circle: {' → '.join([*way, follower])}.",
                "Leave the last of them without one.",
            )
        way.append(follower)
    return None


def fallbacks_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fallback of every predictor, from `INFERENCE` as it is written."""
    found: dict[str, Any] = {}
    for alias, entry in raw.items():
        options = entry.get("OPTIONS") if isinstance(entry, Mapping) else None
        fallback = options.get("fallback") if isinstance(options, Mapping) else None
        found[alias] = fallback if isinstance(fallback, str) else None
    return found


def _others(alias: str, fallbacks: Mapping[str, Any]) -> Collection[str]:
    return [name for name in fallbacks if name != alias]


def _mistake(alias: str, number: str, message: str, hint: str) -> InvalidPredictor:
    return InvalidPredictor(
        message,
        hint=hint,
        alias=alias,
        key="fallback",
        check_id=f"django_inference.{number}",
    )
