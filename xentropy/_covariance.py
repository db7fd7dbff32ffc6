"""The covariance of the coefficients of a softmax model, in the coefficients of all classes but a reference, and what
follows from it for coefficients that sum to zero over the classes, for logits and for probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp, ndtri

# A block of rows takes a megabyte, so that it stays in cache, but it has so many rows that products with a matrix do
# not wait for the matrix, if they take 8 MB at most.
_BLOCK_VALUES, _MIN_BLOCK_ROWS, _MAX_BLOCK_VALUES = 1 << 17, 256, 1 << 20


@dataclass(frozen=True)
class Covariance:
    """The covariance of the coefficients of r classes less those of the reference, in centred features.

    Attributes
    ----------
    matrix : float64 ndarray of shape (r p, r p)
    reference : int
    others : int64 ndarray of shape (r,)
    n_classes : int
    centre : float64 ndarray of shape (d,) or None
        The centre of the features, if they are centred.
    fit_intercept : bool
    columns, n_columns : ndarray or slice, and int
        Which columns of X the d features are, and the number of all.
    prior : float
        The variance of coefficients of which the rows say nothing.
    """

    matrix: np.ndarray
    reference: int
    others: np.ndarray
    n_classes: int
    centre: np.ndarray | None
    fit_intercept: bool
    columns: Any
    n_columns: int
    prior: float

    @property
    def n_outputs(self) -> int:
        return 1 if self.n_classes == 2 else self.n_classes

    def coefficients(self) -> np.ndarray:
        """Of the coefficients that sum to zero over the classes and their intercepts, class by class and in the units
        of X: (R D, R D), or (R (D + 1), R (D + 1))."""
        of_class, r = contrasts(self.n_classes, self.others), len(self.others)
        p = len(self.matrix) // r
        R, P = self.n_outputs, self.n_columns + self.fit_intercept
        blocks = np.einsum("al,lpmq->apmq", of_class, self.matrix.reshape(r, p, r, p), optimize=True)
        blocks = np.einsum("apmq,bm->apbq", blocks, of_class, optimize=True)
        if self.centre is not None:  # b = b_centred - centre W
            blocks[:, -1] -= np.tensordot(self.centre, blocks[:, :-1], axes=(0, 1))
            blocks[..., -1] -= blocks[..., :-1] @ self.centre
        out = blocks
        if p < P:
            out, places = np.zeros((R, P, R, P)), self._places()
            out[:, places[:, None], :, places] = blocks.transpose(1, 3, 0, 2)
            for j in np.setdiff1d(np.arange(P), places):
                out[:, j, :, j] = of_class @ self.unseen() @ of_class.T
        matrix = out.reshape(R * P, R * P)
        return 0.5 * (matrix + matrix.T)

    def variances(self, reference: int | None) -> np.ndarray:
        """The variance of each coefficient and intercept, (q, D) or (q, D + 1), as `contrasts` has them."""
        of_class, r = contrasts(self.n_classes, self.others, reference), len(self.others)
        p = len(self.matrix) // r
        blocks = self.matrix.reshape(r, p, r, p)
        each = np.einsum("lpmp->plm", blocks).copy()
        if self.centre is not None:
            to_intercept = np.append(-self.centre, 1.0)
            each[-1] = np.einsum("p,lpmq,q->lm", to_intercept, blocks, to_intercept, optimize=True)
        out = np.empty((len(of_class), self.n_columns + self.fit_intercept))
        out[:] = np.einsum("al,lm,am->a", of_class, self.unseen(), of_class)[:, None]
        out[:, self._places()] = np.einsum("al,plm,am->ap", of_class, each, of_class)
        return np.maximum(out, 0.0)

    def of_logits(self, X: Any) -> np.ndarray:
        """The covariance of the logits of the other classes less the reference's, for each row: (n, r, r)."""
        rows = _centred(X[:, self.columns], self.centre, self.fit_intercept)
        found = quadratic_forms(self.matrix, rows, len(self.others))
        if self.prior > 0.0 and rows.shape[1] < self.n_columns + self.fit_intercept:
            unseen = X[:, np.setdiff1d(np.arange(self.n_columns), np.arange(self.n_columns)[self.columns])]
            squares = np.square(_centred(unseen, None, False)).sum(axis=1)
            found += squares[:, None, None] * self.unseen()
        return found

    def _places(self) -> np.ndarray:
        """The places of the features and of the intercept among the columns of X."""
        places = np.arange(self.n_columns)[self.columns]
        return np.append(places, self.n_columns) if self.fit_intercept else places

    def unseen(self) -> np.ndarray:
        """The covariance (r, r) of the coefficients of a feature of which the rows say nothing: that of the prior,
        whose inverse is I - 1 1^T / K over its variance."""
        return self.prior * (np.eye(len(self.others)) + (1.0 if self.n_outputs > 1 else 0.0))


