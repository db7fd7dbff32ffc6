"""Checked predictions and targets of several yes/no labels, each as the rows of two classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._binary_log_loss import match_predictions, predicts_labels
from .._indicator import Indicator, is_indicator
from .._messages import plain
from .._metric_arguments import check_weights
from .scored import ScoredRows, score_rows


@dataclass(frozen=True)
class ScoredLabels:
    """L labels of n rows.

    Attributes
    ----------
    names : list of str
    indicator : Indicator
    proba : ndarray of shape (n, L)
    weight : float64 ndarray of shape (n,) or None
    """

    names: list[str]
    indicator: Indicator
    proba: np.ndarray
    weight: np.ndarray | None

    @property
    def n_labels(self) -> int:
        return len(self.names)

    def rows(self, k: int) -> ScoredRows | None:
        """The rows that have label k, with the classes 0 and 1: None if there are none of positive weight."""
        known = self.indicator.known(k)
        at = np.arange(len(self.indicator)) if known is None else np.flatnonzero(known)
        weight = None if self.weight is None else self.weight[at]
        if not len(at) or (weight is not None and not weight.any()):
            return None
        target = self.indicator.target(k)
        y = target.labels[at] if target.labels is not None else target.distribution[at]  # type: ignore[index]
        return score_rows(y, self.proba[at, k], labels=[0, 1], sample_weight=weight)

    def each(self) -> Iterator[tuple[str, ScoredRows | None]]:
        """The name and the rows of each label."""
        for k, name in enumerate(self.names):
            yield name, self.rows(k)

    def index_of(self, label: Any) -> int:
        """Which of the labels `label` is."""
        found = np.flatnonzero(self.indicator.labels == label)
        if len(found) != 1:
            raise ValueError(f"pos_label={plain(label)!r} is none of the labels {plain(self.indicator.labels)}")
        return int(found[0])


def score_labels(
    y_true: Any, y_proba: Any, *, labels: Any = None, target_names: Any = None, sample_weight: Any = None
) -> ScoredLabels:
    """Check predictions and targets as :func:`~xentropy.binary_log_loss` does."""
    indicator, proba = match_predictions(y_true, y_proba, labels=labels)
    weight, _ = check_weights(sample_weight, len(proba))
    if weight is not None and len(weight) != len(proba):
        raise ValueError(f"sample_weight has {len(weight)} entries for {len(proba)} rows")
    names = indicator.labels.tolist() if target_names is None else list(target_names)
    if len(names) != indicator.n_labels:
        raise ValueError(f"target_names has {len(names)} names, but there are {indicator.n_labels} labels")
    names = [str(name) for name in names]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} names two labels; give each a name of its own in target_names")
    return ScoredLabels(names, indicator, proba, weight)


def score_labels_of(estimator: Any, X: Any, y: Any, **kwargs: Any) -> ScoredLabels | None:
    """Call :func:`score_labels` with the predictions of a classifier of several labels. None if it is another one."""
    if not (is_indicator(y) and hasattr(estimator, "predict_proba")):
        return None
    predicted = estimator.predict_proba(X)
    if not predicts_labels(estimator, predicted):
        return None
    names = getattr(estimator, "classes_", None)
    labels = None if names is None or isinstance(names, list) else np.asarray(names)
    return score_labels(y, predicted, labels=labels, **kwargs)
