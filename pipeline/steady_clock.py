"""Dask's pauses by a clock that never steps; imported at the start of every process that runs a part of Dask.

Dask and Tornado time their pauses by the wall clock. When that is set back, a message that waited for the end of a pause of two
milliseconds waits as long as the step: workers stand idle and the run hangs for an hour or a day. Both libraries let the clock
be another one, as long as it is the same from the start of the process.
"""

from __future__ import annotations

import time

import distributed.batched
from tornado.ioloop import IOLoop


def _monotonic(self: IOLoop) -> float:
    return time.monotonic()


distributed.batched.time = time.monotonic
IOLoop.time = _monotonic  # type: ignore[method-assign]
