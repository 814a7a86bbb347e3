"""Comparisons: several published cubes joined into one, published under a name of its own with surfaces and report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import xarray as xr
from pydantic import BaseModel, Json, ValidationError

from flows.data_files import is_study
from flows.derivation import (
    Derivation,
    analysis_code,
    analysis_key,
    digest_of,
    report_code,
    report_key,
    surface_code,
    surface_key,
)
from flows.derive import labelled, publish_surfaces, read_version, write_report
from pipeline.archive import StoredFiles
from pipeline.cube import publish_group, published_version, published_whole
from pipeline.digest import code_digest
from pipeline.errors import SurroundingsError, UsageError, broken_field, near_miss
from pipeline.experiment import Headlined, load_experiment
from pipeline.joined import DIFFERENCE, SOURCE, join_cubes
from pipeline.layout import cube_folder, report_page, versions_of
from pipeline.named_axes import DEFAULT_OVER, NONE
from pipeline.results import published_studies
from pipeline.store import Store, open_store_backend
from pipeline.study import ReportSpec, SurfaceSpec
from pipeline.zarrio import group_attributes

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


class _About(BaseModel):
    """What a published comparison tells of itself, in the attribute ``comparison`` of its cube."""

    sources: list[dict[str, str]]
    sentences: list[str]
    surfaces: SurfaceSpec
    report: ReportSpec
    labels: list[str]


class _Attributes(BaseModel):
    cube_key: str
    comparison: Json[_About] | None = None


@dataclass(frozen=True)
class Source:
    """A published cube: its label in the comparison, and one version of it."""

    label: str
    store: Store
    version: str

    @property
    def key(self) -> str:
        """Return the key of the cube."""
        return self.version.rsplit("/", 1)[-1]


def find_source(text: str, store: str) -> Source:
    """Find the published cube that a text names: ``STUDY``, ``STUDY@BEGINNING-OF-A-VERSION``, ``STORE:STUDY``.

    Parameters
    ----------
    store
        Store of the sources that name none.

    Raises
    ------
    UsageError
        If the store does not exist, the study has no published cube in it, or not exactly one version begins so.
    """
    place, _, rest = text.rpartition(":")
    study, marked, beginning = rest.partition("@")
    location = place or store
    if not _NAME.fullmatch(study):
        raise UsageError(f"'{text}' is no source: expected STUDY, STUDY@BEGINNING-OF-A-VERSION or STORE:STUDY")
    if not Path(location).is_dir():
        raise UsageError(f"'{text}': no store at '{location}'")
    backend = open_store_backend(location)
    latest = published_version(backend, cube_folder(study))
    if latest is None:
        known = published_studies(backend)
        there = f"{near_miss(study, known)}; there are {', '.join(known) or 'none'}"
        raise UsageError(f"'{text}': no cube of '{study}' in '{location}'{there}")
    if not marked:
        return Source(text, backend, latest)
    folder = versions_of(cube_folder(study))
    keys = sorted({entry.name.removeprefix(folder).split("/", 1)[0] for entry in backend.list(folder)})
    found = [key for key in keys if key.startswith(beginning.lower())]
    if len(found) != 1 or not beginning:
        raise UsageError(f"'{text}': {len(found)} versions begin so; there are {', '.join(keys)}")
    return Source(text, backend, f"{folder}{found[0]}")


class Comparison:
    """A comparison to make.

    Parameters
    ----------
    sources
        Texts for :func:`find_source`; differences are taken from the first one.
    store
        Store of the comparison, and of the sources that name none.
    name
        Name of the comparison; if None, it is made of the sources.
    over, edge
        Axis to average over and axis of the feasibility edge, as in a study's ``surfaces``.
    """

    def __init__(
        self, sources: Sequence[str], store: str, name: str | None = None, *, over: str | None = None, edge: str | None = None
    ) -> None:
        if len(sources) < 2:
            raise UsageError(f"a comparison needs two sources or more, found {len(sources)}")
        twice = [text for text in dict.fromkeys(sources) if list(sources).count(text) > 1]
        if twice:
            raise UsageError(f"the source '{twice[0]}' is named twice")
        self.sources = [find_source(text, store) for text in sources]
        self.store = open_store_backend(store)
        self.name = _checked_name(self.store, name or _made_name(sources))
        self._over, self._edge = over, edge
        self.sentences: tuple[str, ...] = ()

    @property
    def steps(self) -> dict[str, Callable[[], str]]:
        """Return the steps that make the comparison, in their order."""
        return {
            "join": self.join,
            "aggregate": lambda: publish_surfaces(self._derivation()),
            "report": lambda: write_report(self._derivation()),
        }

    def join(self) -> str:
        """Publish the joined cube; return its key."""
        choices = [self._over or "", self._edge or ""]
        parts = [json.dumps([source.label, source.key]) for source in self.sources]
        key = digest_of(*parts, *choices, code_digest(["pipeline.joined"]).digest)
        folder = cube_folder(self.name)
        if published_whole(self.store, folder, key):
            self.sentences = tuple(_published(self.store, self.name).sentences)
            return key
        cubes = {source.label: read_version(source.store, source.version) for source in self.sources}
        joined = join_cubes(cubes)
        self.sentences = joined.sentences
        labels = sorted({str(n) for n in joined.cube.coords} | {str(d) for d in joined.cube.dims})
        about = _About(
            sources=[{"source": s.label, "store": s.store.location(), "version": s.version} for s in self.sources],
            sentences=list(joined.sentences), labels=labels, surfaces=_surfaces(joined.cube, self._over, self._edge),
            report=_report(joined.cube, cubes),
        )  # fmt: skip
        title = " and ".join(source.label for source in self.sources)
        attributes = joined.cube.attrs | {
            "study": self.name, "title": f"{title}, compared", "cube_key": key, "comparison": about.model_dump_json(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        publish_group(self.store, folder, key, labelled(joined.cube), attributes)
        return key

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the flow that makes this comparison."""
        return {
            "sources": [source.label for source in self.sources], "store": self.store.location(), "name": self.name,
            "over": self._over, "edge": self._edge,
        }  # fmt: skip

    @property
    def page(self) -> Path:
        """Return the file with which a person opens the report."""
        return page_of(self.store, self.name)

    def words(self) -> str:
        """Return sentences on the comparison and on what did not fit."""
        return " ".join((f"'{self.name}' compares {', '.join(s.label for s in self.sources)}.", *self._told()))

    def _told(self) -> list[str]:
        return [f"{sentence[0].upper()}{sentence[1:]}." for sentence in self.sentences]

    def _derivation(self) -> Derivation:
        found = comparison_of(self.store, self.name)
        if found is None:
            raise SurroundingsError(f"the cube of '{self.name}' was removed meanwhile: compare again")
        return found


