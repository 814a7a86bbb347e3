"""What one task of an experiment needs, and whether workers offer it: memory in bytes, GPUs, or whatever a profile names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from dask.utils import format_bytes

from pipeline.errors import UsageError
from pipeline.experiment import Experiment, Resourceful


def needed(experiment: Experiment) -> dict[str, float]:
    """The experiment's ``resources``; empty where it has none.

    Raises
    ------
    UsageError
        If they are no names with amounts above 0.
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
    """What each worker of a cluster offers: what its profile says, and the memory in bytes that it may take."""
    return ({"memory": float(memory)} if memory else {}) | dict(resources)


def at_once(offer: Mapping[str, float], resources: Mapping[str, float], threads: int) -> int:
    """How many such tasks a worker can run at once."""
    return min([threads, *(int(offer.get(name, 0.0) // amount) for name, amount in resources.items())])


def refusal(experiment: str, resources: Mapping[str, float], offers: Iterable[Mapping[str, float]]) -> str:
    """The sentence for an experiment whose tasks fit on no worker."""
    different = list(dict.fromkeys(told(offer) for offer in offers))
    return (
        f"experiment '{experiment}': one task needs {told(resources)}, and no worker offers that; workers offer "
        f"{' or '.join(different)}. What a worker offers is the key `resources` of the profile, such as "
        f"`resources: {{{', '.join(f'{n}: {a:g}' for n, a in resources.items() if n != 'memory') or 'GPU: 1'}}}`; memory is "
        "offered up to the worker's memory limit"
    )


def told(amounts: Mapping[str, float]) -> str:
    """Amounts in words, memory with its unit."""
    words = [f"{name} {format_bytes(int(a)) if name == 'memory' else format(a, 'g')}" for name, a in sorted(amounts.items())]
    return ", ".join(words) or "nothing beside a thread"
