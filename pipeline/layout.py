"""Where things stand in a store: the names of its folders and pointers, in this place alone.

Names of folders end with a slash. ARCHITECTURE.md shows the whole tree and says what may be deleted.
"""

from __future__ import annotations

SEGMENTS = "ledger/segments/"
"""What tasks left: the truth."""
INDEX = "ledger/index/"
"""A cache of the keys in all segments."""
KEYS = "ledger/keys/"
"""A cache of the keys of many cells."""
ADOPTIONS = "adoptions/"
"""Which older code counts as the present one."""
INPUTS = "inputs/"
"""Files that scenarios name."""
LOCKS = "locks/"
"""Who is running."""
PLANS = "plans/"
"""What was last run."""
CUBES = "cubes/"
SURFACES = "surfaces/"
REPORTS = "reports/"


def cube_folder(study: str) -> str:
    """Folder of a study's cubes."""
    return f"{CUBES}{study}/"


def surface_folder(study: str) -> str:
    """Folder of a study's surfaces."""
    return f"{SURFACES}{study}/"


def report_folder(study: str) -> str:
    """Folder of a study's reports."""
    return f"{REPORTS}{study}/"


def report_page(study: str) -> str:
    """The pointer that a person opens: to the newest report of a study."""
    return f"{report_folder(study)}index.html"


def plan_folder(study: str) -> str:
    """Folder of a study's plans."""
    return f"{PLANS}{study}/"


def lock_name(study: str) -> str:
    """The lock of a study."""
    return f"{LOCKS}{study}.json"


def versions_of(folder: str) -> str:
    """Where a folder keeps its versions, each under its key."""
    return f"{folder}versions/"


def latest_of(folder: str) -> str:
    """The pointer of a folder to what was published last in it."""
    return f"{folder}latest"


def study_of(name: str) -> str:
    """The study to which an object of :data:`CUBES`, :data:`SURFACES`, :data:`REPORTS` or :data:`PLANS` belongs."""
    return name.split("/")[1]
