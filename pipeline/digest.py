"""The code digest of an experiment. It depends on the computation that the code describes, not on its layout (rule I2).

Files are parsed and never imported. The digest starts from the experiment's modules and includes every module inside the
project that *defines* a name that is reached. A re-export through a package's ``__init__`` file leads to the defining module
only. This module walks the syntax tree itself, so that the digest is equal on every supported Python.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.machinery import PathFinder
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import UsageError

_DIGEST_BYTES = 16
_SKIPPED_FIELDS = frozenset(
    {"ctx", "kind", "type_comment", "type_ignores", "lineno", "col_offset", "end_lineno", "end_col_offset"}
)
_OUTPUT, _OPTIONAL = "Variable", "optional"
"""Call and keyword that the digest leaves out: ``optional`` decides which answers are refused, and no bit of a stored one."""
_CLASS_VARIABLE = re.compile(r"\bClassVar\b")


@dataclass(frozen=True)
class CodeDigest:
    """Digest of all modules that are reached, and the digest of each module (32 hexadecimal digits)."""

    digest: str
    manifest: Mapping[str, str]


def code_digest(modules: Sequence[str], *, project: Sequence[str] | None = None) -> CodeDigest:
    """Digest the code that the modules reach inside the project.

    Parameters
    ----------
    modules
        Dotted names of the modules to start from.
    project
        Top-level packages that belong to the project besides those of ``modules``.

    Raises
    ------
    UsageError
        If a module cannot be found or parsed, a reached module star-imports, or a package ``__init__`` on the way
        holds more than imports.
    """
    _find.cache_clear()
    inside = frozenset(m.split(".", 1)[0] for m in (*modules, *(project or ())))
    waiting: list[tuple[str, str]] = [(name, "the experiment's modules") for name in modules]
    manifest: dict[str, str] = {}
    while waiting:
        name, importer = waiting.pop()
        if name in manifest:
            continue
        module = _module(name, importer)
        _require_plain_packages(name)
        records, reached = _imports(module, inside)
        body = "" if module.is_package else _body_text(module, _model_classes(module, inside))
        manifest[name] = _hash("\n".join([*records, body]))
        waiting.extend((place, str(module.file)) for place in reached)
    ordered = dict(sorted(manifest.items()))
    return CodeDigest(_hash("\n".join(f"{name} {digest}" for name, digest in ordered.items())), ordered)


def explain_change(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return sentences on the differences between two manifests."""
    return [
        f"{name} {'changed' if name in old and name in new else 'is new' if name in new else 'is no longer used'}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def source_file(module: str) -> Path:
    """Return the source file of a module of the project."""
    _find.cache_clear()
    return _module(module, "the code digest").file


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


# --- modules ---------------------------------------------------------------------------------------------------------


class _Binding(NamedTuple):
    """An import: in ``scope`` (dotted, with a final dot; empty for the module) ``local`` is ``source:attribute``."""

    scope: str
    local: str
    source: str
    attribute: str  # empty for a module itself


@dataclass(frozen=True, eq=False)
class _Module:
    name: str
    file: Path
    is_package: bool
    tree: ast.Module

    @functools.cached_property
    def bindings(self) -> tuple[_Binding, ...]:
        """Return all imports in the order of the file."""
        package = (self.name if self.is_package else self.name.rpartition(".")[0]).split(".")
        return tuple(_bindings(self.tree, package))

    @functools.cached_property
    def classes(self) -> Mapping[str, ast.ClassDef]:
        """Return all classes by name."""
        return {node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)}

    @functools.cached_property
    def chains(self) -> tuple[tuple[str, ...], ...]:
        """Return the names of every expression ``a.b.c``, each expression once."""
        return tuple(dict.fromkeys(tuple(names) for node in ast.walk(self.tree) if (names := _attribute_chain(node))))


@functools.lru_cache(maxsize=4096)
def _find(name: str) -> Path | None:
    """Return the file of a module, found below its top-level package without an import.

    The answer is remembered only within one digest: files may appear and disappear between two digests.
    """
    top, *rest = name.split(".")
    # The second search finds editable installs that use an import hook.
    spec = PathFinder.find_spec(top) or importlib.util.find_spec(top)
    if spec is None:
        return None
    if spec.submodule_search_locations is None:
        source = spec.origin if spec.origin and spec.origin.endswith(".py") and not rest else None
        return None if source is None else Path(source)
    for folder in spec.submodule_search_locations:
        base = Path(folder, *rest)
        for candidate in (base / "__init__.py", *([base.with_suffix(".py")] if rest else [])):
            if _is_there(candidate):
                return candidate
    return None


