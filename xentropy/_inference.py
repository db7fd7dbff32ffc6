"""What the coefficients of a fit are worth: their covariance, from the inverse of the Hessian of all rows.

The softmax of K classes does not change when all logits grow alike, so that the Hessian in all K classes is singular.
It is inverted in the coefficients of the other classes less those of a reference, A = W - W_ref, in centred features:

    H = sum_i T_i x_i x_i^T (x) (diag p_i - p_i p_i^T),    |W|^2 = A^T (I - 1 1^T / K) A

with T_i the weight of row i, p_i the probabilities of the classes without the reference, and W the coefficients that
sum to zero over the classes. The objective divided by C is a negative log-likelihood and |W|^2 / (2 C), so that the
penalty adds its Hessian over C to H.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg.blas import dtrmv, dtrsv
from scipy.linalg.lapack import dpotrf, dpotri
from sklearn.exceptions import ConvergenceWarning

from ._covariance import Covariance, blocks_of_rows, contrasts
from ._design import Design
from ._hessian import full_hessian
from ._kernels._gram import add_grams
from ._losses import CrossEntropy
from ._objective import Objective
from ._separation import find_separation
from ._targets import Target

# With more variables the matrix takes more than half a gigabyte, which is needed four times, and its inverse minutes.
MAX_VARIABLES = 8192
# The least 1 - R^2 of a column of the Hessian on those before it. Below it fewer than four of sixteen digits are left.
_LEAST_TOLERANCE = 1e-12
# How far the coefficients may be from the minimum, in standard errors: some combination of them is that far away.
_FAR, _TOO_FAR = 0.1, 1.0

KINDS = ("model", "robust", "laplace")


@dataclass(frozen=True)
class Fit:
    """Coefficients, and the rows that they were fitted to.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n, D)
    target : Target
    sample_weight : float64 ndarray of shape (n,) or None
    objective : Objective
        That of these rows.
    theta : float64 ndarray
        The fitted coefficients, as `objective` packs them.
    feature_names : list of str
    converged : bool
        Whether the fit has found a minimum, for which it has looked for separated classes if there is no penalty.
    """

    X: Any
    target: Target
    sample_weight: np.ndarray | None
    objective: Objective
    theta: np.ndarray
    feature_names: list[str]
    converged: bool = False

    def weighted_targets(self, at: np.ndarray | slice) -> np.ndarray:
        """a_ik = s_i w_k t_ik of rows, with t smoothed: (n, K)."""
        loss, K = self.objective.design.row_loss, self.target.n_classes
        if self.target.labels is not None:
            t = np.eye(K)[self.target.labels[at]]
        else:
            t = self.target.distribution[at].astype(np.float64)  # type: ignore[index]
        t = (1.0 - loss.label_smoothing) * t + loss.label_smoothing / K
        if loss.class_weight is not None:
            t *= loss.class_weight
        return t if self.sample_weight is None else t * self.sample_weight[at, None]

    def residuals(self, at: np.ndarray | slice, p: np.ndarray) -> np.ndarray:
        """The derivatives T_i p_i - a_i of the losses of rows in their logits, (n, K)."""
        a = self.weighted_targets(at)
        return p * a.sum(axis=1, keepdims=True) - a


class ScaledCholesky:
    """The factor D^-1 L of a positive definite matrix D^-1 L L^T D^-1, where L L^T has a diagonal of ones, so that the
    units of the variables do not matter.

    Parameters
    ----------
    matrix : float64 ndarray of shape (m, m)
        It is overwritten.

    Attributes
    ----------
    dependent : int or None
        The first variable that is, to all digits that count, a combination of those before it.
    """

    def __init__(self, matrix: np.ndarray) -> None:
        diagonal = matrix.diagonal().copy()
        self.dependent = None if (diagonal > 0.0).all() else int(np.argmin(diagonal > 0.0))
        if self.dependent is not None:
            return
        self._scale = 1.0 / np.sqrt(diagonal)
        matrix *= self._scale
        matrix *= self._scale[:, None]
        self._lower, info = dpotrf(matrix.T, lower=1, overwrite_a=1, clean=0)  # the transpose is Fortran-ordered
        tolerance = self._lower.diagonal()[: info - 1 if info > 0 else None] ** 2
        small = np.flatnonzero(tolerance < _LEAST_TOLERANCE)
        if len(small) or info > 0:
            self.dependent = int(small[0]) if len(small) else info - 1

    def inverse(self) -> np.ndarray:
        """Of the matrix."""
        inverse, _ = dpotri(self._lower, lower=1)
        below = np.tril(inverse, -1)
        inverse = np.ascontiguousarray(np.tril(inverse) + below.T)
        inverse *= self._scale
        inverse *= self._scale[:, None]
        return inverse

    def to_x(self, a: np.ndarray) -> np.ndarray:
        """The variables in which the matrix is the identity: L^T D^-1 a."""
        return dtrmv(self._lower, a / self._scale, lower=1, trans=1)

    def to_a(self, x: np.ndarray) -> np.ndarray:
        """D L^-T x."""
        return self._scale * dtrsv(self._lower, x, lower=1, trans=1)

    def to_gradient(self, gradient: np.ndarray) -> np.ndarray:
        """L^-1 D g: the gradient with respect to x."""
        return dtrsv(self._lower, self._scale * gradient, lower=1)


class Information:
    """The Hessian of the losses and of the penalty at the coefficients of a fit, in which each class but a reference
    has its own: r = K - 1 classes with p = d features each, and an intercept if there is one.

    Parameters
    ----------
    fit : Fit

    Attributes
    ----------
    hessian : float64 ndarray of shape (r p, r p)
        That of the losses, class by class.
    factor : ScaledCholesky
        Of the Hessian with the penalty.
    inverse : float64 ndarray of shape (r p, r p)
        The inverse of that.
    penalty : float
        1 / C, or 0.
    n_variables, n_each : int
        r p and p.
    reference : int
    others : int64 ndarray of shape (r,)
        Indices of the classes without the reference.
    theta : float64 ndarray
        Where Newton's method goes from the coefficients of the fit.
    distance : float
        How far that is, in standard errors: of the combination of coefficients that moves most (half its square is the
        decrease of the objective that Newton's method predicts).
    """

    def __init__(self, fit: Fit) -> None:
        objective = fit.objective
        self.design = design = objective.design.in_memory
        _check_objective(fit)
        K, self.n_variables = design.n_classes, _n_variables(design)
        # the logit of the reference is zero: that of the first of two classes, and else of the most frequent class
        self.reference = 0 if K == 2 else int(design.shares.argmax())
        self.others = np.delete(np.arange(K), self.reference)
        self.penalty = 0.0 if np.isinf(objective.C) else 1.0 / objective.C
        if self.penalty == 0.0 and not fit.converged:
            _refuse_separation(fit)
        outputs = self.others if design.n_outputs > 1 else np.zeros(1, dtype=np.int64)
        self.n_each = design.n_features + design.fit_intercept
        entries = (np.arange(self.n_each) * design.n_outputs + outputs[:, None]).ravel()
        self.hessian = full_hessian(design, fit.theta, entries)
        self.hessian *= float(design.n_rows if design.row_weight is None else design.row_weight.sum())
        self.factor = self._factored(fit)
        self.inverse = self.factor.inverse()
        gradient = self._gradient(fit.theta, entries)
        step = self.inverse @ gradient
        self.distance = float(np.sqrt(max(0.0, gradient @ step)))
        self.theta = fit.theta.copy()
        self.theta[entries] -= step

    def _factored(self, fit: Fit) -> ScaledCholesky:
        total = self.hessian.copy()
        r, p = len(self.others), self.n_each
        if self.penalty > 0.0:
            blocks, metric = total.reshape(r, p, r, p), self.penalty * self._metric()
            of_features = np.arange(self.design.n_features)
            for k in range(r):
                for j in range(r):
                    blocks[k, of_features, j, of_features] += metric[k, j]
        factor = ScaledCholesky(total)
        if factor.dependent is not None:
            raise self._singular(fit, factor.dependent)
        return factor

    def _metric(self) -> np.ndarray:
        """|W|^2 of one feature in A: I - 1 1^T / K. The one coefficient of two classes is penalised itself."""
        r = len(self.others)
        return np.eye(r) - (1.0 / self.design.n_classes if self.design.n_outputs > 1 else 0.0)

    def _gradient(self, theta: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """Of the losses and of the penalty."""
        design = self.design
        _, gradient = design.loss_gradient(theta)
        gradient *= design.weight_sum
        if self.penalty > 0.0:
            n_coef = design.n_features * design.n_outputs
            gradient[:n_coef] += self.penalty * theta[:n_coef]
        return gradient[entries]

    def _singular(self, fit: Fit, at: int) -> ValueError:
        design = self.design
        k, j = divmod(at, self.n_each)
        of_class = f"class {fit.target.classes[self.others[k]]!s}"
        if j == design.n_features:
            return ValueError(
                f"the intercept of {of_class} has no standard error: the probabilities of all rows are 0 or 1, or "
                "other coefficients can replace it; use a smaller C, or drop features"
            )
        column = int(np.arange(design.n_columns)[design.columns][j])
        return ValueError(
            f"the coefficient of column {column} of X ({fit.feature_names[column]}) for {of_class} has no standard "
            "error: its column is, to twelve digits, a linear combination of the columns before it and the intercept; "
            "drop it, or set a smaller C"
        )

    def check_minimum(self, stacklevel: int) -> None:
        """Warn if the coefficients are not at the minimum, and raise if that is a standard error away or more."""
        if not self.distance > _FAR:
            return
        message = (
            f"the coefficients are not at the minimum for these rows: some combination of them is {self.distance:.2g} "
            "standard errors away from it. Pass the X, y and sample_weight of fit, or fit with a smaller tol or a "
            "larger max_iter"
        )
        if self.distance > _TOO_FAR:
            raise ValueError(message)
        warnings.warn(message, ConvergenceWarning, stacklevel=stacklevel)

    def contrasts(self) -> np.ndarray:
        """The matrix (R, r) that gives the coefficients that sum to zero over the classes."""
        return contrasts(self.design.n_classes, self.others)

    def covariance(self, fit: Fit, kind: str, groups: np.ndarray | None) -> Covariance:
        """The covariance of the coefficients, of one of KINDS."""
        if kind == "laplace" or (kind == "model" and self.penalty == 0.0):
            matrix = self.inverse
        else:
            middle = self.hessian if kind == "model" else self._squared_gradients(fit, groups)
            matrix = self.inverse @ middle @ self.inverse
            matrix = 0.5 * (matrix + matrix.T)
        design = self.design
        return Covariance(
            matrix, self.reference, self.others, design.n_classes, design.centre, design.fit_intercept, design.columns,
            design.n_columns, prior=1.0 / self.penalty if kind == "laplace" and self.penalty > 0.0 else 0.0,
        )  # fmt: skip

    def _squared_gradients(self, fit: Fit, groups: np.ndarray | None) -> np.ndarray:
        """sum_g (sum of the gradients of its rows) (...)^T over the groups of rows, or over the rows."""
        m, n = self.n_variables, self.design.n_rows
        total = np.zeros((1, m, m))
        if groups is None:
            for at in blocks_of_rows(n, m):
                gradients = self._gradients(fit, at)
                add_grams(gradients, np.ones((len(gradients), 1)), total)
            return total[0]
        order, begun, of_group = np.argsort(groups, kind="stable"), np.zeros((1, m)), groups.min()
        for block in blocks_of_rows(n, m):
            gradients, of_row = self._gradients(fit, order[block]), groups[order[block]]
            # the first group may have begun in the block before, and the last may go on in the next
            gradients, of_row = np.vstack([begun, gradients]), np.append(of_group, of_row)
            first = np.flatnonzero(np.append(True, of_row[1:] != of_row[:-1]))
            sums = np.add.reduceat(gradients, first, axis=0)
            add_grams(sums[:-1], np.ones((len(sums) - 1, 1)), total)
            begun, of_group = sums[-1:], of_row[-1]
        return total[0] + begun.T @ begun

    def _gradients(self, fit: Fit, at: np.ndarray | slice) -> np.ndarray:
        """Of the losses of rows, (n, r p)."""
        rows = self.design.rows(at)
        residuals = fit.residuals(at, self.design.probabilities(rows, fit.theta))[:, self.others]
        gradients = np.empty((*residuals.shape, self.n_each))
        np.multiply(residuals[:, :, None], rows[:, None, :], out=gradients)
        return gradients.reshape(len(rows), -1)


def estimate_covariance(fit: Fit, kind: str, groups: Any = None) -> Covariance:
    """The covariance of the coefficients of a fit.

    Parameters
    ----------
    fit : Fit
    kind : one of KINDS
    groups : array-like of shape (n,), optional
        Rows of one group depend on each other.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} must be one of {', '.join(map(repr, KINDS))}")
    if kind != "robust":
        _check_likelihood(fit, kind)
    if groups is not None:
        if kind != "robust":
            raise ValueError(f"groups are for kind='robust', not for kind={kind!r}, which takes rows as independent")
        groups = _checked_groups(groups, len(fit.target))
    information = Information(fit)
    information.check_minimum(stacklevel=5)
    return information.covariance(fit, kind, groups)


