"""The list of the files of a published version. It is needed because Zarr silently reads a lost chunk as missing values.

The list is the attribute ``files`` in the root's metadata. So it exists exactly as long as the version, and the folder holds
only files that plain Zarr knows. The root itself is checked when it is read.
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


def with_file_list(root: bytes, sizes: Mapping[str, int]) -> bytes:
    """Return the metadata of a group's root with the sizes of all other files, by their names, in the attributes."""
    content = json.loads(root)
    content["attributes"][_ATTRIBUTE] = json.dumps(dict(sorted(sizes.items())))
    return json.dumps(content, sort_keys=True).encode()


def check_file_list(files: Files) -> None:
    """Check that every listed file exists with its size. A version of an earlier release has no list, so it passes.

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
