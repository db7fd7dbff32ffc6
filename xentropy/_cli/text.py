"""What the command prints: lines of at most 80 columns, in which no character of a file controls the terminal."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Sequence

from .._messages import display_width

WIDTH = 80


def say(text: str = "") -> None:
    print(text, flush=True)


def printable(text: object) -> str:
    r"""The text with escapes, such as ``\x1b``, in place of characters that a terminal would obey or not show."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def short(text: object, most: int = 20) -> str:
    """The printable text, in at most `most` columns. The middle is cut, because names often differ at their ends."""
    text = str(text)
    if len(text) > 2 * most:
        text = text[:most] + text[-most:]
        shown = printable(text)
    else:
        shown = printable(text)
        if display_width(shown) <= most:
            return shown
    head, tail = shown[: most // 2], shown[-(most - most // 2 - 1) :]
    while display_width(head) > most // 2:
        head = head[:-1]
    while display_width(tail) > most - most // 2 - 1:
        tail = tail[1:]
    return f"{head}…{tail}"


def paragraph(text: str, first: str = "", rest: str | None = None) -> str:
    """The text in lines of at most `WIDTH` columns. No word is broken."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first) if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def some(names: Iterable[object], most: int = 5) -> str:
    """The first few of the names, and how many more there are."""
    listed = list(names)
    shown = ", ".join(short(name, 30) for name in listed[:most])
    return f"{shown} and {len(listed) - most:,} more" if len(listed) > most else shown


def count(number: int, what: str) -> str:
    """The number with its noun: "1 row", "1,200 rows", "3 classes"."""
    plural = "es" if what.endswith("s") else "s"
    return f"{number:,} {what}{plural * (number != 1)}"


def in_columns(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,), indent: str = "  ") -> str:
    """The rows as a table. Columns are aligned to the right, except those whose numbers are in `left`."""
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for j, (cell, width) in enumerate(zip(row, widths, strict=True)):
            padding = " " * (width - display_width(cell))
            cells.append(cell + padding if j in left else padding + cell)
        lines.append(indent + "  ".join(cells).rstrip())
    return "\n".join(lines)


class Progress:
    """A line on the terminal that counts steps and is erased at the end. It is not shown if stderr is no terminal."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self.shown = sys.stderr is not None and sys.stderr.isatty()

    def step(self) -> None:
        self.done += 1
        self._write(f"\r{self.what}, fit {self.done} of {self.total}")

    def _write(self, text: str) -> None:
        if self.shown:
            print(text, end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        self._write(f"\r{self.what}, {self.total} fits")
        return self

    def __exit__(self, *_: object) -> None:
        self._write("\r\033[K")
