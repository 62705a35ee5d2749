"""Files that come inside installed packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def in_package(package: str, path: str) -> Path:
    """Return the absolute path of a file in a package, without importing the package.

    Raises:
        ImproperlyConfigured: the package is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImproperlyConfigured(
            f"The demo needs the package {package}, which `make venv` installs."
        )
    return Path(spec.submodule_search_locations[0], path)
