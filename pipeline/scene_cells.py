"""The place of a study whose network a report draws, the designs there, and their scenes from what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from pipeline.conditions import labels_named
from pipeline.experiment import STATUS_CODES, STATUS_NAMES, load_experiment
from pipeline.grid import Axis, Cells
from pipeline.ledger import DamagedSegmentError, read_segment
from pipeline.plan import Plan
from pipeline.scenes import Scene, scenes_of
from pipeline.segment import cell_values
from pipeline.store import Store
from pipeline.study import OPTIONS
from pipeline.values import as_text, build, plain

MOST_DESIGNS = 8
"""Most designs of a scene: more beams in one plot cannot be told apart."""
MOST_NAMED = 24
"""Most designs of a scene if the study names them."""

_FEASIBLE = (STATUS_CODES["ok"], STATUS_CODES["inaccurate"])
_CELL = ("report", "cell")


class DrawnCell(BaseModel):
    """One design at the drawn place: its labels by the names of the axes, its status, and where its result is stored."""

    labels: dict[str, Any]
    number: int
    status: str
    scenario: dict[str, Any]
    options: dict[str, Any]
    key: str
    segment: str | None
    row: int


class DrawnPlace(BaseModel):
    """The place whose network is drawn, as plain data for another process.

    ``at`` has the labels of the place by the names of the axes. ``designs`` are the axes that distinguish the designs: they set
    options alone, so that all designs have the same network. ``sizes`` has their numbers of labels. ``feasible`` and
    ``planned`` count the designs there.
    """

    experiment: str
    at: dict[str, Any]
    named: bool
    designs: dict[str, list[Any]]
    cells: list[DrawnCell]
    feasible: int
    planned: int


@dataclass(frozen=True)
class DrawnScene:
    """The scene of one design; ``missing`` says why it has neither ellipses nor beams, empty if it has what there is."""

    cell: DrawnCell
    scene: Scene
    missing: str


def design_axes(cells: Cells) -> list[Axis]:
    """Return the axes that set options alone. Along such an axis the network is the same."""
    return [axis for axis in cells.axes if all(path.startswith(OPTIONS) for path in axis.paths)]


def cells_named(cells: Cells) -> NDArray[np.bool_]:
    """Return a mask of the planned cells that ``report.cell`` names; all of them if the study names none.

    Raises
    ------
    UsageError
        If it names an axis or a value that does not exist, or no planned cell.
    """
    study, kept = cells.study, np.ones(len(cells.index), dtype=bool)
    wanted = _left_of(study.report.get("cell") or {}, cells)
    if not wanted:
        return kept
    names = [(axis.name, *axis.paths) for axis in cells.axes]
    places = [{as_text(label): i for i, label in enumerate(axis.labels)} for axis in cells.axes]
    found = labels_named(
        study, wanted, _CELL, names, places, [axis.labels for axis in cells.axes], [axis.name for axis in cells.axes]
    )
    for number, mask in found.items():
        kept &= mask[cells.index[:, number]]
    if not kept.any():
        raise study.source.error(_CELL, "no planned cell has these values together")
    return kept


def _left_of(wanted: Mapping[str, Any], cells: Cells) -> dict[str, Any]:
    """Return what is left of ``report.cell`` where ``--set`` gave an axis other values than the file names."""
    overridden, left = cells.study.source.overridden, dict(wanted)
    if any(path[:2] == _CELL for path in overridden):
        return left
    changed = {path[-1] for path in overridden if "axes" in path}
    for axis in cells.axes:
        names, labels = {axis.name, *axis.paths}, {as_text(label) for label in axis.labels}
        for name in names & set(left) if names & changed else ():
            options = left[name] if isinstance(left[name], list) else [left[name]]
            present = [option for option in options if as_text(option) in labels]
            left[name] = present
            if not present:
                del left[name]
    return left


def drawn_place(plan: Plan, over: str | None) -> DrawnPlace | None:
    """Choose the place whose network is drawn; None if the experiment has no scenes.

    It is the place that ``report.cell`` names. Of several places it is the one where most designs are feasible, at the first
    label of the averaged axis ``over``, then the nearest to the middle of the axes, then the first one.
    """
    study, cells, scenes = plan.study, plan.cells, scenes_of(plan.study.experiment.name)
    if scenes is None:
        return None
    named, own = cells_named(cells), design_axes(cells)
    rest = [a for a, axis in enumerate(cells.axes) if axis not in own]
    wanted = {str(name) for name in study.report.get("cell") or {}}
    for a in rest:
        axis = cells.axes[a]
        if axis.name == over and wanted.isdisjoint((axis.name, *axis.paths)):
            # The realisations of a place are alike; the first one of those that are planned is drawn.
            named &= cells.index[:, a] == cells.index[named, a].min()
    numbers = np.flatnonzero(named)
    feasible = np.isin(plan.choice.status[numbers], _FEASIBLE) & plan.choice.present[numbers]
    shape = tuple(len(cells.axes[a].labels) for a in rest)
    flat = np.ravel_multi_index(tuple(cells.index[numbers][:, rest].T), shape) if rest else np.zeros(len(numbers), np.int64)
    ids, group = np.unique(flat, return_inverse=True)
    places = np.stack(np.unravel_index(ids, shape), axis=1) if rest else np.zeros((1, 0), dtype=np.int64)
    counts = np.bincount(group, weights=feasible)
    middle = (np.array(shape) - 1) / 2.0
    away = (((places - middle) / np.maximum(middle, 1.0)) ** 2).sum(axis=1)
    chosen = int(np.lexsort((away, -counts))[0])
    there, good = numbers[group == chosen], feasible[group == chosen]
    whole = len({axis.name for axis in own if wanted.isdisjoint((axis.name, *axis.paths))}) == len(own)
    drawn = there[_shown(good, MOST_DESIGNS if whole else MOST_NAMED)]
    return DrawnPlace(
        experiment=study.experiment.name,
        at={cells.axes[a].name: plain(cells.axes[a].labels[i]) for a, i in zip(rest, places[chosen], strict=True)},
        named=bool(wanted),
        designs={axis.name: [plain(label) for label in axis.labels] for axis in own},
        cells=_drawn_cells(plan, drawn, own, scenes.needs),
        feasible=int(good.sum()),
        planned=len(there),
    )


def _shown(feasible: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """Return the places of the designs that are drawn: evenly spaced ones of the feasible ones, then of the others."""
    if len(feasible) <= most:
        return np.arange(len(feasible))
    good = np.flatnonzero(feasible)
    among = good if len(good) else np.arange(len(feasible))
    return among[np.linspace(0, len(among) - 1, min(most, len(among))).round().astype(np.int64)]


def _drawn_cells(plan: Plan, numbers: NDArray[np.int64], designs: list[Axis], needs: tuple[str, ...]) -> list[DrawnCell]:
    """Return planned cells with the copies that hold what a scene needs, or the copies that count where none does."""
    cells, holding = plan.cells, np.ones(len(plan.ledger.segments), dtype=bool)
    for name in needs:
        holding &= plan.ledger.holding(name)
    full, found = plan.ledger.choose(plan.keys[numbers], holding), []
    for place, number in enumerate(numbers.tolist()):
        choice, at = (full, place) if full.present[place] else (plan.choice, number)
        present, labels = bool(choice.present[at]), cells.coordinates(number)
        found.append(
            DrawnCell(
                labels={axis.name: plain(labels[axis.name]) for axis in designs},
                number=number,
                status=STATUS_NAMES[int(choice.status[at])] if present else "missing",
                scenario=plain(cells.scenario(number)),
                options=plain(cells.options(number)),
                key=plan.keys[number].tobytes().hex(),
                segment=plan.ledger.segments[choice.segment[at]].name if present else None,
                row=int(choice.row[at]),
            )
        )
    return found


def drawn_scenes(store: Store, place: DrawnPlace) -> list[DrawnScene]:
    """Return the scene of every design at a place, from what is stored.

    A design without a stored signal has the scene of the network alone, and a sentence that says why.
    """
    experiment, scenes = load_experiment(place.experiment), scenes_of(place.experiment)
    assert scenes is not None
    found = []
    for cell in place.cells:
        scenario, options = build(experiment.scenario_model, cell.scenario), build(experiment.options_model, cell.options)
        stored, missing = _stored(store, cell, scenes.needs)
        try:
            scene = scenes.scene(scenario, options, stored)
        except ArithmeticError as error:
            missing = f"Its signal cannot be judged ({type(error).__name__}: {error})."
            scene = scenes.scene(scenario, options, None)
        found.append(DrawnScene(cell, scene, missing))
    return found


def _stored(store: Store, cell: DrawnCell, needs: tuple[str, ...]) -> tuple[Mapping[str, Any] | None, str]:
    """Return the stored values that a scene needs; None and the reason if there are none."""
    if cell.segment is None:
        return None, "The cell is not computed."
    if cell.status not in ("ok", "inaccurate"):
        return None, f"The cell is {cell.status}: no signal is sent."
    try:
        row, keys = np.array([cell.row]), np.frombuffer(bytes.fromhex(cell.key), dtype=np.uint8).reshape(1, -1)
        segment = read_segment(store, cell.segment, needs, rows=row, keys=keys)
    except KeyError:
        return None, f"The segment {cell.segment} is gone."
    except DamagedSegmentError as error:
        return None, f"Its result cannot be read: {error}."
    if lacking := [name for name in needs if name not in segment.arrays]:
        return None, f"The study keeps no {' and no '.join(f'`{name}`' for name in lacking)}: name it in `keep`."
    values = cell_values(segment, 0)
    if not all(np.isfinite(values[name]).all() and values[name].size for name in needs):
        return None, "The cell holds no signal."
    return values, ""
