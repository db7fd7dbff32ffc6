"""Checked predictions and targets, and the sums over their rows that the report and the displays use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._messages import plain
from .._metrics import evaluate, predict_proba
from .._targets import CodedLabels, check_distribution
from .calibration import (
    Bins,
    Decomposition,
    Temperature,
    auto_bins,
    best_temperature,
    decompose,
    effective_size,
    equal_mass_bins,
)

_BLOCK = 1 << 16  # probabilities in a block of rows of a pass over all columns
_TEMPERATURE_SAMPLE = 1 << 18  # probabilities to which the temperature is fitted


@dataclass(frozen=True)
class ScoredRows:
    """n rows of positive weight. Exactly one of `labels` and `distribution` is not None.

    Attributes
    ----------
    names : list of str
        Names of the K classes.
    classes : ndarray of shape (K,)
    proba : float32 or float64 ndarray of shape (n, K), C-ordered
    eps : float
        Losses are computed from probabilities clipped to [eps, 1 - eps].
    labels : int32 ndarray of shape (n,) or None
    distribution : float32 or float64 ndarray of shape (n, K) or None
    loss : ndarray of shape (n,)
        Cross-entropy of each row, in nats.
    weight : float64 ndarray of shape (n,) or None
        None if all weights are equal.
    row : ndarray of shape (n,) or None
        Position of each row in the data, or None if no row was dropped.
    """

    classes: np.ndarray
    names: list[str]
    proba: np.ndarray
    eps: float
    labels: np.ndarray | None
    distribution: np.ndarray | None
    loss: np.ndarray
    weight: np.ndarray | None
    row: np.ndarray | None

    def __len__(self) -> int:
        return len(self.proba)

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    def mean(self, values: np.ndarray) -> float:
        """The weighted mean over the rows."""
        return float(np.average(values.astype(np.float64, copy=False), weights=self.weight))

    @cached_property
    def n_effective(self) -> float:
        return effective_size(self.weight, len(self))

    @cached_property
    def log_loss(self) -> float:
        return self.mean(self.loss)

    @cached_property
    def predicted(self) -> np.ndarray:
        """The most probable class of each row. Of equal ones it is the first."""
        return self.proba.argmax(axis=1)

    @cached_property
    def confidence(self) -> np.ndarray:
        return np.take_along_axis(self.proba, self.predicted[:, None], axis=1)[:, 0]

    @cached_property
    def hit(self) -> np.ndarray:
        """Whether the most probable class is right: 0 or 1, or its probability under a soft target."""
        return self.came_true(self.predicted)

    @cached_property
    def true_proba(self) -> np.ndarray:
        """The mean probability of the true class in each row, sum_k t_ik p_ik."""
        if self.labels is not None:
            return np.take_along_axis(self.proba, self.labels[:, None], axis=1)[:, 0]
        assert self.distribution is not None
        return np.einsum("ik,ik->i", self.distribution, self.proba)

    def came_true(self, of: int | np.ndarray) -> np.ndarray:
        """Whether `of`, a class or the class of each row, is right: 0 or 1, or its probability under a soft target."""
        if self.labels is not None:
            return self.labels == of
        assert self.distribution is not None
        return self.distribution[np.arange(len(self)), of]

    @cached_property
    def support(self) -> np.ndarray:
        """The weight of each class, with the shape (K,)."""
        if self.labels is not None:
            return np.bincount(self.labels, self.weight, minlength=self.n_classes).astype(np.float64)
        assert self.distribution is not None
        if self.weight is None:
            return self.distribution.sum(axis=0, dtype=np.float64)
        return self.weight @ self.distribution

    @cached_property
    def class_loss(self) -> np.ndarray:
        """The sum of the weighted losses of each class, with the shape (K,)."""
        if self.labels is not None:
            loss = self.loss if self.weight is None else self.weight * self.loss
            return np.bincount(self.labels, loss, minlength=self.n_classes)
        return self._sum_of_blocks(lambda t, p: t * -np.log(np.clip(p, self.eps, 1 - self.eps)))

    @cached_property
    def class_true_proba(self) -> np.ndarray:
        """The sum of the weighted probabilities of each class where it is true, with the shape (K,)."""
        if self.labels is not None:
            p = self.true_proba if self.weight is None else self.weight * self.true_proba
            return np.bincount(self.labels, p, minlength=self.n_classes)
        return self._sum_of_blocks(lambda t, p: t * p)

    def class_loss_quantiles(self, k: int, quantiles: Sequence[float]) -> np.ndarray:
        """Weighted quantiles of the losses of class k, or NaN if it has no rows."""
        if self.labels is not None:
            rows = np.flatnonzero(self.labels == k)
            loss = self.loss[rows]
            mass = np.ones(len(rows)) if self.weight is None else self.weight[rows]
        else:
            assert self.distribution is not None
            rows = np.flatnonzero(self.distribution[:, k])
            loss = -np.log(np.clip(self.proba[rows, k], self.eps, 1 - self.eps).astype(np.float64))
            mass = self.distribution[rows, k] if self.weight is None else self.weight[rows] * self.distribution[rows, k]
        if not len(rows):
            return np.full(len(quantiles), np.nan)
        order = np.argsort(loss)
        below = np.cumsum(mass[order], dtype=np.float64)
        at = np.searchsorted(below, np.asarray(quantiles) * below[-1])
        return loss[order][np.minimum(at, len(order) - 1)]

    @cached_property
    def prior_entropy(self) -> float:
        """The entropy of the class frequencies, the least loss of any constant prediction."""
        return _entropy(self.support / self.support.sum())

    @cached_property
    def target_entropy(self) -> float:
        """The mean entropy of the targets, which is the least possible loss. It is 0 for labels."""
        if self.distribution is None:
            return 0.0
        return float(self._sum_of_blocks(lambda t, p: -t * np.log(np.where(t > 0, t, 1.0))).sum() / self._total)

    @cached_property
    def brier_score(self) -> float:
        """The mean of sum_k (p_ik - y_ik)^2 over the rows, and over the classes y of a soft target."""
        return self.mean(np.einsum("ik,ik->i", self.proba, self.proba, dtype=np.float64) - 2 * self.true_proba) + 1.0

    def bins(self, n_bins: int | None = None) -> Bins:
        """The reliability of the most probable class."""
        return equal_mass_bins(self.confidence, self.hit, self.weight, n_bins or auto_bins(self.n_effective))

    def class_bins(self, k: int, n_bins: int | None = None) -> Bins:
        """The reliability of class k against the rest."""
        n_bins = n_bins or auto_bins(self.n_effective)
        return equal_mass_bins(self.proba[:, k], self.came_true(k), self.weight, n_bins)

    def decomposition(self) -> Decomposition:
        """The decomposition of the log loss of the event "the most probable class is right"."""
        return decompose(self.confidence, self.hit, self.weight, self.eps)

    def class_decomposition(self, k: int) -> Decomposition:
        """The decomposition of the log loss of class k against the rest."""
        return decompose(self.proba[:, k], self.came_true(k), self.weight, self.eps)

    @cached_property
    def temperature(self) -> Temperature:
        """The best temperature for all rows, or for a random sample if there are many."""
        n = max(1000, _TEMPERATURE_SAMPLE // self.n_classes)
        rows: Any = slice(None) if n >= len(self) else np.random.default_rng(0).choice(len(self), n, replace=False)
        log_p = np.log(np.clip(self.proba[rows], self.eps, 1.0))
        target = self.distribution if self.labels is None else self.labels
        assert target is not None
        return best_temperature(log_p, target[rows], None if self.weight is None else self.weight[rows])

    def true_below(self, limits: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """For each of the `limits`, how many true classes have p <= limit, and how many are expected if p is right."""
        times, expected = np.zeros(len(limits)), np.zeros(len(limits))
        for block in self._blocks():
            p = self.proba[block]
            low = p <= max(limits)
            p = p[low].astype(np.float64)
            below = [p <= limit for limit in limits]
            expected += [p[b].sum() for b in below]
            if self.distribution is not None:
                t = self.distribution[block][low]
                times += [t[b].sum(dtype=np.float64) for b in below]
        if self.labels is not None:
            times += [np.count_nonzero(self.true_proba <= limit) for limit in limits]
        return times, expected

    def _blocks(self) -> Iterator[slice]:
        step = max(1, _BLOCK // self.n_classes)
        for first in range(0, len(self), step):
            yield slice(first, first + step)

    @property
    def _total(self) -> float:
        return float(len(self)) if self.weight is None else float(self.weight.sum())

    def _sum_of_blocks(self, values) -> np.ndarray:
        """The weighted sum of values(t, p) over the rows, block by block, with the shape (K,)."""
        assert self.distribution is not None
        total = np.zeros(self.n_classes)
        for block in self._blocks():
            v = values(self.distribution[block].astype(np.float64), self.proba[block].astype(np.float64))
            total += v.sum(axis=0) if self.weight is None else self.weight[block] @ v
        return total


def _entropy(distribution: np.ndarray) -> float:
    positive = distribution[distribution > 0]
    return float(-(positive @ np.log(positive))) + 0.0  # no -0.0


def score_rows(
    y_true: Any, y_proba: Any, *, labels: Any = None, target_names: Any = None, sample_weight: Any = None
) -> ScoredRows:
    """Check predictions and targets as :func:`~xentropy.log_loss` does, and drop the rows of weight 0."""
    result = evaluate(y_true, y_proba, labels=labels, eps="auto", sample_weight=sample_weight, per_row=True)
    classes, weight, loss = result.classes, result.weights, result.losses
    assert loss is not None
    names = [str(c) for c in classes.tolist()] if target_names is None else [str(name) for name in target_names]
    if len(names) != len(classes):
        raise ValueError(f"target_names has {len(names)} names, but there are {len(classes)} classes: {plain(classes)}")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} names two classes; give each a name of its own in target_names")
    proba, target = result.proba, result.target
    row = None
    if weight is not None and not weight.all():
        row = np.flatnonzero(weight)
        proba, loss, weight = proba[row], loss[row], weight[row]
    if proba.shape[1] == 1:
        proba = np.hstack([1 - proba, proba])
    single = proba.dtype.name in ("float16", "float32")
    if isinstance(target, CodedLabels):
        target_labels, distribution = target.indices(), None
        target_labels = target_labels if row is None else target_labels[row]
    else:
        target_labels, distribution = None, target if row is None else target[row]
        if distribution.dtype.kind in "biu":  # log_loss accepts label indicators of several classes too
            distribution = check_distribution(distribution, dtype=None, name="y_true")
    return ScoredRows(
        classes=classes,
        names=names,
        proba=np.ascontiguousarray(proba, dtype=np.float32 if single else np.float64),
        eps=result.eps,
        labels=target_labels,
        distribution=distribution,
        loss=loss,
        weight=weight,
        row=row,
    )


def score_estimator(estimator: Any, X: Any, y: Any, **kwargs: Any) -> ScoredRows:
    """Call :func:`score_rows` with the predictions of a fitted classifier for X."""
    classes, proba = predict_proba(estimator, X)
    order = np.argsort(classes)
    if proba.shape[1] == len(classes) and not np.array_equal(order, np.arange(len(classes))):
        classes, proba = classes[order], proba[:, order]
    return score_rows(y, proba, labels=classes, **kwargs)


def short_name(name: str, most: int = 30) -> str:
    """A name on one line, of at most `most` characters. The middle is cut, because names differ at their ends."""
    name = " ".join(name.split())
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head]}…{name[head + 1 - most :]}"
