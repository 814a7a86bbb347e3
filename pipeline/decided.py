"""How many realisations ``disac ask --decide`` has computed for some points of a study.

The record says only how long the axis of realisations was made; the cells themselves are in the ledger. Without the record,
answers rest on the study's own realisations, and the next ``--decide`` finds the cells in the ledger.
"""

from __future__ import annotations

import json

from pydantic import BaseModel, Field, ValidationError

from pipeline.layout import decided_folder, latest_of
from pipeline.store import MOST_RECORD_BYTES, Store, content_name


class _Record(BaseModel):
    path: str = Field(max_length=4000)
    realisations: int = Field(ge=1, le=10_000_000)


def decided_realisations(store: Store, study: str, path: str) -> int:
    """Return the number of realisations up to which points of a study were decided; 0 without a record, or with a damaged one.

    Parameters
    ----------
    path
        Path of the axis of realisations; a record of another axis does not count.
    """
    folder = decided_folder(study)
    target = store.read_pointer(latest_of(folder))
    if target is None or not target.startswith(folder):
        return 0
    try:
        record = _Record.model_validate_json(store.get(target, MOST_RECORD_BYTES))
    except (KeyError, ValidationError):
        return 0
    return record.realisations if record.path == path else 0


def record_decided(store: Store, study: str, path: str, realisations: int) -> None:
    """Record that points of a study are being decided with so many realisations; a larger number that is recorded stays."""
    if realisations <= decided_realisations(store, study, path):
        return
    data = json.dumps({"path": path, "realisations": realisations}, sort_keys=True).encode()
    name = f"{decided_folder(study)}{content_name(data)}.json"
    store.put_if_absent(name, data, durable=False)
    store.publish_pointer(latest_of(decided_folder(study)), name)
