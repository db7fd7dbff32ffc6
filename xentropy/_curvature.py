"""The curvature of the mean loss of a linear softmax model, from as many of the rows as it takes.

It only shapes the variables of a minimisation: so it may be of a sample, and leave out what counts for next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from ._kernels._gram import add_grams
from ._kernels._pointwise import softmax

Factor = TypeVar("Factor")

# A curvature of m coupled variables is taken from this many times m rows, where there are twice as many: it only shapes
# the variables. Of 500 000 rows of 54 features and 7 classes, 5 m asked for 82 evaluations, 100 m for 25; all of them
# for 47, as what takes longer must wait longer
ROWS_PER_VARIABLE = 100
# A feature is known by its variance alone if no more than this many of those rows make up what they tell of it
_TOO_FEW_ROWS = 20.0
_GOLDEN = 0.6180339887498949  # its multiples modulo one are spread evenly, and have no period that rows might share
# Of a block of rows: half a megabyte, and more only where the product of two blocks holds more
_BLOCK_VALUES = 1 << 16
_LARGEST_BLOCK_VALUES = 1 << 20
# Rows that tell how much features go together
_ENOUGH_FOR_CORRELATIONS = 128
# Entries of the Hessians of classes that are worked on at once, each of which takes some five such arrays
_MOST_AT_WORK = 1 << 21
# Rows that tell which share of them a Hessian is made of
_ENOUGH_FOR_A_SHARE = 256


class Curvature:
    """Second derivatives of the mean loss of the rows of X, without the penalty.

    Those of theta: the coefficients of the centred features, (d, R), then R intercepts where there is a `mean`.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, d)
    mean : float64 ndarray of shape (d,) or None
        Of the features; None: they are not centred, and there is no intercept.
    spread : float64 ndarray of shape (d,)
        Their variance, or without an intercept their mean square.
    row_weight : float64 ndarray of shape (n,) or None
    n_outputs : int
        R.
    offset : float64 ndarray of shape (R,) or None
        Added to the logits.
    rows : int64 ndarray of shape (n,) or None
        Which rows of X those are. They are a sample already, and all of them are used.
    """

    def __init__(
        self,
        X: Any,
        *,
        mean: np.ndarray | None,
        spread: np.ndarray,
        row_weight: np.ndarray | None,
        n_outputs: int,
        offset: np.ndarray | None,
        rows: np.ndarray | None = None,
    ) -> None:
        self._X, self._mean, self._spread, self._row_weight, self._rows = X, mean, spread, row_weight, rows
        self._n_outputs, self._offset = n_outputs, offset
        self._n = X.shape[0] if rows is None else len(rows)
        self.rows_per_variable = self.rows_per_feature = ROWS_PER_VARIABLE
        self._gram: np.ndarray | None = None

    def of_rows(self, rows: np.ndarray, row_weight: np.ndarray | None) -> Curvature:
        """That of a sample."""
        return Curvature(
            self._X,
            mean=self._mean,
            spread=self._spread,
            row_weight=row_weight,
            n_outputs=self._n_outputs,
            offset=self._offset,
            rows=rows,
        )

    def n_rows(self, n_coupled: int) -> int:
        """How many rows a curvature of so many variables is taken from."""
        return self._at_most(self.rows_per_variable * n_coupled)

    def n_rows_of_gram(self) -> int:
        return self._at_most(self.rows_per_feature * len(self._spread))

    def _at_most(self, n_rows: int) -> int:
        return self._n if self._n < (2 if self._rows is None else 1) * n_rows else n_rows

    def sample(self, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of rows, in order, and their weights: those at so many equal steps of the sum of the weights, each at
        another place of its step. So each row comes in as often as it weighs, and the same rows every time."""
        place = (np.arange(n_rows) + np.arange(n_rows) * _GOLDEN % 1.0) / n_rows
        place[:1] = 0.5 / n_rows  # not 0, where the first row comes in whatever it weighs
        if self._row_weight is None:
            return (place * self._n).astype(np.int64), np.ones(n_rows)
        until = np.cumsum(self._row_weight)
        at, times = np.unique(np.searchsorted(until, place * until[-1], side="right"), return_counts=True)
        return at.astype(np.int64, copy=False), times

    def shows_every_feature(self) -> bool:
        """Whether no few of the rows make up what all tell of a feature: rare or far from the rest, they mislead."""
        seen = _Seen(self._spread, self._mean is not None)
        for rows, weight in self._centred_blocks(self._n):
            seen.add(rows, weight)
        return seen.least_telling() >= _TOO_FEW_ROWS

    @cached_property
    def correlations(self) -> tuple[float, float]:
        """The mean squared eigenvalue of the features' correlations, about, from some rows, but for the largest, whose
        direction L-BFGS finds at once: one where there are none, and up to as many as there are features. The trace of
        the squared correlations is the mean squared product of two rows. And the share of these rows that make up what
        they tell of the feature that they tell least of: a third for a normal one. NaN where squares overflow."""
        rows, _ = self.sample(min(self._n, _ENOUGH_FOR_CORRELATIONS))
        varies = self._spread > 0.0
        scaled = self._centred(rows if self._rows is None else self._rows[rows])[:, varies]
        scaled /= np.sqrt(self._spread[varies])
        seen = _Seen(np.ones(scaled.shape[1]), self._mean is not None)
        with np.errstate(over="ignore", invalid="ignore"):
            seen.add(scaled, np.full(len(rows), 1.0 / len(rows)))
            products = scaled @ scaled.T
            np.fill_diagonal(products, 0.0)
            squares = float(np.vdot(products, products))
            telling = seen.least_telling() / len(rows)
        if not np.isfinite(squares):
            return np.nan, telling
        largest = float(np.linalg.eigvalsh(products)[-1])
        return (squares - largest**2) / max(1, len(rows) * (len(rows) - 1) * scaled.shape[1]), telling

    def gram(self) -> np.ndarray:
        """Of the centred features, (d, d): their covariance."""
        if self._gram is None:
            d, n_rows = len(self._spread), self.n_rows_of_gram()
            gram = np.zeros((d, d))
            seen = _Seen(self._spread, self._mean is not None)
            for rows, weight in self._centred_blocks(n_rows):
                if n_rows < self._n:
                    seen.add(rows, weight)
                add_grams(rows, weight[:, None], gram[None])
            if n_rows < self._n:
                scale, _ = seen.against_all()
                gram *= scale * scale[:, None]
                gram.flat[:: d + 1] += np.where(scale == 0.0, self._spread, 0.0)
            self._gram = gram
        return self._gram

    def hessian(
        self, theta: np.ndarray, *, is_coupled: bool, negligible: float, n_threads: int = 1
    ) -> tuple[np.ndarray, float]:
        """The Hessian at theta, sum_i T_i (diag(p_i) - p_i p_i^T) (x) x_i x_i^T / S: for each class alone
        (R, size, size), or coupled (size, R, size, R). And the share of the rows, class by class, that made it. It is
        the same for any number of threads.

        diag(p) - p p^T is the sum over pairs of classes of p_k p_l (e_k - e_l)(e_k - e_l)^T. Most rows matter to few
        pairs, if any: those whose curvature is below a negligible share of the mean one count as that much of the mean
        row's x x^T, which leaves it positive semidefinite, and what features have in common.
        """
        d, R = len(self._spread), self._n_outputs
        size = d + (self._mean is not None)
        n_rows = self.n_rows(R * size)
        blocks = np.zeros((R, size, size))
        coupled = np.zeros((size, R, size, R)) if is_coupled and R > 1 else None
        n_used = n_of_classes = 0
        of_classes, left, seen = np.zeros(R), np.zeros(R), self._seen()
        for rows, weight, p in self._rows_and_probabilities(theta, n_rows):
            if n_rows < self._n:
                seen.add(rows, weight)
            of_class = weight[:, None] * p * (1.0 - p)
            of_classes += of_class.sum(axis=0)[:R]
            floor = negligible * of_class.sum() / max(1, len(rows))
            n_used += int((of_class > floor).sum())
            n_of_classes += of_class.size
            if coupled is None:
                left += add_grams(rows, of_class[:, :R], blocks, floor=floor, n_threads=n_threads)
                continue
            weighted = weight[:, None] * p
            for k in range(R - 1):
                others = slice(k + 1, R)
                grams = np.zeros((R - k - 1, size, size))
                not_used = add_grams(rows, p[:, k, None] * weighted[:, others], grams, floor=floor, n_threads=n_threads)
                left[k] += not_used.sum()
                left[others] += not_used
                blocks[k] += grams.sum(axis=0)
                blocks[others] += grams
                coupled[:, k, :, others] -= grams.transpose(1, 2, 0)
                coupled[:, others, :, k] -= grams.transpose(1, 0, 2)
        if left.any():  # centred features, and the intercept's column of ones
            blocks[:, :d, :d] += left[:, None, None] * self.gram()
            blocks[:, d:, d:] += left[:, None, None]
        if n_rows < self._n:
            scale, unseen = seen.against_all()
            blocks *= scale * scale[:, None]
            blocks.reshape(R, -1)[:, :: size + 1] += np.outer(of_classes, unseen)
            if coupled is not None:
                coupled *= scale[:, None] * scale[:, None, None, None]
        if coupled is not None:
            for k in range(R):
                coupled[:, k, :, k] = blocks[k]
        return blocks if coupled is None else coupled, n_used / max(1, n_of_classes)

    def hessian_of_entries(self, theta: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """The Hessian at theta of theta[entries] alone."""
        R, n_rows, m = self._n_outputs, self.n_rows(len(entries)), len(entries)
        feature, output = np.divmod(entries, R)
        by_output = np.argsort(output, kind="stable")
        ends = np.searchsorted(output[by_output], np.arange(R + 1))
        of_output = [by_output[ends[k] : ends[k + 1]] for k in range(R)]
        own = [np.zeros((1, len(mine), len(mine))) for mine in of_output]
        common = np.zeros((1, m, m))  # of all of them, in the order of the outputs
        of_classes, seen = np.zeros(R), self._seen()
        for rows, weight, p in self._rows_and_probabilities(theta, n_rows):
            of_class = weight[:, None] * p
            of_classes += (of_class * (1.0 - p)).sum(axis=0)[:R]
            if n_rows < self._n:
                seen.add(rows, weight)
            if R == 1:
                add_grams(rows.take(feature, axis=1), of_class[:, :1] * p[:, 1:], own[0])
                continue
            scaled = np.empty((len(rows), m))
            for k, mine in enumerate(of_output):
                columns = rows.take(feature[mine], axis=1)
                add_grams(columns, of_class[:, k : k + 1], own[k])
                np.multiply(columns, p[:, k : k + 1], out=scaled[:, ends[k] : ends[k + 1]])
            add_grams(scaled, weight[:, None], common)
        hessian = np.empty((m, m))
        hessian[np.ix_(by_output, by_output)] = -common[0]
        for mine, of_these in zip(of_output, own, strict=True):
            hessian[np.ix_(mine, mine)] += of_these[0]
        if n_rows < self._n:
            scale, unseen = seen.against_all()
            hessian *= scale[feature] * scale[feature, None]
            hessian.flat[:: m + 1] += of_classes[output] * unseen[feature]
        return hessian

    def of_each_class(
        self,
        factor: Callable[[np.ndarray], Factor],
        theta: np.ndarray,
        negligible: float,
        *,
        dtype: str = "float64",
        n_threads: int = 1,
    ) -> list[Factor]:
        """What `factor` makes of the Hessian at theta for each class alone, (size, size): where all of these, as
        `hessian` returns them, would take too much memory. Summed in `dtype`; the same for any number of threads, which
        share the classes.

        All rows are looked at. Those whose curvature for a class is below a negligible share of the mean one, over
        the classes and a block of rows, count as that much of the mean row's x x^T.
        """
        gram = self.gram()
        rows, curvatures, left = self._rows_of_classes(theta, negligible)

        def factor_of(k: int) -> Factor:
            at, weight = np.concatenate(rows[k]), np.concatenate(curvatures[k])
            rows[k], curvatures[k] = [], []
            return factor(self._hessian_of_class(at, weight, left[k], gram, dtype))

        n_workers = min(n_threads, max(1, _MOST_AT_WORK // gram.size))
        if n_workers == 1:
            return [factor_of(k) for k in range(len(rows))]
        with ThreadPoolExecutor(n_workers) as pool:  # NumPy's products and factors do not hold the interpreter's lock
            return list(pool.map(factor_of, range(len(rows))))

    def _hessian_of_class(
        self, at: np.ndarray, weight: np.ndarray, left: float, gram: np.ndarray, dtype: str
    ) -> np.ndarray:
        d, step = len(self._spread), self._block_length()
        unit = np.sqrt(np.where(self._spread > 0.0, self._spread, 1.0))  # squares of any other may overflow float32
        hessian = np.zeros((1, *(d + (self._mean is not None),) * 2))
        for first in range(0, len(at), step):
            block = slice(first, first + step)
            rows = self._with_one(at[block])
            rows[:, :d] /= unit
            add_grams(rows, weight[block, None], hessian, compute=dtype)
        of_class = hessian[0]
        of_class[:d] *= unit[:, None]
        of_class[:, :d] *= unit
        of_class[:d, :d] += left * gram
        of_class[d:, d:] += left
        return of_class

    def share_of_classes(self, theta: np.ndarray, negligible: float) -> float:
        """About what share of the rows, class by class, `of_each_class` takes."""
        n_some = min(self._n, _ENOUGH_FOR_A_SHARE)
        some = self.of_rows(*self.sample(n_some))
        rows, *_ = some._rows_of_classes(theta, negligible)
        return sum(len(at) for of_class in rows for at in of_class) / (some._n * self._n_outputs)

    def _rows_of_classes(
        self, theta: np.ndarray, negligible: float
    ) -> tuple[list[list[np.ndarray]], list[list[np.ndarray]], np.ndarray]:
        """For each class, block by block, the rows that are not negligible, and their curvatures; and what those of the
        others sum to."""
        R = self._n_outputs
        rows: list[list[np.ndarray]] = [[] for _ in range(R)]
        curvatures: list[list[np.ndarray]] = [[] for _ in range(R)]
        left = np.zeros(R)
        for at, weight in self._blocks(self._n):
            p = self._probabilities(self._with_one(at), theta)
            of_class = (weight[:, None] * p * (1.0 - p)).T
            is_used = of_class > negligible * of_class.sum() / max(1, of_class.size)
            left += of_class.sum(axis=1, where=~is_used)
            for k in range(R):
                used = np.flatnonzero(is_used[k])
                rows[k].append(at[used].astype(np.int32 if self._X.shape[0] < 1 << 31 else np.int64))
                curvatures[k].append(of_class[k, used])
        return rows, curvatures, left

    def _rows_and_probabilities(
        self, theta: np.ndarray, n_rows: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Blocks of centred rows, with a one for the intercept, their weights, and the probabilities of the classes."""
        for at, weight in self._blocks(n_rows):
            rows = self._with_one(at)
            yield rows, weight, self._probabilities(rows, theta)

    def _probabilities(self, rows: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Of rows with a one for the intercept."""
        logits = rows @ theta.reshape(-1, self._n_outputs)
        if self._offset is not None:
            logits += self._offset
        return softmax(np.hstack([np.zeros_like(logits), logits]) if self._n_outputs == 1 else logits)

    def _centred_blocks(self, n_rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """So many of the rows of weight > 0, centred, as new float64 arrays, with their weights, which sum to one over
        all blocks."""
        for at, weight in self._blocks(n_rows):
            yield self._centred(at), weight

    def _blocks(self, n_rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Where in X they are, and their weights."""
        n = self._n
        at, weights = self.sample(n_rows) if n_rows < n else (None, self._row_weight)
        total = 0.0 if weights is None else weights.sum()
        step = self._block_length()
        for first in range(0, n if at is None else len(at), step):
            block = slice(first, first + step)
            of_these = np.arange(first, min(first + step, n)) if at is None else at[block]
            if self._rows is not None:
                of_these = self._rows[of_these]
            if weights is None:
                yield of_these, np.full(len(of_these), 1.0 / n)
            else:
                weight = weights[block] / total
                counted = weight > 0.0
                yield (of_these, weight) if counted.all() else (of_these[counted], weight[counted])

    def _centred(self, at: np.ndarray) -> np.ndarray:
        """Those rows of X, as a new float64 array."""
        rows = self._dense(at).astype(np.float64, copy=False)
        if self._mean is not None:
            rows -= self._mean
        return rows

    def _with_one(self, at: np.ndarray) -> np.ndarray:
        """The same, with a one for the intercept."""
        if self._mean is None:
            return self._centred(at)
        rows = np.empty((len(at), len(self._mean) + 1))
        np.subtract(self._dense(at), self._mean, out=rows[:, :-1])
        rows[:, -1] = 1.0
        return rows

    def _dense(self, at: np.ndarray) -> np.ndarray:
        """Those rows of X, dense, as a new array."""
        found = self._X[at]
        return found if isinstance(found, np.ndarray) else found.toarray()

    def _block_length(self) -> int:
        d = len(self._spread)
        return max(1, min(_LARGEST_BLOCK_VALUES, max(_BLOCK_VALUES, 4 * d**2)) // max(1, d))

    def _seen(self) -> _Seen:
        """Of the features, and of the intercept's column of ones."""
        if self._mean is None:
            return _Seen(self._spread, False)
        return _Seen(np.append(self._spread, 1.0), np.arange(len(self._spread) + 1) < len(self._spread))


class _Seen:
    """What some of the rows tell of the features, whose variance in all rows is known: the mean square, if they are not
    centred."""

    def __init__(self, variance: np.ndarray, is_centred: np.ndarray | bool) -> None:
        self._variance, self._is_centred = variance, is_centred
        self._unit = np.where(variance > 0.0, variance, 1.0)
        self._first, self._second, self._fourth = np.zeros((3, len(variance)))

    def add(self, rows: np.ndarray, weight: np.ndarray) -> None:
        squares = rows * rows
        squares /= self._unit
        self._first += weight @ rows
        self._second += weight @ squares
        squares *= squares  # in place: each such array is as large as a block of rows
        self._fourth += weight**2 @ squares

    def least_telling(self) -> float:
        """How many rows, if they told alike and all of its variance, would tell as much of the feature that they tell
        least of."""
        seen, n_telling = self._counted()
        return float((n_telling * np.minimum(1.0, seen)).min(initial=np.inf, where=self._variance > 0.0))

    def _counted(self) -> tuple[np.ndarray, np.ndarray]:
        """The share of each feature's variance that these rows show, and how many of them it takes to make that up."""
        seen = np.maximum(self._second - np.where(self._is_centred, self._first**2 / self._unit, 0.0), 0.0)
        return seen, np.divide(seen**2, self._fourth, out=np.zeros_like(seen), where=self._fourth > 0.0)

    def against_all(self) -> tuple[np.ndarray, np.ndarray]:
        """By what to multiply each feature in these rows, zero if they tell nothing of it: where they are too few, for
        it to have its variance in all rows. And the part of the variance that these few tell too little of.

        Others are left as they are: to scale nearly collinear features, each by a little, would part them."""
        seen, n_telling = self._counted()
        scale = np.sqrt(np.divide(1.0, seen, out=np.zeros_like(seen), where=n_telling > 0.5))
        scale[n_telling >= _TOO_FEW_ROWS] = 1.0
        return scale, self._variance * np.maximum(0.0, 1.0 - n_telling / _TOO_FEW_ROWS)
