"""One variable of the surfaces as plain arrays: the only place of the report that reads statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flows.field_values import field_value
from flows.report.words import axis_title, field_words, label, short, title_and_unit, unit_of_axis
from pipeline.statistics import cell_count, has_statistic, statistic

Float = NDArray[np.float64]
Place = tuple[int, ...]


@dataclass(frozen=True)
class Measured:
    """A variable over its axes.

    Parameters
    ----------
    name, title, unit
        Name in the surfaces, words for it, and its unit (``1`` if it has none).
    axes
        Axes of the arrays, in their order: axes of the cells first, then the variable's own.
    own
        Those of the axes that are the variable's own.
    mean, low, high
        Mean over the feasible realisations, and the ends of its 95 % band.
    paired
        Mean over the realisations that are feasible for all values of the paired axis; None without such an axis.
    feasible, planned
        How many realisations are feasible, and how many are planned.
    labels
        The coordinates.
    """

    name: str
    title: str
    unit: str
    axes: tuple[str, ...]
    own: tuple[str, ...]
    mean: Float
    low: Float
    high: Float
    paired: Float | None
    feasible: Float
    planned: Float
    labels: xr.Dataset

    @property
    def sizes(self) -> dict[str, int]:
        """Return the number of values of each axis."""
        return dict(zip(self.axes, self.mean.shape, strict=True))

    def _changed(self, change: Any, **fields: Any) -> Measured:
        arrays = {name: change(getattr(self, name)) for name in ("mean", "low", "high", "feasible", "planned")}
        arrays["paired"] = None if self.paired is None else change(self.paired)
        return replace(self, **arrays, **fields)

    def ordered(self, axes: Sequence[str]) -> Measured:
        """Return the variable with its axes in another order."""
        order = [self.axes.index(axis) for axis in axes]
        return self._changed(lambda values: values.transpose(order), axes=tuple(axes))

    def part(self, chosen: Mapping[str, int]) -> Measured:
        """Return the part at one place (by number) of some axes; the part lacks these axes."""
        index = tuple(chosen.get(axis, slice(None)) for axis in self.axes)
        rest = tuple(axis for axis in self.axes if axis not in chosen)
        return self._changed(lambda values: values[index], axes=rest)

    def taken(self, axis: str, numbers: Sequence[int] | NDArray[np.int64]) -> Measured:
        """Return the part with some values of an axis, by number."""
        place, kept = self.axes.index(axis), np.asarray(numbers, dtype=np.int64)
        labels = self.labels.isel({axis: kept}) if axis in self.labels else self.labels
        return self._changed(lambda array: array.take(kept, axis=place), labels=labels)

    def values_of(self, axis: str) -> list[Any]:
        """Return the values of an axis; numbers from 0 for an axis without labels."""
        return list(self.labels[axis].values.tolist()) if axis in self.labels else list(range(self.sizes[axis]))

    def unit_of(self, axis: str) -> str:
        """Return the unit of an axis."""
        return unit_of_axis(self.labels, axis) if axis in self.labels else "1"

    def title_of(self, axis: str) -> str:
        """Return the title of an axis with its unit."""
        return axis_title(self.labels, axis)

    def heading_of(self, axis: str) -> str:
        """Return the title of an axis above entries that carry their unit."""
        return self.title_of(axis).removesuffix(f" [{self.unit_of(axis)}]")

    def entry(self, axis: str, number: int) -> str:
        """Return one value of an axis in words, below the title of the axis."""
        value, unit = self.values_of(axis)[number], self.unit_of(axis)
        worded = isinstance(value, str) or axis.endswith("_count")
        return short(label(axis, value, unit) if worded else field_value(value, unit))

    def words(self, axes: Sequence[str], at: Place) -> list[str]:
        """Return the words for a place of some axes, one text for each axis."""
        return [short(label(a, self.values_of(a)[i], self.unit_of(a))) for a, i in zip(axes, at, strict=True)]


def is_measured(surfaces: xr.Dataset, name: str | None) -> bool:
    """Return whether the surfaces have statistics of a variable."""
    return name is not None and has_statistic(surfaces, name, "mean_feasible")


def measured(surfaces: xr.Dataset, name: str) -> Measured:
    """Return a variable of the surfaces with all that the report draws of it."""
    mean = statistic(surfaces, name, "mean_feasible")
    cells = [str(d) for d in cell_count(surfaces, "planned").dims]
    axes = [a for a in cells if a in mean.dims] + [str(d) for d in mean.dims if d not in cells]
    sizes = {axis: mean.sizes[axis] for axis in axes}

    def over_axes(values: xr.DataArray) -> Float:
        missing = {axis: size for axis, size in sizes.items() if axis not in values.dims}
        return np.asarray((values.expand_dims(missing) if missing else values).transpose(*axes).values, dtype=float)

    title, unit = title_and_unit(mean.attrs, name)
    low, high = (over_axes(statistic(surfaces, name, word)) for word in ("ci_low", "ci_high"))
    has_pairs = has_statistic(surfaces, name, "mean_paired")
    return Measured(
        name, title, unit, tuple(axes), tuple(a for a in axes if a not in cells),
        over_axes(mean), low, high, over_axes(statistic(surfaces, name, "mean_paired")) if has_pairs else None,
        over_axes(cell_count(surfaces, "feasible")), over_axes(cell_count(surfaces, "planned")),
        surfaces.coords.to_dataset(),
    )  # fmt: skip


def best_is(name: str) -> str | None:
    """Return whether the ``smallest`` or the ``largest`` value of a variable is the best; None if nobody said so."""
    parts, best = set(name.split("_")), field_words().best
    found = (word for word in ("smallest", "largest") if parts & set(best.get(word, ())))  # type: ignore[call-overload]
    return next(found, None)
