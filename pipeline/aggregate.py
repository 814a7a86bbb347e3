"""The surfaces of a large cube, part by part (rule C9): tasks on any ``concurrent.futures.Executor``, or in this process.

The coordinator holds no cube and no whole surfaces. A task reads a region of the published cube by itself and stores a part
(:mod:`pipeline.parts`); the coordinator then writes the surfaces chunk by chunk from the parts.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.blocks import Box, block_sides, boxes, overlap, region_sides, shape_of
from pipeline.cube import publish_group
from pipeline.digest import code_digest
from pipeline.errors import SurroundingsError
from pipeline.layout import parts_of
from pipeline.parts import Part, PartTask, make_part, open_cube, read_part, within
from pipeline.statistics import edge_variable
from pipeline.store import Store
from pipeline.study import SurfaceSpec
from pipeline.surfaces import compute_surfaces
from pipeline.zarrio import Labelled, Pieces, numpy_dtype

REGION_BYTES = 2**26
"""Most bytes of the cube that a task reads, unless a single block has more."""
WHOLE_BYTES = 2**27
"""Largest cube, in bytes of the variables that have statistics, whose surfaces are computed as a whole and leave no parts."""
_CACHE_BYTES = 2**27
_FORMAT = 1

Attributes = Callable[[xr.Dataset], Mapping[str, Any]]


@dataclass(frozen=True)
class Aggregation:
    """What an aggregation did: the published version, the number of its blocks, and how many of them were computed."""

    version: str
    blocks: int
    computed: int

    @property
    def summary(self) -> str:
        """Return a sentence for a person."""
        if self.blocks == self.computed:
            return f"The surfaces were computed, in {self.blocks:,} blocks."
        return f"{self.computed:,} of {self.blocks:,} blocks of the surfaces were computed; the others are as before."


def statistics_bytes(cube: xr.Dataset, spec: SurfaceSpec) -> int:
    """Return the bytes of the variables of a cube that have statistics."""
    return sum(cube[name].nbytes for name in _summarised(cube, spec))


def aggregate_blocks(
    store: Store, cube_version: str, folder: str, key: str, spec: SurfaceSpec, *,
    attributes: Attributes = lambda _: {}, executor: Executor | None = None, region_bytes: int = REGION_BYTES,
) -> Aggregation:  # fmt: skip
    """Compute the surfaces of a published cube block by block and publish them.

    Only blocks whose cells, choices or code changed since the last aggregation are computed. The bits are those of
    :func:`pipeline.surfaces.compute_surfaces` of the whole cube, whatever the blocks and the workers. If a worker is lost, this
    process computes the part that the worker had. If this process is ended, what was published stays, and the next call goes on
    from the parts that are stored.

    Parameters
    ----------
    store
        A store with local files; workers open it at the same location.
    cube_version
        Store name of the version of the cube.
    folder, key
        Folder of the surfaces, and key of the version to publish.
    spec
        The axes, as :func:`pipeline.named_axes.surface_axes` gives them.
    attributes
        Gives further attributes of the surfaces from a dataset with their labels, their attributes and the feasibility edge.
    executor
        Where tasks run: anything with ``submit``, such as ``client.get_executor()`` of Dask; default in this process.
    region_bytes
        Most bytes of the cube that a task reads, unless a single block has more.

    Raises
    ------
    TypeError
        If the store has no local files.
    SurroundingsError
        If another process removes parts meanwhile.
    """
    tasks, template = _tasks(store, cube_version, folder, spec, region_bytes)
    parts = _made(tasks, executor)
    assembled = _Assembled(store, tasks, [part.name for part in parts], template)
    edge = [edge_variable(spec.edge)] if spec.edge else []
    small = xr.Dataset({name: assembled.whole(name) for name in edge}, assembled.labels, template.attrs)
    published = publish_group(store, folder, key, assembled.arrays(), {**template.attrs, **attributes(small)})
    kept = {part.name for part in parts}
    for entry in store.list(parts_of(folder)):
        if entry.name not in kept:
            store.delete(entry.name)
    return Aggregation(published, sum(part.blocks for part in parts), sum(part.computed for part in parts))


def _summarised(cube: xr.Dataset, spec: SurfaceSpec) -> list[str]:
    """Return the variables of a cube that have statistics."""
    axes, real = cube["status"].dims, {str(n): v for n, v in cube.data_vars.items() if v.dtype.kind == "f"}
    return [name for name, variable in real.items() if variable.dims == axes or name in spec.profiles]


def _tasks(
    store: Store, version: str, folder: str, spec: SurfaceSpec, region_bytes: int
) -> tuple[list[PartTask], xr.Dataset]:  # fmt: skip
    """Return a task for each region, and the surfaces of one point along the free axes with the labels of all."""
    cube = open_cube(store, version)
    variables = ("status", *_summarised(cube, spec))
    free = tuple(str(d) for d in cube["status"].dims if d not in (spec.over, spec.edge, spec.paired))
    choices: dict[str, Any] = {"over": spec.over, "edge": spec.edge, "paired": spec.paired, "profiles": tuple(spec.profiles)}
    point = cube[list(variables)].isel(dict.fromkeys(free, slice(0, 1))).load()
    template = compute_surfaces(point, **choices)
    kept = {str(n): {str(d): size for d, size in v.sizes.items()} for n, v in template.data_vars.items()}
    arrays = tuple((n, tuple(sizes), tuple(sizes[d] for d in sizes if d not in free)) for n, sizes in kept.items())
    lengths = [cube.sizes[d] for d in free]
    sides = block_sides(lengths)
    of_point = sum(point[name].nbytes for name in variables)
    largest = region_sides(lengths, sides, region_bytes / max(1, of_point))
    base = _digest(choices, free, sides, arrays, [(n, str(cube[n].dtype)) for n in sorted(variables)], point, spec.edge)
    stored: dict[str, list[str]] = {}
    for entry in store.list(parts_of(folder)):
        stored.setdefault(f"{entry.name.rpartition('/')[0]}/", []).append(entry.name)
    tasks = []
    for box in boxes(lengths, largest):
        here = f"{parts_of(folder)}{base}/{'-'.join(str(side.start) for side in box) or 'all'}/"
        about: dict[str, Any] = {"region": tuple((side.start, side.stop) for side in box), "arrays": arrays}
        about |= {"free": free, "sides": sides, "earlier": tuple(sorted(stored.get(here, [])))}
        tasks.append(PartTask(store.location(), version, here, variables, **choices, **about))
    labels = {n: cube[n].load() for n in template.coords if n in cube.coords}
    return tasks, template.drop_vars(list(labels)).isel(dict.fromkeys(free, 0)).assign_coords(labels)


def _digest(*what: Any) -> str:
    """Return the digest of all that a block's statistics depend on beside its cells."""
    *choices, point, edge = what
    labels = point[edge].values.tolist() if edge else []
    told = [_FORMAT, code_digest(["pipeline.surfaces"]).digest, *choices, labels]
    return blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).hexdigest()


