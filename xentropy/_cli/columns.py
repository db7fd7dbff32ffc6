"""Decides what each column of a table is: numbers, levels, dates, text, or nothing that a model can learn from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from .cells import LARGEST, as_dates
from .text import count, short

# In a column of numbers, the share of other words (such as "unknown") that are read as missing
_MOST_WORDS = 0.1
# A level of fewer rows is pooled with others like it: Cochran's rule for the counts of a table (Biometrics 10, 1954)
MIN_FREQUENCY = 5
_TEXT_WORDS = 3
_ID_NAME = re.compile(r"(^|.*[^a-z])(id|ids|uuid|guid|key|index|idx|nr|no|number|row)$|.*[a-z](Id|ID|Key|Index|Nr|No)$")
_FORMATS = [
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S",
    "ISO8601",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%m/%d/%Y",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d.%m.%y",
    "%d-%m-%Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
]
_LIKE_A_DATE = re.compile(r"\d{1,4}[-/. ](\d{1,2}|[A-Za-z]{3,9})[-/. ]\d{2,4}([ T].*)?|[A-Za-z]{3,9} \d{1,2}, \d{4}")


class Kind(StrEnum):
    """What a column holds. The first five are features."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"
    BOOLEAN = "boolean"
    DATE = "date"
    TEXT = "text"
    CONSTANT = "constant"
    EMPTY = "empty"
    ID = "id-like"
    OTHER = "other"

    @property
    def is_feature(self) -> bool:
        return self in (Kind.NUMERIC, Kind.CATEGORICAL, Kind.BOOLEAN, Kind.DATE, Kind.TEXT)


@dataclass(frozen=True)
class Column:
    """A column of a table, and a note if there is something to know about it."""

    name: str
    kind: Kind
    n_distinct: int
    n_missing: int
    note: str = ""
    date_format: str | None = None
    hours: bool = False


def classify(frame: Any, forced: Mapping[str, Kind]) -> list[Column]:
    """The columns of a frame, each of the kind in `forced` or of the one that its values suggest."""
    return [_classify(frame[name], name, forced.get(name)) for name in frame.columns]


def _classify(values: Any, name: str, forced: Kind | None) -> Column:
    try:
        codes, levels = pd.factorize(values)
    except TypeError:  # lists and the like
        return Column(name, Kind.OTHER, 0, int(values.isna().sum()), "holds lists or other compound values")
    counts = np.bincount(codes[codes >= 0], minlength=len(levels))
    n_missing = int((codes < 0).sum())
    if not len(levels):
        return Column(name, Kind.EMPTY, 0, n_missing, "holds no values")
    if len(levels) == 1 and not n_missing:
        return Column(name, Kind.CONSTANT, 1, 0, f"holds {short(levels[0], 30)} in every row")
    known = Column(name, Kind.OTHER, len(levels), n_missing)
    is_numeric = values.dtype.kind in "iuf"
    if forced is Kind.NUMERIC:
        return _numeric(values, known, forced=True) if is_numeric else _numbers_as_text(levels, counts, known, True)
    if forced is not None:
        return _with(known, forced)
    if is_numeric:
        return _numeric(values, known)
    if values.dtype.kind == "b" or all(isinstance(level, (bool, np.bool_)) for level in levels):
        return _with(known, Kind.BOOLEAN)
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _with(known, Kind.CATEGORICAL)
    if values.dtype.kind == "M":
        return _with(known, Kind.DATE, hours=_has_hours(values))
    if not all(isinstance(level, str) for level in levels):
        return _with(known, Kind.CATEGORICAL)
    return _words(values, levels, counts, known)


def _with(column: Column, kind: Kind, note: str = "", **more: Any) -> Column:
    return Column(column.name, kind, column.n_distinct, column.n_missing, note, **more)


def _numeric(values: Any, known: Column, forced: bool = False) -> Column:
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    large = np.abs(numbers) > LARGEST
    note = ""
    if large.any():
        row = int(large.argmax())
        n_large = int(large.sum())
        example = f"{numbers[row]:g} in row {row}"
        note = f"{count(n_large, 'value')} beyond {LARGEST:g} ({example}) {_read_as_missing(n_large)}"
        if np.isnan(np.where(large, np.nan, numbers)).all():
            return _with(known, Kind.EMPTY, "holds no number that can be used")
    if not forced and (reason := _counts_rows(numbers, known)):
        return _with(known, Kind.ID, reason)
    return _with(known, Kind.NUMERIC, note)


