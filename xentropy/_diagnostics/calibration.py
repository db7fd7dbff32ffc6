"""Calibration of probabilities: bins, decomposition and temperature, of arrays that were checked before.

`p` is the predicted probability of an event in each row. `hit` is its outcome, 0 or 1, or its probability if the target
is soft.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import xlogy

from .._kernels._isotonic import pool_adjacent
from .._kernels._pointwise import softmax

# More bins show noise if there are few rows, and nothing new if there are many.
_MAX_BINS = 20

# Temperatures beyond this number and its inverse mean "no signal" and "separated"; their exact value adds nothing.
_MAX_TEMPERATURE = 32.0

# A log-likelihood ratio in nats, which a right value exceeds with a chance of 5 % (Wilks): half a chi-squared quantile.
_UNDECIDED = 1.92

# log p of a class with p = 0: no temperature up to the largest one gives it a probability.
_LOG_ZERO = -1e4

# Tilts of Chernoff's bound. Each of them gives a bound, and the best of them is the least bound to within 0.1 %.
_TILTS = np.geomspace(1e-5, 50.0, 200)[:, np.newaxis]


@dataclass(frozen=True)
class Bins:
    """Bins of equal mass, in the order of p. Each array has the shape (n_bins,)."""

    mean_p: np.ndarray
    mean_hit: np.ndarray
    mass: np.ndarray  # share of all rows; the shares sum to one
    size: np.ndarray  # effective sample size

    @property
    def calibration_error(self) -> float:
        return float(self.mass @ np.abs(self.mean_p - self.mean_hit))

    @property
    def calibration_noise(self) -> float:
        """About the calibration error that right probabilities have, because the frequencies of few rows vary.

        Of the mean absolute deviation of a frequency there are two upper bounds: its standard deviation, of which it is
        sqrt(2 / pi) if the frequency is about normal, and that of a single row, 2 p (1 - p).
        """
        variance = self.mean_p * (1 - self.mean_p)
        return float(self.mass @ np.minimum(np.sqrt(2 / np.pi * variance / self.size), 2 * variance))

    def calibration_limit(self, n: float, surprise: float) -> float:
        """The calibration error that right probabilities exceed with a chance of at most exp(-surprise), for n rows.

        With the sums S_j of p - hit in the bins, n times the error is sum_j |S_j|, and for each tilt t > 0

            E exp(t sum_j |S_j|) <= prod_j (E exp(t S_j) + E exp(-t S_j)).

        By Jensen's inequality the rows of a bin may all have its mean p in E exp(t S_j), and Markov's inequality turns
        the product into a bound. A bound for hits of 0 and 1 holds for hits in between. Weights that are at most 1 and
        sum to n are exponents of the factors of the rows, whose means stay at most 1: E x^w <= 1 + E w (x - 1).

        References
        ----------
        Boucheron, Lugosi & Massart (2013), Concentration Inequalities, section 2.2 (Chernoff's bound).
        """
        rows, p = n * self.mass, np.minimum(self.mean_p, np.nextafter(1.0, 0.0))  # for the logarithm of 1 - p
        over, under = (np.log1p(p * np.expm1(t)) - p * t for t in (_TILTS, -_TILTS))
        bounds = (surprise + np.logaddexp(rows * over, rows * under).sum(axis=1)) / _TILTS[:, 0]
        return float(bounds.min() / n)


@dataclass(frozen=True)
class Decomposition:
    """The terms of log_loss = miscalibration - discrimination + uncertainty. Each of them is 0 or more."""

    log_loss: float
    miscalibration: float
    discrimination: float
    uncertainty: float

    def as_dict(self) -> dict[str, float]:
        return {name: float(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Temperature:
    """The T for which softmax(log p / T) has the least log loss, and how much less that is, in nats a row."""

    value: float
    saving: float


def effective_size(weight: np.ndarray | None, n: int) -> float:
    """Kish's effective sample size (sum w)^2 / sum w^2."""
    if weight is None:
        return float(n)
    weight = weight / weight.max()  # so that no square overflows
    return float(weight.sum() ** 2 / (weight @ weight))


def certain_size(weight: np.ndarray | None, n: int) -> float:
    """sum w / max w, the number of rows for which a bound on unweighted rows holds whatever decides the weights."""
    return float(n) if weight is None else float((weight / weight.max()).sum())


def auto_bins(n_effective: float) -> int:
    """n^(1/3) bins, which balances the bias and the variance of a histogram, and at most 20."""
    return int(np.clip(round(n_effective ** (1 / 3)), 1, _MAX_BINS))


def equal_mass_bins(p: np.ndarray, hit: np.ndarray, weight: np.ndarray | None, n_bins: int) -> Bins:
    """At most `n_bins` bins of equal mass. Rows with the same p share a bin, so the order of the rows does not matter.

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
    # a cut through rows with the same p moves to the closer end of these rows
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
    """Decompose the log loss of `p`, with p recalibrated by isotonic regression and with the frequency of the event.

    Miscalibration is the loss that the recalibration saves. Discrimination is the loss that the recalibrated p saves
    over the frequency. Uncertainty is the loss of the frequency itself. Among the recalibrations that keep the order of
    p, isotonic regression has the least loss, so no term can be negative. `p` is clipped to [eps, 1 - eps].

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
        miscalibration=max(log_loss - recalibrated, 0.0),  # rounding can give -1e-17 instead of 0
        discrimination=max(uncertainty - recalibrated, 0.0),
        uncertainty=uncertainty,
    )


