"""The list of files that a published version carries: Zarr reads a chunk that is not there as missing values, and says nothing.

The list stands in the attribute ``files`` of the root's metadata, so that it comes and goes with the version, and a folder
of plain Zarr holds nothing that Zarr does not know. The root itself is checked by being read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from pipeline.archive import Files
from pipeline.errors import broken_field
from pipeline.zarrio import FormatError, group_attributes

ROOT = "zarr.json"

_ATTRIBUTE = "files"
_SIZES = TypeAdapter(dict[str, Annotated[int, Field(ge=0)]])


def with_file_list(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files of a Zarr group, the names and sizes of all but the root in the root's attributes."""
    root = json.loads(files[ROOT])
    sizes = {name: len(data) for name, data in sorted(files.items()) if name != ROOT}
    root["attributes"][_ATTRIBUTE] = json.dumps(sizes)
    return {**files, ROOT: json.dumps(root, sort_keys=True).encode()}


def check_file_list(files: Files) -> None:
    """Check that every listed file is there with its size. A version of an earlier release has no list: nothing is checked.

    Raises
    ------
    FormatError
        If a listed file is missing or has another size, or the list cannot be read.
    """
    listed = group_attributes(files).get(_ATTRIBUTE)
    if listed is None:
        return
    try:
        sizes = _SIZES.validate_json(listed, strict=True)
    except ValidationError as error:
        raise FormatError(f"the list of its files: {broken_field(error)}") from error
    for name, size in sizes.items():
        if name not in files:
            raise FormatError(f"{name!r} is missing")
        if files.size(name) != size:
            raise FormatError(f"{name!r} has {files.size(name):,} bytes, the list of files says {size:,}")
