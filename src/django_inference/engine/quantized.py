"""What the file of a quantised model asks for, before and after it is loaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django_inference.artifacts.quantized import is_same, read_quantized
from django_inference.runtimes import processor

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.specs import Golden, ModelSpec

logger = logging.getLogger("django_inference.engine")

#: Options of the built-in runtimes that say where and how fast a model runs.
_OF_THE_MACHINE = {"device", "providers", "session_options", "threads"}


def travelling_golden(artifact: Artifact | None, spec: ModelSpec) -> tuple[Golden, ...]:
    """Return the golden answers in the artifact, which hold for this predictor, too.

    Those that the spec has itself are left out, and all of them where another runtime, or
    another option of it, makes other answers of what the model gives.

    Raises:
        OSError: the artifact cannot be read.
        ValueError: it is of no use on this processor, or cannot be understood.
    """
    said = None if artifact is None else read_quantized(artifact)
    if said is None:
        return ()
    if said.needs and not processor.has_any(said.needs):
        raise ValueError(
            f"{artifact} was quantised for processors with {' or '.join(said.needs)}. This one "
            f"has {processor.shown()} at best, and would answer wrongly. Quantise the original "
            f"portably: manage.py inference quantize {spec.alias}"
        )
    ours = spec.runtime, lasting_options(spec.runtime_options)
    if said.golden and not is_same(ours, (said.runtime, said.runtime_options)):
        logger.warning(
            "golden answers not asked alias=%s: %s gave those in %s with the options %r.",
            *(spec.alias, said.runtime, artifact, said.runtime_options),
        )
        return ()
    return tuple(
        golden for golden in said.golden if not any(is_same(golden, own) for own in spec.golden)
    )


def lasting_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a runtime on which answers depend, whatever machine it is."""
    return {name: value for name, value in options.items() if name not in _OF_THE_MACHINE}
