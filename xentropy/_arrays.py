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
    """A CSR matrix, or one with indices of 64 bits in place of other integers than those of 32 or 64, which SciPy does
    not select rows of."""
    if {X.indices.dtype, X.indptr.dtype} <= {np.dtype(np.int32), np.dtype(np.int64)}:
        return X
    if X.indices.dtype.kind not in "iu" or X.indptr.dtype.kind not in "iu":
        return X  # which the kernels refuse
    usual = copy(X)
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
