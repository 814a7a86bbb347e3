"""The code digest of an experiment: what it computes, not how the file looks (rule I2).

Static: files are parsed, never imported. Starting from the experiment's modules, every module inside the project that
*defines* something reached is included; re-exports through package ``__init__`` files lead to the defining module only.
The walk of the syntax tree is our own, so that the digest is equal on every supported Python.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.machinery import PathFinder
from pathlib import Path

from pipeline.errors import UsageError

_DIGEST_BYTES = 16
_SKIPPED_FIELDS = frozenset(
    {"ctx", "kind", "type_comment", "type_ignores", "lineno", "col_offset", "end_lineno", "end_col_offset"}
)


@dataclass(frozen=True)
class CodeDigest:
    """Digest of all modules reached, and of each."""

    digest: str
    manifest: Mapping[str, str]


def code_digest(modules: Sequence[str]) -> CodeDigest:
    """Digest the code that the modules reach inside their own top-level packages.

    Raises
    ------
    UsageError
        If a module cannot be found or parsed, a project module is star-imported, or a package ``__init__`` that is
        reached holds more than imports.
    """
    project = frozenset(m.split(".", 1)[0] for m in modules)
    waiting, manifest = [*modules], {}
    while waiting:
        name = waiting.pop()
        if name in manifest:
            continue
        module = _module(name)
        if module.is_package:
            _require_imports_only(module)
        records, reached = _imports(module, project)
        manifest[name] = _hash("\n".join([*records, *module.body_text]))
        waiting.extend(reached)
    ordered = dict(sorted(manifest.items()))
    return CodeDigest(_hash("\n".join(f"{name} {digest}" for name, digest in ordered.items())), ordered)


def explain_change(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Sentences on how one manifest differs from another."""
    return [
        f"{name} {'changed' if name in old and name in new else 'is new' if name in new else 'is no longer used'}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


@dataclass(frozen=True)
class _Module:
    name: str
    file: Path
    is_package: bool
    tree: ast.Module

    @functools.cached_property
    def body_text(self) -> list[str]:
        """Canonical text of the module without imports."""
        models = _model_classes(self)
        return [text for node in _without_docstring(self.tree.body) if (text := _canonical(node, models))]

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


def _find(name: str) -> Path | None:
    """File of a module, found below its top-level package without importing anything."""
    top, *rest = name.split(".")
    spec = PathFinder.find_spec(top)
    if spec is None:
        return None
    if spec.submodule_search_locations is None:
        return Path(spec.origin) if spec.origin and not rest else None
    for folder in spec.submodule_search_locations:
        base = Path(folder, *rest)
        for candidate in (base / "__init__.py", base.with_suffix(".py") if rest else base / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def _module(name: str) -> _Module:
    file = _find(name)
    if file is None:
        raise UsageError(f"code digest: module '{name}' has no source file")
    stat = file.stat()
    return _parse(name, file, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=4096)
def _parse(name: str, file: Path, mtime_ns: int, size: int) -> _Module:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    except SyntaxError as error:
        raise UsageError(f"{file}, line {error.lineno}: {error.msg}") from error
    return _Module(name, file, file.name == "__init__.py", tree)


def _without_docstring(body: Sequence[ast.stmt]) -> Sequence[ast.stmt]:
    return [
        n
        for n in body
        if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) and isinstance(n.value.value, str))
    ]


def _require_imports_only(module: _Module) -> None:
    for node in _without_docstring(module.tree.body):
        names = [t.id for t in node.targets if isinstance(t, ast.Name)] if isinstance(node, ast.Assign) else []
        if not isinstance(node, ast.Import | ast.ImportFrom) and names != ["__all__"]:
            raise UsageError(
                f"{module.file}, line {node.lineno}: a package's __init__ holds only imports; move the code to a module"
            )


