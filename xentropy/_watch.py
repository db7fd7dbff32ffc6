"""Who watches a minimisation: the history, the printer, scikit-learn's callbacks, and early stopping."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from ._objective import LinearObjective
from ._solver import Progress

try:  # experimental in scikit-learn 1.9, absent before
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in where scikit-learn has no callbacks."""


# A line is printed at these iterations, times powers of ten, and whenever so many seconds went by without one
_PRINTED = (1, 2, 5)
_SILENCE = 2.0


class Watch:
    """What happens after each iteration of a fit. Called with the solver's `Progress`; returns why to stop, or None.

    Parameters
    ----------
    objective : LinearObjective
    tol : float
    verbose : int
        1 prints now and then, 2 after each iteration.
    validation : callable, optional
        theta -> loss on the validation rows.
    n_iter_no_change : int or None
        Stop after so many iterations without a better validation loss.
    callbacks : callable, optional
        theta -> whether scikit-learn's callbacks ask to stop.

    Attributes
    ----------
    history : dict of lists
        One entry for each iteration.
    best : theta of the least validation loss, or None where there is no validation.
    """

    def __init__(
        self,
        objective: LinearObjective,
        *,
        tol: float,
        verbose: int = 0,
        validation: Callable[[np.ndarray], float] | None = None,
        n_iter_no_change: int | None = None,
        callbacks: Callable[[np.ndarray], bool] | None = None,
    ) -> None:
        self._objective, self._tol, self._verbose = objective, tol, verbose
        self._validation, self._callbacks, self._patience = validation, callbacks, n_iter_no_change
        self._begun = self._printed = perf_counter()
        self.best: np.ndarray | None = None
        self._best_iter, self._best_loss = 0, np.inf
        self.history: dict[str, list[float]] = {
            name: [] for name in ("objective", "loss", "gradient_norm", "n_evaluations")
        }
        if validation is not None:
            self.history["validation_loss"] = []

    def __call__(self, at: Progress) -> str | None:
        objective, history = self._objective, self.history
        history["objective"].append(objective.unscaled(at.value))
        history["loss"].append(at.value - objective.penalty(at.theta))
        history["gradient_norm"].append(at.gradient_norm)
        history["n_evaluations"].append(at.n_evaluations)
        if self._validation is not None:
            loss = self._validation(at.theta)
            history["validation_loss"].append(loss)
            if loss < self._best_loss:
                self.best, self._best_iter, self._best_loss = at.theta, at.n_iter, loss
        if self._verbose:
            self._print(at)
        if self._callbacks is not None and self._callbacks(at.theta):
            return "stopped"
        if (lack := objective.lack_of_minimum(at.value)) is not None:
            return lack
        if self._patience is not None and at.n_iter - self._best_iter >= self._patience:
            return "early"
        return None

    def close(self, status: str) -> dict[str, np.ndarray]:
        """Say how it ended; returns the history as arrays."""
        if self._verbose:
            print(f"[xentropy] {status} after {len(self.history['loss'])} iterations", flush=True)
        return {
            name: np.array(values, dtype=np.int64 if name == "n_evaluations" else np.float64)
            for name, values in self.history.items()
        }

    def _print(self, at: Progress) -> None:
        now = perf_counter()
        digits = str(at.n_iter)
        is_round = int(digits[0]) in _PRINTED and not digits[1:].strip("0")
        if not (self._verbose > 1 or is_round or now - self._printed >= _SILENCE):
            return
        self._printed = now
        line = (
            f"[xentropy] iteration {at.n_iter:5d}  objective {self.history['objective'][-1]:.8g}  "
            f"loss {self.history['loss'][-1]:.6g}  gradient {at.gradient_norm:.1e} (tol {self._tol:.1e})  "
            f"{at.n_evaluations} evaluations  {now - self._begun:.1f} s"
        )
        if self._validation is not None:
            line += f"  validation loss {self.history['validation_loss'][-1]:.6g}"
        print(line, flush=True)


def callbacks_of(
    estimator: Any, X: Any, y: Any, sample_weight: Any, max_iter: int, fitted: Callable[[np.ndarray], dict[str, Any]]
) -> tuple[Callable[[np.ndarray], bool] | None, Callable[[np.ndarray], None]]:
    """scikit-learn's callbacks of an estimator: what to call after an iteration (theta -> whether to stop; None where
    there are no callbacks), and at the end of the fit.

    Parameters
    ----------
    fitted : callable
        theta -> the fitted attributes that predictions need.
    """
    if not (hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx")):
        return None, lambda theta: None
    about = _about(X, y, sample_weight)
    context = estimator._init_callback_context(max_subtasks=max_iter)
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
        if not (hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx")):
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


def _about(X: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
    return {"X": X, "y": y, "metadata": None if sample_weight is None else {"sample_weight": sample_weight}}


def _end(task: Any, estimator: Any, fitted: dict[str, Any], about: dict[str, Any]) -> None:
    task.call_on_fit_task_end(estimator=estimator, reconstruction_attributes=lambda: fitted, **about)
