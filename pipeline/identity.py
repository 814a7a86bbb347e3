"""The identity of a cell (rules I1, I4).

The canonical form of a scenario has the current defaults filled in and leaves out every field that equals its
``identity_default``. A renamed field stands under its first name, a file is the digest of its content, and a number has one
text. The *scenario key* follows from this form with the experiment's name and options. The *key* follows from the scenario key
and the code digest.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.errors import UsageError
from pipeline.grid import Cells
from pipeline.study import OPTIONS
from pipeline.values import canonical_text, extra, leaf_fields, leaf_value

_KEY_BYTES = 16


def _identity_path(path: str, info: FieldInfo) -> str:
    """Return the path of a leaf in the identity: the leaf's first name (``identity_name``) if it was renamed."""
    name = extra(info).get("identity_name")
    return path if name is None else ".".join([*path.split(".")[:-1], str(name)])


def _identity_leaves(model: type[BaseModel]) -> dict[str, tuple[str, FieldInfo]]:
    """Return the identity path and the field of every leaf of a model, by the leaf's path.

    Raises
    ------
    TypeError
        If two fields share an identity path: every key would lose one of them.
    """
    leaves = {path: (_identity_path(path, info), info) for path, info in leaf_fields(model)}
    owner: dict[str, str] = {}
    for path, (identity_path, _) in leaves.items():
        other = owner.setdefault(identity_path, path)
        if other != path:
            raise TypeError(f"{model.__name__}: '{other}' and '{path}' both enter identity as '{identity_path}'; rename one")
    return leaves


def _entry(path: str, info: FieldInfo, value: Any) -> tuple[str, str | None]:
    """Return the identity path and the text of one leaf; no text if the leaf equals its identity default."""
    return _identity_path(path, info), _texts(info, [value])[0]


def _texts(info: FieldInfo, values: Sequence[Any]) -> list[str | None]:
    """Return the text of each value of one leaf; None for a value that equals the leaf's identity default."""
    notes = extra(info)
    default = canonical_text(notes["identity_default"]) if "identity_default" in notes else None
    texts = [canonical_text(value) for value in values]
    if notes.get("content_file"):
        return [
            None if text == default else canonical_text(f"blake2b:{file_digest(Path(value))}") if value else text
            for value, text in zip(values, texts, strict=True)
        ]
    return [None if text == default else text for text in texts]


def file_digest(path: Path) -> str:
    """Return the 128-bit blake2b of a file's content.

    Raises
    ------
    UsageError
        If the file cannot be read.
    """
    try:
        stat = path.stat()
        if not S_ISREG(stat.st_mode):
            raise UsageError(f"{path}: a scenario refers to this file and it is no plain file")
        return _file_digest(path, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_size)
    except OSError as error:
        raise UsageError(f"{path}: a scenario refers to this file and it cannot be read: {error}") from error


@functools.lru_cache(maxsize=4096)
def _file_digest(path: Path, mtime_ns: int, ctime_ns: int, inode: int, size: int) -> str:
    return blake2b(path.read_bytes(), digest_size=_KEY_BYTES).hexdigest()


def canonical_scenario(model: BaseModel, without: Collection[str] = ()) -> dict[str, str]:
    """Return the canonical text of every leaf that differs from its identity default, by its identity path.

    Parameters
    ----------
    model
        A validated scenario or options.
    without
        Paths of leaves to leave out: an axis sets them in every cell, so no cell uses their base value.
    """
    leaves = _identity_leaves(type(model)).items()
    entries = (_entry(path, info, leaf_value(model, path)) for path, (_, info) in leaves if path not in without)
    return {path: text for path, text in sorted(entries) if text is not None}


def canonical_options(options: BaseModel) -> str:
    """Return the canonical text of an experiment's options."""
    return _object(canonical_scenario(options))


def _object(entries: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{canonical_text(path)}:{text}" for path, text in sorted(entries.items())) + "}"


def identity_text(experiment: str, scenario: BaseModel, options: BaseModel) -> str:
    """Return the canonical text of one cell from its validated models. The fast path must give the same text."""
    entries = {f"scenario.{p}": t for p, t in canonical_scenario(scenario).items()}
    entries |= {f"options.{p}": t for p, t in canonical_scenario(options).items()}
    return _object(entries | {"experiment": canonical_text(experiment)})


