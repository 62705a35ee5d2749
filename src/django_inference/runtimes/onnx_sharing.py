"""ONNX models whose weights lie in a file that all replicas map."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django_inference.runtimes.onnx_products import exact_products
from django_inference.runtimes.onnx_session import ON_CPU, Providers, framework, open_session

if TYPE_CHECKING:
    import os

    from django_inference.artifacts import Artifact

#: Another order of the weights, which is faster for batches, would be a copy in each process.
_IN_PLACE = {"session.disable_prepacking": "1"}
#: Shorter ones stay in the graph: mapping each takes longer than copying it.
_LEAST_BYTES = 1024


def open_shared(
    artifact: Artifact,
    file: Path,
    *,
    providers: Providers | None,
    threads: int,
    session_options: Mapping[str, Any],
) -> tuple[Any, os.PathLike[str]]:
    """Open a session on a copy of the model whose weights lie in a file of their own.

    The copy is made once on this machine, with the graph optimised already.

    Args:
        artifact: that the copy is made of.
        file: of the model in it.
        providers: None, or the CPU's alone.
        threads: as for `open_session`.
        session_options: likewise. `graph_optimization_level` holds for the making of the
            copy; `ORT_ENABLE_ALL` fits it to this processor, and to none else.

    Returns:
        The session, and what keeps the copy from being removed.

    Raises:
        ValueError: the model cannot be shared, or an option does not fit.
    """
    if others := [each for each in providers or () if each != ON_CPU]:
        raise ValueError(f"share_weights is for {ON_CPU} alone, not for {others}.")
    if file.suffix != ".onnx":
        raise ValueError(f"share_weights needs an .onnx file: {file} holds its weights inside.")
    # The copy is optimised, whatever level it is opened with.
    session_options = exact_products(file, session_options)

    def make(folder: Path) -> None:
        options = {
            "graph_optimization_level": "ORT_ENABLE_EXTENDED",
            **session_options,
            **_IN_PLACE,
            "optimized_model_filepath": str(folder / file.name),
            "session.optimized_model_external_initializers_file_name": "weights.bin",
            "session.optimized_model_external_initializers_min_size_in_bytes": _LEAST_BYTES,
        }
        open_session(file, providers=[ON_CPU], threads=threads, session_options=options)

    said = hashlib.sha256(repr(sorted(session_options.items())).encode()).hexdigest()[:8]
    folder = artifact.derived(f"{framework().replace(' ', '-')}-{said}", make)
    options = {**session_options, **_IN_PLACE, "graph_optimization_level": "ORT_DISABLE_ALL"}
    copy = Path(folder) / file.name
    session = open_session(copy, providers=[ON_CPU], threads=threads, session_options=options)
    return session, folder
