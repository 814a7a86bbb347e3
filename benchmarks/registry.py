"""A benchmark's result: ours beside a baseline of the same run, or beside a stated bar."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the output: name | ours | baseline | ratio."""

    name: str
    ours: float
    baseline: float
    unit: str
    what: str

    def line(self) -> str:
        """The printed line."""
        ratio = self.ours / self.baseline
        return f"{self.name} | {self.ours:.4g} {self.unit} | {self.baseline:.4g} {self.unit} | {ratio:.3g} | {self.what}"
