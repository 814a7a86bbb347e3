"""Resources that a task needs and that workers offer: memory in bytes, GPUs, and other names of a profile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from dask.utils import format_bytes

from pipeline.errors import UsageError
from pipeline.experiment import Experiment, Resourceful


def needed(experiment: Experiment) -> dict[str, float]:
    """Return the experiment's ``resources``; empty if it has none.

    Raises
    ------
    UsageError
        If the resources are no names with amounts above 0.
    """
    resources = experiment.resources if isinstance(experiment, Resourceful) else {}
    good = isinstance(resources, Mapping) and all(
        isinstance(name, str) and isinstance(amount, int | float) and 0 < amount < math.inf
        for name, amount in resources.items()
    )
    if not good:
        raise UsageError(f"experiment '{experiment.name}': resources: found {resources!r}; accepted: a mapping of names to "
                         "amounts above 0, such as {'memory': 4e9, 'GPU': 1}")  # fmt: skip
    return {name: float(amount) for name, amount in resources.items()}


def offered(resources: Mapping[str, float], memory: int | None) -> dict[str, float]:
    """Return the resources that each worker of a cluster offers: those of its profile, and its memory limit in bytes."""
    return ({"memory": float(memory)} if memory else {}) | dict(resources)


def at_once(offer: Mapping[str, float], resources: Mapping[str, float], threads: int) -> int:
    """Return the number of tasks with these needs that a worker can run at once."""
    return min([threads, *(int(offer.get(name, 0.0) // amount) for name, amount in resources.items())])


def refusal(experiment: str, resources: Mapping[str, float], offers: Iterable[Mapping[str, float]]) -> str:
    """Return the sentence for an experiment whose tasks fit on no worker."""
    different = list(dict.fromkeys(told(offer) for offer in offers))
    return (
        f"experiment '{experiment}': one task needs {told(resources)}, and no worker offers that; workers offer "
        f"{' or '.join(different)}. What a worker offers is the key `resources` of the profile, such as "
        f"`resources: {{{', '.join(f'{n}: {a:g}' for n, a in resources.items() if n != 'memory') or 'GPU: 1'}}}`; memory is "
        "offered up to the worker's memory limit"
    )


def told(amounts: Mapping[str, float]) -> str:
    """Return the amounts in words, memory with its unit."""
    words = [f"{name} {format_bytes(int(a)) if name == 'memory' else format(a, 'g')}" for name, a in sorted(amounts.items())]
    return ", ".join(words) or "only a thread"
