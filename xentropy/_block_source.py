"""`RowBlocks` with their targets and weights: what a design of sums asks of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._design import sampled_rows
from ._kernels._linear import LinearPass
from ._kernels._threads import effective_n_threads
from ._row_blocks import RowBlocks
from ._row_loss import RowLoss, Weighting
from ._summed_design import Moments, PreciseSum, Survey, block_sums
from ._targets import Target


class BlockSource:
    """The rows of `RowBlocks`, with their targets and weights in memory: a `RowSource`."""

    def __init__(self, X: RowBlocks, target: Target, sample_weight: np.ndarray | None) -> None:
        self._X, self._target, self._sample_weight = X, target, sample_weight
        self.n_classes = target.n_classes
        self._lengths: list[int] = []  # rows of each block in the survey

    def survey(self, row_loss: RowLoss, sample_size: Callable[[int, float], int]) -> Survey:
        target, weight, n, n_threads = self._target, self._sample_weight, len(self._target), effective_n_threads()
        row_weight = target.row_mass(weight, row_loss.class_weight, row_loss.label_smoothing)
        mass = target.class_mass(weight)
        scale = Weighting(mass, n, row_loss).scale
        first, nnz, dtype, total = 0, 0, np.dtype(np.float32), None
        for i, X in enumerate(self._X.plain()):
            values = X if isinstance(X, np.ndarray) else X.data
            rows = slice(first, first + X.shape[0])
            self._check_block(i, X, rows, total)
            refuse_not_finite(X, i, first)
            if total is None:
                row_bytes = values.nbytes * (1 if values is X else 2) / max(1, X.shape[0])
                at, times = np.arange(n), weight
                if (size := sample_size(X.shape[1], row_bytes)) < n:
                    at, times = sampled_rows(size, n, row_weight, weight)
                sample = _Sample(len(at), X)
            found = Moments.of(X, None if row_weight is None else scale * row_weight[rows], n_threads)
            total = found if total is None or not total.weight else total + found
            here = slice(*np.searchsorted(at, [rows.start, rows.stop]))
            sample.put(here, X[at[here] - first])
            self._lengths.append(X.shape[0])
            first, nnz, dtype = rows.stop, nnz + values.size, np.result_type(dtype, X.dtype)
        if total is None:
            raise ValueError("X has no blocks: the iterator that blocks() returned was at its end")
        if first != n:
            raise ValueError(f"X has {first} rows in {len(self._lengths)} blocks, and y has {n}: they must be as many")
        counted = None if row_weight is None else row_weight[row_weight > 0.0]
        share = None if counted is None else counted / counted.sum()
        return Survey(
            n_rows=n,
            nnz=nnz,
            dtype=dtype,
            class_mass=mass,
            effective_size=float(n) if share is None else 1.0 / float(share @ share),
            least_weight=1.0 if counted is None else float(counted.min()),
            moments=total,
            X=sample.rows(),
            target=target[at],
            sample_weight=times,
        )

    def sums(
        self, new_pass: Callable[..., LinearPass], coef: np.ndarray, intercept: np.ndarray, n_threads: int
    ) -> np.ndarray:
        weight, total, first = self._sample_weight, PreciseSum(coef.size + len(intercept) + 1), 0
        for i, X in enumerate(self._X.plain()):
            if i >= len(self._lengths) or X.shape[0] != self._lengths[i]:
                before = f"had {self._lengths[i]} rows" if i < len(self._lengths) else "did not exist"
                raise ValueError(
                    f"block {i} of X has {X.shape[0]} rows, and {before} in the first pass: blocks() must give the "
                    f"same rows each time"
                )
            rows = slice(first, first + X.shape[0])
            if X.shape[0]:
                of_rows = None if weight is None else weight[rows]
                total.add(block_sums(new_pass, X, self._target[rows], of_rows, coef, intercept, n_threads))
            first = rows.stop
        if first != len(self._target):
            raise ValueError(
                f"X has {first} rows in this pass, and had {len(self._target)} in the first: blocks() must return a "
                f"new iterator over the same rows each time"
            )
        return total.value

    def _check_block(self, i: int, X: Any, rows: slice, total: Moments | None) -> None:
        if total is not None and X.shape[1] != len(total.mean):
            raise ValueError(f"block {i} of X has {X.shape[1]} columns, and those before have {len(total.mean)}")
        if rows.stop > len(self._target):
            raise ValueError(f"block {i} of X ends at row {rows.stop}, but y has only {len(self._target)} rows")


class _Sample:
    """Rows of a sample, one block after the other. Arrays are put in place, as joining them takes twice the memory."""

    def __init__(self, n_rows: int, like: Any) -> None:
        self._array = np.empty((n_rows, like.shape[1]), like.dtype) if isinstance(like, np.ndarray) else None
        self._parts: list[Any] = []

    def put(self, at: slice, rows: Any) -> None:
        if self._array is None:
            self._parts.append(rows)
        else:
            if rows.dtype.itemsize > self._array.dtype.itemsize:
                wider = np.empty(self._array.shape, rows.dtype)
                wider[: at.start] = self._array[: at.start]
                self._array = wider
            self._array[at] = rows

    def rows(self) -> Any:
        return sp.vstack(self._parts, format="csr") if self._array is None else self._array


def refuse_not_finite(X: Any, i: int, first: int) -> None:
    """Raise a ValueError that names the first number that is not finite, in block i, which begins at row `first`."""
    values = X if isinstance(X, np.ndarray) else X.data
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()) or np.isfinite(values).all():
            return
    if isinstance(X, np.ndarray):
        row, column = np.argwhere(~np.isfinite(X))[0]
    else:
        at = int(np.argmin(np.isfinite(values)))
        row, column = int(np.searchsorted(X.indptr, at, side="right")) - 1, X.indices[at]
    value = X[row, column]
    raise ValueError(
        f"X contains {'NaN' if np.isnan(value) else 'infinity'} in block {i}, row {row} of it (row {first + row} of "
        f"all), column {column}: drop such rows, or impute them"
    )
