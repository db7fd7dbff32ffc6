"""Chooses the penalty and the smoothing by cross-validation, and fits scikit-learn's classifier for comparison."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit

import xentropy as xe

from .text import Progress

MAX_ITER = 1000


@dataclass(frozen=True)
class Setting:
    C: float
    l1_ratio: float
    smoothing: float


@dataclass(frozen=True)
class Found:
    """What a search has found: the log loss of each setting in each fold, and the classifier of the best setting."""

    classifier: Any
    settings: list[Setting]
    losses: np.ndarray  # (settings, folds)
    seconds: float
    n_unconverged: int

    @property
    def best(self) -> int:
        return int(self.losses.mean(axis=1).argmin())


def search(
    X: Any,
    codes: np.ndarray,
    classes: np.ndarray,
    weight: np.ndarray | None,
    fold: np.ndarray,
    *,
    Cs: Sequence[float],
    l1_ratios: Sequence[float],
    smoothings: Sequence[float],
    loss: str,
    class_weight: str | None,
    jobs: int | None,
) -> Found:
    """Follow a path along `Cs` for each l1_ratio and smoothing, and fit the setting with the least mean log loss."""
    shared = {"loss": loss, "class_weight": class_weight, "max_iter": MAX_ITER}
    start = perf_counter()
    settings: list[Setting] = []
    losses = []
    n_folds = int(fold.max()) + 1
    progress = Progress("Cross-validation", n_folds * len(Cs) * len(l1_ratios) * len(smoothings))

    def counted(model: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        score = xe.neg_log_loss_scorer(model, X, y, sample_weight=sample_weight)
        progress.step()
        return score

    with progress, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        for smoothing in smoothings:
            cv = xe.SoftmaxClassifierCV(
                Cs=list(Cs), l1_ratios=list(l1_ratios), cv=PredefinedSplit(fold), refit=False, n_jobs=jobs,
                scoring=counted if progress.shown and jobs in (None, 1) else None, label_smoothing=smoothing, **shared,
            ).fit(X, codes, sample_weight=weight)  # fmt: skip
            n_unconverged = int((cv.n_iter_ >= MAX_ITER).sum())
            for i, l1_ratio in enumerate(l1_ratios):
                for j, C in enumerate(Cs):
                    settings.append(Setting(float(C), float(l1_ratio), smoothing))
                    losses.append(-cv.scores_[:, i, j])
        best = settings[int(np.mean(losses, axis=1).argmin())]
        classifier = xe.SoftmaxClassifier(
            C=best.C, l1_ratio=best.l1_ratio, label_smoothing=best.smoothing, **shared
        ).fit(X, named(classes, codes), sample_weight=weight)
    _pass_on(caught)
    return Found(classifier, settings, np.array(losses), perf_counter() - start, n_unconverged)


def named(classes: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The labels of the rows. Long ones are objects, as an array of text needs the memory of its longest for each."""
    return (classes.astype(object) if classes.dtype.itemsize > 256 else classes)[codes]


def _pass_on(caught: Sequence[warnings.WarningMessage]) -> None:
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


class TimeIsUp(Exception):
    """The seconds of a `time_limit` have passed."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeIsUp` in the block after so many seconds."""

    def stop(*_: object) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, stop)
    # it strikes again, in case that the first exception was raised where all are ignored
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def can_limit_time() -> bool:
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


@dataclass(frozen=True)
class Peer:
    classifier: Any
    seconds: float


def logistic_regression(
    X: Any, labels: np.ndarray, weight: np.ndarray | None, fold: np.ndarray, Cs: Sequence[float],
    class_weight: str | None, seconds: float,
) -> Peer | None:  # fmt: skip
    """The same search with scikit-learn's LogisticRegression, or None if it takes longer than `seconds`."""
    peer = GridSearchCV(
        LogisticRegression(max_iter=MAX_ITER, class_weight=class_weight),
        {"C": list(Cs)},
        scoring=xe.neg_log_loss_scorer,
        cv=PredefinedSplit(fold),
        error_score="raise",
    )
    start = perf_counter()
    fit_params = {} if weight is None else {"sample_weight": weight}
    try:
        with time_limit(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of convergence, and of overflow in its line searches
            peer.fit(X, labels, **fit_params)
    except TimeIsUp:
        return None
    return Peer(peer.best_estimator_, perf_counter() - start)
