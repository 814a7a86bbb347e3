"""An answer as text for a terminal, or as plain data for machines."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.asking.expression import Apply, Compare, Name, Number, names_in
from pipeline.asking.verdict import RISK, fewest

if TYPE_CHECKING:
    from pipeline.asking.answer import Answer
    from pipeline.asking.conflicts import Relaxation
    from pipeline.asking.rows import Margin, Row

_HOW = {"met": "is met", "reached": "reaches the share in the stored realisations", "open": "is no longer refuted"}

Show = Callable[[Any, str], str]
_GAP = "  "
_CLOSEST = {True: "Neighbours that just miss:", False: "The points that come closest:"}


def plain_number(value: Any, unit: str = "") -> str:
    """Return a number with its unit, with four digits; texts stay as they are."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return str(value)
    return f"{value:.4g} {unit}".rstrip()


def as_text(answer: Answer, show: Show = plain_number, width: int = 80) -> str:
    """Return an answer as text.

    Parameters
    ----------
    show
        Writes a number with its unit.
    width
        Letters of a line; a table that is wider breaks each of its rows.
    """
    return "\n".join(_lines(answer, show, width))


def _lines(answer: Answer, show: Show, width: int) -> Iterator[str]:
    counts = answer.counts
    share = "" if answer.share is None else f", in {_percent(answer.share)} of realisations"
    planned = sum(counts.values()) - counts["not_planned"]
    yield from textwrap.wrap(" and ".join(part.text for part in answer.wish.parts) + share, width, subsequent_indent="  ")
    found = ", ".join(f"{counts[name]:,} {name.replace('_', ' ')}" for name in ("met", "not_met", "undecided"))
    yield f"{planned:,} points: {found}"
    if answer.rows:
        yield ""
        yield from textwrap.wrap(_heading(answer), width)
        yield from _table(answer, answer.rows, show, width)
    if answer.conflicts:
        yield ""
        yield from _conflicts(answer, show, width)
    if answer.near:
        yield ""
        yield "Cheaper neighbours that just miss:" if answer.rows and answer.minimised else _CLOSEST[bool(answer.rows)]
        yield from _table(answer, answer.near, show, width)
    if proofs := _certificates([*answer.rows, *answer.near]):
        yield ""
        yield from textwrap.wrap(proofs, width)
    if advice := _advice(answer):
        yield ""
        yield from textwrap.wrap(advice, width)
    if answer.notes:
        yield ""
    for note in answer.notes:
        yield from textwrap.wrap(note, width, initial_indent="- ", subsequent_indent="  ")


def _percent(share: Any) -> str:
    return f"{float(share) * 100:g}%"


def _heading(answer: Answer) -> str:
    met, shown = answer.counts["met"], len(answer.rows)
    if not answer.minimised:
        words, what = "Points that meet the wish, the best proven first", "every axis"
    else:
        words, what = f"Points that meet the wish, by {', then '.join(answer.minimised)}; * nondominated", "every cost"
    if answer.tolerance:
        words += f"; thinned: a point is left out if one shown lies within {answer.tolerance:.1%} of the range of {what}"
    elif any(row.stands_for > 1 for row in answer.rows):
        words += "; of points with equal costs one is shown (tolerance 0)"
    return f"{words} ({shown:,} of {met:,} shown):"


def _advice(answer: Answer) -> str:
    """Return what can be done about points that are undecided."""
    if answer.share is None or not answer.counts["undecided"]:
        return ""
    most = int(answer.points.counted.max(initial=0))
    number = fewest(float(answer.share))
    words = "" if most >= number else f" A point needs {number} realisations at least to prove {_percent(answer.share)}."
    return f"{answer.counts['undecided']:,} points are undecided.{words} `--decide` computes more of their realisations."


def _table(answer: Answer, rows: Sequence[Row], show: Show, width: int) -> Iterator[str]:
    """Yield a table. What is equal in all rows is said once; where a row is too long, its place stands above its results."""
    place, results = ([(head, cells) for head, cells in part if any(cells)] for part in _columns(answer, rows, show))
    alike = [(head, cells[0]) for head, cells in place[1:] if len(rows) > 1 and len(set(cells)) == 1] if len(place) > 1 else []
    if alike:
        said = ", ".join(f"{head} {cell}" for head, cell in alike)
        yield from textwrap.wrap(f"All rows: {said}.", width, initial_indent="   ", subsequent_indent="   ")
    kept = [(head, cells) for head, cells in place if (head, cells[0]) not in alike]
    whole = _packed([*kept, *results], width)
    lines = whole if len(whole) == 1 else _packed(kept, width) + _packed([("", [" "] * len(rows)), *results], width)
    for row in range(len(rows) + 1):
        for line in lines:
            if text := _GAP.join(column[row] for column in line).rstrip():
                yield text


