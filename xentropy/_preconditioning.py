"""Which preconditioner a minimisation uses next, and whether a better one pays.

A preconditioner is made of an approximate Hessian, of one of four levels: its diagonal at the start, the Gram matrix of
the features, the Hessian of each class, the full Hessian. Each says more than the one before and takes longer. There is
one rule: a preconditioner is made once as many evaluations as it costs were spent without it. It is of a higher level,
or of the same level at the current point if the loss has changed.

The constants name the cells of the guard (benchmarks/guard.py) that show what they are worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from math import ceil, inf

import numpy as np

from ._design import BLOCK_VALUES, Design
from ._hessian import (
    MIN_EFFECTIVE_ROWS,
    Correlation,
    class_hessians,
    correlation,
    covers_every_feature,
    each_class_hessian,
    full_hessian,
    gram_matrix,
    share_of_rows,
)
from ._kernels._triangular import TriangularFactors
from ._objective import Objective
from ._preconditioner import Diagonal, Preconditioner, factored, factored_by_class, set_factor


class Level(IntEnum):
    """What a preconditioner is made of."""

    DIAGONAL = 0
    GRAM = 1
    PER_CLASS = 2
    FULL = 3


@dataclass(frozen=True)
class Rates:
    """What work takes, in nanoseconds on one core."""

    evaluation: float  # for each product of a value of X and a coefficient
    row: float  # for each value of a block of rows that is centred, and of which probabilities are found
    gram: float  # for each product in a Gram matrix of size^2, for each row
    factor: float  # for each of order^3, in a Cholesky factor
    entry: float  # for each entry of a matrix that is copied, factored and packed
    call: float  # for a step of L-BFGS


# Written by `python -m benchmarks.rates --write`.
RATES = Rates(evaluation=0.098, row=1.9, gram=0.018, factor=0.0041, entry=5.4, call=230000)

# Rows for each variable from which a Hessian is made where there are twice as many, and the fewest at the start from a
# subsample. (land_cover: 5 rows for each variable took 82 evaluations, 100 took 25, and all rows 47, as their Hessian
# has to wait longer.)
_ROWS_PER_VARIABLE, _MIN_ROWS_PER_VARIABLE = 100, 25
# Bytes that one preconditioner may take: its factors, its Hessian on a face, or the rows of each class.
# (tests/test_preconditioning.py)
_MAX_BYTES = 1 << 27
# Hessians of all classes with more entries are not kept for another C, and their factors are stored in float32.
# (embeddings_2e4x512_100)
_MAX_KEPT = 1 << 22
# What was found at another loss is out of date if the losses differ by this share. (The searches, and land_cover.)
_CHANGED = 0.02
# Where no other preconditioner is left, the Hessian is made again if the loss has changed by this share.
# (tests/test_convergence.py: heavy tails, and weights over ten decades with one-hot columns)
_HARDLY_CHANGED = 1e-4
# Evaluations that L-BFGS loses with its memory when the preconditioner changes. (digits, breast_cancer)
_RESTART = 5.0
# Evaluations that a Gram matrix may take at the start. (wine_raw and breast_cancer_raw need it, 3e5x64_10 does not.)
_MAX_START_COST = 8.0
# Correlated features, with a mean squared eigenvalue of at least this, may take twice that, and a Gram matrix of a few
# rows for each feature serves them: of at least 4, and of more where few rows cover a feature. (sentiment, images)
_CORRELATED, _MIN_GRAM_ROWS, _MIN_COVERAGE = 2.5, 4.0, 0.9
# Rows whose curvature for a class is below the mean are left out of Hessians that are not kept. The third such Hessian
# in a minimisation waits twice as long, the fourth four times: where two did not suffice, it changes on the way, and
# what L-BFGS learns of it counts more. (embeddings_2e4x512_100, and log-normal features with 150 classes)
_NEGLIGIBLE_IN_LARGE, _LONGER = 1.0, 2.0
# A start from a subsample of one row in _SUBSAMPLE_SHARE pays where an evaluation takes _MIN_SUBSAMPLED_NS nanoseconds
# and a Hessian of the subsample takes _MAX_SUBSAMPLED_COST evaluations at most. (3e5x37_6, 1e6x50_2)
_SUBSAMPLE_SHARE, _MIN_SUBSAMPLED_NS, _MAX_SUBSAMPLED_COST = 8, 1.5e6, 1.5
# ... and where it holds this many rows of the rarest class for each feature. (tests/test_preconditioning.py)
_MIN_ROWS_OF_CLASS = 4
# A ridge keeps a factor positive definite: this share of the diagonal, above what the factor rounds.
_RIDGE = 1e-12
# Rows that hardly matter are left out of a Hessian only where all of them would take more evaluations than this: few
# rows of little weight may be all that shows a direction. (digits, and one-hot columns with weights over ten decades)
_CHEAP = 2.0
# Calls of Python for each factor and for each preconditioner, in steps of L-BFGS, and what it takes to find that a row
# matters to a class, in values of a row. (benchmarks/rates.py measures the rest.)
_PER_FACTOR, _PER_HESSIAN, _FINDING = 0.03, 0.25, 40.0
# Evaluations that a Hessian may take where it is needed at once: for an L1 penalty, as a fit within bounds takes about
# 100, and at the end. (heavy_tails_1e3x40_5)
AT_ONCE = 25.0
# Weights matter to the curvature at the end where there are this many rows for each effective one.
_MANY_PER_EFFECTIVE = 10


class Preconditioning:
    """The preconditioners of one objective, which may be minimised several times with another penalty.

    Parameters
    ----------
    objective : Objective
    gram : float64 ndarray of shape (d, d), optional
        The Gram matrix, see `common_gram`: with it every minimisation starts at that level.

    Attributes
    ----------
    level : Level
        Of the current preconditioner.
    current : Preconditioner or None
    n_outputs : int
        theta is (features, outputs), flattened.
    """

    def __init__(self, objective: Objective, gram: np.ndarray | None = None) -> None:
        self._objective, self._design, self.n_outputs = objective, objective.design, objective.design.n_outputs
        self.level = Level.DIAGONAL
        self.current: Preconditioner | None = None
        self._spent = self._spent_at_level = 0  # evaluations since the last renewal, and at this level
        self._hessian: np.ndarray | None = None  # of the current level, without penalty and ridge
        self._hessian_loss, self._share = inf, 1.0  # the loss and the share of the rows that matter where it was made
        self._gram, self._gram_is_given = gram, gram is not None
        self._gram_rows = float(_ROWS_PER_VARIABLE)  # for each feature
        self._n_large = 0  # Hessians that were too large to be kept, in this minimisation
        self._costs: dict[Level, float] = {}  # at the loss where they were last estimated
        self._costs_loss = inf
        # nanoseconds of an evaluation and of the step of L-BFGS that follows
        self._evaluation = RATES.evaluation * self._design.n_products + RATES.call
        self._evaluation += 1e9 * self._design.overhead

    def diagonal(self) -> Diagonal:
        """The preconditioner that needs nothing but the variances of the features."""
        self._design.check_variances()
        return Diagonal(self._diagonal())

    def start(self, theta: np.ndarray) -> Preconditioner:
        """The preconditioner to start with at theta, where the objective was evaluated last.

        Without information on the features all classes have the same Hessian, the Gram matrix times the variance of a
        class indicator: one factor serves all of them. After a minimisation with another penalty its Hessian serves.
        """
        self._design.check_variances()
        if self.level is Level.PER_CLASS and self._hessian is None:  # it was too large to be kept
            self.level, self._n_large = Level.DIAGONAL, 0
        if self.level is Level.DIAGONAL and self._starts_with_gram():
            self.level = Level.GRAM
        if self.level is Level.FULL and self._hessian_loss != self._objective.loss:  # it pays where it is made
            self.level, self._hessian_loss = Level.PER_CLASS, inf
        level, cost = self._next(0, restart=0.0)  # L-BFGS has no memory to lose
        self._spent_at_level = 0
        if np.isfinite(cost) and level is Level.PER_CLASS and not self._is_large:
            return self._renewed(level, theta)
        if self._hessian is not None and _has_changed(self._objective.loss, self._hessian_loss):
            self._make_hessian(theta, self._design.in_memory)
        return self._make()

    def common_gram(self, n_objectives: int) -> np.ndarray | None:
        """The Gram matrix, for so many objectives of the same rows with the same weights: None if making it would take
        too many of their evaluations."""
        rows = self._n_used(_ROWS_PER_VARIABLE * self._design.n_features)
        cost = self._nanoseconds(Level.GRAM, rows) / (n_objectives * self._evaluation)
        return self._gram_of_rows() if cost <= _MAX_START_COST else None

    def count(self, n_evaluations: int) -> None:
        """Count evaluations with the current preconditioner."""
        self._spent += n_evaluations
        self._spent_at_level += n_evaluations

    def cost_of_renewal(self, n_evaluations: int) -> float:
        """The cost of `renewed` in evaluations, if as many have been spent: those counted, and n_evaluations more. inf
        where they have not, or where it would not give a better preconditioner."""
        return self._next(n_evaluations)[1]

    def renewed(self, theta: np.ndarray) -> Preconditioner:
        """A better preconditioner than the current one: of a higher level, or of the Hessian at theta again."""
        return self._renewed(self._next(0)[0], theta)

    def _renewed(self, level: Level, theta: np.ndarray) -> Preconditioner:
        if level > self.level:
            self.level, self._spent_at_level = level, 0
        self._spent = 0
        if self.level is Level.PER_CLASS and self._is_large:
            self.current = self._large(theta)
            self._hessian_loss = self._objective.loss
            return self.current
        if self.level >= Level.PER_CLASS:
            self._make_hessian(theta, self._design.in_memory)
        return self._make()

    def diagonals_here(self, theta: np.ndarray) -> tuple[list[Diagonal], list[Diagonal]]:
        """The diagonal preconditioner of the curvature at theta, where the objective was evaluated last, and one of
        what many rows share of it. Lists without any where they would hardly differ from the first one.

        A few rows with huge values may own the variance of a feature, or its curvature. Once they are classified, its
        coefficients are nearly free to move, and a gradient that seemed short in the variables before is not."""
        design = self._design
        if not len(design.of_few_rows) and _MANY_PER_EFFECTIVE * design.effective_size >= design.n_rows:
            return [], []
        squares, mass = design.curvature(theta)
        here = [Diagonal(self._penalised(squares, mass))]
        if not len(design.of_few_rows):
            return here, []
        shared = design.shared_curvature(theta, squares, 1.0 / MIN_EFFECTIVE_ROWS)
        return here, [Diagonal(self._penalised(shared, mass))]

    def hessian_here(self, theta: np.ndarray) -> list[Preconditioner]:
        """That of the Hessian at theta, of the highest level that can be had at once, if there is one."""
        affordable = [level for level in self._hessian_levels() if self._cost(level) <= AT_ONCE]
        return [self._renewed(max(affordable), theta)] if affordable and not self._is_large else []

    def _penalised(self, squares: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """The diagonal of the Hessian, with the penalty; that of the start where it is zero."""
        diagonal = (squares + self._objective.l2_weight).ravel()
        if self._design.fit_intercept:
            diagonal = np.append(diagonal, mass)
        return np.where(diagonal > 0.0, diagonal, np.repeat(self._diagonal(), self.n_outputs))

    def learn(self, theta: np.ndarray, subsample: Design) -> None:
        """Make the Hessian at theta from a subsample, for a start there: from as many of its rows as take half an
        evaluation, but at least _MIN_ROWS_PER_VARIABLE for each variable. Where evaluations read rows that are not in
        memory, the full Hessian if that is affordable, or none if none is."""
        least = _MIN_ROWS_PER_VARIABLE * self._design.n_theta
        self.level = Level.PER_CLASS
        if self._design.overhead:
            most = _MAX_SUBSAMPLED_COST * self._evaluation
            costs = {level: self._nanoseconds(level, min(least, subsample.n_rows)) for level in self._hessian_levels()}
            self.level = max((level for level, cost in costs.items() if cost <= most), default=Level.DIAGONAL)
            if self.level is Level.DIAGONAL or self._is_large:
                self.level = Level.DIAGONAL
                return
        n_rows = 0.5 * subsample.n_rows * self._evaluation / self._nanoseconds(self.level, subsample.n_rows)
        n_rows = max(n_rows, least)
        self._make_hessian(theta, subsample if n_rows > subsample.n_rows else subsample.subsample(int(n_rows)))

    def subsample(self) -> Design | None:
        """Rows whose minimum is a good start for all rows; None where that would not save more time than it takes."""
        design, objective, n_theta = self._design, self._objective, self._design.n_theta
        is_here = design.in_memory is design
        n_rows = design.n_rows // _SUBSAMPLE_SHARE if is_here else design.in_memory.n_rows
        n_rows, least = min(n_rows, _ROWS_PER_VARIABLE * n_theta), _MIN_ROWS_PER_VARIABLE * n_theta
        if not np.isfinite(design.variance).all() or objective.l1_weight > 0.0 or not design.row_loss.loss.convex:
            return None
        if not is_here and design.in_memory.n_rows == design.n_rows:  # where it ends is the minimum for all rows
            return design.in_memory
        if (
            not design.is_dense
            or self._evaluation < _MIN_SUBSAMPLED_NS
            or n_rows < least
            or n_rows * design.shares.min() < _MIN_ROWS_OF_CLASS * design.n_features
            or self._is_large
            or len(design.of_few_rows)
        ):
            return None
        if self._nanoseconds(Level.PER_CLASS, least) > _MAX_SUBSAMPLED_COST * self._evaluation:
            return None
        sample = design.subsample(n_rows)
        return sample if covers_every_feature(sample) else None

    def hessian_cost(self, n_entries: int, n_factors: int = 0) -> float:
        """Evaluations that `hessian_of` takes the time of, and so many factors."""
        design = self._design
        if not design.row_loss.loss.convex or 8 * n_entries**2 > _MAX_BYTES:
            return inf
        if self._are_too_few(_MIN_ROWS_PER_VARIABLE * n_entries):
            return inf
        n_rows = self._n_used(_ROWS_PER_VARIABLE * n_entries)
        work = RATES.row * n_rows * 2 * (design.n_features + n_entries) + RATES.gram * n_rows * n_entries**2
        return work / self._evaluation + n_factors * self.factor_cost(n_entries)

    def factor_cost(self, order: int) -> float:
        """Evaluations that a factor takes the time of."""
        return (order**2 * (RATES.entry + RATES.factor * order) + _PER_FACTOR * RATES.call) / self._evaluation

    def hessian_of(self, theta: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """The Hessian with respect to theta[entries] at theta, with its penalty."""
        hessian = full_hessian(self._rows_for(_ROWS_PER_VARIABLE * len(entries)), theta, entries)
        self._add_penalty(hessian, entries // self._design.n_outputs)
        return hessian

    # What the preconditioners are made of

    def _make(self) -> Preconditioner:
        if self.level is Level.DIAGONAL:
            self.current = Diagonal(self._diagonal())
        elif self.level is Level.GRAM:
            self.current = factored(self._gram_curvature(), self._design.n_outputs)
        else:
            self.current = self._of_hessian()
        return self.current

    def _make_hessian(self, theta: np.ndarray, design: Design) -> None:
        if design is self._design.in_memory:
            design = self._rows_for(_ROWS_PER_VARIABLE * design.n_theta)
        gram = self._gram_of_rows() if self._cost(self.level) > _CHEAP else None
        if self.level is Level.FULL:
            self._hessian = full_hessian(design, theta, np.arange(design.n_theta), gram)
        else:
            self._hessian, self._share = class_hessians(design, theta, gram)
        self._objective(theta)
        self._hessian_loss = self._objective.loss

    def _of_hessian(self) -> Preconditioner:
        assert self._hessian is not None
        design, hessian = self._design, self._hessian.copy()
        R, size = design.n_outputs, design.n_theta // design.n_outputs
        if hessian.ndim == 3:
            for of_class in hessian:
                self._add_penalty(of_class, np.arange(size))
            return factored_by_class(hessian) if R > 1 else factored(hessian[0])
        self._add_penalty(hessian, np.repeat(np.arange(size), R))
        for j in range(0, R * size, R):  # where all classes shift together the loss has no curvature
            of_feature = hessian[j : j + R, j : j + R]
            of_feature += of_feature.diagonal().min() / R
        return factored(hessian)

    def _large(self, theta: np.ndarray) -> TriangularFactors:
        """The preconditioner of Hessians that are too large to be kept: only their factors are, in float32. Seven
        digits are exact enough for a preconditioner; it is applied in float64."""
        design, self._n_large = self._design, self._n_large + 1
        size = design.n_theta // design.n_outputs
        factors = TriangularFactors(design.n_outputs, size, n_columns=design.n_outputs, precision="float32")

        def factor(k: int, hessian: np.ndarray) -> None:
            self._add_penalty(hessian, np.arange(size))
            set_factor(factors, k, hessian)

        each_class_hessian(
            design.in_memory,
            theta,
            factor,
            self._gram_of_rows(),
            negligible=_NEGLIGIBLE_IN_LARGE,
            precision="float32" if design.float32_pays else "float64",
        )
        return factors

    def _gram_of_rows(self) -> np.ndarray:
        if self._gram is None:
            self._gram = gram_matrix(self._rows_for(ceil(self._gram_rows * self._design.n_features)))
        return self._gram

    def _gram_curvature(self) -> np.ndarray:
        d, diagonal = self._design.n_features, self._diagonal()
        curvature = np.zeros((len(diagonal), len(diagonal)))
        curvature[:d, :d] = self._indicator_variance * self._gram_of_rows()
        if self._design.fit_intercept:
            curvature[d, d] = diagonal[d]
        constant = self._design.constant
        curvature[constant, constant] = diagonal[constant]
        self._add_penalty(curvature, np.arange(len(diagonal)))
        return curvature

    def _add_penalty(self, hessian: np.ndarray, feature: np.ndarray) -> None:
        """Add the penalty's curvature to the diagonal, of which each entry belongs to a feature, and a ridge."""
        l2 = np.where(feature < self._design.n_features, self._objective.l2_weight, 0.0)
        ridge = _RIDGE * np.maximum(hessian.diagonal(), self._diagonal(self._design.typical_variance)[feature])
        hessian.flat[:: len(hessian) + 1] += l2 + ridge

    def _diagonal(self, variance: np.ndarray | None = None) -> np.ndarray:
        """Diagonal of the Hessian at the start, for these variances or those of the design: one entry for each feature,
        and one for the intercept."""
        variance = self._design.variance if variance is None else variance
        diagonal = self._indicator_variance * variance + self._objective.l2_weight
        diagonal[diagonal == 0.0] = 1.0
        return np.append(diagonal, self._indicator_variance) if self._design.fit_intercept else diagonal

    @property
    def _indicator_variance(self) -> float:
        """Variance of the indicator of a class, on average: the curvature of the cross-entropy in a logit."""
        p, K = self._design.shares, self._design.n_classes
        variance = p[0] * p[1] if K == 2 else (1.0 - p @ p) / K
        return max(float(variance), 0.01 * (1.0 - 1.0 / K) / K)  # shares of one class must not make steps boundless

    @cached_property
    def _correlation(self) -> Correlation:
        return correlation(self._design)

    def _starts_with_gram(self) -> bool:
        """Whether the Gram matrix is cheap, or is cheap from few rows and needed."""
        if self._gram_is_given:
            return True
        d = self._design.n_features

        def cost(rows: float) -> float:
            return self._nanoseconds(Level.GRAM, self._n_used(rows * d)) / self._evaluation

        if cost(_ROWS_PER_VARIABLE) <= _MAX_START_COST:
            return True
        if cost(_MIN_GRAM_ROWS) > 2.0 * _MAX_START_COST:
            return False
        found = self._correlation
        if not (found.mean_square >= _CORRELATED and found.coverage >= _MIN_COVERAGE / _ROWS_PER_VARIABLE):
            return False
        affordable = 0.5 * _MAX_START_COST * self._evaluation / (RATES.gram * float(d) ** 3)
        rows = float(np.clip(affordable, max(_MIN_GRAM_ROWS, _MIN_COVERAGE / found.coverage), _ROWS_PER_VARIABLE))
        if cost(rows) > 2.0 * _MAX_START_COST:
            return False
        self._gram_rows = rows
        return True

    # What they cost

    def _hessian_levels(self) -> tuple[Level, ...]:
        return (Level.PER_CLASS, Level.FULL) if self._design.n_outputs > 1 else (Level.PER_CLASS,)

    def _next(self, uncounted: int, restart: float = _RESTART) -> tuple[Level, float]:
        """The level of a preconditioner whose cost has been spent, and that cost in evaluations: the cheapest of the
        higher levels, or else the current level again. The current level and inf where there is none."""
        if not self._design.row_loss.loss.convex:  # the Hessian is that of the cross-entropy: it says nothing there
            return self.level, inf
        if _has_changed(self._objective.loss, self._costs_loss):
            self._costs, self._costs_loss = {}, self._objective.loss
        higher = [level for level in (Level.GRAM, *self._hessian_levels()) if level > self.level]
        cost, level = min(((restart + self._cost(level), level) for level in higher), default=(inf, self.level))
        if cost <= self._spent_at_level + uncounted:
            return level, cost
        change = _CHANGED if higher else _HARDLY_CHANGED
        if self.level >= Level.PER_CLASS and _has_changed(self._objective.loss, self._hessian_loss, change):
            cost = restart + self._cost(self.level)
            if cost <= self._spent + uncounted:
                return self.level, cost
        return self.level, inf

    def _cost(self, level: Level) -> float:
        """Time that a level takes, in evaluations; inf where it would take too much memory."""
        if level not in self._costs:
            d, n_theta = self._design.n_features, self._design.n_theta
            n_rows = self._n_used(self._gram_rows * d if level is Level.GRAM else _ROWS_PER_VARIABLE * n_theta)
            self._costs[level] = self._nanoseconds(level, n_rows) / self._evaluation
        return self._costs[level]

    def _nanoseconds(self, level: Level, n_rows: float) -> float:
        design, R, size = self._design, self._design.n_outputs, self._design.n_theta // self._design.n_outputs
        n_factors, order, n_grams = {
            Level.GRAM: (1, size, 1.0),
            Level.PER_CLASS: (R, size, float(R)),
            Level.FULL: (1, R * size, R + float(R) ** 2),
        }[level]
        is_large = level is Level.PER_CLASS and self._is_large
        if self._are_too_few(_MIN_GRAM_ROWS * size if level is Level.GRAM else _MIN_ROWS_PER_VARIABLE * design.n_theta):
            return inf
        if (2 if is_large else 8) * n_factors * float(order) ** 2 > _MAX_BYTES:
            return inf
        gathered = 1.0
        if level > Level.GRAM:  # rows that hardly matter are left out
            n_grams *= self._share
        if level is Level.FULL:
            gathered += 2.0 * R * self._share
        if is_large:
            n_rows = design.in_memory.n_rows
            n_grams = R * share_of_rows(design, self._objective.last_theta, _NEGLIGIBLE_IN_LARGE)
            gathered += n_grams + _FINDING * R / size  # the rows of each class, which have to be found
            if 12.0 * n_grams * n_rows > _MAX_BYTES:  # an index and a curvature for each
                return inf
        work = RATES.row * gathered * n_rows * size + RATES.gram * n_grams * n_rows * size**2
        work += n_factors * (order**2 * (RATES.entry + RATES.factor * order) + _PER_FACTOR * RATES.call)
        work += _PER_HESSIAN * RATES.call
        return work * _LONGER ** max(0, self._n_large - 1) if is_large else work

    @property
    def _is_large(self) -> bool:
        R = self._design.n_outputs
        return R > 1 and self._design.n_theta**2 // R > _MAX_KEPT

    def _n_used(self, n_rows: float) -> float:
        """How many rows `_rows_for` gives."""
        design, n_all = self._design, self._design.in_memory.n_rows
        is_one_block = design.nnz <= BLOCK_VALUES  # where a sample saves nothing
        lacks_rows = len(design.of_few_rows) > 0
        return n_all if is_one_block or lacks_rows or n_all < 2 * n_rows else n_rows

    def _rows_for(self, n_rows: int) -> Design:
        """The rows in memory, or a subsample where they are at least twice as many."""
        in_memory = self._design.in_memory
        return in_memory if self._n_used(n_rows) == in_memory.n_rows else in_memory.subsample(n_rows)

    def _are_too_few(self, n_rows: float) -> bool:
        """Whether fewer rows than these are in memory, and not all: a matrix of so few would mislead."""
        return self._design.in_memory.n_rows < min(self._design.n_rows, n_rows)


def _has_changed(loss: float, since: float, change: float = _CHANGED) -> bool:
    """Whether the loss is another than where something was found that depends on it."""
    return abs(loss - since) > change * loss
