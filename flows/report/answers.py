"""Tables of the answers to standing questions: what the variance is from, what steps are worth, where one value is the best."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from flows.field_values import Scaled, plain_digits, scaled
from flows.report.choice import EXPORT, MOST_COLUMNS, MOST_ROWS, choose, evenly
from flows.report.side_by_side import Cell, Table
from flows.report.words import axis_title, entry, label, short, title_and_unit, unit_of_axis, within

_MOST_TERMS = 12
"""Most axes and interactions that the table of shares names."""
_LEAST_SHARE = 0.005
_TIMES = " × "


def answer_tables(answers: xr.Dataset | None, surfaces: xr.Dataset) -> list[Table]:
    """Return the tables of all answers that are there."""
    if answers is None:
        return []
    found = [
        _best(answers, surfaces),
        _shares(answers, surfaces),
        *(_steps(answers, surfaces, axis) for axis in _stepped(answers)),
    ]
    return [table for table in found if table is not None]


def _title(surfaces: xr.Dataset, answers: xr.Dataset) -> str:
    metric = str(answers.attrs["metric"])
    return title_and_unit(surfaces[metric].attrs, metric)[0] if metric in surfaces else metric


def _best(answers: xr.Dataset, surfaces: xr.Dataset) -> Table | None:
    """Return the table of the best value of the paired axis at each point, with its margin where it is told apart."""
    if "best_winner" not in answers:
        return None
    paired = str(surfaces.attrs.get("paired"))
    dims = [str(d) for d in answers["best_winner"].dims]
    status, state = answers["best_status"].values, answers["best_state"].transpose(*dims, paired).values
    choice = choose(~np.isin(status, ("none", "only_one")), MOST_ROWS)
    if not choice.places:
        return None
    margin = answers["best_margin"].transpose(*dims, "statistic")
    values, unit = margin.sel(statistic=["mean", "ci_low", "ci_high"]).values, str(margin.attrs.get("units", "1"))
    ratio = answers.attrs.get("scale") == "factor"
    scale = scaled([values[at][0] for at in choice.places], "1" if ratio else unit)
    names = answers[paired].values.tolist()
    rows = []
    for at in choice.places:
        leading, close = (
            [label(paired, name, "1") for name, said in zip(names, state[at], strict=True) if said in words]
            for words in (("best", "equal"), ("not_distinguishable",))
        )
        best = Cell(short(", ".join(leading), _LONG) or "–", best=not close)
        rows.append([*_words(answers, dims, at), best, _few(close), _margin(values[at], scale, ratio=ratio)])
    word = f", in {scale.unit}" if scale.common and scale.unit not in ("", "1") else ""
    note = (
        "By paired realisations. Bold: told from all others with 95 % confidence (Student's intervals, widened for all pairs "
        f"of the point). The margin is how much worse the next one is{word}."
    )
    columns = [*(axis_title(answers, d) for d in dims), "best", "not told apart from it", "margin and its interval"]
    left_out = choice.left_out("rows", [axis_title(answers, d) for d in dims], EXPORT)
    return Table(
        f"Best {within(axis_title(answers, paired))} by {within(_title(surfaces, answers))}",
        f"{note} {left_out}".strip(),
        columns,
        rows,
    )


_LONG = 160
"""Most letters of a list of names."""
_FEW = 3
"""Most names in a list."""


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= _FEW else f"{', '.join(names[: _FEW - 1])} and {len(names) - _FEW + 1} others"


def _shares(answers: xr.Dataset, surfaces: xr.Dataset) -> Table | None:
    """Return the table of the shares of variance, the largest first."""
    if "variance_share" not in answers:
        return None
    status = answers["variance_status"]
    title = f"What {within(_title(surfaces, answers))} depends on"
    said = str(status.attrs.get(str(status.item()), ""))
    shares = answers["variance_share"].values
    if not np.isfinite(shares).any():
        return Table(title, said, [], [])
    order = [int(i) for i in np.argsort(-shares, kind="stable")[:_MOST_TERMS] if shares[i] >= _LEAST_SHARE]
    every = (
        answers["variance_share_all_realisations"]
        .sel(statistic=["mean", "ci_low", "ci_high"])
        .transpose("variance_term", "statistic")
    )
    rows = []
    for i in order:
        axes = str(answers["variance_term"].values[i]).split(" x ")
        mean, low, high = every.values[i]
        band = f"{_percent(mean)} ({_percent(low)} to {_percent(high)})" if np.isfinite(low) else "–"
        rows.append([_TIMES.join(_name(surfaces, axis) for axis in axes), _percent(shares[i]), band])
    rest = 1.0 - float(shares[order].sum())
    rows.append([f"{len(shares) - len(order)} others", _percent(rest), "–"])
    note = (
        f"Shares of its variance over the grid, of each axis alone and of what axes do only together ({_TIMES.strip()}). They "
        f"add to 100 %. {said} The last column is for realisations that were not drawn, with a 95 % interval."
    )
    return Table(title, note, ["", "share of these cells", "share for all realisations"], rows)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _name(surfaces: xr.Dataset, axis: str) -> str:
    return axis_title(surfaces, axis).removesuffix(f" [{unit_of_axis(surfaces, axis)}]") if axis in surfaces.coords else axis


def _stepped(answers: xr.Dataset) -> list[str]:
    return [str(name).removesuffix("_rate") for name in answers.data_vars if str(name).endswith("_rate")]


def _steps(answers: xr.Dataset, surfaces: xr.Dataset, axis: str) -> Table | None:
    """Return the table of the steps of an axis: at the middle of the other axes, for each value of the paired one."""
    step, paired = f"{axis}_step", str(surfaces.attrs.get("paired"))
    ratio = bool(np.isfinite(answers[f"{axis}_ratio"].sel(statistic="mean").values).any())
    found = answers[f"{axis}_ratio" if ratio else f"{axis}_change"]
    columns = paired if paired in found.dims else None
    others = [str(d) for d in found.dims if d not in (step, columns, "statistic")]
    middle = {d: answers.sizes[d] // 2 for d in others}
    order = (*([columns] if columns else []), step, "statistic")
    values = found.isel(middle).sel(statistic=["mean", "ci_low", "ci_high"]).transpose(*order).values
    if not columns:
        values = values[np.newaxis]
    met = [int(i) for i in np.flatnonzero(np.isfinite(values[..., 0]).any(axis=1))]
    if not met:
        return None
    met = [met[int(i)] for i in evenly(len(met), MOST_COLUMNS)]
    kept = evenly(values.shape[1], MOST_ROWS)
    scale = scaled([values[i, k, 0] for i in met for k in kept], "1" if ratio else str(found.attrs.get("units", "1")))
    ends = [answers[f"{axis}_{end}"].values for end in ("from", "to")]
    unit = unit_of_axis(surfaces, axis)
    rows = [
        [
            " to ".join(short(entry(axis, np.asarray(end[k]).item(), unit)) for end in ends),
            *(_interval(values[i, k], scale, ratio=ratio) for i in met),
        ]
        for k in kept
    ]
    where = ", ".join(_words(answers, others, tuple(middle.values()), titled=True))
    what = "Factor by which each step multiplies" if ratio else "What each step adds to"
    word = f", in {scale.unit}" if scale.common and scale.unit not in ("", "1") else ""
    note = (
        f"{what} {within(_title(surfaces, answers))}{word}, by paired realisations, with a 95 % interval"
        f"{f', at {where}' if where else ''}. The answers of the store hold the other places."
    )
    heads = [short(label(paired, answers[paired].values[i], "1")) for i in met] if columns else [""]
    title = f"What a step of {within(_name(surfaces, axis))} is worth"
    return Table(title, note, [axis_title(surfaces, axis), *heads], rows)


def _margin(values: Any, scale: Scaled, *, ratio: bool) -> str:
    """Return a margin with its interval; of a factor, the per cent by which it is above one."""
    if not ratio:
        return _interval(values, scale)
    mean, low, high = (100.0 * (float(v) - 1.0) for v in values)
    if not np.isfinite(mean):
        return "–"
    return f"{mean:.2g} %" + (f" ({low:.2g} to {high:.2g} %)" if np.isfinite(low) and np.isfinite(high) else "")


def _interval(values: Any, scale: Scaled, *, ratio: bool = False) -> str:
    mean, low, high = (float(v) for v in values)
    if not np.isfinite(mean):
        return "–"
    sign = "×" if ratio else ""
    text = plain_digits if ratio else scale.text
    band = f" ({text(low, 3)} to {text(high, 3)})" if np.isfinite(low) and np.isfinite(high) else ""
    return f"{sign}{text(mean, 3)}{band}"


def _words(data: xr.Dataset, dims: list[str], at: tuple[int, ...], *, titled: bool = False) -> list[str]:
    words = label if titled else entry
    return [short(words(d, np.asarray(data[d].values[i]).item(), unit_of_axis(data, d))) for d, i in zip(dims, at, strict=True)]
