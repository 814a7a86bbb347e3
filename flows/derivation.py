"""The inputs of surfaces and report, as plain data that another process can receive."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from flows.data_files import data_dir, papers_file, words_file
from flows.installed_checks import check_modules
from pipeline.digest import code_digest
from pipeline.layout import report_folder, versions_of
from pipeline.scenes import scene_modules
from pipeline.store import Store, open_store_backend
from pipeline.study import SurfaceSpec

_TEMPLATE = Path(__file__).parent / "report" / "template.html"


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
    surface_key, analysis_key, report_key
        Names of the versions to publish.
    network
        The place whose network the report draws, as :class:`pipeline.scene_cells.DrawnPlace` in JSON types; None if the
        experiment has no scenes.
    """

    study: str
    location: str
    surfaces: SurfaceSpec
    report: Mapping[str, Any]
    labels: tuple[str, ...]
    surface_key: str
    analysis_key: str
    report_key: str
    network: Mapping[str, Any] | None = None

    @property
    def store(self) -> Store:
        """Open the store."""
        return open_store_backend(self.location)

    @property
    def report_version(self) -> str:
        """Return the store name of the report."""
        return f"{versions_of(report_folder(self.study))}{self.report_key}.html"


def surface_code() -> str:
    """Return the digest of the code that makes surfaces and claims."""
    return code_digest(["pipeline.surfaces", "flows.claims", *check_modules()]).digest


def analysis_code() -> str:
    """Return the digest of the code that answers the standing questions."""
    return code_digest(["flows.analyses"]).digest


def report_code(experiment: str = "") -> str:
    """Return the digest of the code that draws a report; the scenes of an experiment are a part of it."""
    return code_digest(["flows.report.page", *scene_modules(experiment)]).digest


def surface_key(cube_key: str, surfaces: SurfaceSpec, code: str) -> str:
    """Return the digest of all that surfaces depend on: the cube, the choices, the code, and the claims."""
    claims = (file.read_text(encoding="utf-8") for file in sorted((data_dir() / "claims").glob("*.yaml")))
    return digest_of(cube_key, surfaces.model_dump_json(), code, *claims)


def analysis_key(surface_key: str, report: Mapping[str, Any], code: str) -> str:
    """Return the digest of all that the answers depend on: surfaces (and so cube and axes), variables, code and words."""
    asked = json.dumps([report.get("y"), list(report.get("front") or ())])
    return digest_of(surface_key, asked, code, words_file().read_text(encoding="utf-8"))


def report_key(analysis_key: str, report: Mapping[str, Any], code: str, lattice: str | None = None) -> str:
    """Return the digest of all that a report depends on: surfaces and answers, the choices, the code, and the words.

    ``lattice`` is the version of the lattice that a refinement has filled.
    """
    files = (file.read_text(encoding="utf-8") for file in (_TEMPLATE, papers_file(), words_file()))
    return digest_of(
        analysis_key, json.dumps(dict(report), sort_keys=True, default=str), code, *files, *filter(None, [lattice])
    )


def digest_of(*parts: str) -> str:
    """Return a digest of texts."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()
