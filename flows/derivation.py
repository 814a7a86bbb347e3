"""The inputs of surfaces and report, as plain data that another process can receive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.layout import report_folder, versions_of
from pipeline.store import Store, open_store_backend
from pipeline.study import SurfaceSpec


@dataclass(frozen=True)
class Derivation:
    """The published cube of a study, and what is to be made of it.

    Parameters
    ----------
    study, location
        Name of the study, and where its store is.
    surfaces, report
        What the study asks for, with the axes resolved.
    labels
        Names of what labels the arrays: axes, their members, own dimensions.
    surface_key, report_key
        Names of the versions to publish.
    """

    study: str
    location: str
    surfaces: SurfaceSpec
    report: Mapping[str, Any]
    labels: tuple[str, ...]
    surface_key: str
    report_key: str

    @property
    def store(self) -> Store:
        """The store, opened."""
        return open_store_backend(self.location)

    @property
    def report_version(self) -> str:
        """Store name of the report."""
        return f"{versions_of(report_folder(self.study))}{self.report_key}.html"