def _packed(columns: Sequence[tuple[str, list[str]]], width: int) -> list[list[list[str]]]:
    """Return the columns, padded, in as many lines as they need; the mark in the first column indents further lines."""
    padded = []
    for head, cells in columns:
        size = max(map(len, [head, *cells]))
        padded.append([text.ljust(size) for text in (head, *cells)])
    lines = [padded[:1]]
    for column in padded[1:]:
        if sum(len(other[0]) + len(_GAP) for other in lines[-1]) + len(column[0]) > width and len(lines[-1]) > 1:
            lines.append([[" "] * len(column)])
        lines[-1].append(column)
    return lines


Head = tuple[str, list[str]]


def _columns(answer: Answer, rows: Sequence[Row], show: Show) -> tuple[list[Head], list[Head]]:
    """Return the columns of a table, heading and cells: those of the place, and those of the results."""
    place: list[Head] = [("", ["*" if row.nondominated else " " for row in rows])]
    axes = [axis for axis in answer.columns.axes if len(answer.columns.labels(axis)) > 1]
    for axis in sorted(axes, key=lambda a: _place_of(a, answer)):
        place.append((axis, [show(row.place[axis], answer.columns.unit_text(axis)) for row in rows]))
    results: list[Head] = []
    for n, (text, number) in enumerate(answer.costs):
        if not _stands_elsewhere(answer, number):
            results.append((text, [show(float(f"{row.costs[n]:.4g}"), answer.cost_unit(n)) for row in rows]))
    if any(row.verdict != "met" for row in rows):
        results.append(("verdict", [row.verdict for row in rows]))
    if answer.share is not None:
        results.append(("met in", [f"{row.hits} of {row.counted}" for row in rows]))
        if all(row.verdict == "met" for row in rows):
            results.append(("proven", [f"{row.low * 100:.3g}%" for row in rows]))
        else:
            results.append(("share", [f"{row.low * 100:.3g}-{row.high * 100:.3g}%" for row in rows]))
    for n, part in enumerate(answer.wish.parts):
        if any(not answer.columns.is_axis(name) for name in names_in(part)):
            results.append((part.text, [_margin(answer, row, row.margins[n], show) for row in rows]))
    others = [[f"{n} {name}" for name, n in row.statuses.items() if n and name != "ok"] for row in rows]
    results.append(("not ok", [", ".join(each) for each in others]))
    results.append(("alike", [f"+{row.stands_for - 1:,}" if row.stands_for > 1 else "" for row in rows]))
    return place, results


def _stands_elsewhere(answer: Answer, cost: Number) -> bool:
    """Return whether a cost follows from the axes of a table, or is what a part of the wish limits."""
    if isinstance(cost, Apply) and cost.how == "-" and len(cost.arguments) == 1:
        return isinstance(cost.arguments[0], Name) and answer.columns.is_axis(cost.arguments[0].name)
    if not isinstance(cost, Name):
        return False
    limited = [p.left for p in answer.wish.parts if isinstance(p, Compare) and p.sign in ("<", "<=")]
    return answer.columns.is_axis(cost.name) or cost in limited


def _certificates(rows: Sequence[Row]) -> str:
    """Return a sentence on the certificates of rows: the largest values."""
    names = dict.fromkeys(name for row in rows for name in row.certificates)
    largest = {name: max(row.certificates[name] for row in rows if name in row.certificates) for name in names}
    if not largest:
        return ""
    return (
        "Certificates of these points, the largest: "
        + ", ".join(f"{name} {value:.1e}" for name, value in largest.items())
        + "."
    )


def _place_of(axis: str, answer: Answer) -> int:
    """Return the place of an axis in a table: those that are minimised come first."""
    for n, (_, cost) in enumerate(answer.costs):
        number = cost.arguments[0] if isinstance(cost, Apply) and len(cost.arguments) == 1 else cost
        if isinstance(number, Name) and answer.columns.same(number.name, axis):
            return n
    return len(answer.costs)


def _margin(answer: Answer, row: Row, margin: Margin, show: Show) -> str:
    """Return what the share of realisations keeps, and by how much that meets or misses the part."""
    if math.isnan(margin.slack):
        return f"in {margin.hits} of {row.counted}"
    if math.isinf(margin.slack):
        return "infeasible"
    spare = _shown(answer, margin.part, margin.slack, show, 2)
    spare = spare if spare.startswith("-") else f"+{spare}"
    if math.isnan(margin.value):
        return spare
    value = _shown(answer, margin.part, margin.value, show)
    _, space, unit = value.partition(" ")
    return f"{value} ({spare.removesuffix(space + unit) if unit else spare})"


