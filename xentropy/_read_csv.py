"""Reads a CSV file as features and labels. Errors name the line."""

from __future__ import annotations

import csv
import difflib
import math
import warnings
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# The strings that pandas reads as a missing number, in lower case.
_MISSING = frozenset({"", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "none"})
_TRUTH = {"true": 1.0, "false": 0.0}
_DELIMITERS = ",;\t|"


class InputError(ValueError):
    """The user's file or options cannot be used. The message gives the reason and a remedy."""


@dataclass(frozen=True)
class Table:
    """`X` holds float64 features (n, d), in a DataFrame if pandas is installed. `y` holds labels, integers or text."""

    X: Any
    y: np.ndarray
    features: list[str]


def read_csv(path: str | Path, target: str, drop: Sequence[str] = ()) -> Table:
    """Read a CSV file. The column `target` holds the labels, and all others except `drop` are numeric features.

    The first line names the columns. The separator is the one of comma, semicolon, tab and ``|`` that gives this line
    the most fields. Fields may be quoted. Labels become integers if all of them are integers.

    Parameters
    ----------
    path : str or Path
    target : str
        Name of the column with the labels.
    drop : sequence of str
        Names of columns to leave out.

    Returns
    -------
    Table

    Raises
    ------
    InputError
        If the file cannot be read, a column is missing, a line has too few or too many fields, a feature is missing or
        not a finite number, or the labels are fractions.
    """
    path = Path(path)
    delimiter, header = _read_header(path)
    features = _choose_features(path, header, target, drop)
    table = _read_fast(path, delimiter, header, target, features)
    # The fast reader accepts clean files only. Other files are parsed again by the slow one, which reports any error.
    return table if table is not None else _read_slowly(path, delimiter, header, target, features)


