"""The report of a log loss, as text and as a dict."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import Any

import numpy as np

from .._messages import plain
from .findings import find
from .label_report import labels_as_dict, labels_as_text
from .labels import score_labels
from .scored import ScoredRows, score_rows, short_name
from .tables import aligned, findings_as_text, number, ratio

_N_COSTLIEST = 5
_N_CONFUSIONS = 3
_MAX_CLASSES = 20  # in the table of the text, which shows the classes with the largest share of the loss
_MOST_CHARACTERS = 18  # of a name in a table


def cross_entropy_report(
    y_true: Any,
    y_proba: Any,
    *,
    labels: Any = None,
    target_names: Any = None,
    sample_weight: Any = None,
    multilabel: bool = False,
    digits: int = 4,
    output_dict: bool = False,
) -> str | dict[str, Any]:
    r"""Report which classes and rows the log loss comes from, how well probabilities are calibrated, and what to do.

    For probabilities p, targets t (one-hot for labels) and weights s, the report gives the losses in nats,

    .. math::
        L = \frac{\sum_i s_i \ell_i}{\sum_i s_i}, \quad \ell_i = -\sum_k t_{ik} \log p_{ik}, \qquad
        L_k = \frac{-\sum_i s_i t_{ik} \log p_{ik}}{\sum_i s_i t_{ik}}

    It also gives the entropy of the prior :math:`H = -\sum_k \pi_k \log \pi_k`, which is the loss of predicting the
    class frequencies :math:`\pi_k` for each row.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, K)
        Class labels of any kind, or a distribution over the classes in each row, one-hot or soft.

    y_proba : array-like of shape (n, K), (n, 1) or (n,)
        Predicted probabilities, with columns in the order of the sorted classes, or a DataFrame whose columns name the
        classes, as in :func:`log_loss`. One column holds the probabilities of the second of two classes.

    labels : array-like of shape (K,), default=None
        All the classes, if `y_true` may lack some of them.

    target_names : sequence of K strings, default=None
        Names of the classes, in their sorted order.

    sample_weight : array-like of shape (n,), default=None
        Weights of the rows, 0 or more. A row of weight 0 is ignored.

    multilabel : bool, default=False
        Whether the columns are yes/no labels, of which a row may have several or none, rather than classes. `y_true` is
        then an indicator, in which labels may be probabilities or missing, as in :func:`binary_log_loss`. Each label is
        reported by itself.

    digits : int, default=4
        Digits after the decimal point in the text.

    output_dict : bool, default=False
        Whether to return a dict.

    Returns
    -------
    str or dict
        The text, or a dict that `json.dumps` accepts. Undefined values are None: the mean loss of a class without
        support, and the skill if only one class occurs. The keys are:

        ``log_loss``, ``prior_entropy``, ``target_entropy`` (the least possible loss: 0 for labels), ``skill``
        (1 - log_loss / prior_entropy), ``perplexity`` (exp of the loss), ``brier_score`` (the squared errors summed
        over the classes: 0 to 2), ``calibration_error`` (of the top label, in ``n_bins`` bins of equal mass),
        ``calibration_noise`` (about the error that right probabilities would have), ``accuracy``, ``mean_confidence``,
        ``temperature`` (best value, and the log loss with it; None if any fits about as well), ``support``;

        ``classes``: for each name ``support`` (the sum of the weights, or of the mass of soft targets), ``mean_loss``,
        ``loss_share``, ``mean_proba`` (of the class, where it is true), ``recall``, ``precision`` (None for a class
        that is never the most probable one) and ``decomposition``;

        ``decomposition``: the log loss of the event "the top label is right", or for a class of "it is this class", as
        ``miscalibration - discrimination + uncertainty``, recalibrated by isotonic regression;

        ``confusions``: the three pairs of a ``true_class`` and another ``predicted_class`` with the most weight, their
        ``support``, and its ``share`` in that of the true class;

        ``costliest_rows``: the rows with the largest ``cost``, which is ``weight`` times ``loss``, with their position
        ``row``, and their ``index`` if `y_true` is a Series or DataFrame with an index of its own;

        ``findings``: the ``name``, ``message``, ``rule`` and ``advice`` of each finding.

        With `multilabel` the keys are ``log_loss`` (the mean over the labels), ``micro_log_loss`` (over all known
        labels of all rows), ``prior_entropy``, ``skill``, ``brier_score`` (mean squared error: 0 to 1),
        ``calibration_error``, ``accuracy`` (of single labels), ``support``, ``findings``, each of them with its
        ``label``, and ``labels``: for each name ``support``, ``base_rate``, ``log_loss``, ``prior_entropy`` (the loss
        of predicting the base rate), ``skill``, ``mean_proba``, ``brier_score``, ``calibration_error``,
        ``calibration_noise``, ``accuracy``, ``recall``, ``precision`` and ``decomposition``. All but the support are
        None if the label is always missing.

    Raises
    ------
    ValueError
        For the reasons that :func:`log_loss` gives, if `target_names` are not K different names, or if `digits` is
        negative.

    See Also
    --------
    log_loss : The loss alone.
    ReliabilityDisplay : Plot of the calibration.
    LossByClassDisplay : Plot of the losses of the classes.

    Notes
    -----
    The rule of each finding has two parts. The observation must have a probability below 0.001 if the predicted
    probabilities are right, and it must be large enough to matter. The first part is a bound, not an approximation, so
    it holds for few rows too. In the rules n is :math:`\sum s / \max s`, and rows count with :math:`s / \max s \leq 1`.
    With these exponents the likelihood ratios behind the bounds keep means of at most 1. So the weights may undo how a
    sample was drawn, by features, by classes or by both; the price is that uneven weights leave a small n. Where they
    depend on classes, so do their maximum and the bins, and the bounds are exact for many rows only.

    *unknown class*
        A class has rows, and p = 0 in every row. The other findings are about the other rows.
    *confidently wrong*
        The number N of rows whose true class has p <= q is at least twice its expectation :math:`\lambda = \sum_{ik}
        p_{ik} [p_{ik} \le q]`, for a q of 0.01, 0.001, 1e-4 or 1e-6. Chernoff's bound :math:`N \log(N / \lambda) - N +
        \lambda` shows that it is improbable. A true class with p = 0 is always reported.
    *saturated*
        The same bound applies to the errors among the rows whose top probability is within 1e-6 of 1, where almost
        none are expected. These rows are at least 1 % of all rows, and at least 1 % of them are wrong.
    *worse than guessing*
        The total loss is above n H by more than :math:`\log 1000 + \log \binom{n + K - 1}{K - 1}` nats. This is a
        likelihood ratio, corrected for the number of frequencies that n rows can have (Cover & Thomas 2006, section
        11.1).
    *overconfident*, *underconfident*
        A temperature T (above or below 1) saves :math:`n \Delta` nats in total. If the probabilities are right, this
        has a probability of at most :math:`2 e^{-n \Delta}` by Chernoff's bound, whose exponent is the saving. The
        saving must be at least 2 % of the loss, or correct a miscalibration. T is fitted to the rows whose true class
        has more than the machine epsilon, because a temperature does not change a probability of 0. If there are many
        rows, T and n are those of a random sample.
    *miscalibrated*
        The calibration error of the top label or of a class is above a bound that Chernoff's method gives for all signs
        of the errors of the bins together. It is at least 0.02, or isotonic regression saves at least 2 % of the loss
        of that label. If a temperature is wrong, too, the probabilities are those at the best temperature, so that this
        finding is about what no temperature corrects. At most 20 classes are tested, those with most of the loss, in a
        random sample if there are many rows.
    *neglected class*
        A class has most of the loss, and at least twice its share of the rows. Its mean loss is above log K, the loss
        of uniform probabilities, and its support is at least 10. This is not an error of the probabilities, but an
        effect of imbalanced classes.

    References
    ----------
    - Cover & Thomas (2006), Elements of Information Theory, chapter 11 (Chernoff's bound, the method of types).
    - Good (1952), Rational decisions, J. R. Stat. Soc. B 14(1), 107-114 (the logarithmic score).
    - Brier (1950), Verification of forecasts expressed in terms of probability, Monthly Weather Review 78(1).
    - Nixon et al. (2019), Measuring calibration in deep learning, CVPR workshops (equal-mass bins).
    - Kumar, Liang & Ma (2019), Verified uncertainty calibration, NeurIPS (top-label calibration error).
    - Dimitriadis, Gneiting & Jordan (2021), Stable reliability diagrams for probabilistic classifiers, PNAS 118(8).

    Examples
    --------
    >>> from xentropy import cross_entropy_report
    >>> y_true = ["rain", "dry", "snow", "dry", "rain", "dry"]
    >>> y_proba = [[0.2, 0.7, 0.1], [0.8, 0.2, 0.0], [0.1, 0.3, 0.6],
    ...            [0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.7, 0.2, 0.1]]
    >>> print(cross_entropy_report(y_true, y_proba, digits=3))
            support  mean loss  loss share  p(true)  recall  precision
    <BLANKLINE>
       dry        3      0.364       0.379    0.700   1.000      0.750
      rain        2      0.636       0.443    0.550   0.500      1.000
      snow        1      0.511       0.178    0.600   1.000      1.000
    <BLANKLINE>
       all        6      0.479       1.000    0.633   0.833      0.833
    <BLANKLINE>
                  log loss  0.479  nats
      entropy of the prior  1.011  the loss of guessing the class frequencies
                     skill  0.526  1 - log loss / entropy of the prior
                perplexity  1.615  exp(log loss), as a number of equal classes
               Brier score  0.250  summed over classes: 0 to 2
                  accuracy  0.833
           mean confidence  0.650  probability of the top label
         calibration error  0.183  of the top label; about 0.216 if p is right
               temperature  0.278  the best; log loss with it 0.228
    <BLANKLINE>
      log loss of the top label = miscalibration - discrimination + uncertainty
      0.442 = 0.442 - 0.451 + 0.451
    <BLANKLINE>
    Largest confusions
    <BLANKLINE>
      true class  top label  support  share of the true class
            rain        dry        1                    0.500
    <BLANKLINE>
    Rows that cost most
    <BLANKLINE>
      row   loss  true class  p(true)  top label  p(top)
        4  0.916        rain    0.400        dry   0.500
        2  0.511        snow    0.600       snow   0.600
        3  0.511         dry    0.600        dry   0.600
        0  0.357        rain    0.700       rain   0.700
        5  0.357         dry    0.700        dry   0.700
    <BLANKLINE>
    Findings: none. The rows are consistent with these probabilities.

    Several labels:

    >>> y_true = [[1, 0], [0, 1], [1, 1], [0, 0]]
    >>> y_proba = [[0.8, 0.3], [0.4, 0.6], [0.7, 0.9], [0.1, 0.2]]
    >>> names = ["sport", "money"]
    >>> report = cross_entropy_report(y_true, y_proba, target_names=names, multilabel=True, output_dict=True)
    >>> round(report["log_loss"], 3), round(report["labels"]["money"]["skill"], 3)
    (0.299, 0.569)
    """
    if not isinstance(digits, (int, np.integer)) or isinstance(digits, bool) or digits < 0:
        raise ValueError(f"digits={plain(digits)!r} must be an integer, 0 or more")
    arguments = {"labels": labels, "target_names": target_names, "sample_weight": sample_weight}
    if multilabel:
        of_labels = labels_as_dict(score_labels(y_true, y_proba, **arguments))
        return of_labels if output_dict else labels_as_text(of_labels, int(digits))
    rows = score_rows(y_true, y_proba, **arguments)
    report = _as_dict(rows, by_class=output_dict)
    return report if output_dict else _as_text(rows, report, int(digits))


def _as_dict(rows: ScoredRows, *, by_class: bool) -> dict[str, Any]:
    bins, temperature = rows.top_bins, rows.temperature
    support, class_loss = rows.support, rows.class_loss
    right, predicted = rows.confusion.diagonal(), rows.confusion.sum(axis=0)
    classes: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(rows.names):
        classes[name] = {
            "support": float(support[k]),
            "mean_loss": ratio(class_loss[k], support[k]),
            "loss_share": ratio(class_loss[k], class_loss.sum()),
            "mean_proba": ratio(rows.class_true_proba[k], support[k]),
            "recall": ratio(right[k], support[k]),
            "precision": ratio(right[k], predicted[k]),
        }
        if by_class:
            classes[name]["decomposition"] = rows.class_decomposition(k).as_dict()
    prior_entropy = rows.prior_entropy
    value, tempered = (temperature.value, rows.log_loss - temperature.saving) if temperature else (None, None)
    return {
        "log_loss": rows.log_loss,
        "prior_entropy": prior_entropy,
        "target_entropy": rows.target_entropy,
        "skill": 1 - rows.log_loss / prior_entropy if prior_entropy > 0 else None,
        "perplexity": float(np.exp(rows.log_loss)),
        "brier_score": rows.brier_score,
        "calibration_error": bins.calibration_error,
        "calibration_noise": bins.calibration_noise,
        "n_bins": len(bins.mass),
        "accuracy": rows.mean(rows.hit),
        "mean_confidence": rows.mean(rows.confidence),
        "temperature": {"value": value, "log_loss": tempered},
        "support": float(support.sum()),
        "classes": classes,
        "decomposition": rows.decomposition().as_dict(),
        "confusions": _confusions(rows),
        "costliest_rows": _costliest(rows),
        "findings": [asdict(finding) for finding in find(rows)],
    }


def _confusions(rows: ScoredRows) -> list[dict[str, Any]]:
    """The pairs of a true class and another most probable class with the most weight."""
    cells = rows.confusion.tocoo()
    wrong = (cells.row != cells.col) & (cells.data > 0)
    true, predicted, mass = cells.row[wrong], cells.col[wrong], cells.data[wrong]
    return [
        {
            "true_class": rows.names[true[i]],
            "predicted_class": rows.names[predicted[i]],
            "support": float(mass[i]),
            "share": float(mass[i] / rows.support[true[i]]),
        }
        for i in np.lexsort((predicted, true, -mass))[:_N_CONFUSIONS].tolist()
    ]


def _costliest(rows: ScoredRows) -> list[dict[str, Any]]:
    cost = rows.loss if rows.weight is None else rows.weight * rows.loss
    most = np.argpartition(cost, -min(_N_COSTLIEST, len(cost)))[-_N_COSTLIEST:]
    true = rows.labels if rows.labels is not None else rows.distribution
    assert true is not None
    out = []
    for i in most[np.lexsort((most, -cost[most]))].tolist():
        k = int(true[i]) if true.ndim == 1 else int(true[i].argmax())
        predicted = int(rows.predicted[i])
        row = i if rows.row is None else int(rows.row[i])
        out.append(
            {
                "row": row,
                "index": None if rows.index is None else _plain(rows.index[row]),
                "cost": float(cost[i]),
                "weight": 1.0 if rows.weight is None else float(rows.weight[i]),
                "loss": float(rows.loss[i]),
                "true_class": rows.names[k],
                "true_proba": float(rows.proba[i, k]),
                "predicted_class": rows.names[predicted],
                "predicted_proba": float(rows.proba[i, predicted]),
            }
        )
    return out


def _as_text(rows: ScoredRows, report: dict[str, Any], digits: int) -> str:
    parts = [
        _class_table(rows, report, digits),
        _totals(report, digits, soft=rows.distribution is not None),
        *([_confusion_table(rows, report, digits)] if report["confusions"] else []),
        _row_table(rows, report, digits),
        findings_as_text(report, lambda finding: finding["name"].capitalize()),
    ]
    return "\n\n".join(parts)


def _class_table(rows: ScoredRows, report: dict[str, Any], digits: int) -> str:
    names = list(report["classes"])
    shown = names
    if len(names) > _MAX_CLASSES:
        shown = sorted(names, key=lambda name: -(report["classes"][name]["loss_share"] or 0.0))[:_MAX_CLASSES]

    def line(label: str, c: dict[str, Any]) -> list[str]:
        numbers = (c[key] for key in ("mean_loss", "loss_share", "mean_proba", "recall", "precision"))
        return [label, _support(rows, c["support"]), *(number(v, digits) for v in numbers)]

    def together(classes: np.ndarray | slice) -> dict[str, Any]:
        support, loss, right = (a[classes].sum() for a in (rows.support, rows.class_loss, rows.confusion.diagonal()))
        return {
            "support": support,
            "mean_loss": ratio(loss, support),
            "loss_share": ratio(loss, rows.class_loss.sum()),
            "mean_proba": ratio(rows.class_true_proba[classes].sum(), support),
            "recall": ratio(right, support),
            "precision": ratio(right, rows.confusion.sum(axis=0)[classes].sum()),
        }

    table = [["", "support", "mean loss", "loss share", "p(true)", "recall", "precision"]]
    table += [line(_name(name), report["classes"][name]) for name in shown]
    if len(shown) < len(names):
        rest = np.array([k for k, name in enumerate(names) if name not in set(shown)])
        table.append(line(f"{len(rest)} other classes", together(rest)))
    head, *body, overall = aligned([*table, line("all", together(slice(None)))])
    return "\n".join([head, "", *body, "", overall])


def _totals(report: dict[str, Any], digits: int, *, soft: bool) -> str:
    d, t = report["decomposition"], report["temperature"]
    noise = number(report["calibration_noise"], digits)
    fit = "any fits about as well" if t["value"] is None else f"the best; log loss with it {t['log_loss']:.{digits}f}"
    lines = [
        ("log loss", report["log_loss"], "nats"),
        ("entropy of the prior", report["prior_entropy"], "the loss of guessing the class frequencies"),
        ("skill", report["skill"], "1 - log loss / entropy of the prior"),
        ("perplexity", report["perplexity"], "exp(log loss), as a number of equal classes"),
        ("Brier score", report["brier_score"], "summed over classes: 0 to 2"),
        ("accuracy", report["accuracy"], ""),
        ("mean confidence", report["mean_confidence"], "probability of the top label"),
        (
            "calibration error",
            report["calibration_error"],
            f"of the top label; about {noise} if p is right",
        ),
        ("temperature", t["value"], fit),
    ]
    if soft:
        floor = "mean entropy of the targets, the least loss"
        lines.insert(1, ("floor", report["target_entropy"], floor))
    table = [[name, number(value, digits)] for name, value, _ in lines]
    notes = [note for *_, note in lines]
    text = [f"{row}  {note}".rstrip() for row, note in zip(aligned(table), notes, strict=True)]
    top = (
        f"log loss of the top label = miscalibration - discrimination + uncertainty\n"
        f"{d['log_loss']:.{digits}f} = {d['miscalibration']:.{digits}f} - {d['discrimination']:.{digits}f} + "
        f"{d['uncertainty']:.{digits}f}"
    )
    return "\n".join(text) + "\n\n" + textwrap.indent(top, "  ")


def _confusion_table(rows: ScoredRows, report: dict[str, Any], digits: int) -> str:
    table = [["true class", "top label", "support", "share of the true class"]]
    for c in report["confusions"]:
        names = _name(c["true_class"]), _name(c["predicted_class"])
        table.append([*names, _support(rows, c["support"]), number(c["share"], digits)])
    return "\n".join(["Largest confusions", "", *aligned(table)])


def _row_table(rows: ScoredRows, report: dict[str, Any], digits: int) -> str:
    costliest = report["costliest_rows"]
    columns = [["row", *(str(r["row"]) for r in costliest)]]
    if rows.index is not None:
        columns.append(["index", *(_name(str(r["index"])) for r in costliest)])
    if rows.weight is not None:
        columns.append(["weight", *(f"{r['weight']:.4g}" for r in costliest)])
        columns.append(["weight x loss", *(number(r["cost"], digits) for r in costliest)])
    columns += [
        ["loss", *(number(r["loss"], digits) for r in costliest)],
        ["true class", *(_name(r["true_class"]) for r in costliest)],
        ["p(true)", *(number(r["true_proba"], digits) for r in costliest)],
        ["top label", *(_name(r["predicted_class"]) for r in costliest)],
        ["p(top)", *(number(r["predicted_proba"], digits) for r in costliest)],
    ]
    return "\n".join(["Rows that cost most", "", *aligned(list(map(list, zip(*columns, strict=True))))])


def _name(name: str) -> str:
    return short_name(name, _MOST_CHARACTERS)


def _support(rows: ScoredRows, support: float) -> str:
    """A sum of weights, without decimals if those of the classes are whole."""
    return f"{support:,.0f}" if np.array_equal(rows.support, np.round(rows.support)) else number(support, 2)


def _plain(label: Any) -> Any:
    """A label of a row as JSON can hold it."""
    label = label.item() if isinstance(label, np.generic) else label
    return label if isinstance(label, (int, str)) else str(label)
