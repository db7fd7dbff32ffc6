"""What follows a minimisation: its history, printed lines, and when early stopping has seen enough."""

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

    With early stopping it is called with the start and after each step of the path, and also with its C.

    Parameters
    ----------
    objective : Objective
    tol : float
    verbose : int
        1 prints now and then, 2 after each iteration.
    validation : callable, optional
        theta -> loss on the validation rows.
    n_iter_no_change : int or None
        With early stopping: stop after so many steps without a better validation loss.
    callbacks : callable, optional
        theta -> whether scikit-learn's callbacks ask to stop.

    Attributes
    ----------
    history : dict of lists
        One entry for each call.
    best : theta of the least validation loss, or None where there is no validation.
    best_loss, best_C : float
        The least validation loss and, with early stopping, the C of its step; NaN where there is none.
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
        self._best_at, self.best_loss, self.best_C = 0, np.nan, np.nan
        self.history: dict[str, list[float]] = {
            name: [] for name in ("objective", "loss", "gradient_norm", "n_evaluations")
        }
        if validation is not None:
            self.history["validation_loss"] = []
        if n_iter_no_change is not None:
            self.history["C"] = []

    def __call__(self, at: Progress, C: float | None = None) -> Status | None:
        objective, history = self._objective, self.history
        step = len(history["loss"])
        if C is not None:
            history["C"].append(C)
        history["objective"].append(objective.unscaled(at.value))
        history["loss"].append(at.value - objective.penalty(at.theta))
        history["gradient_norm"].append(at.gradient_norm)
        history["n_evaluations"].append(at.n_evaluations)
        if self._validation is not None:
            loss = self._validation(at.theta)
            history["validation_loss"].append(loss)
            if self.best is None or loss < self.best_loss:
                self.best, self._best_at, self.best_loss = at.theta, step, loss
                self.best_C = np.nan if C is None else C
        if self._verbose:
            self._print(at, f"iteration {at.n_iter:5d}" if C is None else f"step {step:3d}  C {C:.3g}")
        if self._callbacks is not None and self._callbacks(at.theta):
            return Status.STOPPED
        # a step before the last has a penalty, with which there is a minimum, and the next may predict better
        if (C is None or np.isinf(C)) and objective.is_separated(at.value):
            return Status.SEPARATED
        if self._patience is not None and step - self._best_at >= self._patience:
            return Status.EARLY
        return None

    def close(self, status: str) -> dict[str, np.ndarray]:
        """Print how the fit ended, if verbose, and return the history as arrays."""
        if self._verbose:
            n = len(self.history["loss"])
            after = f"{n} iterations" if self._patience is None else f"{n - 1} steps"
            print(f"[xentropy] {status} after {after}", flush=True)
        return {
            name: np.array(values, dtype=np.int64 if name == "n_evaluations" else np.float64)
            for name, values in self.history.items()
        }

    def _print(self, at: Progress, where: str) -> None:
        now = perf_counter()
        digits = str(len(self.history["loss"]))
        is_round = int(digits[0]) in _PRINTED and not digits[1:].strip("0")
        if not (self._verbose > 1 or is_round or now - self._printed >= _SILENCE):
            return
        self._printed = now
        line = (
            f"[xentropy] {where}  objective {self.history['objective'][-1]:.8g}  "
            f"loss {self.history['loss'][-1]:.6g}  gradient {at.gradient_norm:.1e} (tol {self._tol:.1e})  "
            f"{at.n_evaluations} evaluations  {now - self._begun:.1f} s"
        )
        if self._validation is not None:
            line += f"  validation loss {self.history['validation_loss'][-1]:.6g}"
        print(line, flush=True)
