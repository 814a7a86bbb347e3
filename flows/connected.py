"""A connected cluster: the number of tasks that it runs at once, and the executors that run them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from flows.profiles import RetryPolicy
from flows.resources import at_once, needed, refusal
from pipeline.errors import UsageError
from pipeline.experiment import Experiment

PATIENT = {"distributed.deploy.lost-worker-timeout": "1 day"}
"""Dask's configuration for clusters whose nannies live as long as the run and always restart their workers.

Dask gives up a worker that does not return in time, and a busy machine takes long to start a worker. Such a worker would not be
replaced here.
"""

_NOTHING: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Cluster:
    """A connected client and words for people.

    ``most`` is the number of workers to which an adaptive cluster may grow, ``offer`` the resources of each of its workers, and
    ``retry`` the profile's policy for lost workers.
    """

    client: Any
    description: str
    dashboard: str
    most: int | None = None
    offer: Mapping[str, float] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def workers(self, resources: Mapping[str, float] = _NOTHING) -> int:
        """Return the number of tasks that can run at once: on the present workers, or on those that a cluster may grow to."""
        # An adaptive cluster grows if tasks wait. A window for the present workers alone would keep it at its size.
        if self.most is not None:
            return self.most
        if not resources:
            return sum(self.client.nthreads().values())
        return sum(at_once(worker["resources"], resources, worker["nthreads"]) for worker in self._present().values())

    def executor(self, resources: Mapping[str, float] = _NOTHING, avoid_hosts: frozenset[str] = frozenset()) -> Executor:
        """Return an executor for tasks that take ``resources`` each.

        Parameters
        ----------
        resources
            Resources that one task needs, as :meth:`granted` returns them.
        avoid_hosts
            Machines that get no such task as long as another machine can run it.
        """
        options: dict[str, Any] = {"pure": False, "retries": 0}
        if resources:
            options["resources"] = dict(resources)
        if avoid_hosts:
            others = [
                address for address, worker in self._present().items()
                if worker["host"] not in avoid_hosts and at_once(worker["resources"], resources, worker["nthreads"])
            ]  # fmt: skip
            options |= {"workers": others, "allow_other_workers": True} if others else {}
        executor: Executor = self.client.get_executor(**options)
        return executor

    def granted(self, experiment: Experiment) -> dict[str, float]:
        """Return the resources that one task of an experiment needs.

        Resources that no worker offers are refused, because the task would wait for ever.

        Raises
        ------
        UsageError
            If the experiment's ``resources`` cannot be read, or no worker, present or to come, offers them.
        """
        resources = needed(experiment)
        offers = [self.offer] if self.most is not None else [worker["resources"] for worker in self._present().values()]
        if resources and offers and not any(at_once(offer, resources, 1) for offer in offers):
            raise UsageError(refusal(experiment.name, resources, offers))
        return resources

    def _present(self) -> dict[str, dict[str, Any]]:
        workers: dict[str, dict[str, Any]] = self.client.scheduler_info(n_workers=-1)["workers"]
        return workers
