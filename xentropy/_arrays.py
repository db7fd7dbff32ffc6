"""Checks of arrays that neither NumPy nor scikit-learn makes, and what SciPy does not convert."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np


def refuse_masked(a: Any, name: str) -> None:
    """Raise if `a` is a masked array that hides entries. As an array it would show what lies below its mask."""
    if not (isinstance(a, np.ma.MaskedArray) and np.ma.is_masked(a)):  # pandas' arrays have masks too, and show NA
        return
    row = int(np.argwhere(np.ma.getmaskarray(a))[0][0]) if np.ndim(a) else 0
    raise ValueError(
        f"{name} is a masked array that hides entries, the first in row {row}, but masks are not read: pass "
        f"{name}.filled(value), or drop such rows"
    )


def refuse_sparse_frame(a: Any, name: str, otherwise: str = "") -> None:
    """Raise if `a` is a DataFrame of sparse columns, which has no ``toarray``."""
    if hasattr(a, "columns") and hasattr(a, "sparse"):  # pandas has the latter only if all columns are
        raise ValueError(f"{name} is a sparse DataFrame, but must be dense: pass {name}.sparse.to_dense(){otherwise}")


def with_usual_indices(X: Any) -> Any:
    """A CSR matrix, or one with indices of one type: SciPy does not select rows of one with integers other than those
    of 32 or 64 bits, and before 1.13 not of one whose `indices` and `indptr` differ."""
    of_indices, of_indptr = X.indices.dtype, X.indptr.dtype
    if of_indices.kind not in "iu" or of_indptr.kind not in "iu":
        return X  # which the kernels refuse
    if of_indices == of_indptr and of_indices in (np.int32, np.int64):
        return X
    usual = copy(X)
    if of_indices == np.int32 and of_indptr == np.int64:  # the longer array stays, unless the other one needs 64 bits
        if len(X.indptr) and X.indptr.min() >= 0 and X.indptr.max() <= np.iinfo(np.int32).max:
            usual.indptr = X.indptr.astype(np.int32)
        return usual
    usual.indices, usual.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return usual


def is_mapped(a: Any) -> bool:
    """Whether `a` is an array that lies in a file, of which it is a memory map, or a view of one."""
    while isinstance(a, np.ndarray):
        if isinstance(a, np.memmap):
            return True
        a = a.base
    return False


def is_dask(a: Any) -> bool:
    """Whether `a` is a Dask collection, whose numbers are not here. Dask need not be installed."""
    return type(a).__module__.partition(".")[0] in ("dask", "dask_expr")


def refuse_dask(a: Any, name: str) -> None:
    """Raise if `a` is a Dask collection, which NumPy would gather silently."""
    if is_dask(a):
        raise ValueError(f"{name} is a Dask collection, but must be in memory: pass {name}.compute()")
