"""The layout of a store: names of its folders and pointers. No other module spells them out.

Names of folders end with a slash. ARCHITECTURE.md shows the whole tree and says which parts may be deleted.
"""

from __future__ import annotations

from pathlib import PurePath

SEGMENTS = "ledger/segments/"
"""Results of tasks: the truth."""
INDEX = "ledger/index/"
"""A cache of the keys in all segments."""
KEYS = "ledger/keys/"
"""A cache of the keys of many cells."""
ADOPTIONS = "adoptions/"
"""Records of older code that counts as the present code."""
INPUTS = "inputs/"
"""Files that scenarios name."""
LOCKS = "locks/"
"""Locks of the runs that are under way."""
PLANS = "plans/"
"""Records of the last run of each study."""
DECIDED = "decided/"
"""Records of how many realisations were computed to decide points of a study."""
CUBES = "cubes/"
SURFACES = "surfaces/"
ANALYSES = "analyses/"
REPORTS = "reports/"
REFINED = "refined/"
"""Refinements: the study of the cells that one asked for, and the lattice filled by interpolation."""


def cube_folder(study: str) -> str:
    """Return the folder of a study's cubes."""
    return f"{CUBES}{study}/"


def surface_folder(study: str) -> str:
    """Return the folder of a study's surfaces."""
    return f"{SURFACES}{study}/"


def analysis_folder(study: str) -> str:
    """Return the folder of the answers to the standing questions of a study."""
    return f"{ANALYSES}{study}/"


def report_folder(study: str) -> str:
    """Return the folder of a study's reports."""
    return f"{REPORTS}{study}/"


def report_page(study: str) -> str:
    """Return the pointer to the newest report of a study; a person opens it."""
    return f"{report_folder(study)}index.html"


def refined_folder(study: str) -> str:
    """Return the folder of a refinement, by the name of its derived study."""
    return f"{REFINED}{study}/"


def refined_study(study: str) -> str:
    """Return the pointer to the file of a derived study; a person gives it to commands."""
    return f"{refined_folder(study)}study.yaml"


def plan_folder(study: str) -> str:
    """Return the folder of a study's plans."""
    return f"{PLANS}{study}/"


def decided_folder(study: str) -> str:
    """Return the folder of the records on a study's decided points."""
    return f"{DECIDED}{study}/"


def lock_name(study: str) -> str:
    """Return the name of a study's lock."""
    return f"{LOCKS}{study}.json"


def versions_of(folder: str) -> str:
    """Return the folder of a folder's versions; each version stands there under its key."""
    return f"{folder}versions/"


def parts_of(folder: str) -> str:
    """Return the folder of the parts from which the surfaces of a folder were put together: a cache."""
    return f"{folder}parts/"


def latest_of(folder: str) -> str:
    """Return the pointer to the version that was last published in a folder."""
    return f"{folder}latest"


def store_of(version: PurePath) -> PurePath | None:
    """Return the folder of the store to which the folder of a published version belongs; None if it is no such folder."""
    if len(version.parts) < 5 or f"{version.parent.name}/" != versions_of(""):
        return None
    return version.parents[3] if f"{version.parts[-4]}/" in (CUBES, SURFACES, ANALYSES) else None


def study_of(name: str) -> str:
    """Return the study that owns an object of the folders of cubes, surfaces, analyses, reports, refinements or plans."""
    return name.split("/")[1]