def _is_there(file: Path) -> bool:
    """Return whether the file exists. If the disk fails, its error is raised: that is no absent file."""
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _module(name: str, importer: str) -> _Module:
    file = _find(name)
    if file is None:
        raise UsageError(f"code digest: module '{name}', named by {importer}, has no source file")
    stat = file.stat()
    return _parse(name, file, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=4096)
def _parse(name: str, file: Path, mtime_ns: int, size: int) -> _Module:
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as error:
        raise UsageError(f"{file}, line {error.lineno}: {error.msg}") from error
    return _Module(name, file, file.name == "__init__.py", tree)


def _require_plain_packages(name: str) -> None:
    """Check the packages that an import of the module runs; a namespace package has no file and no code."""
    parts = name.split(".")
    for package in (".".join(parts[:depth]) for depth in range(1, len(parts) + 1)):
        if _is_package(package):
            _require_imports_only(_module(package, name))


def _require_imports_only(package: _Module) -> None:
    """Refuse code in a package's ``__init__``: such code runs on import and no digest would hold it."""
    for node in _effective(package.tree.body):
        targets = [t.id for t in node.targets if isinstance(t, ast.Name)] if isinstance(node, ast.Assign) else []
        if targets != ["__all__"]:
            raise UsageError(
                f"{package.file}, line {node.lineno}: a package's __init__ holds only imports and __all__; "
                "move the code to a module"
            )


def _is_package(name: str) -> bool:
    file = _find(name)
    return file is not None and file.name == "__init__.py"


# --- imports ---------------------------------------------------------------------------------------------------------


def _import_nodes(tree: ast.AST, scope: str = "") -> Iterator[tuple[str, ast.Import | ast.ImportFrom]]:
    """Yield all imports with their scope, also those inside functions, except imports for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield scope, node
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            yield from _import_nodes(ast.Module(node.orelse, []), scope)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _import_nodes(node, f"{scope}{node.name}.")
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _import_nodes(node, scope)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _bindings(tree: ast.Module, package: Sequence[str]) -> Iterator[_Binding]:
    for scope, node in _import_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield _Binding(scope, alias.asname or alias.name, alias.name, "")
            continue
        source = node.module or ""
        if node.level:
            source = ".".join([*package[: len(package) - node.level + 1], *([source] if source else [])])
        for alias in node.names:
            if source != "__future__" and (source, alias.name) != ("typing", "TYPE_CHECKING"):
                yield _Binding(scope, alias.asname or alias.name, source, alias.name)


def _imports(module: _Module, project: frozenset[str]) -> tuple[list[str], set[str]]:
    """Return the sorted import records ``scope name = defining place``, and the project modules that are reached.

    Imports of one name in one scope (a fallback after a failed import) keep their order: the order decides which one counts.
    """
    records: list[tuple[str, str, str]] = []
    reached: set[str] = set()
    for binding in module.bindings:
        if binding.attribute == "*":
            raise UsageError(f"{module.file}: 'from {binding.source} import *' hides what is used; name what is imported")
        place, name = _definition(binding.source, binding.attribute, project, str(module.file))
        records.append((binding.scope, binding.local, f"{place}:{name}"))
        if place.split(".", 1)[0] in project:
            reached.add(place)
    reached.update(_attribute_uses(module, project))
    records = list(dict.fromkeys(sorted(records, key=lambda record: record[:2])))
    return [f"import {scope}{local} = {place}" for scope, local, place in records], reached


def _definition(
    source: str, attribute: str, project: frozenset[str], importer: str, seen: tuple[tuple[str, str], ...] = ()
) -> tuple[str, str]:
    """Follow re-exports through ``__init__`` files to the module that defines an imported name."""
    if not attribute or source.split(".", 1)[0] not in project or (source, attribute) in seen:
        return source, attribute
    submodule = f"{source}.{attribute}"
    if _is_package(source):
        module = _module(source, importer)
        _require_imports_only(module)
        for binding in reversed(module.bindings):
            if binding.local == attribute and (binding.source, binding.attribute) != (source, attribute):
                return _definition(binding.source, binding.attribute, project, str(module.file), (*seen, (source, attribute)))
    return (submodule, "") if _find(submodule) is not None else (source, attribute)


def _attribute_uses(module: _Module, project: frozenset[str]) -> Iterator[str]:
    """Yield the modules that are used as attributes of an imported package: ``import a`` and then ``a.b.f``."""
    packages = {}
    for binding in module.bindings:
        local, _, rest = binding.local.partition(".")
        place, name = (local, "") if rest else _definition(binding.source, binding.attribute, project, str(module.file))
        if place.split(".", 1)[0] in project and not name and _is_package(place):
            packages[local] = place
    if not packages:
        return
    for names in module.chains:
        place = packages.get(names[0], "")
        for attribute in names[1:] if place else ():
            place, name = _definition(place, attribute, project, str(module.file))
            if place.split(".", 1)[0] in project:
                yield place
            if name or not _is_package(place):
                break


def _attribute_chain(node: ast.AST) -> list[str]:
    """Return ``[a, b, c]`` for the expression ``a.b.c``, else an empty list."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if names and isinstance(node, ast.Name) else []


