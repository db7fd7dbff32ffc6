"""Rows that are not in memory: sums over their blocks, and a sample of them that is in memory.

Three things touch all rows: a survey, which finds their moments and takes the sample, the loss with its gradient, and
predictions. Hessians, Gram matrices and the start of a fit are made of the sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from ._design import Design, mean_loss_gradient
from ._kernels._linear import LinearPass
from ._kernels._moments import moments
from ._row_loss import RowLoss, Weighting
from ._targets import Target

# The sample has this many rows for each variable, and takes at most so many bytes. (100, 25, 6 and 2 rows for each
# variable took 8, 14, 37 and 202 evaluations.)
_ROWS_PER_VARIABLE, _MAX_SAMPLE_BYTES = 100, 1 << 28
# About what an evaluation takes beside its arithmetic: the pace of a disk, and a round trip to the workers of a
# cluster. They are constants, as a fit must not depend on how fast the machine was just then, nor on where blocks are.
_ROUND_TRIP, _BYTES_PER_SECOND = 0.02, 1e9


@dataclass(frozen=True)
class Moments:
    """Weighted means and sums of squared deviations of features, which can be added up over blocks of rows.

    References
    ----------
    Chan, Golub & LeVeque (1983), Algorithms for computing the sample variance, The American Statistician 37(3).
    """

    weight: float
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, X: Any, row_weight: np.ndarray | None, n_threads: int = 1) -> Moments:
        """Those of a block of rows."""
        if not X.shape[0] or (row_weight is not None and not row_weight.any()):
            return cls(0.0, *np.zeros((2, X.shape[1])))
        with np.errstate(over="ignore", invalid="ignore"):  # `check_variances` names the column
            mean, variance = moments(X, row_weight, n_threads)
            weight = float(X.shape[0]) if row_weight is None else float(row_weight.sum())
            return cls(weight, mean, weight * variance)

    def __add__(self, other: Moments) -> Moments:
        if not other.weight:
            return self
        weight, apart = self.weight + other.weight, other.mean - self.mean
        share = other.weight / weight
        with np.errstate(over="ignore", invalid="ignore"):
            between = self.weight * share * apart * apart
            return Moments(weight, self.mean + share * apart, self.squares + other.squares + between)


class PreciseSum:
    """A sum of arrays with twice the digits of float64, so that it hardly depends on how its terms are grouped.

    References
    ----------
    Knuth (1997), The Art of Computer Programming, volume 2, section 4.2.2, theorem B (the error of a sum).
    """

    def __init__(self, shape: int | tuple[int, ...]) -> None:
        self.high, self.low = np.zeros(shape), np.zeros(shape)

    def add(self, high: np.ndarray, low: np.ndarray | float = 0.0) -> None:
        total = self.high + high
        taken = total - self.high
        self.low += (self.high - (total - taken)) + (high - taken) + low
        self.high = total

    @property
    def value(self) -> np.ndarray:
        return self.high + self.low


@dataclass(frozen=True)
class Survey:
    """What one look at all rows finds.

    Attributes
    ----------
    n_rows, nnz : int
    dtype : dtype
        Of all blocks.
    class_mass : float64 ndarray of shape (K,)
    effective_size, least_weight : float
        Of all rows, as a `Design` has them.
    moments : Moments
    X, target, sample_weight
        The sample.
    """

    n_rows: int
    nnz: int
    dtype: np.dtype
    class_mass: np.ndarray
    effective_size: float
    least_weight: float
    moments: Moments
    X: Any
    target: Target
    sample_weight: np.ndarray | None


class RowSource(Protocol):
    """Where rows and their targets are."""

    n_classes: int

    def survey(self, row_loss: RowLoss, sample_size: Callable[[int, float], int]) -> Survey:
        """Look at all rows. `sample_size` gives the most rows of the sample for a number of features and the bytes of a
        row."""

    def sums(
        self, new_pass: Callable[..., LinearPass], coef: np.ndarray, intercept: np.ndarray, n_threads: int
    ) -> np.ndarray:
        """The sum over blocks of what `block_sums` gives."""


def block_sums(
    new_pass: Callable[..., LinearPass],
    X: Any,
    target: Target,
    sample_weight: np.ndarray | None,
    coef: np.ndarray,
    intercept: np.ndarray,
    n_threads: int = 1,
) -> np.ndarray:
    """The gradient with respect to the coefficients (d R) and the intercepts (R), and the loss, as one vector."""
    n_coef, R = coef.size, len(intercept)
    out = np.empty(n_coef + R + 1)
    grad_coef, grad_intercept = out[:n_coef].reshape(coef.shape), out[n_coef:-1]
    rows = new_pass(X, labels=target.labels, distribution=target.distribution, sample_weight=sample_weight)
    out[-1] = rows.loss_gradient(coef, intercept, grad_coef, grad_intercept, n_threads)
    return out


class SummedDesign:
    """Rows of a `RowSource`. Its attributes are those of `Design`.

    Parameters
    ----------
    source : RowSource
    row_loss : RowLoss
    fit_intercept : bool

    Attributes
    ----------
    in_memory : Design
        The sample. It has the moments of all rows.
    """

    columns = slice(None)

    def __init__(self, source: RowSource, *, row_loss: RowLoss | None = None, fit_intercept: bool = True) -> None:
        self._source, self.fit_intercept = source, fit_intercept
        self.row_loss = row_loss = row_loss or RowLoss()
        self.n_classes = source.n_classes
        self.n_outputs = 1 if self.n_classes == 2 else self.n_classes
        survey = source.survey(row_loss, self._sample_size)
        self.n_rows, self.nnz, self.dtype = survey.n_rows, survey.nnz, survey.dtype
        self.overhead = _ROUND_TRIP + survey.nnz * survey.dtype.itemsize / _BYTES_PER_SECOND
        self.effective_size, self.least_weight = survey.effective_size, survey.least_weight
        self._weighting = Weighting(survey.class_mass, survey.n_rows, row_loss)
        self.weight_sum, self.shares = self._weighting.weight_sum, self._weighting.shares
        self.n_columns = self.n_features = survey.X.shape[1]
        self.n_theta = self.n_outputs * (self.n_features + fit_intercept)
        mean = survey.moments.mean
        with np.errstate(over="ignore", invalid="ignore"):
            variance = survey.moments.squares / survey.moments.weight
            if sp.issparse(survey.X):  # means of a constant column differ in rounding, from block to block
                variance[np.sqrt(variance) <= 8.0 * np.finfo(np.float64).eps * np.abs(mean)] = 0.0
            self.centre = mean if fit_intercept else None
            self.variance = variance if fit_intercept else variance + mean * mean
        self.of_few_rows, self.typical_variance = np.empty(0, dtype=np.intp), self.variance
        self.in_memory = self._sample_of(survey)
        self.of_few_rows, self.typical_variance, self.centre, self.variance = self.in_memory.recentred()
        if len(self.of_few_rows):
            self.in_memory = self._sample_of(survey)
        sample = self.in_memory
        self.is_dense, self.n_threads = sample.is_dense, sample.n_threads
        self.constant, self.largest_offset = sample.constant, sample.largest_offset
        self.kernel_centres, self.has_hard_labels = sample.kernel_centres, sample.has_hard_labels
        self.float32_pays = sample.float32_pays
        self.views, self.check_variances = sample.views, sample.check_variances
        self.check_small_columns = sample.check_small_columns
        self.curvature, self.shared_curvature = sample.curvature, sample.shared_curvature

    @property
    def n_products(self) -> float:
        """Products of values of X and coefficients in an evaluation, as `Design` counts them."""
        return float(self.nnz * max(3, self.n_outputs))

    def _sample_size(self, n_features: int, row_bytes: float) -> int:
        n_theta = self.n_outputs * (n_features + self.fit_intercept)
        return max(1, min(_ROWS_PER_VARIABLE * n_theta, int(_MAX_SAMPLE_BYTES / max(1.0, row_bytes))))

    def _sample_of(self, survey: Survey) -> Design:
        return Design(
            survey.X,
            survey.target,
            row_loss=self.row_loss,
            sample_weight=survey.sample_weight,
            fit_intercept=self.fit_intercept,
            sampled_from=self,
        )

    def subsample(self, n_rows: int) -> Design:
        """About that many rows of the sample, or all of it."""
        return self.in_memory if n_rows >= self.in_memory.n_rows else self.in_memory.subsample(n_rows)

    def loss_gradient(self, theta: np.ndarray, precision: str = "float64") -> tuple[float, np.ndarray]:
        """The mean loss at theta and its gradient, from one pass over the rows."""
        new_pass = partial(
            LinearPass,
            n_classes=self.n_classes,
            label_smoothing=self.row_loss.label_smoothing,
            loss=self.row_loss.loss.kernel(),
            sigmoid=self.n_outputs == 1,
            shift=self.centre if self.kernel_centres else None,
            compute=precision,
            **self._weighting.pass_options(),
        )

        def sums(
            coef: np.ndarray, intercept: np.ndarray, grad_coef: np.ndarray, grad_intercept: np.ndarray, n_threads: int
        ) -> float:
            total = self._source.sums(new_pass, coef, np.ascontiguousarray(intercept), n_threads)
            grad_coef[:] = total[: coef.size].reshape(coef.shape)
            grad_intercept[:] = total[coef.size : -1]
            return float(total[-1])

        return mean_loss_gradient(self, theta, sums, self._weighting.scale)
