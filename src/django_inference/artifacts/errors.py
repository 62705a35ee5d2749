"""Why an artifact could not be had.

Each message names the source and what was expected of it: it is what `status` shows to the
person on call.
"""

from __future__ import annotations


class ArtifactError(Exception):
    """The files of a model could not be had."""


class TransferCut(ArtifactError):
    """The source stopped in the middle; what has come is kept, and the rest asked for."""


class Changed(ArtifactError):
    """The source was written to while it was read."""


class ManifestError(ArtifactError):
    """A list of files is none, or contradicts itself."""


class UnsafeArchive(ArtifactError):
    """An archive holds something that is not unpacked: see `unpack`."""
