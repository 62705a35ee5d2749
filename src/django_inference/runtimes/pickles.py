"""Objects that joblib or pickle wrote, which can run any code when they are read."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from django_inference.runtimes.estimators import version_warnings

#: Suffixes of such files.
PICKLES = (".joblib", ".pkl", ".pickle")

_IN_MAIN = re.compile(
    r"Can't get attribute '(?P<name>\w+)' on <module '(?:[\w.]+\.)?__m(?:ain|p_main)__'"
)


class Unpickled(NamedTuple):
    """What a file holds.

    Attributes:
        value: the object.
        warnings: sentences, where another version of scikit-learn has written it.
    """

    value: Any
    warnings: tuple[str, ...] = ()


def read_pickle(file: Path, *, trusted: bool, mmap_mode: Any = None) -> Unpickled:
    """Read an object.

    Raises:
        ValueError: it may not be read, or cannot be; the message says what to do.
    """
    if not trusted:
        raise ValueError(
            f"{file} is a pickle, which can run any code when it is loaded: set TRUSTED or "
            "pin SHA256 if you know where it comes from, or save the estimator with skops."
        )
    import joblib

    try:
        with version_warnings() as doubts, warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*mmap_mode", category=UserWarning)
            value = joblib.load(file, mmap_mode=mmap_mode)
    except UserWarning as error:
        raise ValueError(
            f"{file} is compressed, so it cannot be mapped into memory: save the estimator "
            "with joblib.dump(estimator, path, compress=0)."
        ) from error
    except AttributeError as error:
        if (found := _IN_MAIN.search(str(error))) is None:
            raise unreadable(file, error) from error
        raise ValueError(
            f"{file} needs {found['name']!r}, which was defined in the script or notebook that "
            "saved it (`__main__`): move it into a module of your project, such as "
            f"myapp/features.py, import it from there (`from myapp.features import "
            f"{found['name']}`) where the model is trained, and save the model again."
        ) from error
    except Exception as error:
        raise unreadable(file, error) from error
    return Unpickled(value, tuple(doubts))


def unreadable(file: Path, error: Exception) -> ValueError:
    """The error for a file that is no such thing."""
    return ValueError(f"{file} cannot be read: {type(error).__name__}: {error}")
