"""Check vectors that come into the search: they become valid float32 rows, or an error names the row that is wrong."""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.search.values import shown

LONGEST = 2.0**62
"""The greatest length of a vector. Squared distances between two such vectors are still finite in float32."""

SHORTEST = 2.0**-63
"""The smallest length of a vector under cosine. The square of a smaller length is not a normal float32."""

_LONGEST_SQUARED, _SHORTEST_SQUARED = LONGEST**2, SHORTEST**2

FLOAT32 = np.dtype(np.float32)

FLOAT16_MAX = 65504.0
"""The largest float16, and therefore the largest component that refine="float16" can keep."""


def as_array(values: object, what: str) -> NDArray[Any]:
    """Return the caller's values as a NumPy array of any type; a NumPy array or a CPU tensor is not copied.

    Tensors are recognised by their methods, so torch is not imported. They are detached and moved to the CPU; bfloat16
    and float8, which NumPy does not have, become float32. Raises SearchError where the values cannot be an array.
    """
    if type(values) is np.ndarray:
        return values
    if isinstance(values, np.ma.MaskedArray) and bool(np.ma.getmaskarray(values).any()):
        raise SearchError(f"{what}: a masked array with masked values; fill them or leave those rows out")
    try:
        if hasattr(values, "detach") and hasattr(values, "layout"):
            return _from_tensor(values)
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:120]
        raise SearchError(f"{what}: {type(values).__name__} cannot be read as an array ({reason})") from error


def _from_tensor(tensor: Any) -> NDArray[Any]:
    if str(tensor.layout) != "torch.strided":
        raise TypeError(f"its layout is {tensor.layout}; call .to_dense()")
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point() and str(tensor.dtype) not in ("torch.float16", "torch.float32", "torch.float64"):
        tensor = tensor.float()
    found: NDArray[Any] = tensor.resolve_neg().numpy() if not tensor.is_complex() else tensor.resolve_conj().numpy()
    return found


def as_vectors(values: object, dim: int, metric: str) -> NDArray[np.float32]:
    """Return vectors to be stored as float32[n, dim], C-contiguous and aligned; an array of this form is not copied.

    Accepts NumPy arrays, tensors and nested lists of any float or integer type; integers and float64 are rounded to
    float32. Raises SearchError for another type or shape, and for the first row that is NaN or infinite (in float32),
    longer than 2**62, or, under cosine, without a direction (zero, or shorter than 2**-63). The error names the row.
    """
    array = as_array(values, "vectors")
    if array.ndim == 1 and array.size == dim:
        raise SearchError(f"vectors: shape {list(array.shape)}, expected [n, {dim}]; for one vector give vector[None]")
    return _checked(array, dim, metric, "vectors")


def as_queries(values: object, dim: int, metric: str) -> tuple[NDArray[np.float32], bool]:
    """Return queries as float32[n, dim], checked as `as_vectors` does, and whether one of shape [dim] was given."""
    array, rows, single = shaped_queries(values, dim)
    if len(rows):
        _check_lengths(array, rows, metric, "queries")
    return rows, single


def shaped_queries(values: object, dim: int) -> tuple[NDArray[Any], NDArray[np.float32], bool]:
    """Return queries [n, dim] in their own type, and as float32, and whether one of shape [dim] was given.

    Raises SearchError for another type or shape; the values are not checked.
    """
    array = as_array(values, "queries")
    single = array.ndim == 1
    if single:
        if array.size != dim:
            raise SearchError(f"queries: shape {list(array.shape)}, expected [{dim}] or [n, {dim}]")
        array = array[None]
    return array, _rows(array, dim, "queries"), single


def refuse_query(array: NDArray[Any], rows: NDArray[np.float32], at: int) -> NoReturn:
    """Raise SearchError, which says what is wrong with the query at row `at`."""
    raise SearchError(f"queries, row {at}: {_fault(array[at], rows[at])}")


def _checked(array: NDArray[Any], dim: int, metric: str, what: str) -> NDArray[np.float32]:
    rows = _rows(array, dim, what)
    if len(rows):
        _check_lengths(array, rows, metric, what)
    return rows


def _rows(array: NDArray[Any], dim: int, what: str) -> NDArray[np.float32]:
    if array.dtype is FLOAT32 and array.ndim == 2 and array.shape[1] == dim and array.flags.carray:
        return array
    if array.dtype.kind not in "fiu":
        raise SearchError(f"{what}: dtype {array.dtype}, expected floats or integers; try .astype(np.float32)")
    if array.ndim != 2 or array.shape[1] != dim:
        raise SearchError(f"{what}: shape {list(array.shape)}, expected [n, {dim}]")
    with np.errstate(over="ignore", invalid="ignore"):
        rows: NDArray[np.float32] = np.require(array, np.float32, ("C", "A"))
    return rows


def _check_lengths(array: NDArray[Any], rows: NDArray[np.float32], metric: str, what: str) -> None:
    """Raise SearchError for the first row that is not valid.

    One pass over the squared lengths finds NaN, infinity, overflow and zero.
    """
    low, high = _SHORTEST_SQUARED if metric == "cosine" else 0.0, _LONGEST_SQUARED
    squares = np.einsum("ij,ij->i", rows, rows)  # unlike dot, einsum does not warn of overflow
    if squares.min() >= low and squares.max() <= high:
        return
    at = int(np.flatnonzero(~((squares >= low) & (squares <= high)))[0])
    raise SearchError(f"{what}, row {at}: {_fault(array[at], rows[at])}")


def _fault(given: NDArray[Any], row: NDArray[np.float32]) -> str:
    bad = np.flatnonzero(~np.isfinite(row))
    if len(bad):
        column, value = int(bad[0]), given[bad[0]]
        if np.isfinite(value):
            return f"{value} in column {column} is too large for float32; scale the vectors down"
        return f"{value} in column {column}; leave these rows out or correct their source"
    if not row.any():
        return "a zero vector, which has no direction for cosine; leave such rows out or use metric 'ip' or 'l2'"
    length = float(np.linalg.norm(row.astype(np.float64)))
    if length < 1:
        return f"length {length:.3g} is too short for cosine in float32; scale the vectors up"
    return f"length {length:.3g} is above {LONGEST:.3g}, too long for float32 distances; scale the vectors down"


def check_float16(rows: NDArray[np.float32]) -> None:
    """Raise SearchError where a component is too large to be kept as float16."""
    if rows.size and max(float(rows.max()), -float(rows.min())) > FLOAT16_MAX:
        at = int(np.flatnonzero((np.abs(rows) > FLOAT16_MAX).any(axis=1))[0])
        raise SearchError(f"vectors, row {at}: a component above {FLOAT16_MAX:g}; use refine='float32' or scale them")


def whole(value: object, name: str, low: int, high: int) -> int:
    """Return an integer argument within low..high. Raises SearchError for another type (also bool) or value."""
    if type(value) is int and low <= value <= high:
        return value
    if isinstance(value, bool | np.bool_):
        raise SearchError(f"{name}={value}: expected an integer")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise SearchError(f"{name}={shown(value)}: expected an integer, not {type(value).__name__}") from error
    if not low <= number <= high:
        told = number if number.bit_length() < 1000 else shown(number)
        raise SearchError(f"{name}={told}: expected {low} to {high}")
    return number


def share(value: object, name: str) -> float:
    """Return an argument that is a share, above 0 and up to 1. Raises SearchError for anything else."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise SearchError(f"{name}={shown(value)}: expected a number above 0, up to 1")
    if not 0 < value <= 1:
        raise SearchError(f"{name}={shown(value)}: expected a number above 0, up to 1")
    return float(value)
