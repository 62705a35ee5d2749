"""The setting `INFERENCE_SERVE`: how `manage.py inference_serve` serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from django.conf import settings
from django.utils.module_loading import import_string

from django_inference.conf.paths import OptionalPath, absolute, with_plain_paths
from django_inference.conf.validation import (
    CheckIds,
    InvalidPredictor,
    describe,
    examine,
    given,
    types_of,
)

Address = Annotated[
    Annotated[
        str, msgspec.Meta(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\[\]:\s]+):\d{1,5}$", max_length=300)
    ]
    | None,
    msgspec.Meta(description="host:port (str) or None"),
]
Hook = Annotated[
    str | None, msgspec.Meta(description="the dotted path of a callable (str) or None")
]

_PATHS = ("CERTIFICATE", "PRIVATE_KEY", "CLIENT_CA")
_HOOKS = ("AUTHENTICATION", "PERMISSION")
_PLACE = "INFERENCE_SERVE"
_IDS = CheckIds(
    unknown="django_inference.E041",
    wrong="django_inference.E042",
    missing="django_inference.E043",
)


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `API_KEYS`.

    Attributes:
        key: what a client sends.
        staff: it may load and unload models.
        predictors: aliases that it may call; None for all.
    """

    key: Annotated[str, msgspec.Meta(min_length=16, description="at least 16 characters (str)")]
    staff: bool = False
    predictors: tuple[str, ...] | None = None


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`INFERENCE_SERVE`, with its defaults.

    Attributes:
        grpc: where both protocols are served by gRPC; None does not.
        rest: where both are served by REST; None does not.
        authentication: dotted path of what says whose call this is; None lets everybody in.
        permission: dotted path of what says who may do what; None keeps to `PERMISSIONS`.
        permissions: the Django permission that a predictor takes, by alias.
        api_keys: clients by name, for `ApiKeys`.
        certificate: file of the server's certificates, in PEM; None serves without TLS.
        private_key: file of the key that goes with it.
        client_ca: file of the authorities that clients' certificates must come from; None
            asks clients for none.
        max_message_bytes: longer messages are refused, in both directions of gRPC.
        max_concurrent: calls by gRPC that are under way at once; one more is refused.
            None is no limit.
        grace: seconds that calls under way get when the server is told to leave.
        reflection: clients may ask by gRPC which services and messages there are.
        reuse_port: several processes may listen at the same port.
    """

    grpc: Address = "127.0.0.1:8001"
    rest: Address = "127.0.0.1:8000"
    authentication: Hook = None
    permission: Hook = None
    permissions: dict[str, str] = {}
    api_keys: dict[str, Any] = {}
    certificate: OptionalPath = None
    private_key: OptionalPath = None
    client_ca: OptionalPath = None
    max_message_bytes: Annotated[int, msgspec.Meta(ge=1024, le=2**31 - 1)] = 64 * 2**20
    max_concurrent: Annotated[int, msgspec.Meta(ge=1)] | None = 1024
    grace: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    reflection: bool = True
    reuse_port: bool = False


def serve_settings(**replacements: Any) -> ServeSettings:
    """Read `INFERENCE_SERVE`.

    Args:
        replacements: by key in upper case, of what the settings say.

    Raises:
        InvalidPredictor: the first mistake in it.
    """
    found, mistakes = examine_serve(replacements)
    if mistakes:
        raise mistakes[0]
    return found


def examine_serve(
    replacements: Mapping[str, Any] | None = None,
) -> tuple[ServeSettings, list[InvalidPredictor]]:
    """Read `INFERENCE_SERVE`; wrong values are replaced by their defaults."""
    raw = getattr(settings, _PLACE, {})
    mistakes: list[InvalidPredictor] = []
    if not isinstance(raw, Mapping):
        message = f"{_PLACE}: expected a dict, given {given(raw)}."
        mistakes.append(InvalidPredictor(message, check_id="django_inference.E040"))
        raw = {}
    types = {name.upper(): type for name, type in types_of(ServeSettings).items()}
    values, found = examine(
        with_plain_paths({**raw, **(replacements or {})}, *_PATHS),
        types,
        place=_PLACE,
        check_ids=_IDS,
    )
    mistakes += found
    for name in _PATHS:
        if name in values:
            values[name] = absolute(values[name])
    values["API_KEYS"], found = _api_keys(values.get("API_KEYS", {}))
    mistakes += found
    serve = ServeSettings(**{key.lower(): value for key, value in values.items()})
    return serve, mistakes + _contradictions(serve)


def examine_serve_hooks(serve: ServeSettings) -> list[InvalidPredictor]:
    """Every dotted path in `INFERENCE_SERVE` that cannot be used."""
    mistakes = []
    for key in _HOOKS:
        dotted = getattr(serve, key.lower())
        if dotted is None:
            continue
        try:
            found = import_string(dotted)
        except ImportError as error:
            problem = f"{dotted!r} cannot be imported: {error}"
        else:
            if callable(found):
                continue
            problem = f"{dotted!r} cannot be called"
        mistakes.append(
            InvalidPredictor(
                f"{_PLACE}[{key!r}]: {problem}.", key=key, check_id="django_inference.E045"
            )
        )
    return mistakes


def _api_keys(raw: Mapping[str, Any]) -> tuple[dict[str, ApiKey], list[InvalidPredictor]]:
    types = {name.upper(): type for name, type in types_of(ApiKey).items()}
    keys: dict[str, ApiKey] = {}
    mistakes: list[InvalidPredictor] = []
    for name, entry in raw.items():
        place = f"{_PLACE}['API_KEYS'][{name!r}]"
        if not isinstance(entry, Mapping):
            message = f"{place}: expected a dict."
            mistakes.append(InvalidPredictor(message, key="API_KEYS", check_id=_IDS.wrong))
            continue
        values, found = examine(entry, types, place=place, check_ids=_IDS, required=("KEY",))
        # A message shows what was given, and this one is a secret.
        mistakes += [
            InvalidPredictor(
                f"{place}['KEY']: {describe(types['KEY'])}.", key="KEY", check_id=_IDS.wrong
            )
            if mistake.key == "KEY" and "KEY" in entry
            else mistake
            for mistake in found
        ]
        if "KEY" in values:
            keys[name] = ApiKey(**{key.lower(): value for key, value in values.items()})
    return keys, mistakes


def _contradictions(serve: ServeSettings) -> list[InvalidPredictor]:
    said = []
    if (serve.certificate is None) != (serve.private_key is None):
        said.append("'CERTIFICATE' and 'PRIVATE_KEY' go together: set both or neither")
    if serve.client_ca is not None and serve.certificate is None:
        said.append("'CLIENT_CA' takes a 'CERTIFICATE' and a 'PRIVATE_KEY' of the server")
    if serve.grpc is None and serve.rest is None:
        said.append("'GRPC' and 'REST' are both None: there is nothing to serve")
    return [
        InvalidPredictor(f"{_PLACE}: {message}.", check_id="django_inference.E044")
        for message in said
    ]