def _shown(answer: Answer, part: int, value: float, show: Show, digits: int = 4) -> str:
    """Return a value in the unit that the person wrote, or else in the unit of the part."""
    unit, written = answer.part_unit(part), answer.written_unit(part)
    if written is not None:
        return f"{_rounded(value * float(unit.factor / written.factor), digits)} {written.text}"
    return show(float(_rounded(value, digits)), unit.text if unit.powers else "")


def _rounded(value: float, digits: int) -> str:
    """Return a number with so many significant digits, without an exponent where people write none."""
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text and abs(value) < 1e7 else text


def _conflicts(answer: Answer, show: Show, width: int) -> Iterator[str]:
    yield "No point meets the wish. The smallest sets of its parts that conflict:"
    for conflict in answer.conflicts:
        if not conflict.parts:
            yield from _wrapped("no part at all: at no point are enough realisations feasible", width, "- ")
        else:
            yield from _wrapped(" and ".join(answer.wish.parts[part].text for part in conflict.parts), width, "- ")
        for relaxation in conflict.relaxations:
            yield from _wrapped(relaxed(answer, relaxation, show), width, "    ")


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=" " * len(indent) + "  ")


def relaxed(answer: Answer, relaxation: Relaxation, show: Show = plain_number) -> str:
    """Return a sentence on how far a part must give way."""
    part = answer.wish.parts[relaxation.part]
    if math.isinf(relaxation.by):
        return (
            f"no other value of '{part.text}' helps"
            if isinstance(part, Compare)
            else f"without '{part.text}' they do not conflict"
        )
    assert isinstance(part, Compare)
    told = answer.threshold(relaxation.part)
    by = _shown(answer, relaxation.part, _outward(relaxation.by, up=True), show)
    if told is None or part.sign in ("==", "!="):
        words = f"'{part.text}' would have to give way by {by}"
    else:
        number, on_the_right = told
        upper = (part.sign in ("<", "<=")) == on_the_right
        value = _outward(number + relaxation.by if upper else number - relaxation.by, up=upper)
        sign, other = ("<=" if upper else ">="), answer.other_side(relaxation.part)
        words = f"{other} {sign} {_shown(answer, relaxation.part, value, show)} (by {by})"
    place = ", ".join(f"{k} {show(v, answer.columns.unit_text(k))}" for k, v in answer.labels(relaxation.point).items())
    return f"{words}: the {'wish' if relaxation.whole else 'set'} {_HOW[relaxation.state]} at {place or 'the point'}"


def _outward(value: float, *, up: bool) -> float:
    """Round to four digits, to the side on which the part is not harder to meet."""
    if value == 0.0 or not math.isfinite(value):
        return value
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 3)
    number = value / step
    whole = round(number) if abs(number - round(number)) < 1e-6 else math.ceil(number) if up else math.floor(number)
    return float(f"{whole * step:.4g}")


def as_data(answer: Answer) -> dict[str, Any]:
    """Return an answer as plain data for JSON; what is not finite is None."""
    return {
        "wish": answer.wish.text, "share": None if answer.share is None else float(answer.share), "over": answer.over,
        "confidence": None if answer.share is None else 1.0 - RISK, "minimise": list(answer.minimised), "points": answer.counts,
        "together": int(answer.points.together.sum()), "tolerance": answer.tolerance,
        "rows": [_row_data(answer, row) for row in answer.rows], "near": [_row_data(answer, row) for row in answer.near],
        "conflicts": [
            {
                "parts": [answer.wish.parts[part].text for part in conflict.parts],
                "relaxations": [
                    {
                        "part": answer.wish.parts[r.part].text, "by": _finite(r.by),
                        "unit": answer.part_unit(r.part).text if isinstance(answer.wish.parts[r.part], Compare) else "",
                        "at": answer.labels(r.point) if r.point >= 0 else None, "state": r.state, "whole_wish": r.whole,
                        "sentence": relaxed(answer, r),
                    }
                    for r in conflict.relaxations
                ],
            }
            for conflict in answer.conflicts
        ],
        "notes": list(answer.notes),
    }  # fmt: skip


def _row_data(answer: Answer, row: Row) -> dict[str, Any]:
    return {
        "point": dict(row.place), "verdict": row.verdict, "hits": row.hits, "counted": row.counted, "share_low": row.low,
        "share_high": row.high, "statuses": dict(row.statuses), "nondominated": row.nondominated, "stands_for": row.stands_for,
        "costs": {text: _finite(cost) for text, cost in zip(answer.minimised, row.costs, strict=True)},
        "margins": [
            {"part": answer.wish.parts[m.part].text, "hits": m.hits, "value": _finite(m.value), "margin": _finite(m.slack)}
            for m in row.margins
        ],
        "certificates": dict(row.certificates),
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
