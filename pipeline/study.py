"""Studies: a YAML file that names a scenario, axes and an experiment (rules G1, G2).

Loading is safe (YAML 1.2, no code). Every error names file, line, key path, value, accepted values and the near miss.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.columns import column_names
from pipeline.errors import UsageError, broken_rule, near_miss
from pipeline.experiment import Experiment, load_experiment
from pipeline.values import MOST_YAML_LETTERS, KeyPath, dotted, leaf_fields, plain, read_yaml, unit_of

OPTIONS = "options."
"""Beginning of every path into the experiment's options."""
STUDY_NAME = r"^[a-z0-9][a-z0-9-]*$"
"""Pattern of the names of studies."""

MOST_DENSE_BYTES = 2_000_000_000
"""Most bytes of a dense cube, unless its study says otherwise (rule G4)."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpacedValues(_Part):
    """Values with exact ends, equally spaced on a linear or logarithmic scale."""

    start: float
    stop: float
    points: int = Field(ge=2)
    scale: Literal["linear", "log"] = "linear"


class AxisEntry(_Part):
    """An entry of a coupled axis: a label and the values that change together."""

    label: str
    set: dict[str, Any] = Field(description="dotted path of each field -> its value")


class AxisFile(_Part):
    """An axis in its long form: a path with values, or labelled entries that set several paths together."""

    path: str | None = Field(None, description="dotted path into the scenario, or options.<name>")
    values: str | list[Any] | SpacedValues | None = Field(
        None, description="values: a list, 'start:stop:step', or start, stop and points"
    )
    entries: list[AxisEntry] | None = Field(None, description="labels of a coupled axis, each with the values that it sets")


class Bounds(_Part):
    """Bounds for the values of an axis that are kept, ends included."""

    min: float | None = None
    max: float | None = None


Axes = dict[str, AxisFile | str | list[Any] | SpacedValues | int | float | bool]
Condition = dict[str, Any]


class GridFile(_Part):
    """A grid: its axes, and the conditions that leave cells out."""

    axes: Axes
    where: Condition = Field(
        default_factory=dict,
        description="axis -> value, list of values, or {min, max}; only the cells that match every entry are computed",
    )
    exclude: list[Condition] = Field(default_factory=list, description="a cell that matches every entry of an item is left out")


class SurfaceSpec(_Part):
    """The axes that the surfaces treat: the averaged axis, the axis of the feasibility edge, and the paired axis."""

    over: str | None = Field(None, description="axis to average over; none: no average; null: realisation, if the study has it")
    edge: str | None = Field(None, description="axis along which the largest feasible value is found; null: none")
    paired: str | None = Field(
        None, description="axis whose values are compared in the cells that are feasible for all of them; null: none"
    )
    profiles: list[str] = Field(
        default_factory=list, description="variables with dimensions of their own that are averaged too"
    )


class ReportSpec(_Part):
    """Choices for the report: its axes, its scale, and the variables in its plots and tables."""

    x: str | None = Field(None, description="horizontal axis, or a variable; null: the numeric axis with the most values")
    y: str | None = Field(None, description="variable that is drawn; null: the main metric of the experiment")
    colour: str | None = Field(None, description="axis whose values have curves of different colours; null: chosen")
    style: str | None = Field(None, description="axis whose values have curves of different dashes; null: chosen")
    log_y: bool = Field(False, description="whether the vertical scale is logarithmic")
    panels: list[str] = Field(default_factory=list, description="axes; each combination of their values has its own plot")
    also: list[str] = Field(default_factory=list, description="further variables, drawn below the first one on a linear scale")
    front: list[str] = Field(
        default_factory=list,
        max_length=2,
        description="two variables that are drawn against each other; empty: a rate and the variable y, where both exist",
    )
    table: list[str] = Field(
        default_factory=list, description="variables of the tables; a row for each variable, a column for each value of x"
    )
    cell: Condition = Field(
        default_factory=dict,
        description="axis -> value, list of values, or {min, max}; the cell whose network is drawn; empty: chosen",
    )


class StudyFile(_Part):
    """The content of a study file."""

    study: str = Field(pattern=STUDY_NAME, description="name of the study: lower-case letters, digits, hyphens")
    title: str = Field("", description="title of the report; empty: the name of the study")
    paper: str | None = Field(None, description="short name of the paper that the study is about; null: no paper")
    figure: str | None = Field(None, description="figure or table of the paper that the study is about")
    experiment: str = Field(description="name of the experiment that computes each cell")
    scenario: dict[str, Any] = Field(default_factory=dict, description="fields of the scenario that differ from their defaults")
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of the experiment that differ from their defaults"
    )
    grids: list[GridFile] | None = Field(
        None, min_length=1, description="grids; a cell belongs to the study if it belongs to one of them"
    )
    axes: Axes | None = Field(None, description="axes of the only grid; in place of grids")
    where: Condition = Field(default_factory=dict, description="where of the only grid")
    exclude: list[Condition] = Field(default_factory=list, description="exclude of the only grid")
    keep: list[str] | None = Field(None, min_length=1, description="variables that are stored; null: all")
    surfaces: SurfaceSpec = SurfaceSpec()
    report: ReportSpec = ReportSpec()
    cell_timeout_s: float = Field(600.0, gt=0, description="longest time that a cell may run, s")
    max_dense_bytes: int = Field(
        MOST_DENSE_BYTES, gt=0, description="largest size of the dense cube, bytes; a larger cube is refused"
    )


@dataclass(frozen=True)
class Source:
    """The origin of a study's text: its name and lines, so that errors can name them."""

    name: str
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    overridden: Mapping[KeyPath, str] = field(default_factory=dict)
    """Key paths that the command line sets, with the key as it was typed."""

    def error(self, path: KeyPath, message: str) -> UsageError:
        """Return an error that names file, line and key path, or the override that set the value."""
        typed = next((self.overridden[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.overridden), None)
        if typed is not None:
            return UsageError(f"--set {typed}: {message}")
        line = next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), None)
        where = f"{self.name}, line {line}" if line is not None else self.name
        return UsageError(f"{where}, {dotted(path)}: {message}" if path else f"{where}: {message}")