def proba_interval(covariance: Covariance, X: Any, logits: np.ndarray, level: float) -> np.ndarray:
    """Lower and upper bounds, (n, K, 2), of the probabilities of rows whose logits are (n, K).

    The bounds are those of log(p_k / (1 - p_k)), whose derivative in logit l is (delta_kl - p_l) / (1 - p_k).
    """
    K, others = covariance.n_classes, covariance.others
    of_logits = covariance.of_logits(X)
    quantile = normal_quantile(level)
    out = np.empty((len(logits), K, 2))
    for k in range(K):
        rest = np.delete(logits, k, axis=1)
        of_rest = logsumexp(rest, axis=1)
        slope = np.zeros((len(logits), K))
        slope[:, np.delete(np.arange(K), k)] = -np.exp(rest - of_rest[:, None])
        slope[:, k] = 1.0
        slope = slope[:, others]
        error = np.sqrt(np.maximum(0.0, np.einsum("nl,nlm,nm->n", slope, of_logits, slope)))
        centre = logits[:, k] - of_rest
        for side, sign in enumerate((-1.0, 1.0)):
            # p = exp(-log(1 + exp(-z)))
            out[:, k, side] = np.exp(-np.logaddexp(0.0, -(centre + sign * quantile * error)))
    return out


def contrasts(n_classes: int, others: np.ndarray, reference: int | None = None) -> np.ndarray:
    """The matrix (q, r) that gives, of the coefficients of `others` less those of the class that is left, those that
    sum to zero over all classes; or those less another class's, with a row of zeros for that class. Two classes have
    one row."""
    if n_classes == 2:
        return np.array([[-1.0 if reference == 1 else 1.0]])
    of_class = np.zeros((n_classes, len(others)))
    of_class[others, np.arange(len(others))] = 1.0
    return of_class - (of_class.mean(axis=0) if reference is None else of_class[reference])


def quadratic_forms(matrix: np.ndarray, rows: np.ndarray, n_classes: int) -> np.ndarray:
    """(I (x) x_i)^T matrix (I (x) x_i) of a symmetric matrix of n_classes x n_classes blocks, for each row x_i:
    (n, n_classes, n_classes)."""
    n, p = rows.shape
    out = np.empty((n, n_classes, n_classes))
    for k in range(n_classes):
        products = (rows @ matrix[k * p : (k + 1) * p, k * p :]).reshape(n, n_classes - k, p)
        out[:, k, k:] = np.einsum("nlp,np->nl", products, rows)
        out[:, k:, k] = out[:, k, k:]
    return out


def blocks_of_rows(n: int, width: int) -> Iterator[slice]:
    """The rows, block by block, of which each has `width` numbers."""
    step = max(1, _BLOCK_VALUES // width, min(_MIN_BLOCK_ROWS, _MAX_BLOCK_VALUES // width))
    return (slice(first, min(first + step, n)) for first in range(0, n, step))


def normal_quantile(level: float) -> float:
    """The half-width, in standard errors, of an interval that holds a normal variable with this probability."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level!r} must be between 0 and 1, such as 0.95")
    return float(-ndtri(0.5 * (1.0 - level)))


def _centred(X: Any, centre: np.ndarray | None, ones: bool) -> np.ndarray:
    rows = np.asarray(X if isinstance(X, np.ndarray) else X.toarray(), dtype=np.float64)
    rows = rows if centre is None else rows - centre
    return np.column_stack([rows, np.ones(len(rows))]) if ones else rows
