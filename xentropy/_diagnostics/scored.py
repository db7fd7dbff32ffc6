"""Checked predictions and targets, and the sums over their rows that the report and the displays use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._messages import plain
from .._metrics import evaluate, predict_proba
from .._targets import CodedLabels, check_distribution
from .calibration import (
    Bins,
    Decomposition,
    Temperature,
    at_temperature,
    auto_bins,
    best_temperature,
    certain_size,
    decompose,
    effective_size,
    equal_mass_bins,
)

_BLOCK = 1 << 16  # probabilities in a block of rows of a pass over all columns
_SAMPLE = 1 << 18  # probabilities in a sample of the rows, and at least 1000 rows


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
    index : pandas.Index or None
        The labels of all rows of the data, if they have labels other than their positions.
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
    index: Any = None

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
    def n_certain(self) -> float:
        """The sum of `certain_weight`."""
        return certain_size(self.weight, len(self))

    @cached_property
    def certain_weight(self) -> np.ndarray | None:
        """The weights with which rows count in bounds: at most 1, and 1 for the largest."""
        return None if self.weight is None else self.weight / self.weight.max()

    def count(self, values: np.ndarray) -> float:
        """The sum of the values of the rows, each times its `certain_weight`."""
        weight = self.certain_weight
        return float(values.sum(dtype=np.float64) if weight is None else weight @ values)

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

    def true_at_most(self, limit: float) -> np.ndarray:
        """Whether the true class of each row, or a class with mass in it, has p <= limit."""
        if self.labels is not None:
            return np.asarray(self.true_proba <= limit)
        assert self.distribution is not None
        return np.asarray(((self.distribution > 0) & (self.proba <= limit)).any(axis=1))

    def came_true(self, of: int | np.ndarray) -> np.ndarray:
        """Whether `of`, a class or the class of each row, is right: 0 or 1, or its probability under a soft target."""
        if self.labels is not None:
            return np.asarray(self.labels == of)
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
        return _quantiles(loss, mass, quantiles)

    def loss_quantiles(self, quantiles: Sequence[float]) -> np.ndarray:
        """Weighted quantiles of the losses of all rows."""
        return _quantiles(self.loss, np.ones(len(self)) if self.weight is None else self.weight, quantiles)

    @cached_property
    def prior_entropy(self) -> float:
        """The entropy of the class frequencies, the least loss of any constant prediction."""
        return _entropy(self.support / self.support.sum())

    @cached_property
    def target_entropy(self) -> float:
        """The mean entropy of the targets, which is the least possible loss. It is 0 for labels."""
        if self.distribution is None:
            return 0.0
        return float(self._sum_of_blocks(lambda t, p: -t * np.log(np.where(t > 0, t, 1.0))).sum() / self.total)

    @cached_property
    def brier_score(self) -> float:
        """The mean of sum_k (p_ik - y_ik)^2 over the rows, and over the classes y of a soft target."""
        return self.mean(np.einsum("ik,ik->i", self.proba, self.proba, dtype=np.float64) - 2 * self.true_proba) + 1.0

    @cached_property
    def top_bins(self) -> Bins:
        """The reliability of the most probable class."""
        return self.bins(auto_bins(self.n_effective))

    def bins(self, n_bins: int) -> Bins:
        return equal_mass_bins(self.confidence, self.hit, self.weight, n_bins)

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
    def confusion(self) -> sp.csr_array:
        """The weight of the rows of each true class (row) with each most probable class (column)."""
        w = np.ones(len(self)) if self.weight is None else self.weight
        if self.labels is not None:
            cells = (w, (self.labels, self.predicted))
        else:
            predicted, column = np.unique(self.predicted, return_inverse=True)
            of_predicted = sp.csr_array((w, (column, np.arange(len(self)))), shape=(len(predicted), len(self)))
            mass = sp.coo_array(of_predicted @ self.distribution)
            cells = (mass.data, (mass.col, predicted[mass.row]))
        return sp.coo_array(cells, shape=(self.n_classes, self.n_classes)).tocsr()

    @cached_property
    def sample(self) -> ScoredRows:
        """All rows, or a random sample if there are many."""
        n = max(1000, _SAMPLE // self.n_classes)
        return self if n >= len(self) else self.take(np.random.default_rng(0).choice(len(self), n, replace=False))

    def take(self, rows: np.ndarray) -> ScoredRows:
        """These rows, given by position or by a mask."""

        def taken(values: Any) -> Any:
            return None if values is None else values[rows]

        return replace(
            self,
            proba=self.proba[rows],
            labels=taken(self.labels),
            distribution=taken(self.distribution),
            loss=self.loss[rows],
            weight=taken(self.weight),
            row=np.arange(len(self))[rows] if self.row is None else self.row[rows],
        )

    @cached_property
    def temperature(self) -> Temperature | None:
        """The best temperature of the sample, or None if any fits as well.

        It is the best for the rows that are not clipped, because it cannot change the loss of the others. The saving is
        that of all rows.
        """
        rows = self.sample
        clipped = rows.true_at_most(rows.eps)
        kept = rows.take(~clipped) if clipped.any() else rows
        target = kept.distribution if kept.labels is None else kept.labels
        assert target is not None
        best = best_temperature(kept.proba, target, kept.weight)
        return best and replace(best, saving=best.saving * kept.total / rows.total)

    def tempered(self, temperature: float) -> ScoredRows:
        """The sample, with its probabilities at a temperature. Its losses are those before."""
        return replace(self.sample, proba=at_temperature(self.sample.proba, temperature))

    def true_below(self, limits: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """For each of the `limits`, how many true classes have p <= limit, and how many are expected if p is right.

        The rows count with their `certain_weight`.
        """
        times, expected = np.zeros(len(limits)), np.zeros(len(limits))
        weight = self.certain_weight
        for block in self._blocks():
            low = self.proba[block] <= max(limits)
            p = self.proba[block][low].astype(np.float64)
            w = 1.0 if weight is None else weight[block].repeat(np.count_nonzero(low, axis=1))
            below = [p <= limit for limit in limits]
            mass = w * p
            expected += [mass[b].sum() for b in below]
            if self.distribution is not None:
                mass = w * self.distribution[block][low].astype(np.float64)
                times += [mass[b].sum() for b in below]
        if self.labels is not None:
            times += [self.count(self.true_proba <= limit) for limit in limits]
        return times, expected

    def _blocks(self) -> Iterator[slice]:
        step = max(1, _BLOCK // self.n_classes)
        for first in range(0, len(self), step):
            yield slice(first, first + step)

    @property
    def total(self) -> float:
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
    """Check predictions and targets as :func:`~xentropy.log_loss` does, except that rounding may have put probabilities
    outside of [0, 1], and drop the rows of weight 0."""
    result = evaluate(
        y_true, y_proba, labels=labels, eps="auto", sample_weight=sample_weight, per_row=True, rounded=True
    )
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
        index=_row_labels(y_true),
    )


def _quantiles(loss: np.ndarray, mass: np.ndarray, quantiles: Sequence[float]) -> np.ndarray:
    """Weighted quantiles, or NaN of no rows."""
    if not len(loss):
        return np.full(len(quantiles), np.nan)
    order = np.argsort(loss)
    below = np.cumsum(mass[order], dtype=np.float64)
    at = np.searchsorted(below, np.asarray(quantiles) * below[-1])
    return loss[order][np.minimum(at, len(order) - 1)]


def _row_labels(y_true: Any) -> Any:
    """The index of a pandas object, or None if it has none, or the default one."""
    index = getattr(y_true, "index", None)
    if index is None or callable(index) or np.ndim(index) != 1 or np.array_equal(index, np.arange(len(index))):
        return None
    return index


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
