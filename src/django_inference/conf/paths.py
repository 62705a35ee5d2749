"""Paths in the settings, and those that follow from the environment."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from django.conf import settings

from django_inference.artifacts.location import is_remote

OptionalPath = Annotated[
    Annotated[str, msgspec.Meta(min_length=1)] | None,
    msgspec.Meta(description="a path (str or pathlib.Path) or None"),
]


def default_runtime_dir() -> str:
    """A folder of this user for this project, the same in each of its processes.

    `XDG_RUNTIME_DIR` is left alone: a login shell has it and a system service has not, and
    the two would start a host each.
    """
    said = (
        sys.prefix,
        os.environ.get("DJANGO_SETTINGS_MODULE")
        or getattr(settings, "SETTINGS_MODULE", None)
        or "",
        str(getattr(settings, "BASE_DIR", None) or ""),
    )
    project = hashlib.sha256("\0".join(said).encode(errors="surrogateescape")).hexdigest()[:12]
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    return os.path.join(tempfile.gettempdir(), f"django-inference-{user}", project)


def default_artifact_dir() -> str:
    """The folder of this user for copies of artifacts, which all their projects share."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(os.path.abspath(cache), "django-inference")


def default_python() -> str:
    """The interpreter of this environment.

    `sys.executable` is the server's own binary under uWSGI and mod_wsgi.
    """
    own = os.path.join(sys.prefix, "bin", "python")
    if os.access(own, os.X_OK) or "python" not in os.path.basename(sys.executable or ""):
        return own
    return sys.executable


def absolute(path: str | None) -> str | None:
    """Against `BASE_DIR`. Links are kept: one may point to the current release of a model.

    What is no path but names a storage, a cache or a URL stays as it is.
    """
    if path is None or is_remote(path):
        return path
    return os.path.abspath(Path(getattr(settings, "BASE_DIR", None) or os.getcwd()) / path)


def with_plain_paths(raw: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The same settings; those of the keys that are path objects become text."""
    return {
        key: os.fspath(value) if key in keys and isinstance(value, os.PathLike) else value
        for key, value in raw.items()
    }
