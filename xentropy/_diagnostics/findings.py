"""Rules that find probabilities that cannot be right, and classes that have most of the loss.

A rule has two parts. The observation has a probability below `_CHANCE` if the predicted probabilities are right, by a
bound that holds for any number of rows, and it is large enough to matter. The docstring of
:func:`~xentropy.cross_entropy_report` describes every rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from .calibration import Temperature
from .scored import ScoredRows

_CHANCE = 1e-3
_SURPRISE = -np.log(_CHANCE)
_IMPROBABLE = f"with a chance below {_CHANCE:g}"

_LIMITS = (1e-2, 1e-3, 1e-4, 1e-6)  # probabilities of a wrong row; p = 0 is reported without a test
_OUTLIERS = 0.05  # the largest share of the rows that can be outliers
_SATURATED = 1e-6
_LEAST_SHARE = 0.01  # of the rows that are saturated, and of the wrong ones among them
_LEAST_SAVING = 0.02  # share of the loss that a temperature or a recalibration saves
_LEAST_ERROR = 0.02  # calibration error
_MAX_CURVES = 20  # classes whose calibration is tested
_LEAST_SUPPORT = 10.0  # of a neglected class; fewer rows do not make a class
_MAX_NAMES = 5

_EXTREME_LOSSES = (
    "If the model has a loss that is not proper (loss='generalized', 'symmetric' or 'poly'), that loss makes "
    "probabilities extreme at any C: train with the cross-entropy, or calibrate."
)
_TIMID_LOSSES = (
    "If the model has loss='focal', which is not proper, that loss makes probabilities timid at any C: train with the "
    "cross-entropy, or calibrate."
)


@dataclass(frozen=True)
class Finding:
    """A finding: the observation, the rule that it breaks, and advice."""

    name: str
    message: str
    rule: str
    advice: str


def find(rows: ScoredRows) -> list[Finding]:
    found = [_unknown_class(rows)]
    if found[0] is not None and rows.labels is not None:
        rows = rows.take(~np.isin(rows.labels, _unknown_classes(rows)))
    if len(rows):
        found += [
            _confidently_wrong(rows),
            _saturated(rows),
            _worse_than_guessing(rows),
            *_wrong_size(rows),
            _neglected_class(rows),
        ]
    return [finding for finding in found if finding is not None]


def _surprise(times: float, expected: float) -> float:
    """-log of Chernoff's bound on the probability of this many independent events, if `expected` are expected.

    Each event counts 1, or a weight below 1.

    References
    ----------
    Boucheron, Lugosi & Massart (2013), Concentration Inequalities, section 2.2 (Poisson tails bound sums of Bernoulli
    variables, and of any variables in [0, 1]).
    """
    if times <= expected:
        return 0.0
    return times * np.log(times / expected) - times + expected if expected > 0 else np.inf


def _unknown_classes(rows: ScoredRows) -> np.ndarray:
    """The classes that have rows, and p = 0 in every row."""
    return np.flatnonzero((rows.support > 0) & (rows.proba.max(axis=0) == 0))


def _unknown_class(rows: ScoredRows) -> Finding | None:
    unknown = _unknown_classes(rows)
    if not len(unknown):
        return None
    names = ", ".join([repr(rows.names[k]) for k in unknown[:_MAX_NAMES]] + ["..."] * (len(unknown) > _MAX_NAMES))
    subject = f"The class {names} has" if len(unknown) == 1 else f"The {len(unknown)} classes {names} have"
    message = (
        f"{subject} {rows.support[unknown].sum() / rows.support.sum():.2%} of the rows, and p = 0 in every row: not in "
        f"the training data? {_infinite(rows)}"
    )
    if rows.labels is not None:
        message += " The other findings are about the other rows."
    return Finding(
        "unknown class",
        message,
        "a class that has rows, and p = 0 in every row",
        "Train with rows of each class, or score without the rows of these classes. If the model knows them, check "
        "that the columns are in the order of the sorted classes.",
    )


def _confidently_wrong(rows: ScoredRows) -> Finding | None:
    strongest, seen = _SURPRISE + np.log(len(_LIMITS)), None
    for q, times, expected in zip(_LIMITS, *rows.true_below(_LIMITS), strict=True):
        surprise = _surprise(times, expected)
        if times >= 2 * expected and surprise >= strongest:
            strongest, seen = surprise, (q, times, expected)
    messages, share, n = [], 0.0, rows.n_certain
    if seen is not None:
        q, times, expected = seen
        share = times / n
        who, right = _rows_have(times), _amount(expected)
        if rows.weight is not None:
            who, right = f"Rows with {_amount(100 * share)}% of the weight have", f"{_amount(100 * expected / n)}%"
        messages.append(f"{who} a true class with p <= {q:g}, where right probabilities would give about {right}.")
    if at_zero := int(np.count_nonzero(rows.true_at_most(0.0))):
        messages.append(f"{_rows_have(at_zero)} p = 0 for the true class. {_infinite(rows)}")
    if not messages:
        return None
    if share > _OUTLIERS:
        advice = (
            f"That is {share:.0%} of the rows, too many for outliers or slips of labelling: regularise more (a smaller "
            f"C), or calibrate. {_EXTREME_LOSSES}"
        )
    else:
        advice = (
            "Look at the costliest rows: wrong labels, or inputs unlike the training data? Correct the labels, or "
            "train with a loss that bounds what such a row costs (loss='generalized')."
        )
    rule = f"p = 0, or at least twice the expected number, {_IMPROBABLE}"
    return Finding("confidently wrong", " ".join(messages), rule, advice)


def _saturated(rows: ScoredRows) -> Finding | None:
    at_one = rows.confidence >= 1 - _SATURATED
    mass = rows.count(at_one)
    if mass < _LEAST_SHARE * rows.n_certain:
        return None
    wrong = rows.count(at_one * (1.0 - rows.hit))
    expected = rows.count(at_one * (1.0 - rows.confidence.astype(np.float64)))
    if wrong < _LEAST_SHARE * mass or _surprise(wrong, expected) <= _SURPRISE:
        return None
    return Finding(
        "saturated",
        f"{mass / rows.n_certain:.1%} of the rows have a probability within {_SATURATED:g} of 1, yet "
        f"{wrong / mass:.1%} of them are wrong.",
        f"at least {_LEAST_SHARE:.0%} of the rows, and at least {_LEAST_SHARE:.0%} of them wrong, {_IMPROBABLE}",
        f"The model is overfitted: regularise more (a smaller C), smooth the labels (label_smoothing=0.05) or stop "
        f"early; trees and neighbours need more rows in each vote. {_EXTREME_LOSSES}",
    )


def _worse_than_guessing(rows: ScoredRows) -> Finding | None:
    n, k = rows.n_certain, rows.n_classes
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


def _wrong_size(rows: ScoredRows) -> list[Finding | None]:
    """Whether a temperature is wrong, and whether there is a miscalibration that it does not correct."""
    t = rows.temperature
    miscalibrated = _miscalibrated(rows)
    if t is None or rows.sample.n_certain * t.saving <= _SURPRISE + np.log(2):  # 2 for the two sides of T = 1
        return [miscalibrated]
    remaining = _miscalibrated(rows.tempered(t.value), f"At the temperature of {t.value:.3g}, too, ")
    corrected = miscalibrated is not None and remaining is None
    if not corrected and t.saving < _LEAST_SAVING * rows.log_loss:
        return [miscalibrated]
    return [_wrong_confidence(rows, t), remaining]


def _wrong_confidence(rows: ScoredRows, t: Temperature) -> Finding:
    if t.value > 1:
        name, fault = "overconfident", "extreme"
        cure = f"Regularise more (a smaller C), or calibrate. {_EXTREME_LOSSES}"
    else:
        name, fault = "underconfident", "timid"
        cure = f"Regularise less (a larger C, less label_smoothing), or calibrate. {_TIMID_LOSSES}"
    return Finding(
        name,
        f"The probabilities are too {fault}: at a temperature of {t.value:.3g} the log loss falls from "
        f"{rows.log_loss:.4g} to {rows.log_loss - t.saving:.4g}. Mean confidence is {rows.mean(rows.confidence):.1%}, "
        f"accuracy {rows.mean(rows.hit):.1%}.",
        f"a temperature saves at least {_LEAST_SAVING:.0%} of the loss, or corrects a miscalibration, {_IMPROBABLE}",
        f"{cure} To calibrate on rows that training did not see: CalibratedClassifierCV(model, method='temperature') "
        f"(from scikit-learn 1.8; before it method='sigmoid').",
    )


def _miscalibrated(rows: ScoredRows, when: str = "") -> Finding | None:
    """Whether the top label or a class is miscalibrated."""
    sample = rows.sample
    # two classes have the same errors
    classes = [1] if rows.n_classes == 2 else np.argsort(-rows.class_loss, kind="stable")[:_MAX_CURVES].tolist()
    surprise = _SURPRISE + np.log(rows.n_classes + 1)  # the top label, and a class chosen among all
    most, found = 1.0, None
    for k, scored, bins in [(None, rows, rows.top_bins), *((k, sample, sample.class_bins(k)) for k in classes)]:
        error, limit = bins.calibration_error, bins.calibration_limit(scored.n_certain, surprise)
        if error <= most * limit:
            continue
        d = scored.decomposition() if k is None else scored.class_decomposition(k)
        if error >= _LEAST_ERROR or d.miscalibration >= _LEAST_SAVING * d.log_loss:
            most, found = error / limit, (k, bins, limit)
    if found is None:
        return None
    k, bins, limit = found
    of, rate = ("top label", "it is right in") if k is None else (f"class {rows.names[k]!r}", "it is the class of")
    message = (
        f"{when}the calibration error of the {of} is {bins.calibration_error:.2g}, where right probabilities would "
        f"give about {bins.calibration_noise:.2g}, and hardly ever more than {limit:.2g}. Its mean probability is "
        f"{bins.mass @ bins.mean_p:.1%}, and {rate} {bins.mass @ bins.mean_hit:.1%} of the rows."
    )
    return Finding(
        "miscalibrated",
        message[0].upper() + message[1:],
        f"an error of at least {_LEAST_ERROR:g}, or one whose recalibration saves at least {_LEAST_SAVING:.0%} of the "
        f"loss, {_IMPROBABLE}",
        "A temperature does not correct this. Calibrate on rows that training did not see, with "
        "CalibratedClassifierCV(model, method='isotonic'), or method='sigmoid' for few rows; ReliabilityDisplay shows "
        "where. Class weights, resampling and logit_adjustment move probabilities from the frequencies on purpose.",
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
    return f"{_amount(n)} {'row has' if n == 1 else 'rows have'}"


def _amount(n: float) -> str:
    """A number with two digits, or a whole one."""
    return f"{n:,.0f}" if n >= 100 or n == round(n) else f"{n:.2g}"


def _infinite(rows: ScoredRows) -> str:
    return f"An infinite loss is counted as -log({rows.eps:.1e}) = {-np.log(rows.eps):.2f}."
