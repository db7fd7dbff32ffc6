"""scikit-learn's callbacks of a fit and of a search (experimental in scikit-learn 1.9, absent before)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in where scikit-learn has no callbacks."""


def callbacks_of(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    n_tasks: int | None,
    fitted: Callable[[np.ndarray], dict[str, Any]],
) -> tuple[Callable[[np.ndarray], bool] | None, Callable[[np.ndarray], None]]:
    """scikit-learn's callbacks of an estimator: what to call after an iteration (theta -> whether to stop; None where
    there are no callbacks), and at the end of the fit.

    Parameters
    ----------
    n_tasks : int or None
        The most iterations, if there is a limit.
    fitted : callable
        theta -> the fitted attributes that predictions need.
    """
    if not _has_callbacks(estimator):
        return None, lambda theta: None
    about = _about(X, y, sample_weight)
    context = estimator._init_callback_context(max_subtasks=n_tasks)
    context.call_on_fit_task_begin(estimator=estimator, **about)

    def iteration(theta: np.ndarray) -> bool:
        task = context.subcontext(task_name="iteration")
        task.call_on_fit_task_begin(estimator=estimator, **about)
        return task.call_on_fit_task_end(
            estimator=estimator, reconstruction_attributes=lambda: fitted(theta), **about
        )

    def end(theta: np.ndarray) -> None:
        context.call_on_fit_task_end(estimator=estimator, reconstruction_attributes=lambda: fitted(theta), **about)

    return iteration, end


class SearchTasks:
    """scikit-learn's callbacks of a search: its folds, the fits in each, and the fit to all rows. What they ask to stop
    goes on, as in scikit-learn's searches: a score that is missing could not be compared."""

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any, n_folds: int, n_fits: int, *, refit: bool):
        self._root = None
        self._estimator, self._about = estimator, _about(X, y, sample_weight)
        if not _has_callbacks(estimator):
            self.folds: list[FoldTasks | None] = [None] * n_folds
            return
        self._root = estimator._init_callback_context(max_subtasks=n_folds + refit, sequential_subtasks=False)
        self._root.call_on_fit_task_begin(estimator=estimator, **self._about)
        self.folds = [FoldTasks(estimator, self._root, fold, n_fits) for fold in range(n_folds)]

    def refit(self, member: Any, fit: Callable[[], Any]) -> None:
        """Call `fit`, which fits `member` to all rows."""
        if self._root is None:
            fit()
            return
        task = self._root.subcontext(task_name="refit", task_id=len(self.folds))
        with task.propagate_callback_context(member):
            task.call_on_fit_task_begin(estimator=self._estimator, **self._about)
            fit()
        _end(task, self._estimator, member._fitted_attributes(), self._about)

    def end(self) -> None:
        if self._root is not None:
            _end(self._root, self._estimator, self._estimator._fitted_attributes(), self._about)


class FoldTasks:
    """scikit-learn's callbacks of one fold, which may be in another process: all tasks exist beforehand."""

    def __init__(self, estimator: Any, root: Any, fold: int, n_fits: int) -> None:
        self._estimator = estimator
        self._fold = root.subcontext(task_name="fold", task_id=fold, max_subtasks=n_fits)
        self._waiting = [self._fold.subcontext(task_name="fit") for _ in range(n_fits)]

    def begin(self, X: Any, y: Any, sample_weight: Any) -> None:
        self._about = _about(X, y, sample_weight)
        self._fold.call_on_fit_task_begin(estimator=self._estimator, **self._about)

    def begin_fit(self) -> None:
        self._fit = self._waiting.pop(0)
        self._fit.call_on_fit_task_begin(estimator=self._estimator, **self._about)

    def end_fit(self, fitted: dict[str, Any]) -> None:
        _end(self._fit, self._estimator, fitted, self._about)

    def end(self, fitted: dict[str, Any]) -> None:
        _end(self._fold, self._estimator, fitted, self._about)


def _has_callbacks(estimator: Any) -> bool:
    return hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx")


def _about(X: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
    return {"X": X, "y": y, "metadata": None if sample_weight is None else {"sample_weight": sample_weight}}


def _end(task: Any, estimator: Any, fitted: dict[str, Any], about: dict[str, Any]) -> None:
    task.call_on_fit_task_end(estimator=estimator, reconstruction_attributes=lambda: fitted, **about)
