"""Check the answer of an experiment for one cell against the variables that the experiment declares (rule W6).

A value is stored as the experiment meant it, or its cell fails with a sentence. No value is cut, padded, rounded to a whole
number or read from text on its way into a segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import near_miss
from pipeline.experiment import STATUS_CODES, Variable, is_optional
from pipeline.zarrio import numpy_dtype

ANSWERS = ("ok", "inaccurate", "infeasible", "failed")
"""Statuses that an experiment may give; only the engine sets the other statuses."""

_COMPLETE = ("ok", "inaccurate")
_KINDS = {"f": "biuf", "c": "biufc", "i": "biu"}
_KIND_WORDS = {"b": "truth values", "i": "whole numbers", "u": "whole numbers", "f": "real numbers", "c": "complex numbers"}


class BrokenOutputError(Exception):
    """The declaration of the experiment does not allow its answer."""


def accepted(answer: Any, variables: Sequence[Variable]) -> tuple[int, str, dict[str, NDArray[Any]]]:
    """Return status code, message and values of one answer, as they are stored.

    Parameters
    ----------
    answer
        The answer of the experiment for the cell.
    variables
        All variables that the experiment declares, kept or not: the study's ``keep`` decides no cell's status.

    Raises
    ------
    BrokenOutputError
        If the answer is no mapping, an experiment may not give its status, a value is missing from a cell that is ok or
        inaccurate, or a value is not as its variable declares.
    """
    if not isinstance(answer, Mapping):
        raise BrokenOutputError(f"the answer is a {type(answer).__name__}, not a mapping with status, message and values")
    status = answer.get("status")
    if not isinstance(status, str) or status not in ANSWERS:
        raise BrokenOutputError(f"the status is {status!r}; accepted: {', '.join(ANSWERS)}")
    values = {v.name: _value(v, answer[v.name]) for v in variables if v.name in answer}
    if status in _COMPLETE:
        _require_all(answer, variables)
    _require_common_lengths(values, variables)
    return STATUS_CODES[status], str(answer.get("message", "")), values


def _require_all(answer: Mapping[str, Any], variables: Sequence[Variable]) -> None:
    missing = [v.name for v in variables if v.name not in answer and not is_optional(v)]
    if missing:
        others = [name for name in map(str, answer) if name not in {v.name for v in variables}]
        raise BrokenOutputError(
            f"'{missing[0]}' is missing{near_miss(missing[0], others)}"
            + (f", and so are {len(missing) - 1} more" if len(missing) > 1 else "")
            + "; a variable that may be left out is declared optional"
        )


def _require_common_lengths(values: Mapping[str, NDArray[Any]], variables: Sequence[Variable]) -> None:
    """Check that a dimension without labels has one length in a cell: else the shorter variable would be padded."""
    lengths: dict[str, tuple[int, str]] = {}
    for variable in variables:
        if not variable.dims or variable.name not in values or is_optional(variable):
            continue
        for dim, length in zip(variable.dims, values[variable.name].shape, strict=True):
            known, name = lengths.setdefault(dim, (length, variable.name))
            if known != length:
                raise BrokenOutputError(
                    f"'{variable.name}' has length {length} along '{dim}', '{name}' has {known}: give the dimensions two names"
                )


def _value(variable: Variable, value: Any) -> NDArray[Any]:
    name, dtype = variable.name, numpy_dtype(variable.dtype)
    array = _texts(name, value) if variable.dtype == "str" else _numbers(name, value, dtype)
    if array.ndim != len(variable.dims):
        raise BrokenOutputError(f"'{name}' has shape {array.shape}, declared are the dimensions {variable.dims}")
    for dim, length in zip(variable.dims, array.shape, strict=True):
        wanted = len(variable.coords[dim]) if dim in variable.coords else length
        if length > wanted or (length < wanted and not is_optional(variable)):
            raise BrokenOutputError(f"'{name}' has length {length} along '{dim}', which has {wanted} labels")
    return array


def _texts(name: str, value: Any) -> NDArray[Any]:
    """Return texts unchanged."""
    array = np.array(value, dtype=object)
    for text in array.ravel().tolist():
        if not isinstance(text, str):
            raise BrokenOutputError(f"'{name}' is declared as text, found a {type(text).__name__}")
        if storable(text) != text:
            raise BrokenOutputError(f"'{name}' is no Unicode text: {text[:80]!a}")
    return array.astype(np.dtypes.StringDType())


def _numbers(name: str, value: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return numbers in the declared dtype, if the dtype is of the numbers' kind or a wider kind and holds the numbers."""
    if dtype.kind not in _KINDS:
        raise BrokenOutputError(
            f"'{name}' is declared as {dtype.name}; accepted are floats, complex and signed integers, and str"
        )
    if _has_masked(value):
        raise BrokenOutputError(f"'{name}' holds a masked value; write the missing value that is meant")
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise BrokenOutputError(f"'{name}' is no array: {error}") from error
    if array.dtype == dtype:
        return array  # true for nearly all answers: the checks below take ten times as long
    if array.dtype.kind not in _KINDS[dtype.kind]:
        found = _KIND_WORDS.get(array.dtype.kind, f"{type(value).__name__} of dtype {array.dtype}")
        raise BrokenOutputError(f"'{name}' is declared as {dtype.name}, found {found}: {_short(value)}")
    with np.errstate(over="ignore", invalid="ignore"):
        stored = array.astype(dtype)
    if not _holds(array, stored):
        raise BrokenOutputError(f"'{name}' is declared as {dtype.name}, which does not hold {_short(value)}")
    return stored


def _has_masked(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_has_masked(item) for item in value)
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.getmaskarray(value).any())


def _holds(array: NDArray[Any], stored: NDArray[Any]) -> bool:
    """Return whether every whole number is stored unchanged, and no finite number became infinite."""
    if array.dtype.kind == "f" or array.dtype.kind == "c":
        return bool((np.isfinite(stored) | ~np.isfinite(array)).all())
    if array.dtype.kind == "b" or array.size == 0:
        return True
    if stored.dtype.kind == "i":
        limits = np.iinfo(stored.dtype)
        return limits.min <= int(array.min()) and int(array.max()) <= limits.max
    exact = 2 ** (np.finfo(stored.dtype).nmant + 1)
    beyond = (array > exact) | (array < -exact)
    return all(int(a) == float(b.real) for a, b in zip(array[beyond], stored[beyond], strict=True))


def _short(value: Any) -> str:
    text = storable(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def storable(text: str, most: int | None = None) -> str:
    """Return a text that every store accepts: lone surrogates are escaped, and letters beyond ``most`` are cut with a note."""
    if most is not None and len(text) > most:
        text = f"{text[:most]} ... ({len(text) - most} letters more)"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
