"""Rules that find probabilities that cannot be right, and classes that have most of the loss.

A rule has two parts. The observation has a probability below `_CHANCE` if the predicted probabilities are right, by a
bound that holds for any number of rows, and it is large enough to matter. The docstring of
:func:`~xentropy.cross_entropy_report` describes every rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from .scored import ScoredRows

_CHANCE = 1e-3
_SURPRISE = -np.log(_CHANCE)
_IMPROBABLE = f"with a chance below {_CHANCE:g}"

_LIMITS = (0.0, 1e-2, 1e-3, 1e-4, 1e-6)  # probabilities of a wrong row; p = 0 is reported without a test
_OUTLIERS = 0.05  # the largest share of the rows that can be outliers
_SATURATED = 1e-6
_LEAST_SHARE = 0.01  # of the rows that are saturated, and of the wrong ones among them
_LEAST_SAVING = 0.02  # share of the loss that a temperature saves
_LEAST_SUPPORT = 10.0  # of a neglected class; fewer rows do not make a class


@dataclass(frozen=True)
class Finding:
    """A finding: the observation, the rule that it breaks, and advice."""

    name: str
    message: str
    rule: str
    advice: str


def find(rows: ScoredRows) -> list[Finding]:
    rules = (_confidently_wrong, _saturated, _worse_than_guessing, _wrong_confidence, _neglected_class)
    return [finding for rule in rules if (finding := rule(rows)) is not None]


def _surprise(times: float, expected: float) -> float:
    """-log of Chernoff's bound on the probability of this many independent events, if `expected` are expected.

    References
    ----------
    Boucheron, Lugosi & Massart (2013), Concentration Inequalities, section 2.2 (Poisson tails bound sums of Bernoulli
    variables, and of any variables in [0, 1]).
    """
    if times <= expected:
        return 0.0
    return times * np.log(times / expected) - times + expected if expected > 0 else np.inf


def _confidently_wrong(rows: ScoredRows) -> Finding | None:
    (_, at_zero, _), *seen_below = zip(_LIMITS, *rows.true_below(_LIMITS), strict=True)
    strongest, seen = -1.0, (0.0, 0.0, 0.0)
    for q, times, expected in seen_below:
        surprise = _surprise(times, expected)
        if times >= 2 * expected and surprise >= strongest:
            strongest, seen = surprise, (q, times, expected)
    if strongest <= _SURPRISE + np.log(len(seen_below)) and not at_zero:
        return None
    q, times, expected = seen
    message = (
        f"{_rows_have(times)} a true class with p <= {q:g}, where right probabilities would give about {expected:.2g}."
    )
    if at_zero:
        message += (
            f" {_rows_have(at_zero)} p = 0 there: an infinite loss, counted as -log({rows.eps:.1e}) = "
            f"{-np.log(rows.eps):.2f}."
        )
    if times > _OUTLIERS * len(rows):
        advice = (
            f"That is {times / len(rows):.0%} of the rows, too many for outliers or slips of labelling: regularise "
            f"more, or calibrate."
        )
    else:
        advice = (
            "Look at the costliest rows: wrong labels, or inputs unlike the training data? Mend the labels, or train "
            "with a loss that bounds what such a row costs (loss='generalized')."
        )
    return Finding("confidently wrong", message, f"at least twice the expected number, {_IMPROBABLE}", advice)


def _saturated(rows: ScoredRows) -> Finding | None:
    at_one = rows.confidence >= 1 - _SATURATED
    n = np.count_nonzero(at_one)
    if n < _LEAST_SHARE * len(rows):
        return None
    wrong = float(n - rows.hit[at_one].sum(dtype=np.float64))
    expected = float((1 - rows.confidence[at_one].astype(np.float64)).sum())
    if wrong < _LEAST_SHARE * n or _surprise(wrong, expected) <= _SURPRISE:
        return None
    return Finding(
        "saturated",
        f"{n / len(rows):.1%} of the rows have a probability within {_SATURATED:g} of 1, yet {wrong / n:.1%} of them "
        f"are wrong.",
        f"at least {_LEAST_SHARE:.0%} of the rows, and at least {_LEAST_SHARE:.0%} of them wrong, {_IMPROBABLE}",
        "The model is overfitted: regularise more (a smaller C), smooth the labels (label_smoothing=0.05) or stop "
        "early; trees and neighbours need more rows in each vote.",
    )


def _worse_than_guessing(rows: ScoredRows) -> Finding | None:
    n, k = rows.n_effective, rows.n_classes
    log_counts = gammaln(n + k) - gammaln(k) - gammaln(n + 1)  # log of how many class counts n rows can have
    if n * (rows.log_loss - rows.prior_entropy) <= _SURPRISE + log_counts:
        return None
    return Finding(
        "worse than guessing",
        f"The log loss, {rows.log_loss:.4g}, is above the entropy of the class frequencies, {rows.prior_entropy:.4g}: "
        f"giving those frequencies to each row would be better.",
        f"above by more than the frequencies owe to being those of these very rows, {_IMPROBABLE}",
        "Check that the columns are in the order of the sorted classes, and that the rows are in the order of y_true; "
        "if they are, regularise more or calibrate.",
    )


def _wrong_confidence(rows: ScoredRows) -> Finding | None:
    t = rows.temperature
    saving = t.log_loss_before - t.log_loss_after
    if t.n_effective * saving <= _SURPRISE + np.log(2) or saving < _LEAST_SAVING * t.log_loss_before:
        return None
    name, fault = ("overconfident", "extreme") if t.value > 1 else ("underconfident", "timid")
    return Finding(
        name,
        f"The probabilities are too {fault}: at a temperature of {t.value:.3g} the log loss falls from "
        f"{t.log_loss_before:.4g} to {t.log_loss_after:.4g}. Mean confidence is {rows.mean(rows.confidence):.1%}, "
        f"accuracy {rows.mean(rows.hit):.1%}.",
        f"a temperature saves at least {_LEAST_SAVING:.0%} of the loss, {_IMPROBABLE}",
        "Calibrate on rows that training did not see: CalibratedClassifierCV(model, method='temperature') (from "
        "scikit-learn 1.8; before it method='sigmoid').",
    )


def _neglected_class(rows: ScoredRows) -> Finding | None:
    k = int(rows.class_loss.argmax())
    if rows.class_loss[k] == 0:
        return None
    share = rows.class_loss[k] / rows.class_loss.sum()
    support = rows.support[k] / rows.support.sum()
    mean_loss = rows.class_loss[k] / rows.support[k]
    knowing_nothing = np.log(rows.n_classes)
    dominant = share > 0.5 and share >= 2 * support
    if not dominant or mean_loss <= knowing_nothing or support * rows.n_effective < _LEAST_SUPPORT:
        return None
    return Finding(
        "neglected class",
        f"The class {rows.names[k]!r} is {support:.1%} of the rows and carries {share:.1%} of the loss; its mean loss, "
        f"{mean_loss:.4g}, is above that of knowing nothing, log {rows.n_classes} = {knowing_nothing:.4g}.",
        "more than half of the loss, at least twice its share of the rows, and a mean loss above log K",
        "If its errors matter more than its frequency says: class_weight='balanced' or logit_adjustment=1. If the "
        "frequencies are those of use, the probabilities may be right as they are: move the decision threshold.",
    )


def _rows_have(n: float) -> str:
    return f"{n:,.4g} {'row has' if n == 1 else 'rows have'}"