def _import_nodes(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """All imports, also inside functions, except those for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            for other in node.orelse:
                yield from _import_nodes(ast.Module([other], []))
        else:
            yield from _import_nodes(node)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _imports(module: _Module, project: frozenset[str]) -> tuple[list[str], set[str]]:
    """Import records ``local name -> defining place`` in sorted order, and the project modules reached."""
    records, reached = set(), set()
    for local, source, attribute in _bindings(module):
        if source.split(".", 1)[0] not in project:
            records.add(f"import {local} = {source}:{attribute}")
            continue
        if attribute == "*":
            raise UsageError(f"{module.file}: 'from {source} import *' hides what is used; name what is imported")
        place, name = _definition(source, attribute)
        records.add(f"import {local} = {place}:{name}")
        reached.add(place)
    return sorted(records), reached


def _bindings(module: _Module) -> Iterator[tuple[str, str, str]]:
    """(local name, module, attribute) of every import; the attribute is empty for a module itself."""
    for node in _import_nodes(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, alias.name, ""
            continue
        source = node.module or ""
        if node.level:
            package = module.package.split(".")
            source = ".".join([*package[: len(package) - node.level + 1], *([source] if source else [])])
        if source == "__future__":
            continue
        for alias in node.names:
            yield alias.asname or alias.name, source, alias.name


def _definition(source: str, attribute: str, depth: int = 0) -> tuple[str, str]:
    """Follow re-exports to the module that defines an imported name."""
    if attribute and _find(f"{source}.{attribute}") is not None:
        return f"{source}.{attribute}", ""
    module = _module(source)
    if not attribute or not module.is_package or depth > 20:
        return source, attribute
    for local, origin, name in _bindings(module):
        if local == attribute:
            return _definition(origin, name, depth + 1)
    return source, attribute


def _model_classes(module: _Module) -> frozenset[str]:
    """Names of the module's classes that derive from pydantic's BaseModel, directly or through project classes."""
    classes = {n.name: n for n in ast.walk(module.tree) if isinstance(n, ast.ClassDef)}
    imported = {local: (source, name) for local, source, name in _bindings(module)}

    def derives(base: ast.expr, seen: frozenset[str]) -> bool:
        name = ast.unparse(base)
        if name in classes and name not in seen:
            return any(derives(b, seen | {name}) for b in classes[name].bases)
        source, attribute = imported.get(name.split(".", 1)[0], ("", ""))
        if source.split(".", 1)[0] == "pydantic":
            return name.rsplit(".", 1)[-1] == "BaseModel" or attribute == "BaseModel"
        if source and attribute and source.split(".", 1)[0] == module.name.split(".", 1)[0]:
            place, original = _definition(source, attribute)
            return original in _model_classes(_module(place))
        return False

    return frozenset(name for name, node in classes.items() if any(derives(b, frozenset({name})) for b in node.bases))


def _canonical(node: ast.AST, models: frozenset[str]) -> str:
    """Text of a syntax tree without positions, comments, docstrings, imports and field declarations."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return ""
    if isinstance(node, ast.Constant):
        return f"{type(node.value).__name__}={node.value!r}"
    if isinstance(node, ast.JoinedStr):
        return f"JoinedStr({','.join(_joined(node, models))})"
    fields = []
    for name, value in sorted(ast.iter_fields(node)):
        if name in _SKIPPED_FIELDS or value is None or value == []:
            continue
        if name == "body" and isinstance(value, list):
            value = _without_docstring(value)
            if isinstance(node, ast.ClassDef) and node.name in models:
                value = [n for n in value if not _declares_field(n)]
        fields.append(f"{name}={_value(value, models)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _declares_field(node: ast.stmt) -> bool:
    """A field declaration or the configuration of a model: identity takes defaults from the values themselves."""
    if isinstance(node, ast.AnnAssign):
        return True
    return isinstance(node, ast.Assign) and any(
        isinstance(t, ast.Name) and t.id == "model_config" for t in node.targets
    )


def _value(value: object, models: frozenset[str]) -> str:
    if isinstance(value, ast.AST):
        return _canonical(value, models)
    if isinstance(value, list | tuple):
        return "[" + ",".join(text for v in value if (text := _value(v, models))) + "]"
    return repr(value)


def _joined(node: ast.JoinedStr, models: frozenset[str]) -> list[str]:
    """Parts of an f-string with neighbouring texts merged, as all Pythons then agree."""
    parts: list[str] = []
    text = ""
    for value in node.values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            text += value.value
            continue
        if text:
            parts.append(repr(text))
            text = ""
        parts.append(_canonical(value, models))
    return [*parts, repr(text)] if text else parts
