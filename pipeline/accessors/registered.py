"""Register ``.disac`` with xarray."""

from __future__ import annotations

import xarray as xr

from pipeline.accessors.cube import CubeAccessor
from pipeline.accessors.store import StoreAccessor

NAME = "disac"


def of_node(node: xr.DataTree) -> CubeAccessor | StoreAccessor:
    """Return the accessor of a node: that of its data set if it holds one, else that of the studies below it."""
    return CubeAccessor(node.to_dataset()) if node.data_vars else StoreAccessor(node)


xr.register_dataset_accessor(NAME)(CubeAccessor)  # type: ignore[no-untyped-call]
xr.register_datatree_accessor(NAME)(of_node)  # type: ignore[no-untyped-call]
