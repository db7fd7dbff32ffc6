"""The records of CSV text: the delimiter, the names of the columns, and lines that do not fit them."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .errors import InputError
from .text import count, printable, short, some

_DELIMITERS = ",;\t|"
_MOST_PROBLEMS = 5
_LARGEST_FIELD = 2**31 - 1  # the largest that every system takes; by default it is 128 kB, less than a header can have
_DECIMAL_COMMA = re.compile(r"[-+]?(\d+|\d{1,3}(\.\d{3})+)?,\d+(e[-+]?\d+)?", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?\d+(\.\d{3})*")


def header(data: bytes, name: str) -> tuple[str, list[str]]:
    headers = {delimiter: next((row for _, row in rows(data, name, delimiter)), []) for delimiter in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda d: len(headers[d]))
    if not headers[delimiter]:
        raise InputError(f"{name} is empty: its first line must name the columns")
    return delimiter, headers[delimiter]


def rows(data: bytes, name: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not blank, with the number of its first line."""
    line = 1
    csv.field_size_limit(_LARGEST_FIELD)
    try:
        with io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="surrogatepass", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            for row in reader:
                if len(row) > 1 or (row and row[0].strip()):
                    yield line, row
                line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{name}, line {line}: {error}; is a quote missing?") from None


def own_names(header: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names that are all different, as pandas makes them, and notes on those that were changed."""
    names: list[str] = []
    renamed, unnamed = [], []
    stripped = [name.strip() for name in header]
    taken = set(stripped)
    used: dict[str, int] = {}  # the names so far, and the last number of each
    for i, given in enumerate(stripped):
        name = given or f"Unnamed: {i}"
        if not given:
            unnamed.append(i + 1)
        if name in used:
            k = used[name] + 1
            while f"{name}.{k}" in used or f"{name}.{k}" in taken:
                k += 1
            used[name] = k
            renamed.append(name)
            name = f"{name}.{k}"
        names.append(name)
        used[name] = 0
    notes = []
    if unnamed:
        which = ", ".join(map(str, unnamed[:5])) + (" and others" if len(unnamed) > 5 else "")
        end = "." if len(unnamed) == 1 else ", and so on."
        notes.append(f"Column {which} has no name; it is called 'Unnamed: {unnamed[0] - 1}'{end}")
    if renamed:
        notes.append(
            f"A column with the name of an earlier one gets a number, as in '{short(renamed[0], 30)}.1': "
            f"{some(dict.fromkeys(renamed))}."
        )
    return names, notes


def unknown(name: str, names: Sequence[str], named: Sequence[tuple[str, str]]) -> list[str]:
    known = set(names)
    return [
        f"{name} has no column {printable(repr(column))} for {option}; {_nearest(column, names)}"
        for option, column in named
        if column not in known
    ]


def _nearest(name: str, header: Sequence[str], most: int = 10) -> str:
    folded = {column.casefold(): column for column in header}
    near = [folded[match] for match in difflib.get_close_matches(name.casefold(), list(folded)[:10_000], cutoff=0.5)]
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"its columns are {some(map(repr, header), most)}"


@dataclass
class Scan:
    n_rows: int = 0
    n_trailing: int = 0
    sample: list[list[str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def scan(data: bytes, name: str, delimiter: str, width: int) -> Scan:
    """Count the fields of every row, which pandas fills up without a word, and take a sample of the rows."""
    found = Scan()
    most_sampled = max(20, min(1000, 200_000 // width))
    n_bad = 0
    records = rows(data, name, delimiter)
    next(records)
    for line, row in records:
        found.n_rows += 1
        if len(row) == width + 1 and not row[-1].strip():
            found.n_trailing += 1
        elif len(row) != width:
            n_bad += 1
            if n_bad <= _MOST_PROBLEMS:
                quoted = any("\n" in cell for cell in row)
                found.problems.append(
                    f"{name}, line {line}: {count(len(row), 'field')}, but the first line names "
                    f"{count(width, 'column')}{' (a quote opens there that spans lines)' if quoted else ''}"
                )
        if len(found.sample) < most_sampled:
            found.sample.append(row)
    if n_bad > _MOST_PROBLEMS:
        found.problems.append(f"{count(n_bad - _MOST_PROBLEMS, 'other line')} like these")
    return found


def comma_columns(sample: list[list[str]]) -> tuple[list[int], list[int]]:
    """The columns of numbers with a decimal comma, and those of them whose thousands are grouped by points."""
    decimal, grouped = [], []
    for j, column in enumerate(zip(*sample, strict=False)):
        cells = [cell for cell in map(str.strip, column) if cell]
        if any(map(_DECIMAL_COMMA.fullmatch, cells)) and all(
            _DECIMAL_COMMA.fullmatch(cell) or _NUMBER.fullmatch(cell) for cell in cells
        ):
            decimal.append(j)
            if any("." in cell for cell in cells):
                grouped.append(j)
    return decimal, grouped
