"""The report of several yes/no labels, as a dict and as text."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from .findings import find
from .labels import ScoredLabels
from .scored import ScoredRows, short_name
from .tables import aligned, findings_as_text, number, ratio

_MAX_LABELS = 40  # in the table of the text, which shows the labels with the largest loss


def labels_as_dict(scored: ScoredLabels) -> dict[str, Any]:
    """The report of each label, and the averages over the labels and over all known labels of all rows."""
    labels, findings = {}, []
    for name, rows in scored.each():
        labels[name] = _of_label(rows)
        findings += [{"label": name, **asdict(finding)} for finding in (find(rows) if rows is not None else [])]
    known = [label for label in labels.values() if label["support"] > 0.0]
    if not known:
        raise ValueError("every label of y_true is missing, or in rows of weight 0: there is nothing to report")
    support = np.array([label["support"] for label in known])

    def macro(of: str) -> float:
        return float(np.mean([label[of] for label in known]))

    def micro(of: str) -> float:
        return float(np.average([label[of] for label in known], weights=support))

    loss, prior = macro("log_loss"), macro("prior_entropy")
    return {
        "log_loss": loss,
        "micro_log_loss": micro("log_loss"),
        "prior_entropy": prior,
        "skill": 1.0 - loss / prior if prior > 0.0 else None,
        "brier_score": macro("brier_score"),
        "calibration_error": macro("calibration_error"),
        "accuracy": micro("accuracy"),
        "support": float(support.sum()),
        "labels": labels,
        "findings": findings,
    }


def _of_label(rows: ScoredRows | None) -> dict[str, Any]:
    if rows is None:
        names = (
            "base_rate", "log_loss", "prior_entropy", "skill", "mean_proba", "brier_score", "calibration_error",
            "calibration_noise", "accuracy", "recall", "precision", "decomposition",
        )  # fmt: skip
        return {"support": 0.0, **dict.fromkeys(names)}
    bins, support, prior = rows.class_bins(1, None), rows.support, rows.prior_entropy
    predicted, right = rows.confusion.sum(axis=0), rows.confusion.diagonal()
    return {
        "support": float(support.sum()),
        "base_rate": float(support[1] / support.sum()),
        "log_loss": rows.log_loss,
        "prior_entropy": prior,
        "skill": 1.0 - rows.log_loss / prior if prior > 0.0 else None,
        "mean_proba": rows.mean(rows.proba[:, 1]),
        "brier_score": rows.brier_score / 2.0,  # of one event, not summed over the two classes
        "calibration_error": bins.calibration_error,
        "calibration_noise": bins.calibration_noise,
        "accuracy": rows.mean(rows.hit),
        "recall": ratio(right[1], support[1]),
        "precision": ratio(right[1], predicted[1]),
        "decomposition": rows.class_decomposition(1).as_dict(),
    }


def labels_as_text(report: dict[str, Any], digits: int) -> str:
    """The table of the labels, the averages and the findings."""
    findings = findings_as_text(report, lambda finding: f"{short_name(finding['label'])}: {finding['name']}")
    return "\n\n".join([_label_table(report, digits), _totals(report, digits), findings])


def _label_table(report: dict[str, Any], digits: int) -> str:
    labels = report["labels"]
    order = sorted(labels, key=lambda name: -(labels[name]["log_loss"] or 0.0))
    shown = set(order[:_MAX_LABELS])
    names = [name for name in labels if name in shown]
    heads = {
        "base rate": "base_rate",
        "loss": "log_loss",
        "of base rate": "prior_entropy",
        "skill": "skill",
        "mean p": "mean_proba",
        "calibration error": "calibration_error",
        "if p is right": "calibration_noise",
        "recall": "recall",
        "precision": "precision",
    }
    table = [["label", "rows", *heads]]
    for name in names:
        of = labels[name]
        table.append([short_name(name), f"{of['support']:,.6g}", *(number(of[key], digits) for key in heads.values())])
    lines = aligned(table)
    lines.insert(1, "")
    if len(order) > len(names):
        lines.append(f"  and {len(order) - len(names)} labels with smaller losses")
    return "\n".join(lines)


def _totals(report: dict[str, Any], digits: int) -> str:
    rows = [
        ("log loss", "log_loss", "nats, the mean over the labels (macro)"),
        ("micro log loss", "micro_log_loss", "the mean over all known labels of all rows"),
        ("loss of the base rates", "prior_entropy", "of guessing how frequent each label is"),
        ("skill", "skill", "1 - log loss / loss of the base rates"),
        ("Brier score", "brier_score", "mean squared error of a label: 0 to 1"),
        ("calibration error", "calibration_error", "the mean over the labels"),
        ("accuracy", "accuracy", "share of all labels that are predicted correctly"),
    ]
    table = [[name, number(report[key], digits)] for name, key, _ in rows]
    return "\n".join(f"{line}  {note}" for line, (_, _, note) in zip(aligned(table), rows, strict=True))