@dataclass(frozen=True)
class Study:
    """A study, validated; its grids are expanded by :func:`pipeline.grid.expand`."""

    name: str
    title: str
    paper: str
    figure: str
    experiment: Experiment
    scenario: BaseModel
    options: BaseModel
    grids: tuple[GridFile, ...]
    keep: tuple[str, ...] | None
    surfaces: SurfaceSpec
    report: Mapping[str, Any]
    cell_timeout_s: float
    max_dense_bytes: int
    source: Source
    grid_paths: tuple[KeyPath, ...]
    text: str
    """The study without ``surfaces`` and ``report``, overrides included: one line of YAML, which is JSON, too."""


def load_study(
    source: str | Path,
    *,
    overrides: Sequence[str] = (),
    experiment_loader: Callable[[str], Experiment] = load_experiment,
) -> Study:
    """Load and validate a study file.

    Parameters
    ----------
    source
        Path of the file, or the text of a study (a text has more than one line).
    overrides
        ``key=value`` texts, the value in YAML: a scenario or options path, ``axes.<name>``, a key of ``surfaces`` or
        ``report`` such as ``surfaces.over``, or a key of the file.
    experiment_loader
        Finds the experiment by name.

    Raises
    ------
    UsageError
        If any part of the study cannot be used as written.
    """
    if isinstance(source, str) and "\n" in source:
        name, text = "study text", source
    else:
        name = str(source)
        try:
            with Path(source).open(encoding="utf-8") as file:
                text = file.read(MOST_YAML_LETTERS + 1)  # no more: it may be anything, and without end
        except (OSError, ValueError) as error:
            raise UsageError(f"{name}: cannot be read: {error}") from error
    content, lines = read_yaml(text, name)
    origin = Source(name, lines)
    if not isinstance(content, dict):
        raise origin.error((), "a study is a mapping that begins with 'study: <name>'")
    overridden: dict[KeyPath, str] = {}
    for override in overrides:
        overridden |= _override(content, override)
    origin = replace(origin, overridden=overridden)
    file = validate(StudyFile, content, origin, ())
    return replace(_resolve(file, origin, experiment_loader), text=_cells_text(content))


def _cells_text(content: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in content.items() if key not in ("surfaces", "report")}
    return json.dumps(plain(kept), ensure_ascii=False)


def _override(content: dict[str, Any], text: str) -> dict[KeyPath, str]:
    """Apply one ``key=value`` of ``--set``; return the key paths that it set, with the key as it was typed."""
    key, equals, value_text = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UsageError(f"--set {text}: expected key=value, e.g. --set axes.sinr_db=0:40:10")
    value, _ = read_yaml(value_text, f"--set {key}")
    head, _, rest = key.partition(".")
    if head == "axes" and rest:
        return _override_axis(content, key, rest, value)
    if head not in ("scenario", "options", "surfaces", "report") and (rest or head not in StudyFile.model_fields):
        if not rest:
            raise UsageError(f"--set {key}: unknown key{near_miss(key, StudyFile.model_fields)}")
        key = f"scenario.{key}"
    typed = text.partition("=")[0].strip()
    *parents, last = key.split(".")
    node = content
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise UsageError(f"--set {key}: '{parent}' holds no fields")
    node[last] = value
    return {tuple(key.split(".")): typed}


