"""`manage.py inference load`, `reload`, `rollback` and `promote`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.core.management.base import CommandError
from rich.console import Console

from django_inference.conf import InvalidPredictor
from django_inference.exceptions import InferenceError
from django_inference.handle import Predictor
from django_inference.management.progress import watch
from django_inference.management.tables import has_failed
from django_inference.registry import predictors
from django_inference.specs import State, Status

#: What a predictor that is named or declared wrongly, or cannot do something, raises.
_ERRORS = (InferenceError, InvalidPredictor, LookupError)


class Selection:
    """The predictors that a command line names; one that cannot be used does not stop the rest.

    Args:
        aliases: of the command line; every declared predictor where there are none.

    Attributes:
        predictors: those that there are.
        errors: of the others, and of what was done with these.
    """

    def __init__(self, aliases: Sequence[str]) -> None:
        self.errors: list[str] = []
        self.predictors: list[Predictor] = []
        names = list(dict.fromkeys(aliases)) or list(predictors)
        self.each(names, lambda alias: self.predictors.append(predictors[alias]))

    def each(self, values: Sequence[Any], do: Callable[[Any], object]) -> list[Any]:
        """Do something with each value; keep the errors, and return the values without one."""
        done = []
        for value in values:
            try:
                do(value)
            except _ERRORS as error:
                self.errors.append(str(error))
            else:
                done.append(value)
        return done

    def finish(self, *others: str) -> None:
        """Report the errors, and others.

        Raises:
            CommandError: there is one.
        """
        if errors := [*self.errors, *filter(None, others)]:
            raise CommandError("\n".join(errors))


def load(
    console: Console, selection: Selection, action: str, timeout: float | None
) -> list[Status]:
    """Have each predictor loaded, and wait for the first outcome of each.

    Args:
        console: that shows the progress.
        selection: the predictors; an error of one of them is kept there.
        action: `load`, or the name of a method of `Predictor`.
        timeout: seconds to wait; None does not wait.

    Returns:
        The statuses, at the outcome of each; none where it does not wait.
    """
    asked = selection.each(
        selection.predictors,
        _load_now if action == "load" else lambda predictor: getattr(predictor, action)(),
    )
    if timeout is None or not asked:
        return []
    return watch(console, lambda: [predictor.status() for predictor in asked], timeout)


def not_ready(statuses: Sequence[Status]) -> str:
    """As in `not ready: detector, classifier`; empty where all loads have succeeded."""
    failed = [status.alias for status in statuses if has_failed(status)]
    return f"not ready: {', '.join(failed)}" if failed else ""


def _load_now(predictor: Predictor) -> None:
    status = predictor.status()
    if status.state is State.FAILED and status.retry_after is not None:
        # It waits for its next attempt; who says `load` wants one now.
        predictor.reload()
    else:
        predictor.preload()
