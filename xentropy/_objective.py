"""The objective of a linear softmax model: a mean over rows, and a penalty on top.

    F(W, b) = C sum_i s_i loss_i(x_i W^T + b + offset) + (1 - l1_ratio)/2 |W|^2 + l1_ratio |W|_1

is minimised as F / (C S), with S the sum of the weights of the rows: a weighted mean of the losses plus a penalty, of
the order of one whatever the number of rows. The term in |W|_1 is left to the solver, which asks for its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg.blas import daxpy

from ._blas import one_blas_thread
from ._losses import CrossEntropy
from ._messages import plain
from ._rows import Rows, rows_of
from ._targets import Target

# float32 rounds the mean loss of n rows by up to this many units of its last place, times the size of the terms of a
# logit, over sqrt(n). (tests/test_objective.py measures it; bench_guard: 3e5x64_10, images, embeddings in float32.)
_FLOAT32_NOISE = 16.0 * 2.0**-23


class Objective:
    """theta -> (value, gradient), without the L1 term.

    Parameters
    ----------
    design : Rows
    C : float
        Inverse strength of the penalty; inf means none.
    l1_ratio : float
        Share of the L1 penalty.

    Attributes
    ----------
    l1_weight, l2_weight : float
        Weights of |W|_1 and of |W|^2 / 2 on the scale of the values of this function.
    loss, last_theta : float and float64 ndarray
        The mean loss, without penalty, of the last evaluation, and a copy of where it was.
    """

    def __init__(self, design: Rows, *, C: float = 1.0, l1_ratio: float = 0.0) -> None:
        self.design, self._n_coef = design, design.n_features * design.n_outputs
        self.loss, self.last_theta = np.inf, np.zeros(design.n_theta)
        self._last_grad, self._last_precision = np.zeros(design.n_theta), ""
        self._last_argument: np.ndarray | None = None
        self._separation_shows = (
            isinstance(design.row_loss.loss, CrossEntropy)
            and design.has_hard_labels
            and (design.fit_intercept or design.row_loss.offset is None)
        )
        self.penalise(C, l1_ratio)

    def penalise(self, C: float, l1_ratio: float) -> None:
        """Set the penalty."""
        try:
            self.C = float(C)  # NumPy knows no int of this size
        except OverflowError:
            raise ValueError(f"C={plain(C)!r} is beyond the range of float64; use C=inf for no penalty") from None
        total = self.C * self.design.weight_sum
        if total < 1.0 / np.finfo(np.float64).max:
            raise ValueError(
                f"C={plain(C)!r} times the sum of the weights of the rows, {self.design.weight_sum}, is too small: its "
                f"inverse, the weight of the penalty, is infinite in float64; use a larger C"
            )
        if np.isinf(total) and np.isfinite(self.C):
            raise ValueError(
                f"C={plain(C)!r} times the sum of the weights of the rows, {self.design.weight_sum}, overflows; use a "
                f"smaller C, or C=inf for no penalty"
            )
        self.l1_weight = l1_ratio / total
        self.l2_weight = (1.0 - l1_ratio) / total

    def __call__(self, theta: np.ndarray, precision: str = "float64") -> tuple[float, np.ndarray]:
        if (
            theta is self._last_argument
            and self._last_precision in (precision, "float64")
            and np.array_equal(theta, self.last_theta)
        ):
            grad = self._last_grad.copy()  # another C asks again for the loss where the last one has ended
        else:
            self.loss, grad = self.design.loss_gradient(theta, precision)
            self._last_argument, self._last_precision = theta, precision
            np.copyto(self.last_theta, theta)
            np.copyto(self._last_grad, grad)
        if self.l2_weight == 0.0:
            return self.loss, grad
        coef = theta[: self._n_coef]
        daxpy(coef, grad, a=self.l2_weight)
        return self.loss + 0.5 * self.l2_weight * float(coef @ coef), grad

    def l1_weights(self) -> np.ndarray | None:
        """Weight of each |theta_j| on the scale of the values of this function, which does not include them."""
        if self.l1_weight == 0.0:
            return None
        weights = np.full(self.design.n_theta, self.l1_weight)
        weights[self._n_coef :] = 0.0
        return weights

    def penalty(self, theta: np.ndarray) -> float:
        """What the penalty adds to the mean loss, the L1 term included."""
        coef = theta[: self._n_coef]
        l1 = self.l1_weight * float(np.abs(coef).sum()) if self.l1_weight else 0.0
        return (0.5 * self.l2_weight * float(coef @ coef) if self.l2_weight else 0.0) + l1

    def value(self, theta: np.ndarray) -> float:
        """What is minimised at theta, the L1 term included."""
        return self(theta)[0] + self.l1_weight * float(np.abs(theta[: self._n_coef]).sum())

    def unscaled(self, value: float) -> float:
        """F of a value of this function: the objective with C in front of the losses."""
        return value * self.design.weight_sum * (self.C if np.isfinite(self.C) else 1.0)

    def resolution(self) -> float:
        """Smaller decreases of the value than this are lost in the rounding of float32, near the last evaluation."""
        design = self.design
        coef, _ = design.views(self.last_theta)
        with np.errstate(over="ignore", invalid="ignore"):
            terms = np.sqrt((design.variance @ (coef * coef)).max(initial=0.0))  # of a logit, their root mean square
        return _FLOAT32_NOISE * (1.0 + design.largest_offset + terms) * self.loss / np.sqrt(design.effective_size)

    def is_separated(self, value: float) -> bool:
        """Whether a value proves that there is no minimum: without a penalty, and with every row on the right side of
        all others (each row's loss is below log 2, as the sum of all is), larger coefficients are always better."""
        if not (np.isinf(self.C) and self._separation_shows):
            return False
        return value * self.design.weight_sum < np.log(2.0) * self.design.least_weight

    def start(self) -> np.ndarray:
        """theta without information on the features: W = 0, and the intercepts of the classes' shares."""
        design = self.design
        theta = np.zeros(design.n_theta)
        if design.fit_intercept:
            logits = np.log(np.maximum(design.shares, 1e-8))
            _, intercept = design.views(theta)
            intercept[:] = logits[1] - logits[0] if design.n_outputs == 1 else logits - logits.mean()
            if design.row_loss.offset is not None:
                intercept -= design.row_loss.offset
        return theta

    @one_blas_thread()
    def pack(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """theta of `coef` (R, D) and `intercept` (R,)."""
        design = self.design
        theta = np.empty(design.n_theta)
        coef_t, centred = design.views(theta)
        coef_t[:] = coef[:, design.columns].T
        centred[:] = intercept if design.centre is None else intercept + design.centre @ coef_t
        return theta

    @one_blas_thread()
    def unpack(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`coef` (R, D) and `intercept` (R,) of theta. A shift common to all K classes changes no probability, and the
        L2 penalty is least where the classes sum to zero: so they are made to."""
        design = self.design
        coef_t, centred = design.views(theta)
        intercept = centred.copy() if design.centre is None else centred - design.centre @ coef_t
        if design.n_outputs > 1:
            intercept -= intercept.mean()
            if self.l1_weight == 0.0:  # zeros of an L1 penalty stay zeros
                coef_t = coef_t - coef_t.mean(axis=1, keepdims=True)
        coef = np.zeros((design.n_outputs, design.n_columns))
        coef[:, design.columns] = coef_t.T
        return coef, intercept

    def loss_on(self, X: Any, target: Target, sample_weight: np.ndarray | None) -> Callable[[np.ndarray], float]:
        """theta -> mean loss, without penalty, on other rows of the same features and classes."""
        design = rows_of(
            X,
            target,
            row_loss=self.design.row_loss,
            sample_weight=sample_weight,
            fit_intercept=self.design.fit_intercept,
        )
        other = Objective(design, C=np.inf)

        def loss(theta: np.ndarray) -> float:
            return other(other.pack(*self.unpack(theta)))[0]

        return loss
