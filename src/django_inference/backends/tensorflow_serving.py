"""Models that TensorFlow Serving holds, or this project in its stead. TensorFlow is not needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import msgspec
from django.core.checks import CheckMessage, Error

from django_inference.backends.remote.backend import RemoteBackend
from django_inference.backends.remote.options import RemoteOptions
from django_inference.conf import PredictorSettings

if TYPE_CHECKING:
    from django_inference.backends.remote.protocols import Protocol


class TensorFlowServingOptions(
    RemoteOptions, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """`OPTIONS` of `TensorFlowServingBackend`.

    Attributes:
        outputs: names of the outputs that are wanted; all of them where none is named.
        label: of the version that is asked for, instead of its number.
        signature_name: of the model's signature.
    """

    outputs: tuple[str, ...] = ()
    label: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    signature_name: Annotated[str, msgspec.Meta(min_length=1)] = "serving_default"


class TensorFlowServingBackend(RemoteBackend):
    """Calls TensorFlow Serving, over HTTP or gRPC."""

    options_class = TensorFlowServingOptions

    @classmethod
    def check(cls, settings: PredictorSettings) -> list[CheckMessage]:
        """Look at endpoints, certificates, packages and the version. No server is asked."""
        return [*super().check(settings), *_version(settings)]

    def protocol(self) -> Protocol:
        """The questions about the model."""
        # Not at the top: it needs numpy and protobuf.
        from django_inference.backends.remote.tfs import TensorFlowServing

        options = self.options
        return TensorFlowServing(
            options.model or self.alias,
            options.version or "",
            options.label or "",
            options.signature_name,
            options.outputs,
        )


def _version(settings: PredictorSettings) -> Iterator[CheckMessage]:
    version, label = settings.options.get("version"), settings.options.get("label")
    place = f"INFERENCE[{settings.alias!r}]['OPTIONS']"
    if isinstance(version, str) and not (version.isascii() and version.isdigit()):
        yield Error(
            f"{place}['version']: TensorFlow Serving numbers its versions, and {version!r} is no "
            "number.",
            hint=f'"label": {version!r}',
            id="django_inference.E054",
        )
    elif version is not None and label is not None:
        yield Error(
            f"{place}['label']: 'version' is given as well: use one of them.",
            id="django_inference.E054",
        )