def _override_axis(content: dict[str, Any], key: str, wanted: str, value: Any) -> dict[KeyPath, str]:
    """Give an axis other values in every grid that has it; of an axis with labelled entries, keep only the named entries."""
    listed = isinstance(content.get("grids"), list)
    grids = content["grids"] if listed else [content]
    tables = [(i, g["axes"]) for i, g in enumerate(grids) if isinstance(g, dict) and isinstance(g.get("axes"), dict)]
    found = [(i, axes, wanted) for i, axes in tables if wanted in axes]
    found = found or [(i, axes, name) for i, axes in tables for name in axes if _is_ending(name, wanted)]
    if not found:
        known = sorted({name for _, axes in tables for name in axes})
        raise UsageError(f"--set {key}: no such axis{near_miss(wanted, known)}; axes: {', '.join(known)}")
    for _, axes, name in found:
        old = axes[name]
        if isinstance(old, dict) and "entries" in old:
            axes[name] = {**old, "entries": _entries_called(old["entries"], value, key)}
        else:
            new = value if isinstance(value, list | str | dict) else [value]
            axes[name] = {**old, "values": new} if isinstance(old, dict) and "path" in old else new
    return {(*(("grids", i) if listed else ()), "axes", name): key for i, _, name in found}


def _is_ending(name: str, wanted: str) -> bool:
    """Return whether ``wanted`` is an ending of an axis name that is a dotted path; its dimension is named by the ending."""
    parts = name.split(".")
    return wanted.replace(".", "_") in ("_".join(parts[n:]) for n in range(1, len(parts)))


def _entries_called(entries: Any, wanted: Any, key: str) -> list[Any]:
    known = {str(e.get("label")): e for e in entries if isinstance(e, dict)} if isinstance(entries, list) else {}
    labels = [str(label) for label in (wanted if isinstance(wanted, list) else [wanted])]
    for label in labels:
        if label not in known:
            raise UsageError(f"--set {key}: no entry '{label}'{near_miss(label, known)}; labels: {', '.join(known)}")
    return [known[label] for label in labels]


def validate(model: type[BaseModel], content: Any, origin: Source, prefix: KeyPath) -> Any:
    """Validate plain content strictly (no text for a number, no fraction for a whole number) with errors by line."""
    try:
        return model.model_validate_json(json.dumps(plain(content)), strict=True)
    except ValidationError as error:
        first = _deepest(error)
        raise origin.error((*prefix, *_real_path(first["loc"], content)), _sentence(model, first)) from error
    except ValueError as error:
        raise origin.error(prefix, str(error)) from error


def _deepest(error: ValidationError) -> Any:
    """Return the error with the deepest location: in a union it concerns the form that was meant."""
    return max(error.errors(), key=lambda e: (len(e["loc"]), e["type"] != "extra_forbidden"))


def _real_path(location: tuple[int | str, ...], content: Any) -> Iterator[int | str]:
    """Yield the parts of a pydantic location without those that name union members instead of keys."""
    node = content
    for part in location:
        if isinstance(node, Mapping) and part in node:
            node = node[str(part)]
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        elif part == location[-1] and isinstance(node, Mapping):
            node = None
        else:
            continue
        yield part


def _sentence(model: type[BaseModel], error: Any) -> str:
    if error["type"] == "extra_forbidden":
        name, accepted = str(error["loc"][-1]), _accepted_names(model, error["loc"][:-1])
        return f"unknown key {name!a}{near_miss(name, accepted)}; accepted: {', '.join(accepted)}"
    if error["type"] == "missing":
        return "this key is required"
    return f"found {error['input']!r}; {broken_rule(error)}"


