"""Second derivatives of the mean loss over a design: Gram matrices and Hessians, without the penalty.

They only shape the preconditioner of a minimisation, so a subsample of the rows serves as well. The Hessian is that of
the cross-entropy, sum_i T_i (diag(p_i) - p_i p_i^T) (x) x_i x_i^T / S, with T_i the weight of row i and S their sum
(Boehning, 1992, Ann. Inst. Statist. Math. 44, 197-200).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ._design import FEW_ROWS, Design
from ._kernels._gram import add_grams
from ._rows import Rows

# A feature is trusted in a subsample if its variance there rests on this many rows, effectively. With fewer, the rest
# of its variance is put on the diagonal. (land_cover and one_hot, whose indicators are rare)
MIN_EFFECTIVE_ROWS = 20.0
# Rows with less than this share of the mean curvature are negligible. (digits.)
_NEGLIGIBLE = 1e-3
# Entries of the Hessians that threads work on at once; each takes about five such arrays.
_MAX_ENTRIES_AT_WORK = 1 << 21


class FeatureCoverage:
    """How well a sample of rows covers each feature, whose variance over all rows is known.

    Parameters
    ----------
    design : Rows
        The sample.
    """

    def __init__(self, design: Rows) -> None:
        self._variance, self._is_centred = design.variance, design.centre is not None
        self._unit = np.where(self._variance > 0.0, self._variance, 1.0)
        self._first, self._second, self._fourth = np.zeros((3, design.n_features))

    def add(self, rows: np.ndarray, weight: np.ndarray) -> None:
        """Count rows of `Design.rows`."""
        features = rows[:, : len(self._unit)]
        squares = features * features
        squares /= self._unit
        self._first += weight @ features
        self._second += weight @ squares
        squares *= squares  # in place: such an array is as large as a block of rows
        self._fourth += weight**2 @ squares

    def least(self) -> float:
        """The least effective number of rows behind the variance of a feature."""
        share, n_effective = self._effective_rows()
        return float((n_effective * np.minimum(1.0, share)).min(initial=np.inf, where=self._variance > 0.0))

    def correction(self) -> tuple[np.ndarray, np.ndarray]:
        """Factors by which to multiply each feature in the sample: to give it its variance over all rows where too few
        rows show it, and zero where none does. And the variance that the sample does not cover.

        Other features are left alone: scaling nearly collinear ones, each by a little, would part them."""
        share, n_effective = self._effective_rows()
        scale = np.sqrt(np.divide(1.0, share, out=np.zeros_like(share), where=n_effective > 0.5))
        scale[n_effective >= MIN_EFFECTIVE_ROWS] = 1.0
        return scale, self._variance * np.maximum(0.0, 1.0 - n_effective / MIN_EFFECTIVE_ROWS)

    def _effective_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The share of each feature's variance that the sample shows, and Kish's effective number of rows behind it."""
        share = self._second - (self._first**2 / self._unit if self._is_centred else 0.0)
        share = np.maximum(share, 0.0)
        return share, np.divide(share**2, self._fourth, out=np.zeros_like(share), where=self._fourth > 0.0)


def covers_every_feature(sample: Design) -> bool:
    """Whether no feature's variance rests on a few rows of the sample, which would mislead."""
    coverage = FeatureCoverage(sample)
    for at, weight in sample.blocks():
        coverage.add(sample.rows(at), weight)
    return coverage.least() >= MIN_EFFECTIVE_ROWS


@dataclass(frozen=True)
class Correlation:
    """How far the features of a design are correlated.

    Attributes
    ----------
    mean_square : float
        The mean squared eigenvalue of their correlations without the largest, whose direction L-BFGS finds at once: one
        where there are no correlations, and up to the number of features. NaN where squares overflow.
    coverage : float
        Effective rows behind the least covered feature, as a share of the rows: a third for a normal feature.
    """

    mean_square: float
    coverage: float


