"""The result of a benchmark: our number beside a baseline of the same run, or beside a stated limit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A line of the output: name | ours | baseline | ratio."""

    name: str
    ours: float
    baseline: float
    unit: str
    what: str

    def line(self) -> str:
        """Return the line that is printed."""
        ratio = self.ours / self.baseline
        return f"{self.name} | {self.ours:.4g} {self.unit} | {self.baseline:.4g} {self.unit} | {ratio:.3g} | {self.what}"
