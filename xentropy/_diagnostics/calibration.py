"""Do probabilities come true? Bins, decomposition and temperature of arrays that are known to be sound.

`p` is the probability of an event in each row, `hit` how far it came true: 0 or 1, or its own probability where the
target is soft.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import xlogy

from .._kernels._isotonic import pool_adjacent
from .._kernels._pointwise import softmax

# A finer curve shows noise where rows are few and nothing new where they are many.
_MAX_BINS = 20

# Temperatures beyond these say "no signal" and "separated": the exact value says no more.
_MAX_TEMPERATURE = 32.0


@dataclass(frozen=True)
class Bins:
    """Rows in the order of their p, in bins of equal mass: arrays of shape (n_bins,)."""

    mean_p: np.ndarray
    mean_hit: np.ndarray
    mass: np.ndarray  # share of all rows; they sum to one
    size: np.ndarray  # effective number of rows

    @property
    def calibration_error(self) -> float:
        return float(self.mass @ np.abs(self.mean_p - self.mean_hit))


@dataclass(frozen=True)
class Decomposition:
    """log_loss = miscalibration - discrimination + uncertainty, each 0 or more."""

    log_loss: float
    miscalibration: float
    discrimination: float
    uncertainty: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Temperature:
    """The T whose softmax(log p / T) has the least log loss, and the mean losses before and after, in nats."""

    value: float
    log_loss_before: float
    log_loss_after: float
    n_effective: float


def effective_size(weight: np.ndarray | None, n: int) -> float:
    """Rows of equal weight that would be as informative (Kish): (sum w)^2 / sum w^2."""
    if weight is None:
        return float(n)
    weight = weight / weight.max()  # no square overflows
    return float(weight.sum() ** 2 / (weight @ weight))


def auto_bins(n_effective: float) -> int:
    """n^(1/3), the rate at which bias and variance of a histogram balance, and at most 20."""
    return int(np.clip(round(n_effective ** (1 / 3)), 1, _MAX_BINS))


def equal_mass_bins(p: np.ndarray, hit: np.ndarray, weight: np.ndarray | None, n_bins: int) -> Bins:
    """Bins of equal mass. Rows of the same p share a bin, so the order of the rows does not matter; bins may be fewer.

    References
    ----------
    Nixon et al. (2019), Measuring calibration in deep learning, CVPR workshops, section 4 (adaptive bins).
    Kumar, Liang & Ma (2019), Verified uncertainty calibration, NeurIPS, section 3 (equal mass, binning).
    """
    p, hit, weight = _in_order(p, hit, weight)
    w = np.ones(len(p)) if weight is None else weight
    mass_before = np.concatenate(([0.0], np.cumsum(w)))
    total = mass_before[-1]
    cuts = total * np.arange(1, n_bins) / n_bins
    cut_p = p[np.minimum(np.searchsorted(mass_before, cuts, side="right") - 1, len(p) - 1)]
    first, last = np.searchsorted(p, cut_p, side="left"), np.searchsorted(p, cut_p, side="right")
    # a cut through rows of the same p moves to the nearer end of them
    starts = np.where(cuts - mass_before[first] <= mass_before[last] - cuts, first, last)
    starts = np.unique(np.concatenate(([0], starts[starts < len(p)])))
    mass = np.add.reduceat(w, starts)
    return Bins(
        mean_p=np.add.reduceat(w * p, starts) / mass,
        mean_hit=np.add.reduceat(w * hit, starts) / mass,
        mass=mass / total,
        size=mass**2 / np.add.reduceat(w * w, starts),
    )


def decompose(p: np.ndarray, hit: np.ndarray, weight: np.ndarray | None, eps: float) -> Decomposition:
    """The log loss of `p` for the event, against p recalibrated by isotonic regression and against the event's rate.

    Miscalibration is what recalibration would save, discrimination what the recalibrated p saves over the rate,
    uncertainty the loss of the rate itself. Isotonic regression is the recalibration of least loss among all that keep
    the order of p, so neither can be negative. `p` is clipped to [eps, 1 - eps].

    References
    ----------
    Bröcker (2009), Reliability, sufficiency, and the decomposition of proper scores, QJRMS 135, 1512-1519.
    Dimitriadis, Gneiting & Jordan (2021), Stable reliability diagrams for probabilistic classifiers, PNAS 118(8).
    """
    p, hit, weight = _in_order(np.clip(p, eps, 1 - eps), hit, weight)
    loss = -(hit * np.log(p) + (1 - hit) * np.log1p(-p))
    log_loss = float(np.average(loss, weights=weight))
    mass, hits = pool_adjacent(p, hit, weight)
    total = mass.sum()
    recalibrated = float(mass @ _entropy(hits / mass)) / total
    uncertainty = float(_entropy(hits.sum() / total))
    return Decomposition(
        log_loss=log_loss,
        miscalibration=max(log_loss - recalibrated, 0.0),  # rounding may make -1e-17 of 0
        discrimination=max(uncertainty - recalibrated, 0.0),
        uncertainty=uncertainty,
    )


def best_temperature(log_p: np.ndarray, target: np.ndarray, weight: np.ndarray | None) -> Temperature:
    """The temperature of least log loss for rows of log-probabilities (n, K).

    `target` is the index of the class, or the distribution over classes, of each row. The loss is convex in 1 / T.

    References
    ----------
    Guo et al. (2017), On calibration of modern neural networks, ICML, section 4.2.
    """
    rows = np.arange(len(log_p))
    w = np.full(len(log_p), 1 / len(log_p)) if weight is None else weight / weight.sum()
    at_target = log_p[rows, target] if target.ndim == 1 else np.einsum("ik,ik->i", target, log_p)

    def slope(log_beta: float) -> float:
        """The derivative of the loss by beta = 1 / T."""
        return float(w @ (np.einsum("ik,ik->i", softmax(np.exp(log_beta) * log_p), log_p) - at_target))

    bound = np.copysign(np.log(_MAX_TEMPERATURE), -slope(0.0))
    log_beta = bound if slope(bound) * bound <= 0 else brentq(slope, 0.0, bound, xtol=1e-4)
    beta = float(np.exp(log_beta))
    top = log_p.argmax(axis=1)
    log_sum = beta * log_p[rows, top] - softmax(beta * log_p, log=True)[rows, top]
    return Temperature(
        value=1 / beta,
        log_loss_before=-float(w @ at_target),
        log_loss_after=float(w @ (log_sum - beta * at_target)),
        n_effective=effective_size(weight, len(log_p)),
    )


def _in_order(
    p: np.ndarray, hit: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Rows in ascending order of p, in float64; the largest weight is 1, so that no product overflows."""
    p = np.asarray(p, dtype=np.float64)
    if weight is None and hit.dtype.kind == "b":
        # p is not negative, so its sign bit is free for the hit: sorting numbers takes a third of the time of argsort
        key = (np.abs(p).view(np.uint64) << np.uint64(1)) | hit
        key.sort()
        return (key >> np.uint64(1)).view(np.float64), (key & np.uint64(1)).astype(np.float64), None
    order = np.argsort(p)
    return p[order], hit[order].astype(np.float64), None if weight is None else weight[order] / weight.max()


def _entropy(rate: np.ndarray) -> np.ndarray:
    """Entropy of an event of this rate, in nats."""
    rate = np.clip(rate, 0.0, 1.0)
    return 0.0 - (xlogy(rate, rate) + xlogy(1 - rate, 1 - rate))
