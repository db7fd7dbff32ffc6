"""Scores predicted probabilities on rows that no fit has seen, and says what the scores mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import xentropy as xe

from .text import in_columns, printable, short


@dataclass(frozen=True)
class Scored:
    """Probabilities of the rows, and their true classes by number."""

    codes: np.ndarray
    proba: np.ndarray
    classes: np.ndarray
    weight: np.ndarray | None
    index: np.ndarray | None = None  # the rows of the table, for the report

    @property
    def losses(self) -> np.ndarray:
        return xe.log_loss_samples(self.codes, self.proba, labels=np.arange(len(self.classes)))

    @property
    def hits(self) -> np.ndarray:
        return self.proba.argmax(axis=1) == self.codes

    def mean(self, values: np.ndarray) -> float:
        return float(np.average(values, weights=self.weight))

    @property
    def log_loss(self) -> float:
        return self.mean(self.losses)

    @property
    def accuracy(self) -> float:
        return self.mean(self.hits)

    def constant(self, prior: np.ndarray) -> Scored:
        """The same rows with these probabilities in each."""
        return Scored(self.codes, np.tile(prior, (len(self.codes), 1)), self.classes, self.weight)


def prior_of(codes: np.ndarray, n_classes: int, weight: np.ndarray | None) -> np.ndarray:
    mass = np.bincount(codes, weights=weight, minlength=n_classes)
    return mass / mass.sum()


def verdict(model: Scored, guess: Scored) -> str:
    """Whether the model is better than the class frequencies, beyond the chance of which rows were held out."""
    gain = guess.losses - model.losses
    mean = model.mean(gain)
    share = np.full(len(gain), 1 / len(gain)) if model.weight is None else model.weight / model.weight.sum()
    error = float(np.sqrt(np.sum(share**2 * (gain - mean) ** 2)))
    majority = short(guess.classes[int(guess.proba[0].argmax())], 30)
    lines = []
    if mean <= 0:
        lines.append(
            "The model is no better than the class frequencies: its log loss on these rows is not below theirs. The "
            "features may hold no information about the classes."
        )
    elif mean <= 2 * error:
        lines.append(
            f"The model may be no better than the class frequencies: its log loss is lower by {mean:.4f}, which is "
            f"within two standard errors ({error:.4f} each). More held-out rows would decide it."
        )
    if mean > 0 and model.accuracy <= guess.accuracy:
        lines.append(f"The model is right no more often than the answer {majority!r} for every row.")
    return " ".join(lines)


def table(rows: list[tuple[str, float, float]]) -> str:
    """The names of models with their losses and accuracies."""
    body = [[name, f"{loss:.4f}", f"{accuracy:.4f}"] for name, loss, accuracy in rows]
    return in_columns([["", "log loss", "accuracy"], *body])


def report_names(classes: np.ndarray) -> list[str]:
    """Names of the classes that a terminal shows as they are, all different."""
    names = [printable(label) for label in classes]
    return names if len(set(names)) == len(names) else [f"{name} #{k}" for k, name in enumerate(names)]


def heading(scored: Scored) -> str:
    rows = "" if scored.index is None else " (index: the row of the table, from 0)"
    return f"Where the loss comes from{rows}"


def report(scored: Scored) -> str:
    return str(_report(scored))


def report_dict(scored: Scored) -> Any:
    return _report(scored, output_dict=True)


def _report(scored: Scored, **options: Any) -> Any:
    return xe.cross_entropy_report(
        _indexed(scored),
        scored.proba,
        labels=np.arange(len(scored.classes)),
        target_names=report_names(scored.classes),
        sample_weight=scored.weight,
        **options,
    )


def _indexed(scored: Scored) -> Any:
    if scored.index is None:
        return scored.codes
    import pandas as pd

    return pd.Series(scored.codes, index=scored.index)
