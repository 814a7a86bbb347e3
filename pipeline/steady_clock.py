"""Make Dask measure its pauses by a clock that never jumps. Every process that runs a part of Dask imports this module first.

Dask and Tornado measure their pauses by the wall clock. If that clock is set back by an hour, a pause of two milliseconds takes
an hour: the workers are idle and the run hangs. Both libraries accept another clock if it is set before they start.
"""

from __future__ import annotations

import time

import distributed.batched
from tornado.ioloop import IOLoop


def _monotonic(self: IOLoop) -> float:
    return time.monotonic()


distributed.batched.time = time.monotonic
IOLoop.time = _monotonic  # type: ignore[method-assign]