def last_step(model: Any, X: Any) -> tuple[Any, Any]:
    """The last step of a pipeline, and X as it sees it; or the model and X themselves."""
    if not hasattr(model, "steps"):
        return model, X
    return model[-1], model[:-1].transform(X) if len(model.steps) > 1 else X


def _n_variables(design: Design) -> int:
    m = (design.n_features + design.fit_intercept) * (design.n_classes - 1)
    if m > MAX_VARIABLES:
        raise ValueError(
            f"{design.n_features} features and {design.n_classes} classes are {m} coefficients, whose Hessian would "
            f"take {8 * m * m / 2**30:.1f} GiB and time in proportion to the cube of {m}: the limit is {MAX_VARIABLES} "
            "coefficients; drop features, or compare fits of cross-validation folds instead"
        )
    return m


def _check_objective(fit: Fit) -> None:
    objective = fit.objective
    loss = objective.design.row_loss.loss
    if not isinstance(loss, CrossEntropy):
        raise ValueError(f"loss={loss} is not the cross-entropy, the only loss with these errors; fit it without loss=")
    if objective.l1_weight > 0.0:
        raise ValueError(
            "with l1_ratio above 0 the coefficients have been selected by the rows, and standard errors that ignore it "
            "are too small: use l1_ratio=0, or fit the selected features anew on other rows"
        )
    design = objective.design
    design.check_variances()
    if np.isinf(objective.C):
        seen = np.delete(np.arange(design.n_features), design.constant)
        constant = np.setdiff1d(np.arange(design.n_columns), np.arange(design.n_columns)[design.columns][seen])
        if len(constant):
            what = "constant" if design.fit_intercept else "zero"
            raise ValueError(
                f"column {constant[0]} of X ({fit.feature_names[constant[0]]}) is {what}, so that without a penalty "
                "(C=inf) nothing determines its coefficients: drop it, or set a finite C"
            )


