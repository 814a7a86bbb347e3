"""``--max-core-hours`` and ``--deadline``: the limits of a run, as a budget."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from datetime import time as time_of_day

from pipeline.budget import Budget
from pipeline.errors import UsageError

_ACCEPTED = "a duration (90m, 2.5h, 1d), a time of day (18:30) or a moment (2026-11-28T07:00)"


def budget_of(max_core_hours: float | None, deadline: str | None, *, now: datetime | None = None) -> Budget:
    """Return the budget of a run; an option that is not given sets no limit.

    Parameters
    ----------
    max_core_hours
        Worker time, in hours of one core.
    deadline
        Duration from now, time of day (its next occurrence) or moment; without a time zone it is local time.
    now
        The present moment; for tests.

    Raises
    ------
    UsageError
        If the deadline cannot be read or has passed.
    """
    limits = Budget() if max_core_hours is None else Budget(core_seconds=3600.0 * max_core_hours)
    if deadline is None:
        return limits
    now = now or datetime.now().astimezone()
    seconds = (_moment(deadline.strip(), now) - now).total_seconds()
    if seconds <= 0:
        raise UsageError(f"--deadline {deadline}: it has passed; it is {now.isoformat(sep=' ', timespec='minutes')}")
    return Budget(limits.core_seconds, time.monotonic() + seconds)


def _moment(text: str, now: datetime) -> datetime:
    try:
        clock = time_of_day.fromisoformat(text) if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text) else None
        if clock is not None:
            today = now.replace(hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0)
            return today if today > now else today + timedelta(days=1)
        if re.match(r"\d{4}-", text):
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.astimezone()
        if re.search(r"\d *[a-zA-Z]+$", text):
            from dask.utils import parse_timedelta

            return now + timedelta(seconds=float(parse_timedelta(text)))
    except (ValueError, KeyError, OverflowError) as error:
        raise UsageError(f"--deadline {text}: not understood; accepted: {_ACCEPTED}") from error
    raise UsageError(f"--deadline {text}: not understood; accepted: {_ACCEPTED}")
