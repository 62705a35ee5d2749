"""The setting `INFERENCE`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from django.conf import settings

from django_inference.conf.jobs import PredictorJobs, examine_predictor_jobs
from django_inference.conf.paths import OptionalPath, absolute, with_plain_paths
from django_inference.conf.rest import RestSettings, examine_rest
from django_inference.conf.validation import CheckIds, InvalidPredictor, examine, given, types_of
from django_inference.specs import Golden

Options = TypeVar("Options", bound=msgspec.Struct)


class PredictorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `INFERENCE`; each attribute but the alias is a key in upper case.

    Attributes:
        alias: the name of the predictor.
        model: absolute path of the artifact, what says where else it lies
            (`storage:…`, `cache:…`, a URL), or None for code without one.
        runtime: short name or dotted path; None when the artifact's name decides.
        runtime_options: keyword arguments of the runtime.
        backend: dotted path of the backend class.
        options: keyword arguments of the backend.
        trusted: the artifact may run code when it is loaded.
        sha256: what the artifact must hash to, or None.
        golden: `(input, expected, tolerance)`, answers that the model must give before it
            takes traffic.
        rest: how it is served over HTTP.
        jobs: how its jobs are run.
    """

    alias: str
    model: OptionalPath = None
    runtime: Annotated[
        str | None, msgspec.Meta(description="a short name, a dotted path (str) or None")
    ] = None
    runtime_options: dict[str, Any] = {}
    backend: Annotated[str, msgspec.Meta(description="the dotted path of a class (str)")] = (
        "django_inference.backends.host.HostBackend"
    )
    options: dict[str, Any] = {}
    trusted: bool = False
    sha256: Annotated[
        Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]*$", min_length=64, max_length=64)] | None,
        msgspec.Meta(description="64 hexadecimal digits (str) or None"),
    ] = None
    golden: Annotated[
        tuple[Golden, ...],
        msgspec.Meta(description="a list of (input, expected answer, tolerance)"),
    ] = ()
    rest: RestSettings = RestSettings()
    jobs: PredictorJobs = PredictorJobs()


def predictor_settings() -> dict[str, PredictorSettings]:
    """Read `INFERENCE`.

    Raises:
        InvalidPredictor: the first mistake in it.
    """
    return {alias: parse_predictor(alias, raw) for alias, raw in raw_predictors().items()}


def raw_predictors() -> Mapping[str, Any]:
    """`INFERENCE` as it is written; empty when it is not set.

    Raises:
        InvalidPredictor: it is not a dict.
    """
    raw = getattr(settings, "INFERENCE", {})
    if not isinstance(raw, Mapping):
        raise InvalidPredictor(
            f"INFERENCE: expected a dict of dicts, given {given(raw)}.",
            hint='Write INFERENCE = {"default": {"MODEL": …}}.',
            check_id="django_inference.E001",
        )
    return raw


def parse_predictor(alias: str, raw: Mapping[str, Any]) -> PredictorSettings:
    """Read one entry of `INFERENCE`, or the same keys given to `predictors.register`.

    Raises:
        InvalidPredictor: the first mistake in it.
    """
    found, mistakes = examine_predictor(alias, raw)
    if mistakes:
        raise mistakes[0]
    return found


def examine_predictor(
    alias: str, raw: Mapping[str, Any]
) -> tuple[PredictorSettings, list[InvalidPredictor]]:
    """Read one entry of `INFERENCE`; wrong values are replaced by their defaults."""
    place = f"INFERENCE[{alias!r}]"
    if not isinstance(alias, str) or not alias:
        message = f"INFERENCE: expected a name (str) as the alias, given {given(alias)}."
        return PredictorSettings(alias=str(alias)), [
            InvalidPredictor(message, alias=str(alias), check_id="django_inference.E002")
        ]
    if not isinstance(raw, Mapping):
        message = f"{place}: expected a dict, given {given(raw)}."
        return PredictorSettings(alias=alias), [
            InvalidPredictor(message, alias=alias, check_id="django_inference.E002")
        ]
    types = {name.upper(): type for name, type in types_of(PredictorSettings).items()}
    del types["ALIAS"]
    types["REST"] = types["JOBS"] = dict[str, Any]
    values, mistakes = examine(
        with_plain_paths(raw, "MODEL"),
        types,
        alias=alias,
        place=place,
        check_ids=CheckIds(unknown="django_inference.E003", wrong="django_inference.E004"),
    )
    if "MODEL" in values:
        values["MODEL"] = absolute(values["MODEL"])
    if "REST" in values:
        values["REST"], wrong = examine_rest(alias, values["REST"])
        mistakes += wrong
    if "JOBS" in values:
        values["JOBS"], wrong_jobs = examine_predictor_jobs(alias, values["JOBS"])
        mistakes += wrong_jobs
    found = PredictorSettings(alias=alias, **{key.lower(): values[key] for key in values})
    return found, mistakes


def parse_options(predictor: PredictorSettings, options_class: type[Options]) -> Options:
    """Turn a predictor's `OPTIONS` into its backend's structure.

    Raises:
        InvalidPredictor: the first mistake in them.
    """
    if mistakes := examine_options(predictor, options_class):
        raise mistakes[0]
    return msgspec.convert(predictor.options, options_class)


def examine_options(
    predictor: PredictorSettings, options_class: type[msgspec.Struct]
) -> list[InvalidPredictor]:
    """Every mistake in a predictor's `OPTIONS`."""
    place = f"INFERENCE[{predictor.alias!r}]['OPTIONS']"
    _, mistakes = examine(
        predictor.options,
        types_of(options_class),
        required=[
            field.encode_name for field in msgspec.structs.fields(options_class) if field.required
        ],
        alias=predictor.alias,
        place=place,
        check_ids=CheckIds(
            unknown="django_inference.E007",
            wrong="django_inference.E008",
            missing="django_inference.E009",
        ),
    )
    if not mistakes:
        try:
            msgspec.convert(predictor.options, options_class)
        except msgspec.ValidationError as error:
            return [
                InvalidPredictor(
                    f"{place}: {error}",
                    alias=predictor.alias,
                    key="OPTIONS",
                    check_id="django_inference.E008",
                )
            ]
    return mistakes
