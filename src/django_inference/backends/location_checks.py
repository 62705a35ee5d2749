"""Mistakes in what `MODEL` says of a storage, a cache or a URL; nobody is asked for anything."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from django.conf import settings as django_settings
from django.core.cache import InvalidCacheBackendError, caches
from django.core.files.storage import storages

from django_inference.artifacts.location import OF_DJANGO, WEB, Location, locate
from django_inference.backends.source import find_module
from django_inference.conf.validation import did_you_mean
from django_inference.words import nearest

#: What is said of a location: the number of the check, the text and the hint.
Mistake = tuple[str, str, str]


def mistakes_in(model: str, *, is_run_here: bool) -> Iterator[Mistake]:
    """Look at a `MODEL` that is no path.

    Args:
        model: as the settings say it.
        is_run_here: this process's interpreter fetches it, so that what that needs must be
            installed here.
    """
    try:
        location = locate(model)
    except ValueError as error:
        yield "E027", f"{error}", ""
        return
    if location.scheme == "storage":
        if location.alias not in storages.backends:
            yield _unknown_alias(location, storages.backends)
    elif location.scheme == "cache":
        yield from _cache(location)
    elif location.scheme not in WEB:
        yield from _url(location, is_run_here)


def misspelt(path: str) -> str:
    """A hint for a path that does not exist, and perhaps was not meant to be one."""
    for part in path.split(os.sep):
        scheme, colon, rest = part.partition(":")
        if colon and not rest and len(scheme) > 1:
            return f"A URL begins with '{scheme}://' and is a str: a Path loses a slash."
        if colon and (near := nearest(scheme, OF_DJANGO)):
            return f"Did you mean '{near}:{rest}…'?"
    return ""


def _cache(location: Location) -> Iterator[Mistake]:
    # Not at the top: a site without models in a cache is spared the clients of caches.
    from django_inference.artifacts.cache import SAFE, kind_of

    aliases = django_settings.CACHES
    if location.alias not in aliases:
        yield _unknown_alias(location, aliases)
        return
    try:
        cache = caches[location.alias]
    except (InvalidCacheBackendError, ImportError) as error:
        yield "E028", f"CACHES[{location.alias!r}] cannot be used: {error}", ""
        return
    if kind_of(cache) is None:
        name = f"{type(cache).__module__}.{type(cache).__qualname__}"
        text = f"CACHES[{location.alias!r}] is {name}, which unpickles what it reads."
        yield "E030", text, f"Models are read from {SAFE}."


def _url(location: Location, is_run_here: bool) -> Iterator[Mistake]:
    if not is_run_here:
        return
    if find_module("fsspec") is None:
        text = f"{location.scheme}:// is fetched by the module 'fsspec', which is not installed."
        near = nearest(location.scheme, [*WEB, *OF_DJANGO])
        hint = f"Did you mean {near!r}? " if near else ""
        yield "E029", text, f'{hint}pip install "django-inference[fsspec]"'
        return
    # Only where a URL is declared: fsspec is small, but not free.
    from django_inference.artifacts.remote import objection, schemes

    unknown, missing = objection(location)
    if unknown:
        known = {*schemes(), *WEB, *OF_DJANGO}
        yield "E027", f"no file system is known for '{unknown}://'.", _near_scheme(unknown, known)
    elif missing:
        yield "E029", f"{missing[0]}, which is not installed.", missing[1]


def _near_scheme(name: str, known: set[str]) -> str:
    """The nearest name; where there is none, not all of the many that are known."""
    if near := nearest(name, known):
        return f"Did you mean {near!r}?"
    return "fsspec knows s3, gs, az, abfs, hdfs, sftp, file and others."


def _unknown_alias(location: Location, known: Collection[str]) -> Mistake:
    setting = OF_DJANGO[location.scheme]
    text = f"{setting} has no {location.alias!r}."
    return "E028", text, did_you_mean(location.alias, known)
