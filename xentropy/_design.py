"""The rows of a linear softmax model, in memory: every sum over rows that the solver asks for.

The objective and the Hessians know the rows only through a design, so that a design of rows stored elsewhere can take
its place. A design works with centred features: the logits of row x are W (x - mean) + b, and b holds the
intercepts of the mean row. Neither X nor its sparsity is touched, because W (x - mean) + b = W x + (b - W mean).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from math import frexp
from typing import Any, Protocol

import numpy as np
from scipy.linalg.blas import dger

from ._arrays import is_mapped
from ._kernels._linear import LinearPass, linear_predict
from ._kernels._moments import moments
from ._kernels._pointwise import softmax
from ._kernels._threads import effective_n_threads
from ._row_loss import RowLoss, Weighting
from ._targets import Target

# The kernel itself centres features if the mean of one is this many times its standard deviation: a shift of the
# intercepts would lose three of sixteen digits. (tests/test_convergence.py: offsets of a million.)
_LARGE_OFFSET = 1e3
# float32 arithmetic pays from this many multiplications in an evaluation, which take about 0.2 ms, and from this many
# outputs if X is float64 and has to be converted. (3e5x64_10; digits gains nothing.)
_MIN_FLOAT32_WORK, _MIN_FLOAT32_OUTPUTS = 1 << 21, 8
# CSR columns without any stored value are dropped if they are this share of all. (text.)
_MANY_EMPTY = 0.1
# The squares of smaller numbers underflow, even where there are many of them.
_SMALLEST_SQUARED = 2.0**-500
# The centre of a feature, which rows own its variance, and correlations are seen in this many rows.
FEW_ROWS = 128
# Few rows own the variance of a feature that is this many times its squared median deviation: 2.2 times if it is
# normal, 1e4 times if one of 100 rows has a value of 1000 deviations. (tests/test_convergence.py: huge values)
_OWNED = 1e4
# Multiples of the golden ratio modulo one are spread evenly and have no period that the rows could share.
_GOLDEN = 0.6180339887498949
# The exponent of two of a quotient of weights, whose sums float64 still holds.
_LARGEST_QUOTIENT = 900
# A block of rows takes half a megabyte, or four times its Gram matrix if that is more, but at most 8 MB. So does what
# else is worked on at once, such as the probabilities of the rows. (tests/test_memory.py)
BLOCK_VALUES, _MAX_BLOCK_VALUES = 1 << 16, 1 << 20


class SharedPasses(Protocol):
    """Passes over rows that several designs share: one reading of X serves all of them.

    Attributes
    ----------
    n_outputs : int
        The outputs of a pass.
    """

    n_outputs: int

    def new(self, precision: str, *, shift: np.ndarray | None, class_weight: np.ndarray | None, scale: float) -> Any:
        """An object with the `loss_gradient` of a `LinearPass` that was made with these arguments."""


class Design:
    """Rows in memory, their targets and weights, and the sums over them.

    A vector `theta` holds the coefficients feature by feature, (d, R), and then the R intercepts of centred features if
    there are any. R is 1 for two classes (the sigmoid form) and K for more.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, D), float32 or float64
        X is read in place. CSR columns that store nothing are dropped where they are many: d counts the others.
    target : Target
    row_loss : RowLoss
    sample_weight : float64 ndarray of shape (n,) or None
    fit_intercept : bool
    rows : int64 ndarray of shape (n,), optional
        Only these rows of X count; `target` and `sample_weight` are theirs.
    sampled_from : Rows, optional
        The rows of which they are a sample: their moments stay.
    beside : Design, optional
        A design of the same rows with another target. X is its X, and the moments are its moments if the weights of the
        rows are the same.
    passes : SharedPasses, optional
        What evaluates the loss, if several designs share their rows. They share the threads too: each has one.

    Attributes
    ----------
    n_rows, n_features, n_outputs, n_theta : int
        n, d, R and the length of theta.
    is_dense : bool
    dtype : dtype
        Of X.
    nnz : int
        Values that an evaluation reads.
    overhead : float
        About how many seconds an evaluation takes beside its arithmetic: none in memory.
    n_columns, columns : int and int64 ndarray or slice
        D, and which columns of X the d features are.
    weight_sum : float
        Sum of the weights of the rows: mean losses are over it.
    shares : float64 ndarray of shape (K,)
        Share of each class in the weighted and smoothed targets.
    row_weight : float64 ndarray of shape (n,) or None
        Weight of each row in the sum of the losses; None where all are one.
    centre : float64 ndarray of shape (d,) or None
        Means of the features, or medians of those whose variance few rows own; None without an intercept, where the
        features are not centred.
    variance : float64 ndarray of shape (d,)
        Mean squares of the features about their centre. A subsample has those of all rows.
    constant : int64 ndarray
        Features whose variance is zero.
    of_few_rows : int64 ndarray
        Features whose variance few rows own.
    typical_variance : float64 ndarray of shape (d,)
        The variances, or for these features as much as rows like most others may have.
    largest_offset : float
        The largest mean of a feature, in its standard deviations.
    kernel_centres : bool
        Whether a pass centres the features, as it must where offsets are large.
    is_subsample : bool
    """

    overhead = 0.0

    def __init__(
        self,
        X: Any,
        target: Target,
        *,
        row_loss: RowLoss | None = None,
        sample_weight: np.ndarray | None = None,
        fit_intercept: bool = True,
        rows: np.ndarray | None = None,
        sampled_from: Any = None,
        beside: Design | None = None,
        passes: SharedPasses | None = None,
    ) -> None:
        self.row_loss = row_loss = row_loss or RowLoss()
        self.fit_intercept, self.n_classes = fit_intercept, target.n_classes
        self.n_outputs = 1 if target.n_classes == 2 else target.n_classes
        like = beside if sampled_from is None else sampled_from
        self.n_threads: int = like.n_threads if isinstance(like, Design) else effective_n_threads()
        if passes is not None:
            self.n_threads = 1
        self._target, self._sample_weight = target, sample_weight
        self._weighting = Weighting(target.class_mass(sample_weight), len(target), row_loss)
        self.weight_sum, self.shares = self._weighting.weight_sum, self._weighting.shares
        self._scale = self._weighting.scale
        self.row_weight = target.row_mass(sample_weight, row_loss.class_weight, row_loss.label_smoothing)
        self._pass: tuple[str, Any] = ("", None)
        self._passes = passes
        self.is_dense, self.dtype = isinstance(X, np.ndarray), X.dtype
        self.n_columns = X.shape[1]
        self.columns: np.ndarray | slice = slice(None)
        if like is not None:
            self.n_columns, self.columns = like.n_columns, like.columns
        elif not self.is_dense:
            X, self.columns = _without_empty_columns(X)
        self._X, self._rows = X, rows
        self.n_rows, self.n_features = X.shape[0] if rows is None else len(rows), X.shape[1]
        self.of_few_rows: np.ndarray
        self.typical_variance: np.ndarray
        self.is_subsample = sampled_from is not None and self.n_rows < sampled_from.n_rows
        self.n_theta = self.n_outputs * (self.n_features + fit_intercept)
        self.nnz = self.n_rows * self.n_features if self.is_dense else int(X.nnz)
        if like is not None and (sampled_from is not None or self.row_weight is like.row_weight):
            self._set_moments(like.centre, like.variance)
            self.of_few_rows = like.of_few_rows
            self.typical_variance = like.typical_variance
            return
        if not self.is_dense and like is None:
            # the pass checks the indices of a CSR matrix before anything else reads them
            self._pass = ("float64", self._new_pass("float64", shift=None))
        with np.errstate(over="ignore", invalid="ignore"):  # `check_variances` names the column
            weight = None if self.row_weight is None else self._scale * self.row_weight  # sums of squares need the room
            mean, variance = moments(X, weight, self.n_threads)
            self._set_moments(mean if fit_intercept else None, variance if fit_intercept else variance + mean * mean)
            self.of_few_rows, self.typical_variance, centre, variance = self.recentred()
            if len(self.of_few_rows):
                self._set_moments(centre, variance)

    def _set_moments(self, centre: np.ndarray | None, variance: np.ndarray) -> None:
        self.centre, self.variance = centre, variance
        self.constant = np.flatnonzero(variance == 0.0)
        self.largest_offset = 0.0  # of a feature's centre, in standard deviations
        varies = variance > 0.0
        if centre is not None and varies.any():
            with np.errstate(over="ignore", invalid="ignore"):
                self.largest_offset = float((np.abs(centre[varies]) / np.sqrt(variance[varies])).max())
        self.kernel_centres = self.is_dense and self.largest_offset > _LARGE_OFFSET

    def recentred(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
        """Features whose variance few rows own; the typical variances; the centre, which for these features is where
        the other rows are, and the mean squares about it. Few rows with huge values would put the mean far from all
        others, where no preconditioner shows how these are spread."""
        n_rows, none = min(self.n_rows, FEW_ROWS), np.empty(0, dtype=np.intp)
        if not self.is_dense and self.n_features * n_rows > _MAX_BLOCK_VALUES:  # most of their values are zero
            return none, self.variance, self.centre, self.variance
        at, _ = sampled_rows(n_rows, self.n_rows, self.row_weight, self._sample_weight)
        rows = np.sort(self.rows(at)[:, : self.n_features], axis=0)
        median = rows[len(rows) // 2]
        deviation = np.sort(np.abs(rows - median), axis=0)
        n_zero = np.count_nonzero(deviation == 0.0, axis=0)
        middle = np.take_along_axis(deviation, np.minimum((n_zero + len(rows)) // 2, len(rows) - 1)[None], axis=0)[0]
        few = np.flatnonzero((middle > 0.0) & (self.variance / _OWNED > middle**2))
        typical = self.variance.copy()
        typical[few] = _OWNED * middle[few] ** 2
        if self.centre is None or not len(few):
            return few, typical, self.centre, self.variance
        centre, variance = self.centre.copy(), self.variance.copy()
        centre[few] += median[few]
        variance[few] += median[few] ** 2
        return few, typical, centre, variance

    @property
    def in_memory(self) -> Design:
        """The rows that Hessians are made of: these."""
        return self

    @cached_property
    def effective_size(self) -> float:
        """Kish's effective sample size: so many rows of equal weight have a mean of the same variance."""
        if self.row_weight is None:
            return float(self.n_rows)
        share = self.row_weight / self.row_weight.sum()
        return 1.0 / float(share @ share)

    @property
    def least_weight(self) -> float:
        """The least weight of a row that has any."""
        weight = self.row_weight
        return 1.0 if weight is None else float(weight.min(initial=np.inf, where=weight > 0.0))

    @property
    def has_hard_labels(self) -> bool:
        """Whether every target names one class only."""
        return self._target.labels is not None and self.row_loss.label_smoothing == 0.0

    @property
    def float32_pays(self) -> bool:
        """Whether passes in float32 take enough less time than those in float64."""
        n_outputs = self.n_outputs if self._passes is None else self._passes.n_outputs
        return (
            self.is_dense
            and (n_outputs >= _MIN_FLOAT32_OUTPUTS or self.dtype == np.float32)
            and self._X.size * n_outputs >= _MIN_FLOAT32_WORK
            and self._target.labels is not None
            and not self.kernel_centres
        )

    @property
    def shift(self) -> np.ndarray | None:
        """What passes subtract from each row as they read it, or None."""
        return self.centre if self.kernel_centres else None

    @property
    def n_products(self) -> float:
        """Products of values of X and coefficients in an evaluation, in which reading X counts as three outputs; of
        passes that are shared, the part of this design."""
        if self._passes is None:
            return float(self.nnz * max(3, self.n_outputs))
        return self.nnz * max(3, self._passes.n_outputs) * self.n_outputs / self._passes.n_outputs

    def check_variances(self) -> None:
        """Raise a ValueError that names the first column of X whose squares overflow."""
        overflown = np.flatnonzero(~np.isfinite(self.variance))
        if len(overflown):
            column = np.arange(self.n_columns)[self.columns][overflown[0]]
            raise ValueError(f"squares of column {column} of X overflow float64: divide it by its largest entry")

    def check_small_columns(self) -> None:
        """Raise a ValueError that names the first column of X that seems constant only because its squares underflow.
        A penalty keeps the coefficients of such a column at next to nothing, but without one they matter."""
        small = np.flatnonzero(self.variance < np.finfo(np.float64).tiny)
        if not len(small):
            return
        counted = slice(None) if self.row_weight is None else self.row_weight > 0.0
        X = self._X[:, small][counted]
        largest = np.asarray(abs(X).max(axis=0) if self.is_dense else abs(X).max(axis=0).toarray()).ravel()
        for j in np.flatnonzero((largest > 0.0) & (largest < _SMALLEST_SQUARED)):
            values = X[:, [j]] if self.is_dense else X[:, [j]].toarray()
            if not self.fit_intercept or np.any(values != values[0]):
                column = np.arange(self.n_columns)[self.columns][small[j]]
                raise ValueError(
                    f"squares of column {column} of X underflow float64, and without a penalty (C=inf) its "
                    f"coefficients matter: divide it by its largest entry, or set a finite C"
                )

    def views(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The coefficients (d, R) and the intercepts (R,) in theta; zeros where it holds no intercepts."""
        n_coef = self.n_features * self.n_outputs
        intercept = theta[n_coef:] if self.fit_intercept else np.zeros(self.n_outputs)
        return theta[:n_coef].reshape(self.n_features, self.n_outputs), intercept

    def loss_gradient(self, theta: np.ndarray, precision: str = "float64") -> tuple[float, np.ndarray]:
        """The mean loss at theta and its gradient, from one pass over the rows.

        In float64 by default, also for float32 rows: in float32 the loss would be quantised to 1e-7, and L-BFGS stops
        where it sees no decrease. `precision="float32"` gives it within about 1e-7 in less time.
        """
        if self._pass[0] != precision:
            self._pass = ("", None)  # the scratch memory of one pass is enough
            self._pass = (precision, self._new_pass(precision, shift=self.shift))
        return mean_loss_gradient(self, theta, self._pass[1].loss_gradient, self._scale)

    def curvature(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The curvature of the mean cross-entropy at theta, feature by feature: sum_i c_ik (x_ij - m_j)^2, (d, R), with
        the second derivatives c_ik of the weighted loss of row i in logit k and the centre m. And the sums of c_ik."""
        squares, mass = np.zeros((self.n_features, self.n_outputs)), np.zeros(self.n_outputs)
        for X, curvature in self._class_curvatures(theta):
            mass += curvature.sum(axis=0)
            if self.is_dense:
                squares += np.square(X if self.centre is None else X - self.centre, dtype=np.float64).T @ curvature
                continue
            of_zero = X.power(2).astype(np.float64).T @ curvature
            squares += of_zero
            if self.centre is not None:  # in place of zero, to the digits that are left
                moved = of_zero + self.centre[:, None] * (
                    self.centre[:, None] * curvature.sum(axis=0) - 2.0 * (X.T @ curvature)
                )
                squares += np.maximum(moved, np.finfo(np.float64).eps * of_zero) - of_zero
        squares[self.constant] = 0.0
        return squares, mass

    def shared_curvature(self, theta: np.ndarray, squares: np.ndarray, most: float) -> np.ndarray:
        """`squares` of `curvature` without rows that own more than a share of `most` of those of a feature, for the
        features of few rows. Where no row is left those of all rows stay."""
        few = self.of_few_rows
        centre, limit = 0.0 if self.centre is None else self.centre[few], most * squares[few].sum(axis=1)
        shared = np.zeros((len(few), self.n_outputs))
        for X, curvature in self._class_curvatures(theta, len(few)):
            x = X[:, few]
            x = x.astype(np.float64) if isinstance(x, np.ndarray) else x.toarray().astype(np.float64)
            x -= centre
            x *= x
            x[x * curvature.sum(axis=1)[:, None] > limit] = 0.0
            shared += x.T @ curvature
        left = squares.copy()
        left[few] = np.where(shared.min(axis=1, keepdims=True) > 0.0, shared, squares[few])
        return left

    def _class_curvatures(self, theta: np.ndarray, width: int = 0) -> Iterator[tuple[Any, np.ndarray]]:
        """Rows of X, block by block, and T_i p_ik (1 - p_ik) of their probabilities at theta, (rows, R), with weights T
        that sum to one over all blocks."""
        coef, intercept = self.views(theta)
        if self.centre is not None:
            intercept = intercept - self.centre @ coef
        if self.row_loss.offset is not None:
            intercept = intercept + self.row_loss.offset
        n, K, weight = self.n_rows, self.n_classes, self.row_weight
        total = float(n) if weight is None else float((self._scale * weight).sum())
        step = max(1, 2 * BLOCK_VALUES // max(K, width, 1 + self.nnz // max(1, n)))
        for first in range(0, n, step):
            at = slice(first, min(first + step, n))
            X = self._X[at if self._rows is None else self._rows[at]]
            p, _ = linear_predict(X, coef, intercept, n_classes=K, n_threads=self.n_threads)
            of_class = _curvatures(p)[:, K - self.n_outputs :]
            of_class *= 1.0 / total if weight is None else (self._scale * weight[at])[:, None] / total
            yield X, of_class

    def _new_pass(self, precision: str, *, shift: np.ndarray | None) -> LinearPass:
        if self._passes is not None:
            return self._passes.new(precision, shift=shift, **self._weighting.pass_options())
        X, rows = self._X, self._rows
        if rows is not None and not self.is_dense:
            X, rows = X[rows], None
        return LinearPass(
            X,
            self.n_classes,
            rows=rows,
            labels=self._target.labels,
            distribution=self._target.distribution,
            sample_weight=self._sample_weight,
            label_smoothing=self.row_loss.label_smoothing,
            loss=self.row_loss.loss.kernel(),
            sigmoid=self.n_outputs == 1,
            shift=shift,
            compute=precision,
            many_passes=True,
            **self._weighting.pass_options(),
        )

    def pass_of_labels(self, indicator: np.ndarray, precision: str) -> tuple[LinearPass, float]:
        """A pass over the rows for independent labels (n, L), as `LinearPass` reads them, and the number that it
        multiplies each weight by."""
        self._pass = ("", None)  # the scratch memory of one pass is enough
        made = LinearPass(
            self._X,
            indicator.shape[1],
            indicator=indicator,
            sample_weight=self._sample_weight,
            label_smoothing=self.row_loss.label_smoothing,
            loss=self.row_loss.loss.kernel(),
            scale=self._scale,
            shift=self.shift,
            compute=precision,
            many_passes=True,
        )
        return made, self._scale

    def with_target(
        self, target: Target, *, class_weight: np.ndarray | None, sample_weight: np.ndarray | None, passes: SharedPasses
    ) -> Design:
        """A design of the same rows with another target, weights of its own, and passes that such designs share."""
        return Design(
            self._X,
            target,
            row_loss=replace(self.row_loss, class_weight=class_weight),
            sample_weight=sample_weight,
            fit_intercept=self.fit_intercept,
            beside=self,
            passes=passes,
        )

    def subsample(self, n_rows: int) -> Design:
        """About that many of the rows, with targets and weights whose means are near those of all rows.

        The rows lie at equal steps of the cumulated weight, each at another place in its step: so rows come in as often
        as they weigh, and the same rows every time. The moments stay those of all rows, and so do theta and its units.
        """
        at, weight = sampled_rows(n_rows, self.n_rows, self.row_weight, self._sample_weight)
        rows = at if self._rows is None else self._rows[at]
        X = self._X
        if is_mapped(X):  # each pass over the sample would read most of the file again
            X, rows = X[rows], None
        return Design(
            X,
            self._target[at],
            row_loss=self.row_loss,
            sample_weight=weight,
            fit_intercept=self.fit_intercept,
            rows=rows,
            sampled_from=self,
        )

    def blocks(self, width: int = 1) -> Iterator[tuple[np.ndarray | slice, np.ndarray]]:
        """The places of the rows of positive weight, block by block, and their weights, which sum to one over all
        blocks; `rows` takes the places. Beside each row there is room for `width` other numbers."""
        n, d, weights = self.n_rows, self.n_features, self.row_weight
        total = 0.0 if weights is None else weights.sum()
        step = min(_MAX_BLOCK_VALUES, max(BLOCK_VALUES, 4 * d**2)) // max(1, d)
        step = max(1, min(step, _MAX_BLOCK_VALUES // width))
        for first in range(0, n, step):
            block = slice(first, min(first + step, n))
            if weights is None:
                yield block, np.full(block.stop - first, 1.0 / n)
            else:
                weight = weights[block] / total
                counted = np.flatnonzero(weight > 0.0)
                yield (block, weight) if len(counted) == len(weight) else (first + counted, weight[counted])

    def rows(self, at: np.ndarray | slice) -> np.ndarray:
        """Centred rows and, where there is an intercept, a last column of ones: float64, (len(at), d or d + 1)."""
        found = self._X[at if self._rows is None else self._rows[at]]
        found = found if isinstance(found, np.ndarray) else found.toarray()
        if self.centre is None:
            return found.astype(np.float64)
        rows = np.empty((len(found), self.n_features + 1))
        np.subtract(found, self.centre, out=rows[:, :-1])
        rows[:, -1] = 1.0
        return rows

    def probabilities(self, rows: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Probabilities (len(rows), K) of what `rows` has returned."""
        logits = rows @ theta.reshape(-1, self.n_outputs)
        if self.row_loss.offset is not None:
            logits += self.row_loss.offset
        return softmax(np.hstack([np.zeros_like(logits), logits]) if self.n_outputs == 1 else logits)


def mean_loss_gradient(
    design: Any, theta: np.ndarray, sums: Callable[..., float], scale: float
) -> tuple[float, np.ndarray]:
    """The mean loss at theta and its gradient, of `Rows` whose sums over the rows, times `scale`, `sums` gives: it has
    the signature of `LinearPass.loss_gradient`, and the features that it sees are centred if `kernel_centres`."""
    d, R, grad = design.n_features, design.n_outputs, np.empty_like(theta)
    coef, grad_coef = theta[: d * R].reshape(d, R), grad[: d * R].reshape(d, R)
    if design.fit_intercept:
        intercept, grad_intercept = theta[d * R :], grad[d * R :]
    else:
        intercept, grad_intercept = np.zeros((2, R))
    centre = None if design.kernel_centres else design.centre
    if centre is not None:
        intercept = intercept - centre @ coef
    if design.row_loss.offset is not None:
        intercept = intercept + design.row_loss.offset
    loss = sums(coef, intercept, grad_coef, grad_intercept, design.n_threads)
    if centre is not None:  # in place: BLAS reads a C-ordered matrix as its transpose
        dger(-1.0, grad_intercept, centre, a=grad_coef.T, overwrite_a=1)
    if len(design.constant):  # rounding leaves something there, and the preconditioner divides it by next to nothing
        grad_coef[design.constant] = 0.0
    total = design.weight_sum * scale
    grad /= total
    return loss / total, grad


def sampled_rows(
    n_sampled: int, n_rows: int, row_weight: np.ndarray | None, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The places of a sample of about that many rows, in order, and their sample weights in it: a row comes in by its
    weight, which must not count again."""
    place = sample_places(n_sampled)
    if row_weight is None:
        return (place * n_rows).astype(np.int64), None
    # of about one, as sums of the least numbers are rounded up, and those of the largest overflow
    until = np.cumsum(np.ldexp(row_weight, -frexp(float(row_weight.max()))[1]))
    at, times = np.unique(np.searchsorted(until, place * until[-1], side="right"), return_counts=True)
    weight = _quotient(np.ones(len(at)) if sample_weight is None else sample_weight[at], row_weight[at])
    return at.astype(np.int64, copy=False), times * weight


def sample_places(n: int) -> np.ndarray:
    """Where on [0, 1) the rows of a sample lie: at equal steps, each at another place in its step."""
    place = (np.arange(n) + np.arange(n) * _GOLDEN % 1.0) / n
    place[:1] = 0.5 / n  # at 0 the first row would come in whatever it weighs
    return place


def _curvatures(p: np.ndarray) -> np.ndarray:
    """p (1 - p) of probabilities (n, K), which are overwritten, without losing digits where p is next to one."""
    place, rows = p.argmax(axis=1), np.arange(len(p))
    largest = p[rows, place]
    p[rows, place] = 0.0
    others = p.sum(axis=1)
    p *= 1.0 - p
    p[rows, place] = largest * others
    return p


def _quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, times a power of two if some would be infinite."""
    (a, of_a), (b, of_b) = np.frexp(a), np.frexp(b)
    exponents = of_a - of_b
    return np.ldexp(a / b, exponents - max(0, int(exponents.max(initial=0)) - _LARGEST_QUOTIENT))


def _without_empty_columns(X: Any) -> tuple[Any, np.ndarray | slice]:
    """CSR X without the columns that store nothing, and which columns are left. X itself where such columns are few, or
    where an index is out of range or no integer, which `LinearPass` reports."""
    n, d = X.shape
    if not len(X.indices) or X.indices.dtype.kind not in "iu" or X.indices.min() < 0 or X.indices.max() >= d:
        return X, slice(None)
    is_stored = np.zeros(d, dtype=bool)
    is_stored[X.indices] = True
    stored = np.flatnonzero(is_stored)
    if d - len(stored) < _MANY_EMPTY * d:
        return X, slice(None)
    place = np.cumsum(is_stored, dtype=X.indices.dtype) - 1
    return type(X)((X.data, place[X.indices], X.indptr), shape=(n, len(stored))), stored
