"""What can be seen of a remote predictor's settings without asking a server."""

from __future__ import annotations

import os
from collections.abc import Iterator

from django.core.checks import CheckMessage, Error, Warning

from django_inference.backends.remote.addresses import Address, parse_endpoint
from django_inference.backends.source import find_module, read_source
from django_inference.conf import PredictorSettings

#: The modules that each wire needs.
NEEDS = {"grpc": ("grpc", "google.protobuf", "stamina"), "rest": ("httpx", "stamina")}
FILES = ("tls_ca", "tls_certificate", "tls_key")
#: Keys of a predictor that belong to a model on this machine.
NOT_HERE = ("model", "runtime", "runtime_options", "golden", "sha256", "trusted")


def check_remote(settings: PredictorSettings) -> list[CheckMessage]:
    """Look for mistakes in the endpoints, certificates and credentials of a predictor."""
    addresses: list[Address] = []
    found: list[CheckMessage] = []
    endpoints = settings.options.get("endpoints")
    if not isinstance(endpoints, list | tuple):
        # Of the wrong type, which is another check's business.
        return [*_useless(settings), *_credentials(settings), *_files(settings)]
    for url in endpoints:
        if not isinstance(url, str):
            continue
        try:
            addresses.append(parse_endpoint(url))
        except ValueError as error:
            text = f"{_shown(url)} names no server: {error}."
            found.append(_error(settings, "endpoints", "E052", text))
    found += _packages(settings, addresses)
    found += _plain(settings, addresses)
    return [*found, *_useless(settings), *_credentials(settings), *_files(settings)]


def _packages(settings: PredictorSettings, addresses: list[Address]) -> Iterator[CheckMessage]:
    needed = [module for wire in sorted({a.wire for a in addresses}) for module in NEEDS[wire]]
    for module in dict.fromkeys(needed):
        if find_module(module) is None:
            text = f"the module {module!r}, which these URLs need, is not installed."
            hint = 'pip install "django-inference[remote]"'
            yield _error(settings, "endpoints", "E053", text, hint)


def _plain(settings: PredictorSettings, addresses: list[Address]) -> Iterator[CheckMessage]:
    secrets = [key for key in ("token", "token_from") if settings.options.get(key)]
    open_urls = [address.url for address in addresses if not address.is_secure]
    if secrets and open_urls:
        place = f"INFERENCE[{settings.alias!r}]['OPTIONS'][{secrets[0]!r}]"
        yield Warning(
            f"{place}: the token is sent unencrypted to {', '.join(open_urls)}.",
            hint="Use https:// or grpcs://.",
            id="django_inference.W006",
        )


def _credentials(settings: PredictorSettings) -> Iterator[CheckMessage]:
    options = settings.options
    dotted = options.get("token_from")
    if options.get("token") is not None and dotted is not None:
        yield _error(settings, "token_from", "E054", "'token' is given as well: use one of them.")
    if isinstance(dotted, str) and not _is_there(dotted):
        text = f"{dotted!r} is not the dotted path of a function."
        yield _error(settings, "token_from", "E055", text)
    if options.get("tls_key") is not None and options.get("tls_certificate") is None:
        text = "there is no 'tls_certificate' that it is the key of."
        yield _error(settings, "tls_key", "E054", text)


def _is_there(dotted: str) -> bool:
    module, _, name = dotted.rpartition(".")
    try:
        source = read_source(module) if module else None
    except (ImportError, SyntaxError):
        return False
    return bool(module) and (source is None or source.is_open or name in source.names)


def _files(settings: PredictorSettings) -> Iterator[CheckMessage]:
    for key in FILES:
        path = settings.options.get(key)
        if isinstance(path, str | os.PathLike) and not os.access(path, os.R_OK):
            text = f"there is no {os.fspath(path)!r} that can be read."
            yield _error(settings, key, "E056", text)


def _useless(settings: PredictorSettings) -> Iterator[CheckMessage]:
    for key in NOT_HERE:
        if getattr(settings, key):
            place = f"INFERENCE[{settings.alias!r}][{key.upper()!r}]"
            hint = "The name that the servers know it by is OPTIONS['model']."
            yield Warning(
                f"{place}: the servers load the model, so this is not looked at.",
                hint=hint if key == "model" else None,
                id="django_inference.W007",
            )


def _shown(url: str) -> str:
    """Without what may be a password."""
    return repr(url.rpartition("@")[2])


def _error(
    settings: PredictorSettings, option: str, number: str, text: str, hint: str = ""
) -> CheckMessage:
    place = f"INFERENCE[{settings.alias!r}]['OPTIONS'][{option!r}]"
    return Error(f"{place}: {text}", hint=hint or None, id=f"django_inference.{number}")