def _check_likelihood(fit: Fit, kind: str) -> None:
    row_loss = fit.objective.design.row_loss
    reason = ""
    if row_loss.class_weight is not None and not (row_loss.class_weight == 1.0).all():
        reason = "class_weight weighs rows by their own labels"
    elif row_loss.label_smoothing > 0.0:
        reason = f"label_smoothing={row_loss.label_smoothing} changes the targets"
    if reason:
        raise ValueError(
            f"kind={kind!r} takes the objective as a log-likelihood, but {reason}: use kind='robust', or fit without it"
        )


def _refuse_separation(fit: Fit) -> None:
    separation = find_separation(fit.objective.design.in_memory, fit.target, fit.theta)
    if separation is not None:
        raise ValueError(
            "without a minimum there are no standard errors. "
            + separation.message(fit.target.classes, fit.feature_names)
        )


def _checked_groups(groups: Any, n_rows: int) -> np.ndarray:
    groups = np.asarray(groups)
    if groups.shape != (n_rows,):
        raise ValueError(f"groups has shape {groups.shape}, but must name the group of each of the {n_rows} rows")
    _, groups = np.unique(groups, return_inverse=True)
    if groups.max() == 0:
        raise ValueError("groups holds one group only: errors that groups share are estimated from several")
    return groups