def _read_header(path: Path) -> tuple[str, list[str]]:
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a CSV file")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file, and it has to be read twice: save it to a file first")
    headers = {delimiter: next((row for _, row in _rows(path, delimiter)), []) for delimiter in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda d: len(headers[d]))
    if not headers[delimiter]:
        raise InputError(f"{path} is empty: its first line must name the columns")
    return delimiter, [name.strip() for name in headers[delimiter]]


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record of the file that is not blank, with the number of its first line."""
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            for row in reader:
                if len(row) > 1 or (row and row[0].strip()):
                    yield line, row
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text (byte {error.object[error.start]:#04x}, {error.reason}): save it as CSV in UTF-8"
        ) from None
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _choose_features(path: Path, header: list[str], target: str, drop: Sequence[str]) -> list[str]:
    for position, name in enumerate(header, start=1):
        if header.index(name) != position - 1:
            raise InputError(f"{path} has two columns that are named {name!r}: rename one of them")
    for option, name in [("--target", target), *(("--drop", name) for name in drop)]:
        if name not in header:
            raise InputError(f"{path} has no column {name!r} for {option}; {_nearest(name, header)}")
    if target in drop:
        raise InputError(f"column {target!r} is both the --target and in --drop")
    features = [name for name in header if name != target and name not in drop]
    if "" in features:
        raise InputError(
            f"column {header.index('') + 1} of {path} has no name in its first line: name it, or leave it out with "
            "--drop '' (it is often the row numbers of a saved table, which are no feature)"
        )
    if not features:
        raise InputError(f"{path} has no column besides {target!r} to learn from")
    return features


def _nearest(name: str, header: list[str], most: int = 10) -> str:
    folded = {column.casefold(): column for column in header}
    near = [folded[match] for match in difflib.get_close_matches(name.casefold(), list(folded), cutoff=0.5)]
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    columns = ", ".join(map(repr, header[:most]))
    return f"its first line names {columns}{f' and {len(header) - most} more' if len(header) > most else ''}"


def _read_fast(path: Path, delimiter: str, header: list[str], target: str, features: list[str]) -> Table | None:
    """Read the table with pandas. Return None if pandas is missing, or finds anything but finite numbers and labels."""
    try:
        import pandas as pd
    except ImportError:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pandas warns if it truncates long lines or mixes types
            frame = pd.read_csv(
                path,
                sep=delimiter,
                encoding="utf-8-sig",
                header=0,
                names=header,
                index_col=False,
                skipinitialspace=True,
                dtype={target: str},
                low_memory=False,
            )
    except (ValueError, Warning):  # pandas' parser errors are ValueErrors
        return None
    X = frame[features]
    numeric = all(pd.api.types.is_numeric_dtype(dtype) for dtype in X.dtypes)
    if not (len(frame) and numeric) or frame[target].isna().any():
        return None
    X = X.astype(np.float64)
    if not np.isfinite(X.to_numpy()).all():
        return None
    try:
        y = _labels([text.strip() for text in frame[target]], path, target)
    except InputError:
        return None
    return Table(X, y, features)


def _read_slowly(path: Path, delimiter: str, header: list[str], target: str, features: list[str]) -> Table:
    rows = _rows(path, delimiter)
    next(rows)
    label_at = header.index(target)
    columns = [(header.index(name), name, array("d")) for name in features]
    labels: list[str] = []
    lines = array("q")
    for line, row in rows:
        if len(row) == len(header) + 1 and not row[-1].strip():
            row.pop()  # a delimiter at the end of the line
        if len(row) != len(header):
            quoted = any("\n" in field for field in row)
            raise InputError(
                f"{path}, line {line}: {len(row)} field{'s' * (len(row) != 1)}, but the first line names {len(header)} "
                f"columns{' (a quote opens there that spans lines)' if quoted else ''}"
            )
        label = row[label_at].strip()
        if not label:
            raise InputError(f"{path}, line {line}: {target!r} is empty; each row needs its class")
        labels.append(label)
        lines.append(line)
        for at, name, values in columns:
            values.append(_number(row[at].strip(), name, path, line))
    if not labels:
        raise InputError(f"{path} has a first line that names {len(header)} columns, but no rows below it")
    y = _labels(labels, path, target, lines)
    X: Any = np.column_stack([np.frombuffer(values) for _, _, values in columns])
    try:
        import pandas as pd
    except ImportError:
        return Table(X, y, features)
    return Table(pd.DataFrame(X, columns=features), y, features)


def _number(text: str, name: str, path: Path, line: int) -> float:
    word = text.casefold()
    if word in _MISSING:
        raise InputError(
            f"{path}, line {line}: column {name!r} has no value ({text!r}): fill or delete the rows that miss one, or "
            f"leave the column out with --drop {_quoted(name)}"
        )
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        value = _TRUTH.get(word, math.nan)
    if math.isnan(value):
        raise InputError(
            f"{path}, line {line}: column {name!r} holds {text!r}, which is not a number: encode it in numbers (say, "
            f"pandas.get_dummies) or leave it out with --drop {_quoted(name)}"
        )
    if math.isinf(value):
        raise InputError(f"{path}, line {line}: column {name!r} holds {text}, which is not finite")
    return value


def _labels(texts: list[str], path: Path, target: str, lines: Sequence[int] | None = None) -> np.ndarray:
    """Labels as integers if all are integers, else as text. Fractions are an error, because they are measurements."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return np.array(texts)
    if any("_" in text for text in texts) or not np.isfinite(numbers).all():
        return np.array(texts)
    for i, number in enumerate(numbers):
        if number != int(number):
            where = f", line {lines[i]}" if lines is not None else ""
            raise InputError(
                f"{path}{where}: {target!r} holds {texts[i]}, a measurement rather than a class: choose another "
                "--target, cut its range into classes, or write the classes as words"
            )
    if max(map(abs, numbers)) >= 2**53 or any(text.isdigit() and text != str(int(text)) for text in texts):
        return np.array(texts)  # identifiers and codes such as 007, whose digits a number would lose
    return np.array([int(number) for number in numbers])


def _quoted(name: str) -> str:
    return f"'{name}'" if not name.isidentifier() else name
