"""Failed cells of a plan, with their sentences (rule W3: a failure is data and is shown each time)."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.ledger import read_segment
from pipeline.plan import Plan


def failed_cells(plan: Plan) -> list[dict[str, Any]]:
    """Return coordinates, sentence and traceback of every planned cell whose result is a failure."""
    rows = np.flatnonzero(plan.failed)
    found = []
    for number in np.unique(plan.choice.segment[rows]):
        here = rows[plan.choice.segment[rows] == number]
        stored = plan.choice.row[here].astype(np.int64)
        name, about = plan.ledger.segments[number].name, ("key", "message", "traceback")
        segment = read_segment(plan.ledger.store, name, (), about, stored, plan.keys[here])
        for row, i in enumerate(here):
            found.append(
                {
                    "coordinates": plan.cells.coordinates(int(i)),
                    "key": plan.keys[i].tobytes().hex(),
                    "message": str(segment.arrays["message"][row]),
                    "traceback": str(segment.arrays["traceback"][row]),
                }
            )
    return found
