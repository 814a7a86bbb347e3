"""Random streams keyed by what they belong to, never by the order in which they are asked for (rule R1)."""

from __future__ import annotations

import json
from hashlib import blake2b

import numpy as np


def stream(seed: int, name: str, **entity: int | str) -> np.random.Generator:
    """Random generator of one entity.

    The key is the canonical text of seed, stream name and entity indices, so that three users contain two users bit for
    bit and extending a grid shifts nothing.

    Parameters
    ----------
    seed
        The scenario's seed.
    name
        Name of the stream, e.g. ``user-channel``.
    entity
        Indices that define the draw: node, user, target, subcarrier, realisation.
    """
    text = json.dumps([seed, name, entity], sort_keys=True, separators=(",", ":"))
    words = np.frombuffer(blake2b(text.encode("ascii"), digest_size=32).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(w) for w in words])))


def complex_normal(generator: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
    """Circularly symmetric complex normal samples of unit variance."""
    real, imaginary = generator.standard_normal(shape), generator.standard_normal(shape)
    return (real + 1j * imaginary) / np.sqrt(2.0)
