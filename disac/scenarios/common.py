"""The typed description of X0, on which designs of all papers meet: what may differ between two of its tables."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from disac.scenarios.base import Draw


class CommonScenario(Draw):
    """What may differ between two tables of X0."""

    sinr_db: float = Field(10.0, ge=-20, le=60, description="SINR of each user and subcarrier, in each design's own sense, dB")
    power: Literal["per-node", "native"] = Field(
        "per-node", description="power limit: the same for each node, or what each design's paper has"
    )
