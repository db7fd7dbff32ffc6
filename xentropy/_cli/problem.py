"""What the command learns from: the prepared columns of a table, its labels and weights."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from .errors import InputError
from .labels import Labels, confirm, doubt, read_labels
from .text import printable, short


@dataclass(frozen=True)
class Problem:
    """Features, labels and weights of all rows, the transformer to prepare them, and what there is to say of them."""

    name: str
    X: Any
    labels: Labels
    weight: np.ndarray | None
    prepare: Any
    columns: list[Any]  # Column; empty for tables of nothing but numbers
    notes: list[str]

    def rows(self, rows: np.ndarray) -> Any:
        return self.X.iloc[rows] if hasattr(self.X, "iloc") else self.X[rows]

    def weights(self, rows: np.ndarray) -> np.ndarray | None:
        return None if self.weight is None else self.weight[rows]

    def feature_names(self) -> list[str]:
        """The names of the prepared features, once `prepare` is fitted."""
        if self.columns:
            from .preparation import feature_names

            return feature_names(self.prepare)
        return [str(name) for name in self.prepare.get_feature_names_out()]


def read_problem(options: argparse.Namespace) -> Problem:
    """The digits, or the table that the options name, with its columns classed."""
    if options.data is None:
        X, y = load_digits(return_X_y=True)
        labels = Labels(np.arange(10), y, [])
        return Problem("Handwritten digits", X, labels, None, StandardScaler(), [], [])
    try:
        import pandas  # noqa: F401
    except ImportError:
        return _read_numbers(options)
    return _read_table(options)


def _read_numbers(options: argparse.Namespace) -> Problem:
    from .numbers_only import read_numbers

    for option in ("categorical", "numeric", "text"):
        if getattr(options, option):
            raise InputError(f"--{option} needs pandas: pip install 'xentropy[cli]'")
    table = read_numbers(options.data, options.target, options.drop, options.weight)
    labels = _labels(table.labels, table.name, options)
    weight = _check_weight(table.weight, labels, options)
    return Problem(table.name, table.X, labels, weight, StandardScaler(), [], [*table.notes, *labels.notes])


def _read_table(options: argparse.Namespace) -> Problem:
    from . import preparation, tables
    from .columns import Kind, classify, features_of

    forced: dict[str, Kind] = {}
    problems = []
    for kind in (Kind.CATEGORICAL, Kind.NUMERIC, Kind.TEXT):
        for name in getattr(options, kind.value):
            if name in forced and forced[name] is not kind:
                problems.append(f"column {name!r} is in both --{forced[name]} and --{kind}")
            forced[name] = kind
    roles = [("--target", options.target), *(("--drop", name) for name in options.drop)]
    if options.weight is not None:
        roles.append(("--weight", options.weight))
    used: dict[str, str] = {}
    for option, name in [*roles, *((f"--{kind}", name) for name, kind in forced.items())]:
        if name in used and used[name] != option:
            problems.append(f"column {printable(repr(name))} is in both {used[name]} and {option}")
        used[name] = option
    if problems:
        raise InputError(printable("; ".join(problems)))

    others = [(option, name) for name, option in used.items() if name != options.target]
    table = tables.read_table(options.data, options.target, others)
    labels = _labels(table.labels, table.name, options)
    frame = table.frame
    weight = None
    if options.weight is not None:
        weight = _check_weight(_as_weight(frame[options.weight], options.weight), labels, options)
    left_out = {options.target, options.weight, *options.drop}
    columns = classify(frame[[name for name in frame.columns if name not in left_out]], forced)
    features = features_of(columns)
    if not features:
        reasons = "; ".join(f"{short(c.name, 30)!r} {c.note or f'is {c.kind}'}" for c in columns[:10])
        raise InputError(
            f"{table.name} has no column besides {options.target!r} to learn from{f': {reasons}' if reasons else ''}"
        )
    X = frame[[column.name for column in features]]
    notes = [*table.notes, *labels.notes]
    return Problem(table.name, X, labels, weight, preparation.build(features), columns, notes)


def _as_weight(column: Any, name: str) -> np.ndarray:
    try:
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise InputError(f"--weight {printable(name)}: the column does not hold numbers") from None


def _check_weight(weight: np.ndarray | None, labels: Labels, options: argparse.Namespace) -> np.ndarray | None:
    if weight is None:
        return None
    wrong = ~(np.isfinite(weight) & (weight >= 0)) & (labels.codes >= 0)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"--weight {printable(options.weight)}: row {row} has {weight[row]:g}; weights are finite and 0 or more"
        )
    if not weight[labels.codes >= 0].any():
        raise InputError(f"--weight {printable(options.weight)}: all weights are 0")
    return weight


def _labels(texts: Any, name: str, options: argparse.Namespace) -> Labels:
    labels = read_labels(texts, name, options.target)
    if reason := doubt(labels, options.target):
        confirm(reason, options.yes, can_ask=options.data != "-")
    return labels
