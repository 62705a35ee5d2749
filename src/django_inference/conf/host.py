"""The setting `INFERENCE_HOST`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from django.conf import settings

from django_inference.conf.paths import (
    OptionalPath,
    absolute,
    default_artifact_dir,
    default_python,
    default_runtime_dir,
    with_plain_paths,
)
from django_inference.conf.validation import CheckIds, InvalidPredictor, examine, given, types_of
from django_inference.specs import HostSettings

#: A Unix socket's name takes 107 bytes; some are left for what a system adds to a path.
MAX_SOCKET_PATH = 100
_LONGEST_SOCKET = "workers99/ffffffffffff.sock"


def host_settings() -> HostSettings:
    """Read `INFERENCE_HOST`.

    Raises:
        InvalidPredictor: the first mistake in it.
    """
    found, mistakes = examine_host()
    if mistakes:
        raise mistakes[0]
    return found


def examine_host() -> tuple[HostSettings, list[InvalidPredictor]]:
    """Read `INFERENCE_HOST`; wrong values are replaced by their defaults."""
    raw = getattr(settings, "INFERENCE_HOST", {})
    mistakes: list[InvalidPredictor] = []
    if not isinstance(raw, Mapping):
        message = f"INFERENCE_HOST: expected a dict, given {given(raw)}."
        mistakes.append(InvalidPredictor(message, check_id="django_inference.E020"))
        raw = {}
    paths = ("ARTIFACT_DIR", "PYTHON", "RUNTIME_DIR")
    types = {name.upper(): type for name, type in types_of(HostSettings).items()}
    values, found = examine(
        with_plain_paths(raw, *paths),
        types | dict.fromkeys(paths, OptionalPath),
        place="INFERENCE_HOST",
        check_ids=CheckIds(unknown="django_inference.E021", wrong="django_inference.E022"),
    )
    values["RUNTIME_DIR"] = absolute(values.get("RUNTIME_DIR")) or default_runtime_dir()
    values["ARTIFACT_DIR"] = absolute(values.get("ARTIFACT_DIR")) or default_artifact_dir()
    values["PYTHON"] = values.get("PYTHON") or default_python()
    longest = len(os.fsencode(os.path.join(values["RUNTIME_DIR"], _LONGEST_SOCKET)))
    if longest > MAX_SOCKET_PATH:
        found.append(
            InvalidPredictor(
                f"INFERENCE_HOST['RUNTIME_DIR']: sockets in {values['RUNTIME_DIR']!r} would have "
                f"names of {longest} bytes; the longest that works is {MAX_SOCKET_PATH}.",
                key="RUNTIME_DIR",
                hint="Set INFERENCE_HOST['RUNTIME_DIR'] to a folder with a shorter path.",
                check_id="django_inference.E023",
            )
        )
    host = HostSettings(**{key.lower(): value for key, value in values.items()})
    return host, mistakes + found
