"""Common parts of the scenarios of all families: checked sections, positions, and the random draw."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Positions may be written as lists; their numbers stay strict.
Point = Annotated[tuple[float, float], Field(strict=False)]


class Section(BaseModel):
    """A frozen part of a scenario; unknown names, values of another type and numbers that are not finite are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Draw(Section):
    """A section that chooses the random draw."""

    seed: int = Field(1, ge=0, description="seed of every random stream")
    realisation: int = Field(0, ge=0, description="realisation; the number of the random draw")
