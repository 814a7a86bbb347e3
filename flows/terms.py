"""The terms of a run: the cluster, the budget, and the receiver of the notification when the run ends."""

from __future__ import annotations

from dataclasses import dataclass

from flows.on_end import NOBODY, OnEnd
from pipeline.budget import NO_LIMIT, Budget


@dataclass(frozen=True)
class Terms:
    """The choices for a run that a person makes on the command line.

    Parameters
    ----------
    cluster
        A profile of ``dask_config.yaml`` or a scheduler's address; if None, the configuration's default.
    workers
        Local worker processes, in place of the profile's number.
    insecure
        Connect the workers without encryption.
    force
        Run although another run of the study holds its lock.
    budget
        Worker time, and the moment at which the run ends.
    on_end
        Receiver of the notification.
    """

    cluster: str | None = None
    workers: int | None = None
    insecure: bool = False
    force: bool = False
    budget: Budget = NO_LIMIT
    on_end: OnEnd = NOBODY