def best_temperature(p: np.ndarray, target: np.ndarray, weight: np.ndarray | None) -> Temperature | None:
    """The temperature with the least log loss, or None if all of them fit about as well.

    `p` has the shape (n, K). `target` holds the class index, or the distribution over the classes, of each row; it has
    no mass on a class with p = 0, which a temperature leaves as it is. The loss is convex in 1 / T.

    References
    ----------
    Guo et al. (2017), On calibration of modern neural networks, ICML, section 4.2.
    """
    if not len(p):
        return None
    rows, top = np.arange(len(p)), p.argmax(axis=1)
    with np.errstate(divide="ignore"):
        log_p = np.maximum(np.log(p), _LOG_ZERO)
    w = np.full(len(p), 1 / len(p)) if weight is None else weight / weight.sum()
    at_target = log_p[rows, target] if target.ndim == 1 else np.einsum("ik,ik->i", target, log_p)

    def loss(log_beta: float) -> float:
        z = np.exp(log_beta) * log_p
        return float(w @ (z[rows, top] - softmax(z, log=True)[rows, top] - np.exp(log_beta) * at_target))

    def slope(log_beta: float) -> float:
        """The derivative of the loss with respect to beta = 1 / T."""
        return float(w @ (np.einsum("ik,ik->i", softmax(np.exp(log_beta) * log_p), log_p) - at_target))

    bounds = np.log([1 / _MAX_TEMPERATURE, _MAX_TEMPERATURE])
    bound = bounds[int(slope(0.0) < 0)]
    log_beta = bound if slope(bound) * bound <= 0 else brentq(slope, 0.0, bound, xtol=1e-4)
    least = loss(log_beta)
    if (max(map(loss, bounds)) - least) * effective_size(weight, len(p)) < _UNDECIDED:
        return None
    return Temperature(value=float(np.exp(-log_beta)), saving=loss(0.0) - least)


def at_temperature(p: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T), in which classes with p = 0 keep it."""
    with np.errstate(divide="ignore"):
        return softmax(np.maximum(np.log(p), _LOG_ZERO) / temperature)


def _in_order(
    p: np.ndarray, hit: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The rows in ascending order of p, in float64. The largest weight becomes 1, so that no product overflows."""
    p = np.asarray(p, dtype=np.float64)
    if weight is None and hit.dtype.kind == "b":
        # p is not negative, so its sign bit can hold the hit. Sorting numbers takes a third of the time of argsort.
        key = (np.abs(p).view(np.uint64) << np.uint64(1)) | hit
        key.sort()
        return (key >> np.uint64(1)).view(np.float64), (key & np.uint64(1)).astype(np.float64), None
    order = np.argsort(p)
    return p[order], hit[order].astype(np.float64), None if weight is None else weight[order] / weight.max()


def _entropy(rate: np.ndarray) -> np.ndarray:
    """Entropy, in nats, of an event with this frequency."""
    rate = np.clip(rate, 0.0, 1.0)
    return 0.0 - (xlogy(rate, rate) + xlogy(1 - rate, 1 - rate))
