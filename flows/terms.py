"""The terms of a run: the cluster, the budget, and who is told when the run ends."""

from __future__ import annotations

from dataclasses import dataclass

from flows.on_end import NOBODY, OnEnd
from pipeline.budget import NO_LIMIT, Budget


@dataclass(frozen=True)
class Terms:
    """What a person grants a run on the command line.

    Parameters
    ----------
    cluster
        A profile of ``dask_config.yaml`` or a scheduler's address; the configuration's default when None.
    workers
        Local worker processes, in place of the profile's number.
    insecure
        Connect the workers without encryption.
    force
        Run although another run of the study holds its lock.
    budget
        Worker time and the moment of the end.
    on_end
        Who is told.
    """

    cluster: str | None = None
    workers: int | None = None
    insecure: bool = False
    force: bool = False
    budget: Budget = NO_LIMIT
    on_end: OnEnd = NOBODY
