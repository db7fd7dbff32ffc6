"""Reads a CSV file of numbers as features and labels, where pandas is not installed. Errors name the line."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .csv_text import header, own_names, rows, scan, unknown
from .errors import InputError, raise_together
from .files import as_utf8, is_parquet, read_bytes
from .text import count, printable, short

# Squares of larger numbers, summed over rows, may leave float64. Such values are errors of measurement or of writing.
LARGEST = 1e100
# The strings that pandas reads as a missing number, in lower case.
_MISSING = frozenset({"", "?", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "none"})
_TRUTH = {"true": 1.0, "false": 0.0}
_WAY_OUT = (
    "pandas reads text, dates and missing values: pip install 'xentropy[cli]', or leave columns out with --drop COLUMN"
)


@dataclass(frozen=True)
class Numbers:
    """A table of numbers, the text of its labels, and the weights."""

    name: str
    features: list[str]
    X: np.ndarray
    labels: list[str]
    weight: np.ndarray | None
    notes: list[str]


def read_numbers(source: str, target: str, drop: Sequence[str] = (), weight: str | None = None) -> Numbers:
    """Read a CSV file whose columns, except `target` and those of `drop`, are finite numbers."""
    name = "standard input" if source == "-" else printable(source)
    data = read_bytes(source)
    if is_parquet(data):
        raise InputError(f"{name} is a Parquet file, which needs pandas and pyarrow: pip install pandas pyarrow")
    data, note = as_utf8(data, name)
    delimiter, first = header(data, name)
    names, notes = own_names(first)
    options = [("--target", target), *(("--drop", column) for column in drop)]
    if weight is not None:
        options.append(("--weight", weight))
    found = scan(data, name, delimiter, len(names))
    raise_together([*unknown(name, names, options), *found.problems])
    if not found.n_rows:
        raise InputError(f"{name} has a first line that names {count(len(names), 'column')}, but no rows below it")
    left_out = {target, weight, *drop}
    features = [column for column in names if column not in left_out]
    if not features:
        raise InputError(f"{name} has no column besides {target!r} to learn from")
    read = [*features, *([weight] if weight is not None else [])]
    at = {column: i for i, column in enumerate(names)}
    values = {column: array("d") for column in read}
    labels = []
    problems: dict[str, str] = {}
    records = rows(data, name, delimiter)
    next(records)
    for line, row in records:
        labels.append(row[at[target]])
        for column in read:
            value, problem = _number(row[at[column]].strip())
            values[column].append(value)
            if problem and column not in problems:
                problems[column] = f"{name}, line {line}: column {printable(repr(short(column, 40)))} {problem}"
    if problems:
        raise_together(list(problems.values())[:10], _WAY_OUT)
    table = np.column_stack([np.frombuffer(values[column]) for column in features])
    weights = None if weight is None else np.frombuffer(values[weight])
    return Numbers(name, features, table, labels, weights, [*([note] if note else []), *notes])


def _number(text: str) -> tuple[float, str | None]:
    word = text.casefold()
    if word in _MISSING:
        return math.nan, f"has no value ({printable(text)!r})"
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        value = _TRUTH.get(word, math.nan)
    if math.isnan(value):
        return value, f"holds {short(text, 30)!r}, which is not a number"
    if abs(value) > LARGEST:
        return value, f"holds {short(text, 30)}, which is too large"
    return value, None
