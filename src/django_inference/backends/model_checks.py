"""What can be seen of a model that runs on this machine without loading it.

For the `check` of the backends that run one: runtime, artifact, framework and trust.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec
from django.core.checks import CheckMessage, Error, Warning

from django_inference import runtimes
from django_inference.artifacts.location import is_remote, locate
from django_inference.backends.location_checks import misspelt, mistakes_in
from django_inference.backends.runtime_facts import RuntimeFacts, runtime_facts
from django_inference.backends.source import find_module, nearby_modules, read_source
from django_inference.conf import PredictorSettings, default_python, examine_host
from django_inference.conf.validation import did_you_mean, given
from django_inference.runtimes.names import OTHER_TASKS, meant
from django_inference.words import nearest


def check_model(settings: PredictorSettings, *, is_run_here: bool = True) -> list[CheckMessage]:
    """Look for mistakes in `MODEL`, `RUNTIME`, `RUNTIME_OPTIONS`, `TRUSTED` and `SHA256`.

    Args:
        settings: of the predictor.
        is_run_here: the model is run by this process's interpreter, so that its framework
            must be installed here.
    """
    found = [*_missing_artifact(settings), *_location(settings, is_run_here)]
    try:
        dotted = runtimes.resolve(settings.runtime, settings.model)
    except (LookupError, OSError) as error:
        if found and settings.runtime is None:
            # Nobody can tell the runtime of a file that is not there.
            return found
        text = error.args[0] if isinstance(error, LookupError) else error
        number = "E010" if settings.runtime else "E026"
        return [*found, _error(settings, "RUNTIME", number, f"{text}")]
    named_by = "RUNTIME"
    function = settings.runtime_options.get("function")
    if dotted == runtimes.BUILT_IN["callable"] and isinstance(function, str):
        # The long way to say `"RUNTIME": function`.
        named_by, dotted = "RUNTIME_OPTIONS", function
        rest = {key: value for key, value in settings.runtime_options.items() if key != "function"}
        settings = msgspec.structs.replace(settings, runtime_options=rest)
    if dotted not in runtimes.BUILT_IN.values():
        found += _unknown_name(settings, named_by, dotted)
    elif code := runtimes.code_of_user(dotted, settings.runtime_options):
        found += _unknown_name(settings, "RUNTIME_OPTIONS", code)
    facts = runtime_facts(dotted)
    if facts is not None and facts.objection:
        found.append(_error(settings, named_by, "E025", f"{facts.name} {facts.objection}."))
    elif facts is not None:
        found += _artifact_expected(settings, facts)
        found += _options(settings, facts)
        found += _trust(settings, facts)
        found += _mistaken(settings, dotted)
        found += _sharing(settings, facts)
        if is_run_here:
            found += _framework(settings, facts)
    return found


def check_hosted_model(settings: PredictorSettings) -> list[CheckMessage]:
    """As `check_model`, for a model that runs in another process of this machine."""
    host, _ = examine_host()
    return [
        *check_model(settings, is_run_here=host.python == default_python()),
        *_sendable(settings),
    ]


def _sendable(settings: PredictorSettings) -> Iterator[CheckMessage]:
    for name, value in settings.runtime_options.items():
        try:
            msgspec.msgpack.encode(value)
        except (TypeError, OverflowError, RecursionError):
            text = f"{name!r} is {given(value)}, which cannot be sent to the model's process."
            hint = "Use plain values: str, numbers, bool, None, and lists and dicts of them."
            yield _error(settings, "RUNTIME_OPTIONS", "E019", text, hint)


def _unknown_name(settings: PredictorSettings, key: str, dotted: str) -> Iterator[CheckMessage]:
    module, _, name = dotted.rpartition(".")
    if not module:
        yield _error(settings, key, "E011", f"{dotted!r} is no dotted path: package.module.name.")
        return
    try:
        source = read_source(module)
    except ModuleNotFoundError as error:
        hint = ""
        if near := nearest(module, nearby_modules(module)):
            hint = f"Did you mean '{near}.{name}'?"
        yield _error(settings, key, "E011", f"{dotted!r}: {error}.", hint)
    except (ImportError, SyntaxError) as error:
        yield _error(settings, key, "E011", f"{dotted!r}: {error}.")
    else:
        if source is None or source.is_open or name in source.names:
            return
        text = f"the module {module!r} defines no {name!r}."
        hint = did_you_mean(name, source.names)
        if find_module(dotted):
            text = f"{dotted!r} is a module."
            hint = f"Add the name of a Runtime or of a function in it: '{dotted}.…'."
        yield _error(settings, key, "E012", text, hint)


def _options(settings: PredictorSettings, facts: RuntimeFacts) -> Iterator[CheckMessage]:
    names, required = facts.parameters
    for key in settings.runtime_options:
        if names is not None and key not in names:
            text = f"{facts.name} takes no option {key!r}."
            hint = did_you_mean(key, names)
            yield _error(settings, "RUNTIME_OPTIONS", "E013", text, hint)
    for key, values in facts.choices.items():
        value = settings.runtime_options.get(key)
        if value is not None and value not in values:
            text = f"{facts.name} knows no {key} {value!r}; it knows {', '.join(values)}."
            near = meant(str(value), values, OTHER_TASKS)
            hint = f"Did you mean {near!r}?" if near else ""
            yield _error(settings, "RUNTIME_OPTIONS", "E014", text, hint)
    for key in required:
        if key not in settings.runtime_options:
            text = f"{facts.name} needs the option {key!r}."
            yield _error(settings, "RUNTIME_OPTIONS", "E013", text)


def _location(settings: PredictorSettings, is_run_here: bool) -> Iterator[CheckMessage]:
    if settings.model is not None and is_remote(settings.model):
        for number, text, hint in mistakes_in(settings.model, is_run_here=is_run_here):
            yield _error(settings, "MODEL", number, text, hint)


def _missing_artifact(settings: PredictorSettings) -> Iterator[CheckMessage]:
    if settings.model is None or is_remote(settings.model) or os.path.exists(settings.model):
        return
    folder, name = os.path.split(settings.model)
    hint = f"There is no folder {folder!r}."
    if os.path.isdir(folder):
        near = nearest(name, os.listdir(folder))
        hint = f"Did you mean {os.path.join(folder, near)!r}?" if near else ""
    hint = misspelt(settings.model) or hint
    # A warning: an error would stop `migrate` and `runserver`, and a site starts and serves
    # its other pages whatever becomes of its models.
    place = f"INFERENCE[{settings.alias!r}]['MODEL']"
    text = f"{place}: there is no {settings.model!r}."
    yield Warning(text, hint=hint or None, id="django_inference.W002")


def _mistaken(settings: PredictorSettings, dotted: str) -> Iterator[CheckMessage]:
    if settings.model is None or is_remote(settings.model):
        return
    if os.path.isfile(settings.model) and not os.path.getsize(settings.model):
        # It may be about to be written; the load says so where it is not.
        return
    if text := runtimes.mistaken(settings.model, dotted):
        place = f"INFERENCE[{settings.alias!r}]['MODEL']"
        # A warning, as for a file that is not there.
        yield Warning(f"{place}: {text}", id="django_inference.W008")


def _artifact_expected(settings: PredictorSettings, facts: RuntimeFacts) -> Iterator[CheckMessage]:
    if facts.needs_artifact and settings.model is None:
        hint = "Set it to the path of the file or folder that the model is loaded from."
        yield _error(settings, "MODEL", "E015", f"{facts.name} needs an artifact.", hint)
    elif facts.is_function and settings.model is not None:
        text = f"{facts.name} is a plain function, which is given no artifact."
        hint = "Remove MODEL, or write a subclass of django_inference.Runtime and its load()."
        yield _error(settings, "MODEL", "E016", text, hint)


def _framework(settings: PredictorSettings, facts: RuntimeFacts) -> Iterator[CheckMessage]:
    for module, extra in facts.requires.items():
        if find_module(module) is None:
            text = f"{facts.name} needs the module {module!r}, which is not installed."
            hint = f'pip install "django-inference[{extra}]"' if extra else ""
            yield _error(settings, "RUNTIME", "E017", text, hint)


def _trust(settings: PredictorSettings, facts: RuntimeFacts) -> Iterator[CheckMessage]:
    if settings.model is None or settings.trusted or settings.sha256:
        return
    for file in _files(settings.model):
        if file.lower().endswith(facts.runs_code):
            text = f"loading {file!r} runs code that is in the file."
            hint = (
                "If you know where it comes from, pin its content with SHA256 (`sha256sum` "
                'prints it for a file), or set "TRUSTED": True.'
            )
            yield _error(settings, "MODEL", "E018", text, hint)


def _sharing(settings: PredictorSettings, facts: RuntimeFacts) -> Iterator[CheckMessage]:
    if settings.options.get("share_weights") is True and not facts.can_share_weights:
        place = f"INFERENCE[{settings.alias!r}]['OPTIONS']['share_weights']"
        text = f"{place}: {facts.name} cannot share its weights, so each replica has its own."
        hint = "Use one replica: the framework's own threads run it on all cores."
        yield Warning(text, hint=hint, id="django_inference.W003")


def _files(model: str) -> list[str]:
    """The artifact, or what lies in it: runtimes look for the file to load in a folder."""
    if is_remote(model):
        try:
            return [locate(model).name]
        except ValueError:
            return []
    try:
        return [os.path.join(model, name) for name in sorted(os.listdir(model))]
    except OSError:
        return [model]


def _error(
    settings: PredictorSettings, key: str, number: str, text: str, hint: str = ""
) -> CheckMessage:
    place = f"INFERENCE[{settings.alias!r}][{key!r}]"
    return Error(f"{place}: {text}", hint=hint or None, id=f"django_inference.{number}")
