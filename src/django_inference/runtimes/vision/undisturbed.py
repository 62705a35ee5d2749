"""An environment that the package ultralytics leaves as it was."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

#: Left to itself, the package asks for newer versions, reports what it runs, installs what
#: it misses, and writes on the standard output.
_QUIET = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}


@contextmanager
def undisturbed(threads: int) -> Iterator[None]:
    """An environment in which the package may be imported and used for the first time.

    What the user has set stays as it is.

    Args:
        threads: that this process computes with.
    """
    from PIL import Image

    open_image = Image.open
    with tempfile.TemporaryDirectory(prefix="django-inference-") as folder:
        # Its file of settings is written into the folder. Where no number of threads is
        # set, it sets 1: for itself, and for every model that this process loads later.
        wanted = {**_QUIET, "YOLO_CONFIG_DIR": folder, "OMP_NUM_THREADS": str(threads)}
        added = [name for name in wanted if not os.environ.get(name)]
        os.environ.update({name: wanted[name] for name in added})
        try:
            yield
        finally:
            for name in added:
                os.environ.pop(name, None)
            # Its own looks for a package to install when a file is no picture.
            Image.open = open_image
