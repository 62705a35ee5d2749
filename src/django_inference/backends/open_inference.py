"""Models that another server holds and answers for by the Open Inference Protocol.

NVIDIA Triton, KServe, MLServer, OpenVINO Model Server, and this project by
`manage.py inference_serve`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_inference.backends.remote.backend import RemoteBackend
from django_inference.backends.remote.options import RemoteOptions

if TYPE_CHECKING:
    from django_inference.backends.remote.protocols import Protocol


class OpenInferenceOptions(RemoteOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`OPTIONS` of `OpenInferenceBackend`.

    Attributes:
        outputs: names of the outputs that are asked for; all of them where none is named.
        binary: whether tensors go as blobs over HTTP; None asks each server whether it can.
    """

    outputs: tuple[str, ...] = ()
    binary: bool | None = None


class OpenInferenceBackend(RemoteBackend):
    """Calls servers of the Open Inference Protocol, over HTTP or gRPC."""

    options_class = OpenInferenceOptions

    def protocol(self) -> Protocol:
        """The questions about the model."""
        # Not at the top: it needs numpy and protobuf.
        from django_inference.backends.remote.oip import OpenInference

        options = self.options
        return OpenInference(
            options.model or self.alias, options.version or "", options.outputs, options.binary
        )