# --- canonical text --------------------------------------------------------------------------------------------------


def _model_classes(module: _Module, project: frozenset[str]) -> frozenset[str]:
    """Return the names of the module's classes that derive from pydantic's BaseModel, directly or through project classes."""
    classes = module.classes
    imported = {binding.local: binding for binding in module.bindings}

    def derives(base: ast.expr, seen: frozenset[str]) -> bool:
        base = base.value if isinstance(base, ast.Subscript) else base  # Generic[T]
        name = ast.unparse(base)
        if name in classes and name not in seen:
            return any(derives(b, seen | {name}) for b in classes[name].bases)
        local, _, last = name.rpartition(".")
        binding = imported.get(local or name)
        if binding is None:
            return False
        if binding.source.split(".", 1)[0] == "pydantic":
            return "BaseModel" in (last if local else "", binding.attribute)
        place, original = _definition(binding.source, binding.attribute, project, str(module.file))
        if place.split(".", 1)[0] not in project or _is_package(place):
            return False
        return (original or last) in _model_classes(_module(place, str(module.file)), project)

    return frozenset(name for name, node in classes.items() if any(derives(b, frozenset({name})) for b in node.bases))


def _effective(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Return the statements that can change a result: no docstrings, no imports (recorded apart), none for type checkers."""
    kept: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            kept.extend(_effective(node.orelse))
        elif not isinstance(node, ast.Import | ast.ImportFrom) and not _is_text(node):
            kept.append(node)
    return kept


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _declares_field(node: ast.stmt) -> bool:
    """Return whether a statement declares a field or configures a model: a cell's identity holds the values themselves.

    Class variables and private attributes are no fields: methods compute with them, and no cell's identity holds them.
    """
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        if _CLASS_VARIABLE.search(ast.unparse(node.annotation)):
            return node.target.id == "model_config"
        return not node.target.id.startswith("_")
    return isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "model_config" for t in node.targets)


def _declares_output(called: ast.expr) -> bool:
    """Return whether a call declares an output: a call of ``Variable`` or of a class named after it (rule C2)."""
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    return name.endswith(_OUTPUT)


def _says_optional(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == _OPTIONAL


@functools.lru_cache(maxsize=4096)
def _body_text(module: _Module, models: frozenset[str]) -> str:
    """Return the canonical text of a module without its imports."""
    return "\n".join(_canonical(node, models) for node in _effective(module.tree.body))


def _canonical(node: ast.AST, models: frozenset[str]) -> str:
    """Return the text of a syntax tree without positions, comments, docstrings, imports and field declarations."""
    if isinstance(node, ast.Constant):
        return f"{type(node.value).__name__}={node.value!a}"
    if isinstance(node, ast.JoinedStr):
        return f"JoinedStr({','.join(_joined(node, models))})"
    fields = []
    for name, value in sorted(ast.iter_fields(node)):
        if name == "keywords" and isinstance(node, ast.Call) and _declares_output(node.func):
            value = [keyword for keyword in value if keyword.arg != _OPTIONAL]
        if name in _SKIPPED_FIELDS or value is None or value == []:
            continue
        if isinstance(value, list) and isinstance(value[0], ast.stmt):
            value = _effective(value)
            if isinstance(node, ast.ClassDef) and node.name in models:
                value = [n for n in value if not _declares_field(n)]
            if isinstance(node, ast.ClassDef) and node.name.endswith(_OUTPUT):
                value = [n for n in value if not _says_optional(n)]
        fields.append(f"{name}={_value(value, models)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _value(value: object, models: frozenset[str]) -> str:
    if isinstance(value, ast.AST):
        return _canonical(value, models)
    if isinstance(value, list | tuple):
        return "[" + ",".join(_value(v, models) for v in value) + "]"
    return ascii(value)  # repr depends on the Unicode tables of the Python version


def _joined(node: ast.JoinedStr, models: frozenset[str]) -> list[str]:
    """Return the parts of an f-string with neighbouring texts merged, so that all Python versions agree."""
    parts: list[str] = []
    text = ""
    for value in node.values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            text += value.value
            continue
        if text:
            parts.append(ascii(text))
            text = ""
        parts.append(_canonical(value, models))
    return [*parts, ascii(text)] if text else parts