def _made(tasks: Sequence[PartTask], executor: Executor | None) -> list[Part]:
    """Return the parts of all tasks. A task whose worker was lost, or that failed there, is done here."""
    futures: list[Future[Part] | None] = []
    for task in tasks:
        futures.append(_submitted(executor, task))
    try:
        return [_answer(future, task) for future, task in zip(futures, tasks, strict=True)]
    finally:
        for future in futures:
            if future is not None:
                future.cancel()


def _submitted(executor: Executor | None, task: PartTask) -> Future[Part] | None:
    try:
        return None if executor is None else executor.submit(make_part, task)
    except RuntimeError:  # the executor has lost its workers
        return None


def _answer(future: Future[Part] | None, task: PartTask) -> Part:
    """Return a future's part. An error of the work itself comes again when the work is done here."""
    if future is not None:
        try:
            return future.result()
        except Exception:
            pass
    return make_part(task)


class _Assembled:
    """The arrays of the surfaces, read from their parts."""

    def __init__(self, store: Store, tasks: Sequence[PartTask], names: Sequence[str], template: xr.Dataset) -> None:
        self._store, self._tasks, self._names, self._template = store, tasks, names, template
        self._regions: list[Box] = [tuple(slice(*ends) for ends in task.region) for task in tasks]
        self._free = tasks[0].free
        self._whole = tuple(slice(0, max(region[a].stop for region in self._regions)) for a in range(len(self._free)))
        self._held: OrderedDict[tuple[int, str], NDArray[Any]] = OrderedDict()

    @property
    def labels(self) -> dict[Any, xr.DataArray]:
        """Return the labels of the surfaces."""
        return dict(self._template.coords)

    def arrays(self) -> dict[str, Labelled | Pieces]:
        """Return all arrays, in the stored form."""
        found: dict[str, Labelled | Pieces] = {str(n): _stored(c) for n, c in self._template.coords.items()}
        for name, dims, lengths in self._tasks[0].arrays:
            about = self._template[name]
            shape = self._shape(dims, lengths)
            found[name] = Pieces(dims, shape, about.dtype, self._reader(name, dims, shape, about.dtype), dict(about.attrs))
        return found

    def whole(self, name: str) -> tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]:
        """Return one array as a whole, with its dimensions and attributes."""
        dims, lengths = next((dims, lengths) for label, dims, lengths in self._tasks[0].arrays if label == name)
        shape, about = self._shape(dims, lengths), self._template[name]
        read = self._reader(name, dims, shape, about.dtype)
        return dims, read(tuple(slice(0, n) for n in shape)), dict(about.attrs)

    def _shape(self, dims: tuple[str, ...], lengths: tuple[int, ...]) -> tuple[int, ...]:
        free, rest = dict(zip(self._free, shape_of(self._whole), strict=True)), iter(lengths)
        return tuple(free[dim] if dim in free else next(rest) for dim in dims)

    def _reader(self, name: str, dims: tuple[str, ...], shape: tuple[int, ...], dtype: Any) -> Callable[[Box], NDArray[Any]]:
        def read(box: Box) -> NDArray[Any]:
            found = np.empty(shape_of(box), dtype=dtype)
            places = dict(zip(dims, box, strict=True))
            wanted = tuple(places.get(axis, side) for axis, side in zip(self._free, self._whole, strict=True))
            for number, region in enumerate(self._regions):
                met = overlap(wanted, region)
                if met is not None:
                    held = self._part(number, name)[within(dims, self._free, met[1])]
                    others = tuple(slice(None) if dim in self._free else place for dim, place in zip(dims, box, strict=True))
                    found[within(dims, self._free, met[0])] = held[others]
            return found

        return read

    def _part(self, number: int, name: str) -> NDArray[Any]:
        """Return an array of one part; the arrays that were used last are held."""
        if (number, name) not in self._held:
            arrays = read_part(self._store, self._names[number], self._tasks[number], name)
            if arrays is None:
                raise SurroundingsError(f"'{self._names[number]}' was removed while the surfaces were written: do it again")
            self._held[number, name] = arrays[name].data
            while sum(array.nbytes for array in self._held.values()) > _CACHE_BYTES and len(self._held) > 1:
                self._held.popitem(last=False)
        self._held.move_to_end((number, name))
        return self._held[number, name]


def _stored(labels: xr.DataArray) -> Labelled:
    data = labels.values
    text = data.dtype.kind in "OU"
    return Labelled(tuple(map(str, labels.dims)), data.astype(numpy_dtype("str")) if text else data, dict(labels.attrs))
