"""The predictors of this process.

Not in a module named `predictors`: a submodule of that name would hide the object in
`from django_inference import predictors`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django_inference.backends.base import BaseBackend
from django_inference.backends.front import Front
from django_inference.backends.loading import backend_class
from django_inference.conf import (
    InvalidPredictor,
    PredictorSettings,
    parse_predictor,
    raw_predictors,
)
from django_inference.conf.fallbacks import fallback_mistake, fallbacks_of
from django_inference.handle import Predictor
from django_inference.words import nearest

logger = logging.getLogger("django_inference")


class UnknownPredictor(InvalidPredictor, KeyError):
    """No predictor has that alias."""

    def __str__(self) -> str:
        """The message itself; `KeyError` would print it in quotes."""
        return str(self.args[0])


class Predictors(Mapping[str, Predictor]):
    """Every predictor by its alias: those in `INFERENCE`, and those registered since.

    One per process, shared by its threads. Backends are made at the first look-up.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._made: dict[str, Predictor] = {}
        self._registered: dict[str, PredictorSettings] = {}
        # When the settings were read, as near as can be told; see `Declare.declared_at`.
        self._read_at = time.time()
        self._registered_at: dict[str, float] = {}

    def __getitem__(self, alias: str) -> Predictor:
        """Return the predictor.

        Raises:
            UnknownPredictor: a `KeyError` and an `InvalidPredictor`: there is none.
            InvalidPredictor: its settings are wrong.
        """
        predictor = self._made.get(alias)
        return self._make(alias) if predictor is None else predictor

    def __contains__(self, alias: object) -> bool:
        """Whether it is declared; makes nothing."""
        return alias in self._registered or alias in raw_predictors()

    def __iter__(self) -> Iterator[str]:
        """The aliases, those in settings first."""
        return iter({**raw_predictors(), **self._registered})

    def __len__(self) -> int:
        """How many are declared."""
        return len({**raw_predictors(), **self._registered})

    def register(self, alias: str, **declaration: Any) -> Predictor:
        """Declare a predictor at run time, in this process.

        Args:
            alias: a new one.
            declaration: `MODEL`, `RUNTIME`, … as in `INFERENCE`.

        Raises:
            InvalidPredictor: the alias is taken, or the declaration is wrong.
        """
        settings = parse_predictor(alias, declaration)
        with self._guard():
            if alias in self:
                raise InvalidPredictor(f"The predictor {alias!r} is declared already.")
            self._registered[alias] = settings
            self._registered_at[alias] = time.time()
        try:
            return self[alias]
        except BaseException:
            # Its backend does not take the declaration: it shall not stay half declared.
            self._registered.pop(alias, None)
            raise

    def unregister(self, alias: str) -> None:
        """Forget a predictor that was registered at run time.

        Raises:
            UnknownPredictor: it was not.
        """
        with self._guard():
            if self._registered.pop(alias, None) is None:
                raise UnknownPredictor(f"The predictor {alias!r} was not registered at run time.")
            predictor = self._made.pop(alias, None)
        if predictor is not None:
            predictor.backend.close()

    def preload(self) -> None:
        """Ask for every predictor whose option `preload` is true. Does not wait for loads.

        One that cannot even be asked for is logged and does not keep the others from it.
        """
        _ask_for(self._wanted())

    def preload_in_background(self) -> None:
        """As `preload`, from a thread: starting the host takes a moment.

        The backends are imported before that, by the caller. A server that forked its
        workers while a thread imports would leave them a lock of that import which nobody
        ever opens, and their first request would wait for it.
        """
        wanted = self._wanted()
        threading.Thread(
            target=_ask_for, args=(wanted,), name="inference-preload", daemon=True
        ).start()

    def reset(self) -> None:
        """Close every backend; they are made again, from the settings of that moment."""
        with self._guard():
            made, self._made = self._made, {}
            self._read_at = time.time()
        for predictor in made.values():
            predictor.backend.close()

    def _settings(self, alias: str) -> PredictorSettings:
        # One entry alone: a mistake in another one is no reason to refuse this one.
        if alias in self._registered:
            return self._registered[alias]
        declared = raw_predictors()
        if alias not in declared:
            raise _unknown(alias, list(self))
        return parse_predictor(alias, declared[alias])

    def _wanted(self) -> list[Predictor]:
        wanted: list[Predictor] = []
        try:
            aliases = list(self)
        except InvalidPredictor:
            # `manage.py check` is where that is an error; here a site has to start.
            logger.exception("preload failed: the settings cannot be read")
            return wanted
        for alias in aliases:
            try:
                if self[alias].backend.options.preload:
                    wanted.append(self[alias])
            except Exception:
                logger.exception("preload failed alias=%s", alias)
        return wanted

    def _make(self, alias: str) -> Predictor:
        with self._guard():
            if alias not in self._made:
                settings = self._settings(alias)
                declared_at = self._registered_at.get(alias, self._read_at)
                backend = backend_class(settings)(settings, declared_at=declared_at)
                self._made[alias] = Predictor(backend, self._fallback(backend))
            return self._made[alias]

    def _fallback(self, backend: BaseBackend) -> Callable[[], Front] | None:
        """How the predictor is found that answers in another's place. It is made when needed."""
        alias = backend.options.fallback
        if alias is None:
            return None
        fallbacks = fallbacks_of(raw_predictors()) | {
            name: settings.options.get("fallback") for name, settings in self._registered.items()
        }
        if mistake := fallback_mistake(backend.alias, fallbacks):
            raise mistake
        return lambda: self[alias].front

    def _guard(self) -> threading.Lock:
        if self._pid != os.getpid():
            # A thread that did not survive the fork may have held it.
            self._pid = os.getpid()
            self._lock = threading.Lock()
        return self._lock


def _ask_for(wanted: list[Predictor]) -> None:
    for predictor in wanted:
        try:
            predictor.preload()
        except Exception:
            logger.exception("preload failed alias=%s", predictor.alias)


def _unknown(alias: str, known: list[str]) -> UnknownPredictor:
    if near := nearest(alias, known):
        hint = f"Did you mean {near!r}?"
    else:
        hint = f"INFERENCE declares: {', '.join(known) or 'nothing'}."
    return UnknownPredictor(f"There is no predictor {alias!r}. {hint}")


def reset(*, setting: str, **kwargs: Any) -> None:
    """Receiver of `setting_changed`: what `override_settings` changes takes effect."""
    if setting in ("INFERENCE", "INFERENCE_HOST", "CACHES"):
        predictors.reset()


class DefaultPredictor(Predictor):
    """Stands for `predictors["default"]`, whatever that is at the moment of each call."""

    def __init__(self) -> None:
        self.alias = "default"

    def __repr__(self) -> str:
        """The settings are left alone: a debugger may ask before they can be read."""
        return "<Predictor 'default'>"

    @property
    def backend(self) -> BaseBackend:  # type: ignore[override]
        """Where it runs."""
        return predictors["default"].backend

    @property
    def front(self) -> Front:  # type: ignore[override]
        """What calls go to."""
        return predictors["default"].front


predictors = Predictors()
predictor: Predictor = DefaultPredictor()
