"""What can be asked of any object with scikit-learn's interface, whoever wrote its class.

XGBoost, LightGBM and many others write such classes. Nothing here imports any of them.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def parts(estimator: Any) -> Iterator[Any]:
    """Every estimator in an estimator, itself first: of pipelines, ensembles, searches."""
    seen: set[int] = set()
    left = [estimator]
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, list | tuple):
            left += each
        elif isinstance(each, dict):
            left += each.values()
        elif hasattr(each, "get_params") and not isinstance(each, type):
            yield each
            left += getattr(each, "__dict__", {}).values()


def set_threads(estimator: Any, threads: int, *, at_most: bool) -> None:
    """Have every part of an estimator run on so many threads.

    Args:
        estimator: the fitted one.
        threads: for each of its parts that has `n_jobs`.
        at_most: leave a part alone that was saved with fewer.
    """
    for part in parts(estimator):
        if "n_jobs" not in part.get_params(deep=False):
            continue
        # scikit-learn's own take None for 1, the others for every core of the machine.
        jobs = 1 if part.n_jobs is None and _package(part) == "sklearn" else part.n_jobs
        if not (at_most and jobs is not None and 0 < jobs <= threads):
            part.set_params(n_jobs=threads)


def selects_by_name(estimator: Any) -> bool:
    """Whether a part of it is a ColumnTransformer that picks columns by their names."""
    for part in parts(estimator):
        if type(part).__name__ != "ColumnTransformer":
            continue
        for _, _, columns in part.transformers_:
            picked = [columns] if isinstance(columns, str) else columns
            if isinstance(picked, list) and any(isinstance(each, str) for each in picked):
                return True
    return False


def framework_of(estimator: Any) -> str:
    """The name and the version of the package that an estimator comes from."""
    package = _package(estimator)
    version = getattr(sys.modules.get(package), "__version__", "")
    name = "scikit-learn" if package == "sklearn" else package
    return f"{name} {version}".rstrip()


def _package(each: Any) -> str:
    return type(each).__module__.partition(".")[0]


@contextmanager
def version_warnings() -> Iterator[list[str]]:
    """Collect, as sentences, what scikit-learn warns of where it did not save an estimator itself.

    Other warnings are passed on.
    """
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message="Trying to unpickle estimator")
        yield found
    by_versions: dict[tuple[str, str], list[str]] = {}
    for each in caught:
        said: Any = each.message
        if not hasattr(said, "original_sklearn_version"):
            warnings.warn_explicit(said, each.category, each.filename, each.lineno)
            continue
        versions = str(said.original_sklearn_version), str(said.current_sklearn_version)
        names = by_versions.setdefault(versions, [])
        if said.estimator_name not in names:
            names.append(said.estimator_name)
    for (saved, loaded), names in by_versions.items():
        found.append(
            f"saved with scikit-learn {saved}, loaded with {loaded}, which may answer "
            f"differently ({', '.join(names)}): install scikit-learn=={saved}, or save it again."
        )
