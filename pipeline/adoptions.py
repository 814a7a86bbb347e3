"""Adoptions: records that a refactoring changed no bit, so that older code counts as the present code (rule I7)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.layout import ADOPTIONS
from pipeline.segment import Name
from pipeline.store import MOST_RECORD_BYTES, Store, content_name


class _Record(BaseModel):
    older: Name
    newer: Name


def record_adoption(store: Store, *, older: str, newer: str, checked: Mapping[str, Any]) -> str:
    """Record that cells of the code ``older`` count for ``newer``; return the record's name."""
    data = json.dumps({"older": older, "newer": newer, **checked}, sort_keys=True).encode()
    name = f"{ADOPTIONS}{content_name(data)}.json"
    store.put_if_absent(name, data)
    return name


def adopted_by(store: Store, digest: str) -> list[str]:
    """Return the digests of older code whose cells count for ``digest``, nearest first; adopted code of adopted code counts."""
    links: dict[str, list[str]] = {}
    for record in _records(store):
        links.setdefault(record.newer, []).append(record.older)
    found: list[str] = []
    waiting = sorted(links.get(digest, []))
    while waiting:
        older = waiting.pop(0)
        if older not in found and older != digest:
            found.append(older)
            waiting += sorted(links.get(older, []))
    return found


def _records(store: Store) -> Iterator[_Record]:
    """Yield all records; a file that is no record counts as absent."""
    for entry in store.list(ADOPTIONS):
        try:
            yield _Record.model_validate_json(store.get(entry.name, MOST_RECORD_BYTES))
        except (KeyError, ValidationError):
            continue