def correlation(design: Rows) -> Correlation:
    """How far the features are correlated, from a few rows: the trace of the squared correlations is the mean squared
    product of two rows."""
    sample = design.subsample(min(design.n_rows, FEW_ROWS))
    varies = np.flatnonzero(design.variance > 0.0)
    rows = sample.rows(slice(None))
    n, coverage = len(rows), FeatureCoverage(design)
    with np.errstate(over="ignore", invalid="ignore"):
        coverage.add(rows, np.full(n, 1.0 / n))
        scaled = rows[:, varies] / np.sqrt(design.variance[varies])
        products = scaled @ scaled.T
        np.fill_diagonal(products, 0.0)
        squares = float(np.vdot(products, products))
        covered = coverage.least() / n
    if not np.isfinite(squares):
        return Correlation(np.nan, covered)
    largest = float(np.linalg.eigvalsh(products)[-1])
    return Correlation((squares - largest**2) / max(1, n * (n - 1) * len(varies)), covered)


def gram_matrix(design: Design) -> np.ndarray:
    """Covariance of the features, (d, d); without an intercept their mean products."""
    d = design.n_features
    size, coverage = d + (design.centre is not None), FeatureCoverage(design)
    gram = np.zeros((size, size))
    for at, weight in design.blocks():
        rows = design.rows(at)
        if design.is_subsample:
            coverage.add(rows, weight)
        add_grams(rows, weight[:, None], gram[None])
    gram = np.ascontiguousarray(gram[:d, :d])
    if design.is_subsample:
        scale, _ = coverage.correction()
        gram *= scale * scale[:, None]
        gram.flat[:: d + 1] += np.where(scale == 0.0, design.variance, 0.0)
    return gram


