"""The files of a model, wherever they come from.

Nothing in here imports a framework, numpy or, but for the modules named for them, Django and
fsspec: the settings are read with its help, in processes that must stay small.
"""

from __future__ import annotations

from django_inference.artifacts.files import Artifact

__all__ = ["Artifact"]