def comparison_of(store: Store, name: str) -> Derivation | None:
    """Return what surfaces and report of a published comparison are made from; None if there is no comparison of the name.

    Raises
    ------
    SurroundingsError
        If the published cube is damaged.
    """
    if not _NAME.fullmatch(name) or published_version(store, cube_folder(name)) is None:
        return None
    found = _attributes(store, name)
    if found.comparison is None:
        return None
    about, report = found.comparison, found.comparison.report.model_dump()
    surfaces = surface_key(found.cube_key, about.surfaces, surface_code())
    answers = analysis_key(surfaces, report, analysis_code())
    drawn = report_key(answers, report, report_code())
    return Derivation(name, store.location(), about.surfaces, report, tuple(about.labels), surfaces, answers, drawn)


def page_of(store: Store, name: str) -> Path:
    """Return the file with which a person opens the report of a comparison."""
    path = store.path(report_page(name))
    if path is None:
        raise TypeError("this store has no local files to open a report from")
    return path


def fresh_comparison(derivation: Derivation) -> str:
    """Publish surfaces and report of a published comparison if they are not up to date; return the report's version."""
    publish_surfaces(derivation)
    return write_report(derivation)


def _attributes(store: Store, name: str) -> _Attributes:
    version = published_version(store, cube_folder(name))
    try:
        return _Attributes.model_validate(group_attributes(StoredFiles(store, str(version))))
    except ValidationError as error:
        raise SurroundingsError(f"'{version}' in the store is damaged ({broken_field(error)}): remove that folder") from error
    except ValueError as error:
        raise SurroundingsError(f"'{version}' in the store is damaged ({error}): remove that folder") from error


def _published(store: Store, name: str) -> _About:
    about = _attributes(store, name).comparison
    assert about is not None
    return about


def _made_name(sources: Sequence[str]) -> str:
    return "-vs-".join(re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-") for source in sources)[:100].rstrip("-")


def _checked_name(store: Store, name: str) -> str:
    """Return the name, if no study has it."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name '{name}': expected lower-case letters, digits and hyphens")
    if is_study(name) or (
        published_version(store, cube_folder(name)) is not None and _attributes(store, name).comparison is None
    ):
        raise UsageError(f"--name '{name}': a study has this name, and a comparison never takes the place of its cube")
    return name


def _surfaces(cube: xr.Dataset, over: str | None, edge: str | None) -> SurfaceSpec:
    axes = [str(d) for d in cube["status"].dims if d != SOURCE]
    for option, axis in (("--over", over), ("--edge", edge)):
        if axis is not None and axis not in axes and not (option == "--over" and axis == NONE):
            raise UsageError(f"{option} '{axis}': no such axis{near_miss(axis, axes)}; there are {', '.join(axes)}")
    if over is None:
        last = {axis: str(cube[axis].attrs.get("path", "")).rpartition(".")[2] for axis in axes}
        named = [axis for axis in axes if axis == DEFAULT_OVER] + [axis for axis in axes if last[axis] == DEFAULT_OVER]
        over = next(iter(named), NONE)
    if edge is not None and (edge == over or cube[edge].dtype.kind not in "iuf"):
        raise UsageError(f"--edge '{edge}': expected a numeric axis that is not averaged")
    return SurfaceSpec(over=None if over == NONE else over, edge=edge, paired=SOURCE)


def _report(cube: xr.Dataset, cubes: dict[str, xr.Dataset]) -> ReportSpec:
    """Return the report's choices: the main metric against the longest numeric axis, a curve for each source."""
    drawn = [n for n, v in cube.data_vars.items() if v.dims == cube["status"].dims and v.dtype.kind == "f"]
    own = [str(n) for n in drawn if not str(n).startswith(DIFFERENCE) and not cube[n].attrs.get("volatile")]
    main = [m for m in dict.fromkeys(map(_main_metric, cubes.values())) if m in own]
    y = next(iter(main + own), None)
    also = [f"{DIFFERENCE}{y}"] if y is not None else []
    return ReportSpec(y=y, colour=SOURCE, also=also)


def _main_metric(cube: xr.Dataset) -> Any:
    try:
        experiment = load_experiment(str(cube.attrs.get("experiment", "")))
    except UsageError:  # a cube may come from a machine with other experiments
        return None
    return experiment.main_metric if isinstance(experiment, Headlined) else None
