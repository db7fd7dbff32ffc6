"""Minimise a smooth function with SciPy's L-BFGS, and say how it went. Knows a callable, not a loss."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

# A decrease of the objective that float64 cannot be trusted to see: it ends the iterations, as convergence.
_FTOL = 64 * np.finfo(np.float64).eps

# Finding the thread pools of the process takes milliseconds, limiting them microseconds.
_thread_pools = lru_cache(maxsize=1)(ThreadpoolController)


@dataclass(frozen=True)
class Solution:
    """Where a minimisation ended: `theta`, the `value` there, and the largest entry of the gradient."""

    theta: np.ndarray
    value: float
    gradient_norm: float
    n_iter: int
    n_evaluations: int
    converged: bool


def minimize_lbfgs(
    fun: Callable[[np.ndarray], tuple[float, np.ndarray]], theta: np.ndarray, *, tol: float, max_iter: int
) -> Solution:
    """Minimise ``fun(theta) -> (value, gradient)`` from `theta` until max |gradient| <= `tol`, with L-BFGS.

    Ends as well where the objective no longer decreases in float64. Warns with a `ConvergenceWarning` where neither is
    reached within `max_iter` iterations.

    References
    ----------
    Byrd, Lu, Nocedal & Zhu (1995), A limited memory algorithm for bound constrained optimization, SIAM J. Sci. Comput.
    16(5), 1190-1208; as SciPy's ``L-BFGS-B``, without bounds.
    """
    # L-BFGS itself calls a BLAS, whose threads spin between calls and take the cores from the threads of `fun`:
    # digits took 1.45 s with two threads of each, 0.065 s with one for the BLAS
    with _thread_pools().limit(limits=1, user_api="blas"):
        result = minimize(
            fun,
            theta,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iter, "maxfun": 20 * max_iter + 20, "maxls": 50, "gtol": tol, "ftol": _FTOL},
        )
    gradient_norm = float(np.max(np.abs(result.jac), initial=0.0))
    converged = gradient_norm <= tol or result.status == 0
    if not converged:
        reason = "stopped at max_iter" if result.status == 1 else "found no further decrease"
        warnings.warn(
            f"L-BFGS {reason} after {result.nit} iterations (max_iter={max_iter}) with the largest gradient entry at "
            f"{gradient_norm:.2e} (tol={tol:.2e}). Increase max_iter, scale the features (say, with StandardScaler), "
            f"or decrease C.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return Solution(result.x, float(result.fun), gradient_norm, int(result.nit), int(result.nfev), bool(converged))