def _accepted_names(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        info = model.model_fields.get(str(part))
        if info is not None:
            for kind in (info.annotation, *getattr(info.annotation, "__args__", ())):
                for candidate in (kind, *getattr(kind, "__args__", ())):
                    if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                        model = candidate
        elif part == "AxisFile":
            model = AxisFile
    return sorted(model.model_fields)


def _resolve(file: StudyFile, origin: Source, experiment_loader: Callable[[str], Experiment]) -> Study:
    try:
        experiment = experiment_loader(file.experiment)
    except UsageError as error:
        raise origin.error(("experiment",), str(error)) from error
    if (file.grids is None) == (file.axes is None):
        raise origin.error((), "give either 'grids' (a list) or 'axes' (a single grid)")
    if file.grids is not None and (file.where or file.exclude):
        raise origin.error(("where",) if file.where else ("exclude",), "write it inside the grid that it belongs to")
    names = [v.name for v in experiment.variables]
    shown = [*names, *column_names(experiment)]
    listed: dict[KeyPath, tuple[list[str], list[str]]] = {
        ("keep",): (file.keep or [], names), ("surfaces", "profiles"): (file.surfaces.profiles, names),
        ("report", "also"): (file.report.also, shown), ("report", "table"): (file.report.table, shown),
        ("report", "front"): (file.report.front, shown),
    }  # fmt: skip
    for path, (chosen, known) in listed.items():
        for i, name in enumerate(chosen):
            if name not in known:
                told = f"no variable '{name}'{near_miss(name, known)}; there are {', '.join(known)}"
                raise origin.error((*path, i), told)
    grids = tuple(file.grids or [GridFile(axes=file.axes or {}, where=file.where, exclude=file.exclude)])
    axes = sorted({axis for grid in grids for axis in grid.axes})
    if len(file.report.front) == 1:
        raise origin.error(("report", "front"), "a front has two variables")
    for i, axis in enumerate(file.report.panels):
        if axis not in axes:
            raise origin.error(("report", "panels", i), f"no axis '{axis}'{near_miss(axis, axes)}; there are {', '.join(axes)}")
    return Study(
        name=file.study,
        title=file.title or file.study,
        paper=file.paper or "",
        figure=file.figure or "",
        experiment=experiment,
        scenario=validate(experiment.scenario_model, file.scenario, origin, ("scenario",)),
        options=validate(experiment.options_model, file.options, origin, ("options",)),
        grids=grids,
        keep=None if file.keep is None else tuple(n for n in names if n in file.keep),
        surfaces=file.surfaces,
        report=file.report.model_dump(),
        cell_timeout_s=file.cell_timeout_s,
        max_dense_bytes=file.max_dense_bytes,
        source=origin,
        grid_paths=tuple(("grids", i) if file.grids else () for i in range(len(grids))),
        text="",
    )


def study_json_schema(scenario_models: Mapping[str, type[BaseModel]], papers: Iterable[str] = ()) -> str:
    """Return the JSON schema of study files, for editors.

    Parameters
    ----------
    scenario_models
        Scenario models by the names of their experiments.
    papers
        The papers that a study may name; without papers any name is accepted.
    """
    schema = StudyFile.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "disac study"
    schema["properties"]["experiment"]["enum"] = sorted(scenario_models)
    if names := list(papers):
        schema["properties"]["paper"]["anyOf"][0]["enum"] = names
    definitions = schema.setdefault("$defs", {})
    for experiment, model in sorted(scenario_models.items()):
        scenario = model.model_json_schema(ref_template=f"#/$defs/{experiment}.scenario/$defs/{{model}}")
        definitions[f"{experiment}.scenario"] = scenario
    choices = [
        {
            "if": {"properties": {"experiment": {"const": experiment}}},
            "then": {"properties": {"scenario": {"$ref": f"#/$defs/{experiment}.scenario"}}},
        }
        for experiment in sorted(scenario_models)
    ]
    schema["allOf"] = choices
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def known_paths(study: Study) -> list[str]:
    """Return all paths that an axis may name."""
    scenario = [path for path, _ in leaf_fields(study.experiment.scenario_model)]
    return scenario + [f"options.{path}" for path, _ in leaf_fields(study.experiment.options_model)]


def resolve_path(study: Study, path: str, at: KeyPath) -> str:
    """Return the full dotted path for a path or for an unambiguous ending of one.

    Raises
    ------
    UsageError
        If no path has this ending, or several paths have it.
    """
    known = known_paths(study)
    if path in known:
        return path
    ending = [k for k in known if k.endswith(f".{path}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise study.source.error(at, f"'{path}' is ambiguous: {', '.join(ending)}")
    names = [*known, *(k.rsplit(".", 1)[-1] for k in known)]
    raise study.source.error(at, f"no field {path!a}{near_miss(path, names)}; there are {', '.join(known)}")


def long_name(study: Study, path: str) -> str:
    """Return the name of the field at a path: its description up to the first semicolon, without the unit.

    A field without a description is named by its path.
    """
    options = path.startswith("options.")
    model = study.experiment.options_model if options else study.experiment.scenario_model
    description = dict(leaf_fields(model))[path.removeprefix("options.") if options else path].description or path
    return description.partition(";")[0].removesuffix(f", {unit_of(path)}")
