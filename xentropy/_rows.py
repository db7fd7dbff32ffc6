"""What the solver asks of the rows of a fit, in memory or elsewhere."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from ._block_source import BlockSource
from ._design import Design
from ._row_blocks import RowBlocks
from ._row_loss import RowLoss
from ._summed_design import SummedDesign
from ._targets import Target


class Rows(Protocol):
    """Rows, their targets and weights, and the sums over them. `Design` says what each attribute is."""

    row_loss: RowLoss
    fit_intercept: bool
    n_classes: int
    n_outputs: int
    n_rows: int
    n_features: int
    n_theta: int
    n_columns: int
    nnz: int
    is_dense: bool
    dtype: np.dtype
    weight_sum: float
    shares: np.ndarray
    centre: np.ndarray | None
    variance: np.ndarray
    constant: np.ndarray
    of_few_rows: np.ndarray
    typical_variance: np.ndarray
    largest_offset: float

    @property
    def overhead(self) -> float: ...

    @property
    def n_products(self) -> float: ...

    @property
    def columns(self) -> np.ndarray | slice: ...

    @property
    def effective_size(self) -> float: ...

    @property
    def least_weight(self) -> float: ...

    @property
    def has_hard_labels(self) -> bool: ...

    @property
    def float32_pays(self) -> bool: ...

    @property
    def in_memory(self) -> Design:
        """All rows or a sample of them, of which Hessians are made."""

    def check_variances(self) -> None: ...

    def check_small_columns(self) -> None: ...

    def views(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...

    def curvature(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...

    def shared_curvature(self, theta: np.ndarray, squares: np.ndarray, most: float) -> np.ndarray: ...

    def subsample(self, n_rows: int) -> Design: ...

    def loss_gradient(self, theta: np.ndarray, precision: str = "float64") -> tuple[float, np.ndarray]: ...


def rows_of(
    X: Any,
    target: Target,
    *,
    row_loss: RowLoss | None = None,
    sample_weight: np.ndarray | None = None,
    fit_intercept: bool = True,
) -> Rows:
    """The rows of X, wherever they are."""
    if isinstance(X, RowBlocks):
        X = BlockSource(X, target, sample_weight)
    if not isinstance(X, np.ndarray) and not sp.issparse(X):
        return SummedDesign(X, row_loss=row_loss, fit_intercept=fit_intercept)
    return Design(X, target, row_loss=row_loss, sample_weight=sample_weight, fit_intercept=fit_intercept)
