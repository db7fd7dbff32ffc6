"""Fits of many labels to the same rows: each label is a minimisation of its own, and one pass over X serves them all.

The losses of the labels have no coefficient in common. So each label has its own objective, preconditioners, line
search and end, exactly as in a fit of that label alone. The minimisations run in lock step, and a pass evaluates all
labels that ask for a value. A label that has ended asks for none, so that it costs nothing more, and the next label
takes its place. As many labels are at work as `_BYTES_AT_WORK` hold the states of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._blas import one_blas_thread
from ._design import Design
from ._indicator import Indicator
from ._label_passes import LabelPasses, answer
from ._lbfgs import Solution, Status, steps_remembered
from ._lock_step import LockStep
from ._losses import CrossEntropy
from ._monitor import Monitor
from ._objective import Objective
from ._path import stop_early
from ._preconditioning import Preconditioning
from ._row_loss import RowLoss
from ._separation import Separation, find_separation
from ._solver import minimise
from ._targets import Target

# Bytes of the states of the labels at work, and the fewest of them: one reading of X serves so many at least.
# (bench_multilabel)
_BYTES_AT_WORK, _LEAST_AT_WORK = 1 << 28, 8


@dataclass
class LabelFit:
    """How the fit of one label has ended.

    Attributes
    ----------
    coef, intercept : float64 ndarray of shape (D,) and float
    n_iter : int
    objective : float
    converged : bool
    status : Status
    solution : Solution or None
        None if there was nothing to minimise.
    history : dict of ndarrays
    separation : Separation or None
        Why there is no minimum.
    is_no_better : bool
        Whether early stopping has found nothing better for the validation rows than the share of the label.
    """

    coef: np.ndarray
    intercept: float
    n_iter: int = 0
    objective: float = 0.0
    converged: bool = False
    status: Status = Status.INTERRUPTED
    solution: Solution | None = None
    history: dict[str, np.ndarray] | None = None
    separation: Separation | None = None
    is_no_better: bool = False


@dataclass(frozen=True)
class Settings:
    """What is the same for the fits of all labels; the names are those of MultilabelClassifier."""

    C: float
    l1_ratio: float
    row_loss: RowLoss
    fit_intercept: bool
    tol: float
    max_iter: int
    early_stopping: bool
    n_iter_no_change: int
    verbose: int


@dataclass(frozen=True)
class Label:
    """What is fitted for one label.

    Attributes
    ----------
    index : int
        Its column in the indicator.
    name : object
    weights : float64 ndarray of shape (2,) or None
        Weights of the classes 0 and 1.
    start : (coef (D,), intercept) or None
        Where to start.
    """

    index: int
    name: Any
    weights: np.ndarray | None
    start: tuple[np.ndarray, float] | None


def fit_labels(
    X: Any,
    indicator: Indicator,
    labels: Sequence[Label],
    settings: Settings,
    *,
    sample_weight: np.ndarray | None = None,
    validation: tuple[Any, Indicator, np.ndarray | None] | None = None,
) -> tuple[list[LabelFit | None], bool]:
    """Fit some labels of an indicator.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, D), float32 or float64
    indicator : Indicator
    labels : sequence of Label
        Which labels, each with rows of both classes.
    settings : Settings
    sample_weight : float64 ndarray of shape (n,), optional
    validation : (X, Indicator, sample_weight), optional

    Returns
    -------
    list of LabelFit
        None for a label that had not begun when the fit was interrupted.
    bool
        Whether it was interrupted.
    """
    fits: list[LabelFit | None] = [None] * len(labels)
    if not labels:
        return fits, False
    some_class = Target(np.arange(2), labels=np.zeros(len(indicator), dtype=np.int32))  # the labels bring their own
    design = Design(
        X, some_class, row_loss=settings.row_loss, sample_weight=sample_weight, fit_intercept=settings.fit_intercept
    )
    n_at_once = min(len(labels), _labels_at_work(design, indicator, labels))
    steps = LockStep(answer, n_at_once=n_at_once, n_running=design.n_threads)
    passes = LabelPasses(design, indicator, n_at_once, steps.ask)
    surrogate = None
    if not (settings.row_loss.loss.convex or settings.early_stopping):
        with_cross_entropy = Design(
            X,
            some_class,
            row_loss=replace(settings.row_loss, loss=CrossEntropy()),
            sample_weight=sample_weight,
            fit_intercept=settings.fit_intercept,
        )
        surrogate = _Rows(
            with_cross_entropy, LabelPasses(with_cross_entropy, indicator, n_at_once, steps.ask), sample_weight
        )
    rows = _Rows(design, passes, sample_weight)
    with one_blas_thread():
        gram = _common_gram(rows, indicator, labels, settings)

    def task(place: int) -> Callable[[], None]:
        def fit() -> None:
            fits[place] = found = _fit_label(rows, surrogate, indicator, labels[place], settings, validation, gram)
            if settings.verbose:
                print(
                    f"[xentropy] label {labels[place].name!s}: {found.status} after {found.n_iter} iterations, "
                    f"objective {found.objective:.8g}",
                    flush=True,
                )

        return fit

    with one_blas_thread():
        try:
            steps.run([task(place) for place in range(len(labels))])
        except KeyboardInterrupt:
            return fits, True
    return fits, any(fit is not None and fit.status is Status.INTERRUPTED for fit in fits)


@dataclass(frozen=True)
class _Rows:
    """Rows that labels share, and the passes over them."""

    design: Design
    passes: LabelPasses
    sample_weight: np.ndarray | None

    def objective(self, indicator: Indicator, label: Label, settings: Settings) -> tuple[Objective, Target]:
        """The objective of one label."""
        target, weight = target_of(indicator, label.index, self.sample_weight)
        design = self.design.with_target(
            target, class_weight=label.weights, sample_weight=weight, passes=self.passes.of(label.index)
        )
        return Objective(design, C=settings.C, l1_ratio=settings.l1_ratio), target


def target_of(indicator: Indicator, k: int, sample_weight: np.ndarray | None) -> tuple[Target, np.ndarray | None]:
    """Label k as a target, and the weights of the rows, which are 0 where it is missing."""
    known = indicator.known(k)
    if known is not None:
        sample_weight = known.astype(np.float64) if sample_weight is None else known * sample_weight
    return indicator.target(k), sample_weight


def _fit_label(
    rows: _Rows,
    surrogate: _Rows | None,
    indicator: Indicator,
    label: Label,
    settings: Settings,
    validation: tuple[Any, Indicator, np.ndarray | None] | None,
    gram: np.ndarray | None,
) -> LabelFit:
    objective, target = rows.objective(indicator, label, settings)
    if np.isinf(objective.C):
        objective.design.check_small_columns()
    theta, n_iter = objective.start(), 0
    if label.start is not None:
        coef, intercept = label.start
        theta = objective.pack(coef[None], np.array([intercept]))
    validation_loss, n_validation = None, 0
    if validation is not None:
        X_val, indicator_val, weight_val = validation
        known = indicator_val.known(label.index)
        n_validation = len(indicator_val) if known is None else int(np.count_nonzero(known))
        target_val, weight_val = target_of(indicator_val, label.index, weight_val)
        validation_loss = objective.loss_on(X_val, target_val, weight_val)
    monitor = Monitor(
        objective,
        tol=settings.tol,
        validation=validation_loss,
        n_iter_no_change=settings.n_iter_no_change if settings.early_stopping else None,
    )
    tol, max_iter, status = settings.tol, settings.max_iter, None
    if surrogate is not None and label.start is None:
        of_cross_entropy, _ = surrogate.objective(indicator, label, settings)
        found = minimise(of_cross_entropy, theta, tol=tol, max_iter=max_iter, from_subsample=True)
        theta, n_iter, status = found.theta, found.n_iter, found.status
    if status is Status.INTERRUPTED:
        solution = replace(found, value=np.nan, n_iter=0)
    elif settings.early_stopping:
        assert validation_loss is not None
        solution = stop_early(
            objective, theta, settings.l1_ratio, tol=tol, max_iter=max_iter, monitor=monitor,
            validation=validation_loss, n_validation=n_validation,
        )  # fmt: skip
    else:
        solution = minimise(
            objective,
            theta,
            tol=tol,
            max_iter=max_iter,
            monitor=monitor,
            preconditioning=Preconditioning(objective, _gram_of(objective.design.in_memory, rows.design, gram)),
            from_subsample=label.start is None,
        )
    theta = monitor.best if settings.early_stopping and monitor.best is not None else solution.theta
    is_interrupted = solution.status is Status.INTERRUPTED
    value = solution.value if theta is solution.theta or is_interrupted else objective.value(theta)
    if monitor.best_C > 0.0:  # the penalty that has left zeros, which stay zeros
        objective.penalise(monitor.best_C, settings.l1_ratio)
    coefs, intercepts = objective.unpack(theta)
    objective.penalise(settings.C, settings.l1_ratio)
    fit = LabelFit(
        coefs[0],
        float(intercepts[0]),
        n_iter=n_iter + solution.n_iter,
        objective=objective.unscaled(value),
        converged=solution.converged and theta is solution.theta,
        status=solution.status,
        solution=solution,
        history=monitor.close(solution.status),
    )
    if is_interrupted:
        return fit
    if np.isinf(objective.C) and (theta is solution.theta or solution.status is Status.MAX_ITER):
        fit.separation = find_separation(objective.design.in_memory, target, theta)
        fit.converged = fit.converged and fit.separation is None
    if settings.early_stopping and validation_loss is not None:
        fit.is_no_better = monitor.best_loss >= validation_loss(objective.start())
    return fit


def _common_gram(
    rows: _Rows, indicator: Indicator, labels: Sequence[Label], settings: Settings
) -> np.ndarray | None:
    """The Gram matrix of the rows, if it pays: it is made once for all labels."""
    if settings.l1_ratio > 0.0 or settings.early_stopping or not settings.row_loss.loss.convex:
        return None
    k = labels[0].index
    design = rows.design.with_target(
        indicator.target(k), class_weight=None, sample_weight=rows.sample_weight, passes=rows.passes.of(k)
    )
    design.check_variances()
    return Preconditioning(Objective(design, C=settings.C)).common_gram(len(labels))


def _gram_of(design: Design, of_all: Design, gram: np.ndarray | None) -> np.ndarray | None:
    """The Gram matrix for a label: that of all rows, with the variances of the rows of the label if these have other
    weights. The correlations are then those of all rows."""
    if gram is None or design.variance is of_all.variance:
        return gram
    scale = np.ones(len(gram))
    np.divide(design.variance, of_all.variance, out=scale, where=of_all.variance > 0.0)
    scale = np.sqrt(scale)
    return gram * scale[:, None] * scale


def _labels_at_work(design: Design, indicator: Indicator, labels: Sequence[Label]) -> int:
    """How many labels have their states in `_BYTES_AT_WORK`: targets and weights, what L-BFGS remembers of steps, and
    a Hessian with its factor."""
    n, m = design.n_rows, design.n_theta
    weighted = indicator.has_missing or any(label.weights is not None for label in labels)
    of_target = n * (4 if indicator.values.dtype.kind == "u" else 16) + (16 * n if weighted else 0)
    of_steps = 8 * m * (2 * steps_remembered(m) + 20)
    of_hessian = 16 * m * m if 8 * m * m <= _BYTES_AT_WORK // _LEAST_AT_WORK else 0  # larger ones hardly pay
    return max(_LEAST_AT_WORK, _BYTES_AT_WORK // (of_target + of_steps + of_hessian))
