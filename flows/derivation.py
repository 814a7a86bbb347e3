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
    """The published cube of a study, and the surfaces and report that are made from it.

    Parameters
    ----------
    study, location
        Name of the study, and location of its store.
    surfaces, report
        The study's ``surfaces`` and ``report``, with the axes resolved.
    labels
        Names of the labels of the arrays: axes, their members, own dimensions.
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
        """Open the store."""
        return open_store_backend(self.location)

    @property
    def report_version(self) -> str:
        """Return the store name of the report."""
        return f"{versions_of(report_folder(self.study))}{self.report_key}.html"