class _Template:
    """The cells' canonical texts as constant pieces and one fragment per axis leaf, in sorted order of the paths.

    Leaves are independent, so a leaf that an axis sets is canonicalised once per axis value and not once per cell.
    Only paths that begin with ``head`` count; the texts leave ``head`` out.
    """

    def __init__(self, cells: Cells, head: str = "") -> None:
        study = cells.study
        set_by_axes = {path for axis in cells.axes for path in axis.paths}
        set_options = {path.removeprefix(OPTIONS) for path in set_by_axes if path.startswith(OPTIONS)}
        fields = {f"scenario.{p}": i for p, i in leaf_fields(type(study.scenario))}
        fields |= {f"options.{p}": i for p, i in leaf_fields(type(study.options))}
        entries = {f"scenario.{p}": t for p, t in canonical_scenario(study.scenario, set_by_axes).items()}
        entries |= {f"options.{p}": t for p, t in canonical_scenario(study.options, set_options).items()}
        entries["experiment"] = canonical_text(study.experiment.name)
        entries = {p.removeprefix(head): t for p, t in entries.items() if p.startswith(head)}
        varied: dict[str, tuple[int, list[str]]] = {}
        for a, axis in enumerate(cells.axes):
            for path in axis.paths:
                full = path if path.startswith(OPTIONS) else f"scenario.{path}"
                if not full.startswith(head):
                    continue
                side, _, rest = full.partition(".")
                name = f"{side}.{_identity_path(rest, fields[full])}".removeprefix(head)
                texts = _texts(fields[full], [entry[path] for entry in axis.entries])
                before = canonical_text(name)
                varied[name] = (a, ["" if text is None else f"{before}:{text}," for text in texts])
        # The pieces are in sorted order of the paths. Each ends with a comma; joining them cuts the last comma off.
        self.pieces: list[str | tuple[int, list[str]]] = []
        for path in sorted({*entries, *varied}):
            piece = varied[path] if path in varied else f"{canonical_text(path)}:{entries[path]},"
            if self.pieces and isinstance(piece, str) and isinstance(self.pieces[-1], str):
                self.pieces[-1] += piece
            else:
                self.pieces.append(piece)

    def text(self, row: NDArray[np.int32]) -> str:
        """Return the canonical text of one cell."""
        return "{" + "".join(p if isinstance(p, str) else p[1][row[p[0]]] for p in self.pieces)[:-1] + "}"

    def columns(self, index: NDArray[np.int32]) -> list[str | list[str]]:
        """Return for each piece the constant, or the fragment of every cell."""
        return [p if isinstance(p, str) else np.array(p[1], dtype=object)[index[:, p[0]]].tolist() for p in self.pieces]

    def texts(self, index: NDArray[np.int32]) -> Iterator[str]:
        """Yield the canonical text of every cell."""
        columns = (iter([c] * len(index)) if isinstance(c, str) else c for c in self.columns(index))
        join = "".join
        for parts in zip(*columns, strict=True):
            yield "{" + join(parts)[:-1] + "}"


def _template(cells: Cells) -> _Template:
    """Return the template of these cells; it is built once."""
    cache = vars(cells)
    if "_template" not in cache:
        cache["_template"] = _Template(cells)
    template: _Template = cache["_template"]
    return template


def cell_text(cells: Cells, i: int) -> str:
    """Return the canonical text of scenario, experiment and options of planned cell ``i``."""
    return _template(cells).text(cells.index[i])


def option_texts(cells: Cells, index: NDArray[np.int32]) -> list[str]:
    """Return the canonical text of the options of cells, given by their label numbers; no options are validated."""
    template = _Template(cells, OPTIONS)
    return list(template.texts(index)) if template.pieces else ["{}"] * len(index)


def cell_keys(cells: Cells, code_digest: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Compute the keys and the scenario keys of all planned cells.

    Returns
    -------
    keys, scenario_keys
        Each (n, 16) uint8. The scenario key is the 128-bit blake2b of the canonical text; the key is the 128-bit blake2b of
        the scenario key followed by the code digest.
    """
    count = len(cells.index)
    input_files(cells)  # remember the files' digests as they are now, with the keys
    scenario_keys = bytearray()
    for text in _template(cells).texts(cells.index):
        scenario_keys += blake2b(text.encode("ascii"), digest_size=_KEY_BYTES).digest()
    found = np.frombuffer(bytes(scenario_keys), dtype=np.uint8).reshape(count, _KEY_BYTES)
    return keys_under(found, code_digest), found


def keyed_content(cells: Cells, code_digest: str) -> str:
    """Return the digest of all data from which the keys of these cells are made; no key is made."""
    digest = blake2b(code_digest.encode(), digest_size=_KEY_BYTES)
    for piece in _template(cells).pieces:
        digest.update(repr(piece).encode())
    digest.update(np.ascontiguousarray(cells.index).tobytes())
    return digest.hexdigest()


def keys_under(scenario_keys: NDArray[np.uint8], code_digest: str) -> NDArray[np.uint8]:
    """Compute the keys of cells from their scenario keys (n, 16) and a code digest."""
    code, whole = code_digest.encode(), np.ascontiguousarray(scenario_keys).tobytes()
    keys = bytearray()
    for start in range(0, len(whole), _KEY_BYTES):
        keys += blake2b(whole[start : start + _KEY_BYTES] + code, digest_size=_KEY_BYTES).digest()
    return np.frombuffer(bytes(keys), dtype=np.uint8).reshape(-1, _KEY_BYTES)


def input_files(cells: Cells) -> dict[str, tuple[Path, str]]:
    """Return the path and the digest of each file that the cells refer to, by the value as written (rule I4).

    The digest is that of the first call. The base scenario's value counts only if no axis sets the field: otherwise no cell
    uses it.
    """
    cache = vars(cells)
    if "_input_files" not in cache:
        scenario = cells.study.scenario
        marked = {path for path, info in leaf_fields(type(scenario)) if extra(info).get("content_file")}
        on_axes = {path for axis in cells.axes for path in axis.paths}
        values = {leaf_value(scenario, path) for path in marked - on_axes}
        values |= {entry[path] for axis in cells.axes for entry in axis.entries for path in marked & set(entry)}
        paths = {str(value): Path(value) for value in sorted(value for value in values if value)}
        cache["_input_files"] = {text: (path, file_digest(path)) for text, path in paths.items()}
    found: dict[str, tuple[Path, str]] = cache["_input_files"]
    return found
