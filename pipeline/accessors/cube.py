"""What a study's cube offers beyond xarray: ``cube.disac``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import xarray as xr

from pipeline import analysis
from pipeline.accessors.cells import Account, Cell, account_of, cell_of
from pipeline.accessors.summary import Summary, cube_summary, status_counts
from pipeline.analysis.cells import REALISATION
from pipeline.asking import Answer, ask
from pipeline.errors import UsageError, near_miss
from pipeline.experiment import STATUS_CODES
from pipeline.export import tables_of
from pipeline.flat_surfaces import flat_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEASIBLE = ("ok", "inaccurate")
"""Statuses of cells that have a design."""


class CubeAccessor:
    """A cube of a study, or a part of it by ``sel`` or ``isel``. Surfaces have ``to_dataframe`` and the summary alone."""

    def __init__(self, data: xr.Dataset) -> None:
        self._data = data

    def feasible(self) -> xr.DataArray:
        """Return a mask of the cells that are ok or inaccurate, with the axes of the cube: ``cube.rcrb_m.where(mask)``."""
        codes = [STATUS_CODES[word] for word in FEASIBLE]
        return self._cube["status"].isin(codes).rename("feasible").drop_attrs()

    def status(self, *along: str) -> pd.Series[int] | pd.DataFrame:
        """Count the cells by status.

        Parameters
        ----------
        along
            Axes to keep; default none.

        Returns
        -------
        pandas.Series or pandas.DataFrame
            Without axes the number of cells by the word of their status. With axes a row for each of their values, and a
            column for each word. A status that no cell has is left out.

        Raises
        ------
        UsageError
            If there is no such axis.
        """
        status = self._cube["status"].compute()
        for name in along:
            if name not in status.dims:
                axes = [str(dim) for dim in status.dims]
                raise UsageError(f"no axis '{name}'{near_miss(name, axes)}; axes: {', '.join(axes)}")
        whole = status_counts(status)
        if not along:
            return pd.Series(whole, name="cells", dtype="int64")
        rest = [dim for dim in status.dims if dim not in along]
        counts = {word: (status == STATUS_CODES[word]).sum(rest).reset_coords(drop=True) for word in whole}
        return xr.Dataset(counts).to_dataframe(dim_order=list(along))

    def cell(self, **coordinates: Any) -> Cell:
        """Return one cell by its labels: status, message, values and key.

        Raises
        ------
        UsageError
            If a name is no axis, a label is no value of its axis, or an axis with several values is not named.
        """
        return cell_of(self._cube, coordinates)

    def why(self, **coordinates: Any) -> Account:
        """Return the account of one cell: status and reason, when and where it was computed, with which software.

        The account is that of ``disac why``, under the code that the cube was published with.

        Raises
        ------
        UsageError
            As :meth:`cell`; and if the data set does not say which store it is from, or the experiment is not installed.
        """
        return account_of(self._cube, coordinates)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a tidy table: a row for each feasible cell, a column for each axis and each scalar.

        Of surfaces every point is a row, and each statistic a column such as ``rcrb_m_mean_feasible``. A complex variable is
        two columns, ``_real`` and ``_imag``. ``frame.attrs["units"]`` and ``frame.attrs["long_names"]`` hold units and names
        by column; each column has them in its ``attrs``, too.
        """
        fixed = [name for name, c in self._data.coords.items() if c.ndim == 0 and "along" not in c.attrs]
        table = tables_of(flat_names(self._data.expand_dims(fixed)))[0]
        frame = pd.DataFrame(dict(table.columns))
        if "status" in self._data:
            frame = frame[frame["status"].isin(FEASIBLE)].reset_index(drop=True)
        frame.attrs = {"units": dict(table.units), "long_names": dict(table.long_names)}
        return frame

    def plot(
        self, variable: str, *, x: str | None = None, colour: str | None = None, over: str | None = "realisation",
        ax: Axes | None = None, **at: Any,
    ) -> Axes:  # fmt: skip
        """Draw the mean of a variable over the feasible cells, with its 95 % band.

        Parameters
        ----------
        variable
            A real variable with one number for each cell.
        x, colour
            Axes of the cube; default the longest numeric axis, and the axis that is left. Texts on ``x`` are drawn as dots
            with intervals, which no line joins.
        over
            Axis to average over; None for none.
        ax
            Axes of matplotlib to draw on; default new ones.
        at
            A label for each other axis.

        Raises
        ------
        UsageError
            If a name is unknown, or an axis is left that is neither drawn, averaged nor given a label.
        """
        from pipeline.accessors.drawing import draw

        return draw(self._cube, variable, x=x, colour=colour, over=over, ax=ax, at=at)

    def edge(
        self, along: str, over: str | None = REALISATION, *, toward: Literal["higher", "lower"] | None = None
    ) -> xr.Dataset:
        """Bracket the edge of feasibility along a numeric axis: :func:`pipeline.analysis.feasibility_edge`."""
        return analysis.feasibility_edge(self._cube, along, over, toward=toward)

    def exchange(
        self, metric: str, of: str, per: str, over: str | None = REALISATION, *, logarithmic: bool = False
    ) -> xr.Dataset:  # fmt: skip
        """Compute what one unit of an axis is worth in another at an equal metric: :func:`pipeline.analysis.exchange_rate`."""
        return analysis.exchange_rate(self._cube, metric, of, per, over, logarithmic=logarithmic)

    def worth(self, metric: str, axis: str, over: str | None = REALISATION) -> xr.Dataset:
        """Compute what one more of something counted changes in a metric: :func:`pipeline.analysis.worth_of_one_more`."""
        return analysis.worth_of_one_more(self._cube, metric, axis, over)

    def best(
        self, metric: str, axis: str, direction: Literal["min", "max"] = "min", over: str | None = REALISATION
    ) -> xr.Dataset:  # fmt: skip
        """Find the best value of an axis at each point, where it can be told: :func:`pipeline.analysis.best_value`."""
        return analysis.best_value(self._cube, metric, axis, direction, over)

    def pareto(
        self, metrics: Mapping[str, Literal["min", "max"]], over: str | None = REALISATION, *,
        scales: Mapping[str, float] | None = None,
    ) -> xr.Dataset:  # fmt: skip
        """Find the points that no other point beats in every metric: :func:`pipeline.analysis.nondominated`."""
        return analysis.nondominated(self._cube, metrics, over, scales=scales)

    def ask(self, wish: str, *, minimise: str | Sequence[str] = (), over: str | None = None) -> Answer:
        """Return which points meet a wish in so many of their realisations: :func:`pipeline.asking.ask`."""
        return ask(self._cube, wish, minimise=minimise, over=over)

    @property
    def _cube(self) -> xr.Dataset:
        if "status" not in self._data:
            raise UsageError("this data set has no 'status': it is no cube of a study")
        return self._data

    def _summary(self) -> Summary:
        return cube_summary(self._data)

    def __repr__(self) -> str:
        return self._summary().text()

    def _repr_html_(self) -> str:
        return self._summary().html()
