"""What is known of a runtime before it is imported."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from django.utils.module_loading import import_string

from django_inference.backends.source import Source, find, literals
from django_inference.runtimes.base import BaseRuntime

_OWN_PACKAGE = __name__.partition(".")[0] + "."
#: From a class to its bases: classes that lead in a circle end here.
_MOST_STEPS = 8


class Parameters(NamedTuple):
    """Keyword arguments that a runtime takes.

    Attributes:
        names: all of them; None when any will do, or nobody can tell.
        required: those without a default.
    """

    names: tuple[str, ...] | None = None
    required: tuple[str, ...] = ()


class RuntimeFacts(NamedTuple):
    """What `manage.py check` compares a predictor's settings with.

    Attributes:
        name: of the class or function, as messages call it.
        requires: modules that must be importable, each with the extra that installs it.
        runs_code: suffixes of formats that run code when they are loaded.
        needs_artifact: `MODEL` must be given.
        can_share_weights: with the option `share_weights`.
        is_function: a plain one, which is given no artifact.
        parameters: for `RUNTIME_OPTIONS`.
        choices: the values that some of them take.
        objection: why it cannot be a runtime; empty when it can.
    """

    name: str
    requires: Mapping[str, str] = {}
    runs_code: tuple[str, ...] = ()
    needs_artifact: bool = False
    can_share_weights: bool = False
    is_function: bool = False
    parameters: Parameters = Parameters()
    choices: Mapping[str, tuple[str, ...]] = {}
    objection: str = ""


def runtime_facts(dotted: str, steps: int = _MOST_STEPS) -> RuntimeFacts | None:
    """Look at a runtime: at the class itself when it is built in, else at its source.

    Returns:
        None when the source does not show a function or a Runtime.
    """
    try:
        if dotted.startswith(_OWN_PACKAGE):
            runtime = import_string(dotted)
            is_runtime = isinstance(runtime, type) and issubclass(runtime, BaseRuntime)
            return _of_class(runtime) if is_runtime else None
        found = find(dotted)
    except (ImportError, SyntaxError):
        return None
    if found is None:
        return None
    source, definition = found
    if isinstance(definition, ast.ClassDef):
        return _of_class_source(source, definition, steps)
    return _of_function_source(definition)


def _of_class(runtime: type[BaseRuntime]) -> RuntimeFacts:
    return RuntimeFacts(
        name=runtime.__name__,
        requires=dict.fromkeys(runtime.requires, runtime.extra),
        runs_code=runtime.runs_code,
        needs_artifact=runtime.needs_artifact,
        can_share_weights=runtime.can_share_weights,
        parameters=_of_callable(runtime),
        choices=runtime.choices,
    )


def _of_function_source(definition: ast.FunctionDef | ast.AsyncFunctionDef) -> RuntimeFacts:
    parameters = Parameters()
    # A decorator may change what the function takes, and even whether it is async.
    if not definition.decorator_list:
        parameters = _of_arguments(definition.args)
    if parameters.names is not None:
        parameters = parameters._replace(names=(*parameters.names, "batched"))
    is_async = isinstance(definition, ast.AsyncFunctionDef) and not definition.decorator_list
    return RuntimeFacts(
        name=definition.name,
        is_function=True,
        parameters=parameters,
        objection="is async, but a model runs on a thread without an event loop"
        if is_async
        else "",
    )


def _of_class_source(source: Source, definition: ast.ClassDef, steps: int) -> RuntimeFacts | None:
    bases = [runtime_facts(source.dotted(base), steps - 1) for base in definition.bases if steps]
    inherited = next((facts for facts in bases if facts is not None), None)
    if inherited is None:
        if definition.bases or definition.keywords or definition.decorator_list:
            return None
        return RuntimeFacts(
            name=definition.name,
            objection="is a class, but not a subclass of django_inference.Runtime or TensorRuntime",
        )
    own = literals(definition)
    requires = inherited.requires
    if names := _tuple(own.get("requires")):
        extra = own.get("extra", "")
        requires = {name: extra or requires.get(name, "") for name in names}
    return RuntimeFacts(
        name=definition.name,
        requires=requires,
        runs_code=_tuple(own.get("runs_code")) or inherited.runs_code,
        needs_artifact=own.get("needs_artifact", inherited.needs_artifact),
        can_share_weights=own.get("can_share_weights", inherited.can_share_weights),
        # The __init__ that counts may be that of a base whose source is not known.
        parameters=_of_class_call(
            definition, Parameters() if None in bases else inherited.parameters
        ),
        objection=inherited.objection,
    )


def _tuple(value: object) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, tuple | list) else ()


def _of_class_call(definition: ast.ClassDef, inherited: Parameters) -> Parameters:
    # A decorator such as `@dataclass` may write an __init__.
    if definition.decorator_list:
        return Parameters()
    for statement in definition.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return _of_arguments(statement.args)
    return inherited


def _of_arguments(arguments: ast.arguments) -> Parameters:
    """All but the first, which is `self`, or the items that a function is called with."""
    positional = [argument.arg for argument in arguments.posonlyargs + arguments.args]
    keyword = [argument.arg for argument in arguments.kwonlyargs]
    without_default = positional[1 : max(1, len(positional) - len(arguments.defaults))]
    for name, default in zip(keyword, arguments.kw_defaults, strict=True):
        if default is None:
            without_default.append(name)
    names = None if arguments.kwarg else (*positional[1:], *keyword)
    return Parameters(names=names, required=tuple(without_default))


def _of_callable(function: Callable[..., Any]) -> Parameters:
    parameters = inspect.signature(function).parameters.values()
    names = [
        parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return Parameters(
        names=None if takes_any else tuple(parameter.name for parameter in names),
        required=tuple(
            parameter.name for parameter in names if parameter.default is parameter.empty
        ),
    )