def _read_as_missing(number: int) -> str:
    return "is read as missing" if number == 1 else "are read as missing"


def _counts_rows(numbers: np.ndarray, known: Column) -> str:
    """Why whole numbers are names of the rows rather than measurements, or "" if they are not."""
    n = len(numbers)
    if known.n_missing or known.n_distinct <= n / 2 or n < 3 or not (numbers == np.floor(numbers)).all():
        return ""
    steps = np.diff(numbers)
    if known.n_distinct == n and ((steps > 0).all() or (steps < 0).all()):
        return "numbers the rows in their order"
    if (steps >= 0).all() or (steps <= 0).all():
        return "is sorted as the rows are"
    if known.n_distinct == n:
        if np.ptp(numbers) < 1.5 * n and n >= 20:
            return "numbers the rows"
        if _ID_NAME.match(known.name):
            return "differs in every row"
    return ""


def _words(values: Any, levels: Any, counts: np.ndarray, known: Column) -> Column:
    numbers = _numbers_as_text(levels, counts, known)
    if numbers is not None:
        return numbers
    date_format = find_date_format(levels)
    if date_format is not None:
        dates = as_dates(pd.Series(levels), date_format)
        note = "is read as month/day/year" if date_format.startswith("%m/%d") and _is_ambiguous(levels) else ""
        return _with(known, Kind.DATE, note, date_format=date_format, hours=_has_hours(dates))
    if known.n_distinct > len(values) / 2 and len(values) >= 20:
        words = np.array([level.count(" ") + 1 for level in map(str.strip, levels)])
        if (words @ counts) / counts.sum() >= _TEXT_WORDS:
            return _with(known, Kind.TEXT)
        if counts.max() < MIN_FREQUENCY:
            return _with(known, Kind.ID, f"has {known.n_distinct:,} values, none of which is frequent")
    return _with(known, Kind.CATEGORICAL)


def _numbers_as_text(levels: Any, counts: np.ndarray, known: Column, forced: bool = False) -> Any:
    """The column if its words are numbers but for a few, else None."""
    texts = pd.Series(levels, dtype=object).map(str).str.strip()
    numbers = np.array([_number(text) for text in texts])
    blank = (texts == "").to_numpy()
    words = np.isnan(numbers) & ~blank
    n_words, n_numbers = int(counts[words].sum()), int(counts[~words & ~blank].sum())
    if not forced and (not n_numbers or n_words > _MOST_WORDS * (n_words + n_numbers)):
        return None
    usable = np.abs(numbers) <= LARGEST
    if not usable.any():
        return _with(known, Kind.EMPTY, "holds no number that can be used")
    others = ~usable & ~blank
    n_others = int(counts[others].sum())
    note = ""
    if n_others:
        example = short(texts[int(np.argmax(others))], 20)
        what = "is not a number and" if n_others == 1 else "are not numbers and"
        note = f"{count(n_others, 'value')} (such as {example!r}) {what} {_read_as_missing(n_others)}"
    n_missing = known.n_missing + n_others + int(counts[blank].sum())
    return Column(known.name, Kind.NUMERIC, int(usable.sum()), n_missing, note)


def _number(text: str) -> float:
    """The number that the text is, also one too large for float64, or NaN."""
    try:
        return float(text) if text.isascii() and "_" not in text else np.nan
    except ValueError:
        return np.nan


def find_date_format(levels: Any) -> str | None:
    """The first format in which every level is a date."""
    texts = [str(level).strip() for level in levels]
    if not all(map(_LIKE_A_DATE.fullmatch, texts[:20])):
        return None
    few, all_texts = pd.Series(texts[:20], dtype=object), pd.Series(texts, dtype=object)
    for date_format in _FORMATS:
        for some_texts in (few, all_texts):
            if as_dates(some_texts, date_format).isna().any():
                break
        else:
            return date_format
    return None


def _is_ambiguous(levels: Any) -> bool:
    return all(int(str(level).split("/")[1]) <= 12 for level in levels)


def _has_hours(dates: Any) -> bool:
    dates = dates.dropna()
    return bool(len(dates)) and bool(((dates.dt.hour != 0) | (dates.dt.minute != 0)).any())


def features_of(columns: Sequence[Column]) -> list[Column]:
    return [column for column in columns if column.kind.is_feature]
