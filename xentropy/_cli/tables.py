"""Reads CSV text, Parquet files and pipes as a DataFrame, through pandas."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from .csv_text import comma_columns, header, own_names, scan, unknown
from .errors import InputError, raise_together
from .files import as_utf8, is_parquet, read_bytes
from .text import count, printable

_MISSING = ["?"]  # beside the words that pandas takes for missing values


@dataclass(frozen=True)
class Table:
    """A table as it was read, in which every column has a name of its own."""

    name: str
    frame: Any
    notes: list[str] = field(default_factory=list)
    # the cells of the target as they are written, with "" for one that is missing
    labels: Any = None


def read_table(source: str, target: str | None = None, named: Sequence[tuple[str, str]] = ()) -> Table:
    """Read a table.

    Parameters
    ----------
    source : str
        The name of a CSV file, a gzip file of one, or a Parquet file; ``-`` stands for standard input.
    target : str, optional
        The column of labels, which are also read as they are written: 007 and NA are labels.
    named : sequence of (option, column)
        The columns that options name.

    Raises
    ------
    InputError
        If the table cannot be read, has no rows, or lacks a column that was named, and if lines of CSV text have more
        or fewer fields than the first one. One message holds all of these.
    """
    name = "standard input" if source == "-" else printable(source)
    data = read_bytes(source)
    named = [*([("--target", target)] if target is not None else []), *named]
    if is_parquet(data):
        return _read_parquet(data, name, target, named)
    data, note = as_utf8(data, name)
    return _read_csv(data, name, target, named, [note] if note else [])


def _read_parquet(data: bytes, name: str, target: str | None, named: Sequence[tuple[str, str]]) -> Table:
    try:
        frame = pd.read_parquet(io.BytesIO(data))
    except ImportError:
        raise InputError(f"{name} is a Parquet file, which pyarrow reads: pip install pyarrow") from None
    except Exception as error:  # pyarrow has its own kinds of errors
        raise InputError(f"{name} is a Parquet file that cannot be read: {error}") from None
    frame.columns, notes = own_names([str(column) for column in frame.columns])
    raise_together(unknown(name, list(frame.columns), named))
    if not len(frame):
        raise InputError(f"{name} has no rows")
    labels = None
    if target is not None:
        from .cells import plain_text

        values = frame[target].astype(object)
        labels = values.where(values.notna(), "").map(plain_text)
    return Table(name, frame.reset_index(drop=True), notes, labels)


def _read_csv(
    data: bytes, name: str, target: str | None, named: Sequence[tuple[str, str]], notes: list[str]
) -> Table:
    delimiter, first = header(data, name)
    names, renamed = own_names(first)
    found = scan(data, name, delimiter, len(names))
    raise_together([*unknown(name, names, named), *found.problems])
    if not found.n_rows:
        raise InputError(f"{name} has a first line that names {count(len(names), 'column')}, but no rows below it")
    decimal, grouped = comma_columns(found.sample) if delimiter != "," else ([], [])
    notes = [*notes, *renamed]
    if decimal:
        notes.append("Numbers have a decimal comma.")
    if found.n_trailing:
        notes.append(f"{count(found.n_trailing, 'line')} end with a delimiter, which is ignored.")
    options: dict[str, Any] = {
        "sep": delimiter,
        "encoding": "utf-8",
        "header": 0,
        "names": names,
        "index_col": False,
        "skipinitialspace": True,
        "low_memory": False,
        # a trailing delimiter makes a field more than there are names, which the scan has found to be empty
        "usecols": range(len(names)),
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.BytesIO(data), na_values=_MISSING, decimal="," if decimal else ".", **options
            )
            # pandas' own option for this would read the date 01.02.2026 as a number
            for j in grouped:
                frame[names[j]] = _ungrouped(frame[names[j]])
            labels = None
            if target is not None:
                options |= {"usecols": [names.index(target)], "dtype": str, "keep_default_na": False}
                labels = pd.read_csv(io.BytesIO(data), **options)[target].astype(object).fillna("")
    except (ValueError, OverflowError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"{name} cannot be read: {' '.join(str(error).split())}") from None
    if len(frame) != found.n_rows:
        raise InputError(
            f"{name} has {count(found.n_rows, 'row')} by the rules of CSV, but pandas reads {len(frame):,}: check its "
            "quotes"
        )
    # A block of numbers for all columns of a kind, not one for each column
    return Table(name, frame.copy(), notes, labels)


def _ungrouped(column: Any) -> Any:
    """Numbers that are written as 1.234,5."""
    if column.dtype.kind in "iuf":
        return column
    plain = column.astype(object).where(column.notna(), "").map(str).str.strip()
    plain = plain.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    try:
        return pd.to_numeric(plain)
    except ValueError:
        return column