def class_hessians(
    design: Design, theta: np.ndarray, gram: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """The diagonal blocks of the Hessian at theta, one for each output: (R, size, size). Of two classes it is the
    Hessian itself. And the share of the rows that matter. Any number of threads gives the same bits.

    With `gram`, rows whose curvature for a class is negligible count as that much of the mean x x^T, which it is."""
    d, R, size = design.n_features, design.n_outputs, design.n_features + (design.centre is not None)
    hessians, of_class, rest, coverage = np.zeros((R, size, size)), np.zeros(R), np.zeros(R), FeatureCoverage(design)
    n_used = 0
    for at, weight in design.blocks(R):
        rows = design.rows(at)
        if design.is_subsample:
            coverage.add(rows, weight)
        curvature = _class_curvatures(design, rows, weight, theta)
        of_class += curvature.sum(axis=0)
        floor = 0.0 if gram is None else _NEGLIGIBLE * curvature.sum() / max(1, curvature.size)
        n_used += int(np.count_nonzero(curvature.sum(axis=1) > R * floor))
        rest += add_grams(rows, curvature, hessians, floor=floor, n_threads=design.n_threads)
    if gram is not None:
        for hessian, of_rest in zip(hessians, rest, strict=True):
            hessian[:d, :d] += of_rest * gram
            hessian[d:, d:] += of_rest
    if design.is_subsample:
        scale, missing = _with_intercept(design, *coverage.correction())
        hessians *= scale * scale[:, None]
        hessians.reshape(R, -1)[:, :: size + 1] += np.outer(of_class, missing)
    return hessians, n_used / design.n_rows


def full_hessian(
    design: Design, theta: np.ndarray, entries: np.ndarray, gram: np.ndarray | None = None
) -> np.ndarray:
    """The Hessian at theta with respect to theta[entries]: (m, m).

    With `gram`, rows whose curvature is negligible for all classes together count as that much of it for each class."""
    R, m = design.n_outputs, len(entries)
    feature, output = np.divmod(entries, R)
    by_output = np.argsort(output, kind="stable")
    ends = np.searchsorted(output[by_output], np.arange(R + 1))
    of_output = [by_output[ends[k] : ends[k + 1]] for k in range(R)]
    own = [np.zeros((1, len(mine), len(mine))) for mine in of_output]  # the blocks on the diagonal
    shared = np.zeros((1, m, m))  # of p p^T, in the order of the outputs
    of_class, rest, coverage = np.zeros(R), np.zeros(R), FeatureCoverage(design)
    for at, weight in design.blocks(R + m // 4):
        rows = design.rows(at)
        if design.is_subsample:
            coverage.add(rows, weight)
        p = design.probabilities(rows, theta)
        curvature = p[:, 1:] * p[:, :1] if R == 1 else p * _other_probabilities(p)
        curvature *= weight[:, None]
        of_class += curvature.sum(axis=0)
        if gram is not None:
            of_row = curvature.sum(axis=1)
            used = of_row > _NEGLIGIBLE * of_row.mean()
            rest += curvature.sum(axis=0, where=~used[:, None])
            rows, weight, p, curvature = rows[used], weight[used], p[used], curvature[used]
        if R == 1:
            add_grams(rows.take(feature, axis=1), curvature, own[0])
            continue
        scaled = np.empty((len(rows), m))
        for k in np.flatnonzero(np.diff(ends)):
            mine = of_output[k]
            columns = rows.take(feature[mine], axis=1)
            add_grams(columns, curvature[:, k, None], own[k])
            np.multiply(columns, p[:, k : k + 1], out=scaled[:, ends[k] : ends[k + 1]])
        add_grams(scaled, weight[:, None], shared)
    hessian = np.empty((m, m))
    hessian[np.ix_(by_output, by_output)] = np.negative(shared, out=shared)[0]
    for mine, block, of_rest in zip(of_output, own, rest, strict=True):
        hessian[np.ix_(mine, mine)] = block[0]
        if of_rest > 0.0 and gram is not None:
            inner = mine[feature[mine] < len(gram)]
            hessian[np.ix_(inner, inner)] += of_rest * gram[np.ix_(feature[inner], feature[inner])]
            intercept = mine[feature[mine] == len(gram)]
            hessian[intercept, intercept] += of_rest
    if design.is_subsample:
        scale, missing = _with_intercept(design, *coverage.correction())
        hessian *= scale[feature] * scale[feature, None]
        hessian.flat[:: m + 1] += of_class[output] * missing[feature]
    return hessian


def each_class_hessian(
    design: Design,
    theta: np.ndarray,
    use: Callable[[int, np.ndarray], None],
    gram: np.ndarray,
    *,
    negligible: float,
    precision: str,
) -> None:
    """Call `use` with each class and its Hessian, (size, size), where all of them would take too much memory.

    Every row is looked at, but most matter to a few classes only: rows whose curvature for a class is at most
    `negligible` times the mean over the classes and a block of rows count as that much of the mean x x^T, which is
    `gram`. The threads share the classes, and any number of them gives the same bits.
    """
    found = _RowsOfClasses(design, theta, negligible)

    def use_class(k: int) -> None:
        use(k, _hessian_of_class(design, *found.of(k), found.rest[k], gram, precision))

    n_workers = min(design.n_threads, max(1, _MAX_ENTRIES_AT_WORK // gram.size))
    if n_workers == 1:
        for k in range(design.n_outputs):
            use_class(k)
    else:
        with ThreadPoolExecutor(n_workers) as pool:  # NumPy's products and factors do not hold the interpreter's lock
            list(pool.map(use_class, range(design.n_outputs)))


def share_of_rows(design: Rows, theta: np.ndarray, negligible: float) -> float:
    """About which share of the rows, class by class, `each_class_hessian` takes."""
    sample = design.subsample(min(design.n_rows, 2 * FEW_ROWS))
    n_used = 0
    for at, _ in sample.blocks(design.n_outputs):
        rows = sample.rows(at)
        curvature = _class_curvatures(sample, rows, np.ones(len(rows)), theta)
        n_used += int(np.count_nonzero(curvature > negligible * curvature.mean()))
    return n_used / max(1, sample.n_rows * design.n_outputs)


class _RowsOfClasses:
    """The rows that are not negligible, for each class, in six bytes each.

    Attributes
    ----------
    rest : float64 ndarray of shape (R,)
        The sum of the other rows' curvatures.
    """

    def __init__(self, design: Design, theta: np.ndarray, negligible: float) -> None:
        self.rest = np.zeros(design.n_outputs)
        # Of each block: the first row and the mean curvature; how far from that row the others are, and their
        # curvatures in units of the mean, which float32 holds; and where the next class begins.
        self._blocks: list[tuple[int, np.float64, np.ndarray, np.ndarray, np.ndarray]] = []
        for at, weight in design.blocks(design.n_outputs):
            of_class = np.ascontiguousarray(_class_curvatures(design, design.rows(at), weight, theta).T)
            mean = of_class.sum() / max(1, of_class.size)
            is_used = of_class > negligible * mean
            self.rest += of_class.sum(axis=1, where=~is_used)
            first = at.start if isinstance(at, slice) else int(at[0])
            places = np.arange(len(weight)) if isinstance(at, slice) else at - first
            places = np.broadcast_to(places.astype(np.uint16), is_used.shape)[is_used]  # a block has 65536 rows at most
            ends = np.append(0, np.cumsum(np.count_nonzero(is_used, axis=1)))
            self._blocks.append((first, mean, places, (of_class[is_used] / mean).astype(np.float32), ends))

    def of(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The places of the rows of class k, and their curvatures."""
        at, weight = [], []
        for first, mean, places, curvatures, ends in self._blocks:
            mine = slice(ends[k], ends[k + 1])
            at.append(np.add(places[mine], first, dtype=np.int64))
            weight.append(np.multiply(curvatures[mine], mean, dtype=np.float64))
        return np.concatenate(at), np.concatenate(weight)


def _hessian_of_class(
    design: Design, at: np.ndarray, weight: np.ndarray, rest: float, gram: np.ndarray, precision: str
) -> np.ndarray:
    d = design.n_features
    size = d + (design.centre is not None)
    unit = np.sqrt(np.where(design.variance > 0.0, design.variance, 1.0))  # squares in other units overflow float32
    hessian = np.zeros((1, size, size))
    step = max(1, (1 << 18) // max(1, d))
    for first in range(0, len(at), step):
        rows = design.rows(at[first : first + step])
        rows[:, :d] /= unit
        add_grams(rows, weight[first : first + step, None], hessian, compute=precision)
    of_class = hessian[0]
    of_class[:d] *= unit[:, None]
    of_class[:, :d] *= unit
    of_class[:d, :d] += rest * gram
    of_class[d:, d:] += rest
    return of_class


def _class_curvatures(design: Design, rows: np.ndarray, weight: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The weighted second derivative of each row's loss in each logit, (len(rows), R)."""
    p = design.probabilities(rows, theta)
    if design.n_outputs == 1:
        return weight[:, None] * p[:, :1] * p[:, 1:]
    others = 1.0 - p
    p *= weight[:, None]
    p *= others
    return p


def _other_probabilities(p: np.ndarray) -> np.ndarray:
    """1 - p, where the one for the largest probability, which may be next to one, is a sum: its digits are not lost."""
    rows, top = np.arange(len(p)), p.argmax(axis=1)
    others = p.copy()
    others[rows, top] = 0.0
    of_top = others.sum(axis=1)
    np.subtract(1.0, p, out=others)
    others[rows, top] = of_top
    return others


def _with_intercept(design: Design, scale: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The correction of the features and, where there is one, of the intercept's column of ones: none."""
    return (scale, missing) if design.centre is None else (np.append(scale, 1.0), np.append(missing, 0.0))
