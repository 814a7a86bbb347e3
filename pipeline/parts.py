"""One part of a study's surfaces: what a task computes from a region of a published cube, and stores for the coordinator.

A part is an archive with the statistics of one region and the digests of its blocks. It lies beside the surfaces, under the
digest of what it was made from: a block whose cells are as before is taken from an earlier part. Deleting parts costs time
alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.archive import Archive, ArchiveError, pack
from pipeline.blocks import Box, boxes, shape_of
from pipeline.store import Store, open_store_backend
from pipeline.surfaces import compute_surfaces
from pipeline.zarrio import FormatError, Labelled, group_files, read_group

DIGESTS = "digests of the blocks"
_ENDING = ".zip"


@dataclass(frozen=True)
class PartTask:
    """All data that a worker needs to make one part.

    Parameters
    ----------
    store, version
        Location of the store, and the name of the cube's version in it.
    folder
        Folder of the parts of this region.
    variables
        Variables of the cube that have statistics, and ``status``.
    over, edge, paired, profiles
        As :func:`pipeline.surfaces.compute_surfaces` takes them.
    free, sides, region
        Names of the free axes, sides of a block along them, and the part of them that is this region: (start, stop) for each.
    arrays
        The arrays of a part: name, dimensions, and the lengths of all dimensions but the free axes.
    earlier
        Names of stored parts of this region.
    """

    store: str
    version: str
    folder: str
    variables: tuple[str, ...]
    over: str | None
    edge: str | None
    paired: str | None
    profiles: tuple[str, ...]
    free: tuple[str, ...]
    sides: tuple[int, ...]
    region: tuple[tuple[int, int], ...]
    arrays: tuple[tuple[str, tuple[str, ...], tuple[int, ...]], ...]
    earlier: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """The answer of a task: the part's name, the number of its blocks, and how many of them were computed."""

    name: str
    blocks: int
    computed: int


def make_part(task: PartTask) -> Part:
    """Read a region of the cube, compute those of its blocks that no earlier part has, and store the part before returning."""
    store = open_store_backend(task.store)
    region = tuple(slice(*ends) for ends in task.region)
    cube = open_cube(store, task.version)[list(task.variables)].isel(dict(zip(task.free, region, strict=True))).load()
    blocks = list(boxes(shape_of(region), task.sides))
    digests = _digests(cube, task.free, blocks)
    name = f"{task.folder}{blake2b(digests.tobytes(), digest_size=16).hexdigest()}{_ENDING}"
    if name in task.earlier and _holds(read_part(store, name, task), digests, task.free, shape_of(region)):
        return Part(name, len(blocks), 0)
    known = _known_blocks(store, task)
    keys = [digest.tobytes() for digest in digests]
    lacking = [block for block, key in zip(blocks, keys, strict=True) if key not in known]
    pieces = [(block, known[key]) for block, key in zip(blocks, keys, strict=True) if key in known]
    for box in _together(lacking):
        pieces.append((box, _computed(cube.isel(dict(zip(task.free, box, strict=True))), task)))
    arrays = _joined(pieces, task.free, shape_of(region))
    store.delete(name)  # what stands there is not this part
    store.put_if_absent(name, pack(group_files(arrays | {DIGESTS: Labelled(("block", "byte"), digests, random=True)}, {})))
    return Part(name, len(blocks), len(lacking))


def _holds(
    part: dict[str, Labelled] | None, digests: NDArray[np.uint8], free: tuple[str, ...], lengths: tuple[int, ...]
) -> bool:
    """Return whether a part that was read holds these blocks. What stands under its name may be another part."""
    return part is not None and np.array_equal(part[DIGESTS].data, digests) and _free_lengths(part, free) == lengths


@lru_cache(maxsize=4)
def _opened(path: str) -> xr.Dataset:
    # Nothing is held: a task reads its region once.
    return xr.open_dataset(path, engine="zarr", chunks=None, cache=False)


def open_cube(store: Store, version: str) -> xr.Dataset:
    """Open a version of a cube; its values are read when they are used. The store must have local files."""
    path = store.path(version)
    if path is None:
        raise TypeError("this store has no local files to read parts of a cube from")
    return _opened(str(path))


