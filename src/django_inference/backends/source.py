"""What a module says in its source, without running it.

`manage.py check` has to find a misspelt runtime, but importing the module would bring the
framework into a process that must stay small.
"""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any, NamedTuple

#: From one module to the next: an import that leads in a circle ends here.
_MOST_STEPS = 8

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Source(NamedTuple):
    """The top level of one module.

    Attributes:
        module: its name.
        names: what it defines; a dotted path for what it imports; None for anything else.
        is_open: it may hold names that its source does not show.
    """

    module: str
    names: Mapping[str, Definition | str | None]
    is_open: bool

    def dotted(self, expression: ast.expr) -> str:
        """Where a name or `a.b.c` in this module leads to; empty for other expressions."""
        if isinstance(expression, ast.Name):
            found = self.names.get(expression.id)
            return found if isinstance(found, str) else f"{self.module}.{expression.id}"
        if isinstance(expression, ast.Attribute):
            owner = self.dotted(expression.value)
            return f"{owner}.{expression.attr}" if owner else ""
        return ""


def read_source(module: str) -> Source | None:
    """Read a module's source without importing the module.

    Returns:
        None when there is no source, as for an extension module.

    Raises:
        ImportError: there is no such module, or a package that it is in cannot be imported.
        SyntaxError: the source cannot be parsed.
    """
    spec = find_module(module) or _find_by_import(module)
    if spec is not None:
        return _parse(spec)
    if module in sys.modules:
        return None
    raise ModuleNotFoundError(f"there is no module {module!r}", name=module)


def find(dotted: str, steps: int = _MOST_STEPS) -> tuple[Source, Definition] | None:
    """Follow imports to the class or function that a dotted path leads to.

    Returns:
        None when that cannot be told from the source.

    Raises:
        ImportError: a source on the way cannot be read.
        SyntaxError: a source on the way cannot be parsed.
    """
    module, _, name = dotted.rpartition(".")
    spec = find_module(module) if module else None
    source = _parse(spec) if spec else None
    what = source.names.get(name) if source else None
    if source is None or what is None:
        return None
    if isinstance(what, str):
        return find(what, steps - 1) if steps else None
    return source, what


def find_module(module: str) -> ModuleSpec | None:
    """As `importlib.util.find_spec`, but no package around the module is imported."""
    package, _, _ = module.rpartition(".")
    try:
        if not package or module in sys.modules:
            return importlib.util.find_spec(module)
        around = find_module(package)
        if around is None or around.submodule_search_locations is None:
            return None
        return PathFinder.find_spec(module, list(around.submodule_search_locations))
    except (ValueError, KeyError):
        # A module without a spec; a folder without __init__ in a package not imported yet.
        return None


def nearby_modules(module: str) -> list[str]:
    """The modules beside one that does not exist."""
    package, _, _ = module.rpartition(".")
    if not package:
        return [found.name for found in pkgutil.iter_modules()]
    around = find_module(package)
    if around is None:
        return nearby_modules(package)
    folders = around.submodule_search_locations or ()
    return [f"{package}.{found.name}" for found in pkgutil.iter_modules(folders)]


def literals(definition: ast.ClassDef) -> dict[str, Any]:
    """The attributes of a class that are written as plain values."""
    found: dict[str, Any] = {}
    for statement in definition.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, TypeError):
            continue
    return found


def _find_by_import(module: str) -> ModuleSpec | None:
    """For packages that say where their modules are only once they are imported."""
    try:
        return importlib.util.find_spec(module)
    except Exception as error:
        missing = getattr(error, "name", None)
        if isinstance(error, ValueError) or (missing and f"{module}.".startswith(f"{missing}.")):
            return None
        message = f"a package around the module {module!r} cannot be imported: {error!r}"
        raise ImportError(message, name=module) from error


def _parse(spec: ModuleSpec) -> Source | None:
    is_package = spec.submodule_search_locations is not None
    if is_package and spec.origin is None:
        # A folder without __init__: there is nothing in it but modules.
        return Source(spec.name, {}, is_open=False)
    package = spec.name if is_package else spec.name.rpartition(".")[0]
    names: dict[str, Definition | str | None] = {}
    try:
        text = getattr(spec.loader, "get_source", lambda _: None)(spec.name)
        if text is None:
            return None
        tree = ast.parse(text, spec.origin or spec.name)
    except ValueError as error:
        raise SyntaxError(str(error)) from error
    for name, what in _top_level(tree.body, package):
        # `try: from x import A`, `except ImportError: A = None`: the import says more.
        if what is not None or name not in names:
            names[name] = what
    return Source(spec.name, names, is_open="*" in names or "__getattr__" in names)


def _top_level(
    statements: Iterable[ast.stmt], package: str
) -> Iterator[tuple[str, Definition | str | None]]:
    for statement in statements:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield statement.name, statement
            case ast.Import(names=aliases):
                for alias in aliases:
                    head = alias.name.partition(".")[0]
                    yield alias.asname or head, alias.name if alias.asname else head
            case ast.ImportFrom(names=aliases, module=origin, level=level):
                origin = _absolute(origin or "", level, package)
                for alias in aliases:
                    yield alias.asname or alias.name, f"{origin}.{alias.name}"
            case _:
                for node in ast.iter_child_nodes(statement):
                    yield from _names_within(node, package)


def _names_within(node: ast.AST, package: str) -> Iterator[tuple[str, Definition | str | None]]:
    """Of an `if`, a `try`, an assignment…: whatever may end up at the top level."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id, None
    elif isinstance(node, ast.stmt):
        yield from _top_level([node], package)
    elif not isinstance(node, ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _names_within(child, package)


def _absolute(origin: str, level: int, package: str) -> str:
    if not level:
        return origin
    parents = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*parents, origin] if origin else parents)
