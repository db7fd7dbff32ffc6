"""Approximate leave-one-out: what each row would have cost, had it not been fitted (Rad & Maleki, 2020, J. R. Stat.
Soc. B 82(4), 965-996, arXiv:1801.10243).

Without row i one step of Newton's method goes from the minimum for all rows to near that for the others. It changes the
row's own logits by

    S_i (I - J_i S_i)^-1 (T_i p_i - a_i),    S_i = (I (x) x_i)^T (H + Lambda)^-1 (I (x) x_i)

with J_i = T_i (diag p_i - p_i p_i^T), weight T_i and weighted target a_i, by Woodbury's formula. The Hessian changes on
the way, by as much as the logits do, so that rows whose step is long for what they cost are fitted again without them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ._blas import one_blas_thread
from ._covariance import blocks_of_rows, quadratic_forms
from ._design import Design
from ._inference import Fit, Information, last_step
from ._kernels._pointwise import softmax
from ._lbfgs import Minimisation, Preconditioned, Status
from ._messages import plain
from ._objective import Objective
from ._separation import find_separation

# A row is fitted again without it if the change of its loss, times the largest change of its logits, is more than this
# share of the mean loss. Up to two thirds of that product was the error of its loss. (tests/test_leave_one_out.py: the
# mean of nine data sets is within 0.2 %; at 3, within 0.7 %.)
_LONG_STEP = 1.0
# The gradient of such a fit, as a share of the objective. The logits are within about a thousandth.
_TOL, _MAX_ITER = 1e-4, 500
# Rows that a message names.
_MOST_NAMED = 5


@dataclass(frozen=True)
class LeaveOneOut:
    """What a model that was fitted without a row predicts for it, row by row.

    Attributes
    ----------
    logits : float64 ndarray of shape (n_samples,) or (n_samples, n_classes)
        As those of `SoftmaxClassifier.decision_function`.
    proba : float64 ndarray of shape (n_samples, n_classes)
        Their probabilities, for :func:`cross_entropy_report` and metrics.
    loss : float64 ndarray of shape (n_samples,)
        The cross-entropy of each row, in nats, without its weight.
    leverage : float64 ndarray of shape (n_samples,)
        The trace of the derivative of a row's fitted probabilities in its targets. They add up to the effective
        number of coefficients.
    refitted : bool ndarray of shape (n_samples,)
        Rows without which the model was fitted again, as the approximation would not serve.
    """

    logits: np.ndarray
    proba: np.ndarray
    loss: np.ndarray
    leverage: np.ndarray
    refitted: np.ndarray


def leave_one_out(model: Any, X: Any, y: Any, sample_weight: Any = None) -> LeaveOneOut:
    r"""Predict each row with the model that would have been fitted without it, but without fitting it n times.

    At the minimum one Newton step without row i changes its logits :math:`z_i` to

    .. math:: z_i + S_i (I - J_i S_i)^{-1} s_i (p_i - t_i), \qquad
              S_i = (I \otimes x_i)^\top (H + \Lambda)^{-1} (I \otimes x_i), \quad
              J_i = s_i (\mathrm{diag}\, p_i - p_i p_i^\top)

    with H and :math:`\Lambda` as in :meth:`SoftmaxClassifier.covariance`. Rows whose logits and loss change much are
    fitted again without them, from there.

    Parameters
    ----------
    model : SoftmaxClassifier, SoftmaxClassifierCV, or a Pipeline that ends in one
        A fitted model with the cross-entropy and without an L1 penalty. The other steps of a pipeline are not fitted
        again.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows of its fit.

    y : array-like of shape (n_samples,) or (n_samples, n_classes)
        The targets of its fit.

    sample_weight : array-like of shape (n_samples,), default=None
        The weights of its fit. A row of weight 2 is left out as a whole.

    Returns
    -------
    LeaveOneOut
        An object with the arrays `logits`, `proba`, `loss`, `leverage` and `refitted`.

    Raises
    ------
    ValueError
        If the fit has no such Hessian, for the reasons that :meth:`SoftmaxClassifier.covariance` gives, or if a class
        has one row only.

    Warns
    -----
    ConvergenceWarning
        If a fit without some row has not converged, as for an infinite C where the other rows are separated.

    See Also
    --------
    sklearn.model_selection.cross_val_predict : Predictions by folds, which fits a model for each.

    Notes
    -----
    `class_weight` and the prior of `logit_adjustment` remain those of all rows. Time and memory are those of
    :meth:`SoftmaxClassifier.covariance`, and a few passes over the rows for each row that is fitted again.

    References
    ----------
    Rad & Maleki (2020), A scalable estimate of the out-of-sample prediction error via approximate leave-one-out
    cross-validation, J. R. Stat. Soc. B 82(4), 965-996, arXiv:1801.10243.
    Pregibon (1981), Logistic regression diagnostics, Ann. Statist. 9(4), 705-724 (leverage).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import xentropy as xe
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = xe.SoftmaxClassifier().fit(X, y)
    >>> left_out = xe.leave_one_out(clf, X, y)
    >>> round(float(left_out.loss.mean()), 4), round(xe.log_loss(y, clf.predict_proba(X)), 4)
    (0.1296, 0.1196)
    >>> int(left_out.loss.argmax()), int(left_out.refitted.sum())
    (83, 0)
    """
    model, X = last_step(model, X)
    fit = model._as_fitted(X, y, sample_weight)
    information = Information(fit)
    information.check_minimum(stacklevel=3)
    return leave_each_out(fit, information)


def leave_each_out(fit: Fit, information: Information | None = None) -> LeaveOneOut:
    """The predictions for each row of a fit without it. What is at the coefficients of the fit may be known."""
    _refuse_single_rows(fit)
    information = information or Information(fit)
    design, others = information.design, information.others
    n, r, R = design.n_rows, len(others), design.n_outputs
    coef, contrasts = information.theta.reshape(-1, R), information.contrasts()
    before, after = np.empty((2, n, R))
    leverage, away = np.empty(n), np.empty((n, r))
    for at in blocks_of_rows(n, max(information.n_variables, r * r)):
        rows = design.rows(at)
        p = design.probabilities(rows, information.theta)
        S = quadratic_forms(information.inverse, rows, r)
        J = -p[:, others, None] * p[:, None, others]
        J[:, np.arange(r), np.arange(r)] += p[:, others]
        if design.row_weight is not None:
            J *= design.row_weight[at, None, None]
        leverage[at] = np.einsum("nkl,nlk->n", J, S)
        away[at] = _solved(np.eye(r) - J @ S, fit.residuals(at, p)[:, others])
        before[at] = rows @ coef
        after[at] = before[at] + np.einsum("nkl,nl->nk", S, away[at]) @ contrasts.T
    fitted, loss = _losses(fit, before), _losses(fit, after)
    weight = np.ones(n) if design.row_weight is None else design.row_weight
    with np.errstate(invalid="ignore", over="ignore"):
        long = np.abs(loss - fitted) * np.abs(after - before).max(axis=1)
        refitted = ~(long <= _LONG_STEP * np.average(loss, weights=weight)) & (weight > 0.0)
    without = _Without(fit, information)
    unfinished = []
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        for i in np.flatnonzero(refitted):
            theta, converged = without.minimum(int(i), away[i])
            after[i] = design.rows(np.array([i]))[0] @ theta.reshape(-1, R)
            if not converged:
                unfinished.append(int(i))
    if unfinished:
        _warn_of_unfinished(unfinished, bool(np.isinf(fit.objective.C)))
    proba = softmax(_all_logits(after))
    return LeaveOneOut(after[:, 0] if R == 1 else after, proba, _losses(fit, after), leverage, refitted)


class _Without:
    """Minima of the objective without a row, in variables in which the Hessian with all rows is the identity."""

    def __init__(self, fit: Fit, information: Information) -> None:
        self._fit, self._information = fit, information
        self._design, self._total = information.design, fit.objective.design.weight_sum
        self._unit, self._contrasts = np.sqrt(self._total), information.contrasts()

    def minimum(self, i: int, away: np.ndarray) -> tuple[np.ndarray, bool]:
        """theta without row i, and whether the fit has converged. `away` is (I - J S)^-1 times the row's residual."""
        at = np.array([i])
        row, target = self._design.rows(at)[0], self._fit.weighted_targets(at)[0]
        mass, R, offset = target.sum(), self._design.n_outputs, self._design.row_loss.offset

        def fun(theta: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self._fit.objective(theta)
            z = row @ theta.reshape(-1, R)
            z = _all_logits((z if offset is None else z + offset)[None])
            log_p = softmax(z, log=True)[0]
            residual = (mass * np.exp(log_p) - target)[-R:] / self._total
            counts = target > 0.0
            value += float(target[counts] @ log_p[counts]) / self._total
            return value, gradient - np.outer(row, residual).ravel()

        step = self._information.inverse @ np.outer(away, row).ravel()
        theta = self._information.theta
        m = Minimisation(fun, theta, tol=_TOL, max_iter=_MAX_ITER)
        m.begin()
        m.try_start(theta + self._to_theta(step))
        ended = m.run(Preconditioned(self), lambda run: None)
        return m.at.theta, ended in (Status.CONVERGED, Status.RESOLVED) and not self._is_separated(i, m.at.theta)

    def _is_separated(self, i: int, theta: np.ndarray) -> bool:
        """Whether there is no minimum without row i and without a penalty, though the gradient is short."""
        fit = self._fit
        if np.isfinite(fit.objective.C):
            return False
        weight = np.ones(len(fit.target)) if fit.sample_weight is None else fit.sample_weight.copy()
        weight[i] = 0.0
        design = self._design
        others = Design(
            fit.X, fit.target, row_loss=design.row_loss, sample_weight=weight, fit_intercept=design.fit_intercept
        )
        there = Objective(others, C=np.inf).pack(*fit.objective.unpack(theta))
        return find_separation(others, fit.target, there) is not None

    def to_x(self, theta: np.ndarray) -> np.ndarray:
        of_class = theta.reshape(-1, self._design.n_outputs).T
        if self._design.n_outputs > 1:
            of_class = of_class[self._information.others] - of_class[self._information.reference]
        return self._information.factor.to_x(of_class.ravel()) / self._unit

    def to_theta(self, x: np.ndarray) -> np.ndarray:
        return self._to_theta(self._information.factor.to_a(x * self._unit))

    def to_gradient(self, grad: np.ndarray) -> np.ndarray:
        of_class = self._contrasts.T @ grad.reshape(-1, self._design.n_outputs).T
        return self._information.factor.to_gradient(of_class.ravel()) * self._unit

    def _to_theta(self, a: np.ndarray) -> np.ndarray:
        return (self._contrasts @ a.reshape(len(self._information.others), -1)).T.ravel()


def _all_logits(z: np.ndarray) -> np.ndarray:
    """(n, K) of (n, R)."""
    return np.hstack([np.zeros_like(z), z]) if z.shape[1] == 1 else np.ascontiguousarray(z)


def _losses(fit: Fit, z: np.ndarray) -> np.ndarray:
    """The cross-entropy of each row of logits (n, R)."""
    log_p, target = softmax(_all_logits(z), log=True), fit.target
    if target.labels is not None:
        return -log_p[np.arange(len(z)), target.labels]
    t = target.distribution
    return -np.sum(np.where(t > 0.0, t * log_p, 0.0), axis=1)  # type: ignore[operator]


def _solved(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """matrices^-1 vectors; of a singular one, which no row that can be left out has, the least solution."""
    try:
        return np.linalg.solve(matrices, vectors[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        return np.einsum("nkl,nl->nk", np.linalg.pinv(matrices), vectors)


def _refuse_single_rows(fit: Fit) -> None:
    """Without the only row of a class there is no minimum: the intercept of the class decreases without end."""
    design, labels = fit.objective.design.in_memory, fit.target.labels
    if labels is None or not design.fit_intercept or design.row_loss.label_smoothing > 0.0:
        return
    counted = np.ones(len(labels), dtype=bool) if design.row_weight is None else design.row_weight > 0.0
    single = np.flatnonzero(np.bincount(labels[counted], minlength=design.n_classes) == 1)
    if len(single):
        row = int(np.flatnonzero(counted & (labels == single[0]))[0])
        raise ValueError(
            f"class {plain(fit.target.classes[single[0]])!r} has one row only (row {row}), and a fit without it gives "
            "the class no probability: drop the row, or use fit_intercept=False"
        )


def _warn_of_unfinished(rows: list[int], no_penalty: bool) -> None:
    named = ", ".join(map(str, rows[:_MOST_NAMED])) + (", ..." if len(rows) > _MOST_NAMED else "")
    why = "; without a penalty (C=inf) the other rows may be separated: set a finite C" if no_penalty else ""
    warnings.warn(
        f"{len(rows)} fits without a row found no minimum within {_MAX_ITER} iterations (rows {named}){why}. The "
        "losses of these rows are those where the fits stopped.",
        ConvergenceWarning,
        stacklevel=4,
    )
