"""`manage.py inference push`: a model into a cache, from where other hosts fetch it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import Console

from django_inference.artifacts.errors import ArtifactError
from django_inference.artifacts.fetch import fetch
from django_inference.artifacts.location import Location, is_remote, locate
from django_inference.artifacts.manifest import CHUNK, MAX_CHUNK, MIN_CHUNK
from django_inference.artifacts.push import push
from django_inference.artifacts.records import StoreSettings
from django_inference.conf import host_settings
from django_inference.management.progress import bar, megabytes
from django_inference.registry import predictors
from django_inference.words import nearest


def add_push(action: CommandParser) -> None:
    """Declare the arguments."""
    action.add_argument("what", metavar="ALIAS_OR_PATH", help="a predictor, or a file or folder")
    action.add_argument("--to", required=True, metavar="cache:ALIAS/KEY", help="where to")
    action.add_argument(
        "--chunk-size", type=int, default=CHUNK, help="bytes that the cache takes in one item"
    )
    action.add_argument(
        "--expire", type=int, default=None, metavar="SECONDS", help="default: never"
    )


def push_model(console: Console, options: dict[str, Any]) -> None:
    """Push what the arguments name.

    Raises:
        CommandError: it is not there, or the cache did not take it.
    """
    target = _target(options["to"])
    size = options["chunk_size"]
    if not MIN_CHUNK <= size <= MAX_CHUNK:
        raise CommandError(f"--chunk-size: expected {MIN_CHUNK} to {MAX_CHUNK} bytes.")
    if options["expire"] is not None and options["expire"] <= 0:
        raise CommandError("--expire: expected a number of seconds above 0.")
    try:
        path = _path(console, options["what"], target)
        with bar(console, f"pushing to {target}") as told:
            manifest = push(path, target, chunk_size=size, timeout=options["expire"], told=told)
    except (ArtifactError, OSError) as error:
        raise CommandError(str(error)) from error
    count = sum(len(file.chunks) for file in manifest.files)
    total = sum(file.size for file in manifest.files)
    files = f"{len(manifest.files)} file{'s' * (len(manifest.files) != 1)}"
    console.print(
        f"pushed {path.name} to {target}: {files}, {megabytes(total)} MB, {count} chunks",
        highlight=False,
    )


def _target(text: str) -> Location:
    try:
        target = locate(text)
    except ValueError as error:
        raise CommandError(f"--to: {error}") from error
    if target.scheme != "cache":
        raise CommandError(f"--to: expected 'cache:ALIAS/key', given {text!r}.")
    return target


def _path(console: Console, what: str, target: Location) -> Path:
    """The files on this disk; what a predictor loads from elsewhere is fetched first."""
    if what not in predictors:
        if Path(what).exists():
            return Path(what)
        near = nearest(what, predictors)
        hint = f" Did you mean {near!r}?" if near else ""
        raise CommandError(f"there is no predictor and no file {what!r}.{hint}")
    settings = predictors[what].backend.settings
    if settings.model is None:
        raise CommandError(f"the predictor {what!r} has no MODEL.")
    if not is_remote(settings.model):
        return Path(settings.model)
    if locate(settings.model) == target:
        raise CommandError(f"{what!r} loads its model from there: name the file to push.")
    host = host_settings()
    store = StoreSettings(host.artifact_dir, host.artifact_limit)
    with bar(console, "fetching") as told:
        return Path(fetch(settings.model, store, sha256=settings.sha256, told=told).path)