def _digests(cube: xr.Dataset, free: tuple[str, ...], blocks: list[Box]) -> NDArray[np.uint8]:
    """Return a digest [block, byte] of the shape and the values of each block, of all variables."""
    values = [cube[name].transpose(*free, ...).values for name in sorted(map(str, cube.data_vars))]
    found = np.empty((len(blocks), 16), dtype=np.uint8)
    for place, block in enumerate(blocks):
        digest = blake2b(repr(shape_of(block)).encode(), digest_size=16)
        for array in values:
            digest.update(np.ascontiguousarray(array[block]))
        found[place] = np.frombuffer(digest.digest(), dtype=np.uint8)
    return found


def _together(blocks: list[Box]) -> list[Box]:
    """Return one box in place of blocks that fill it, such as all blocks of a region or of one label; else the blocks."""
    if not blocks:
        return []
    around = tuple(slice(min(s.start for s in sides), max(s.stop for s in sides)) for sides in zip(*blocks, strict=True))
    points = sum(math.prod(shape_of(block)) for block in blocks)
    return [around] if math.prod(shape_of(around)) == points else blocks


def _computed(cube: xr.Dataset, task: PartTask) -> dict[str, Labelled]:
    surfaces = compute_surfaces(cube, over=task.over, edge=task.edge, paired=task.paired, profiles=task.profiles)
    return {str(n): Labelled(tuple(map(str, v.dims)), v.values) for n, v in surfaces.data_vars.items()}


def _known_blocks(store: Store, task: PartTask) -> dict[bytes, dict[str, Labelled]]:
    """Return the blocks of the earlier parts of the region, by their digests."""
    known: dict[bytes, dict[str, Labelled]] = {}
    for name in task.earlier:
        arrays = read_part(store, name, task)
        if arrays is None:
            continue
        digests = arrays.pop(DIGESTS).data
        blocks = boxes(_free_lengths(arrays, task.free), task.sides)
        for block, digest in zip(blocks, digests, strict=True):
            places = {n: within(a.dims, task.free, block) for n, a in arrays.items()}
            known[digest.tobytes()] = {n: Labelled(a.dims, a.data[places[n]]) for n, a in arrays.items()}
    return known


def _free_lengths(arrays: Mapping[str, Labelled], free: tuple[str, ...]) -> tuple[int, ...]:
    lengths = {dim: n for array in arrays.values() for dim, n in zip(array.dims, array.data.shape, strict=True)}
    return tuple(lengths.get(axis, 0) for axis in free)


def within(dims: tuple[str, ...], free: tuple[str, ...], box: Box) -> tuple[slice, ...]:
    """Return the place of a box in an array with these dimensions."""
    places = dict(zip(free, box, strict=True))
    return tuple(places.get(dim, slice(None)) for dim in dims)


def _joined(
    pieces: list[tuple[Box, dict[str, Labelled]]], free: tuple[str, ...], lengths: tuple[int, ...]
) -> dict[str, Labelled]:  # fmt: skip
    """Put the pieces of a region side by side."""
    if len(pieces) == 1:
        return pieces[0][1]
    whole = dict(zip(free, lengths, strict=True))
    found = {}
    for name, first in pieces[0][1].items():
        shape = tuple(whole.get(dim, n) for dim, n in zip(first.dims, first.data.shape, strict=True))
        data = np.empty(shape, dtype=first.data.dtype)
        for box, piece in pieces:
            data[within(first.dims, free, box)] = piece[name].data
        found[name] = Labelled(first.dims, data)
    return found


def read_part(store: Store, name: str, task: PartTask, variable: str | None = None) -> dict[str, Labelled] | None:
    """Return the arrays of a stored part, or one of them; None if it is not there, or is no part of this study."""
    wanted = [about for about in task.arrays if variable in (None, about[0])]
    try:
        with store.open(name) as file:
            arrays = read_group(Archive(file), frozenset((*(about[0] for about in wanted), *([] if variable else [DIGESTS]))))
    except (KeyError, ArchiveError, FormatError):
        return None
    for label, dims, lengths in wanted:
        if label not in arrays or arrays[label].dims != dims or arrays[label].data.dtype.kind not in "if":
            return None
        shape = zip(dims, arrays[label].data.shape, strict=True)
        if tuple(n for dim, n in shape if dim not in task.free) != lengths:
            return None
    if variable is None:
        count = math.prod(-(-n // side) for n, side in zip(_free_lengths(arrays, task.free), task.sides, strict=True))
        if DIGESTS not in arrays or arrays[DIGESTS].data.shape != (count, 16) or arrays[DIGESTS].data.dtype != np.uint8:
            return None
    return arrays
