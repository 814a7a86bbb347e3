"""The accessor ``.disac`` of data sets and trees: what studies need beyond xarray.

:func:`pipeline.open_store` registers it. A person who opens a cube with xarray alone imports this package first.
"""

from pipeline.accessors.registered import NAME

__all__ = ["NAME"]
