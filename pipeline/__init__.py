"""The engine: studies, grids, identity, ledger, cubes, planning and execution. It knows no science."""

from pipeline.results import open_store

__all__ = ["open_store"]
