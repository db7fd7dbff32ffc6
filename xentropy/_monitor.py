"""What follows a minimisation: its history, printed lines, and early stopping."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np

from ._lbfgs import Progress, Status
from ._objective import Objective

# A line is printed at these iterations times powers of ten, and whenever this many seconds have passed without one.
_PRINTED = (1, 2, 5)
_SILENCE = 2.0


class Monitor:
    """What happens after each iteration of a fit. Called with the solver's `Progress`; returns why to stop, or None.

    Parameters
    ----------
    objective : Objective
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
        objective: Objective,
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

    def __call__(self, at: Progress) -> Status | None:
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
            return Status.STOPPED
        if objective.is_separated(at.value):
            return Status.SEPARATED
        if self._patience is not None and at.n_iter - self._best_iter >= self._patience:
            return Status.EARLY
        return None

    def close(self, status: str) -> dict[str, np.ndarray]:
        """Print how the fit ended, if verbose, and return the history as arrays."""
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
