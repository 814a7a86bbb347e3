"""The account of one cell: its result, the time and place of its computation, or the reason why it is missing (I6, I7, W3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pipeline.address import describe
from pipeline.experiment import STATUS_NAMES
from pipeline.ledger import read_segment
from pipeline.plan import Plan, reasons
from pipeline.segment import Segment


def stored_segment(plan: Plan, cell: int) -> tuple[Segment, int] | None:
    """Return the segment that counts for a planned cell, and the cell's row in it; None if nothing is stored.

    No other cell of the segment is read.
    """
    if not plan.choice.present[cell]:
        return None
    info = plan.ledger.segments[plan.choice.segment[cell]]
    here = slice(cell, cell + 1)
    return read_segment(plan.ledger.store, info.name, rows=plan.choice.row[here].astype(np.int64), keys=plan.keys[here]), 0


def account(plan: Plan, cell: int) -> dict[str, Any]:
    """Return all facts about one planned cell that a person may ask for, as plain data."""
    head = {
        "cell": describe(plan, cell),
        "key": plan.keys[cell].tobytes().hex(),
        "scenario_key": plan.scenario_keys[cell].tobytes().hex(),
    }
    there = stored_segment(plan, cell)
    if there is None:
        return {**head, "status": "missing", "reason": _why_missing(plan, cell)}
    segment, row = there
    origin = plan.ledger.origins[plan.choice.origin[cell]]
    info = plan.ledger.segments[plan.choice.segment[cell]]
    made = next((o for o in segment.attributes.get("origins", ()) if o["name"] == origin), segment.attributes)
    moment = datetime.fromtimestamp(info.mtime_ns / 1e9, UTC).isoformat(timespec="seconds")
    lacking = [name for name, lacks in plan.lacking.items() if lacks[cell]]
    same = (plan.ledger.keys == plan.keys[cell]).all(axis=1)
    copies = len(np.unique(plan.ledger.origin[same]))
    return {
        **head,
        "status": STATUS_NAMES[int(segment.arrays["status"][row])],
        "message": str(segment.arrays["message"][row]),
        "traceback": str(segment.arrays["traceback"][row]),
        "reason": f"variable {', '.join(lacking)} not kept: it will be computed again" if lacking else "",
        "finished": made.get("finished", moment),
        "host": made.get("host", "not recorded"),
        "segment": info.name,
        "origin": origin if info.compacted else "",
        "copies": copies,
        "code": segment.attributes["code_digest"],
        "adopted": segment.attributes["code_digest"] != plan.code.digest,
        "environment": dict(segment.attributes["environment"]),
        "canonical": str(segment.arrays["canonical"][row]),
    }


def account_lines(found: Mapping[str, Any]) -> list[str]:
    """Return the lines in which a person reads an account; facts that are empty are left out."""
    lines = []
    for name, value in found.items():
        if value not in ("", None, {}, []):
            text = "  ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
            lines.append(f"{name.replace('_', ' '):12s} {text}")
    return lines


def _why_missing(plan: Plan, cell: int) -> str:
    """Return the plan's reason why one cell must be computed."""
    only = np.ones(len(plan.keys), dtype=bool)
    only[cell] = False
    choice = replace(plan.choice, segment=np.where(only, 0, plan.choice.segment).astype(np.int32))
    found = reasons(replace(plan, choice=choice, lacking={}, retry=False))
    return "; ".join(found) or "not computed yet"
