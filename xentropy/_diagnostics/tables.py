"""Tables of numbers and lists of findings as text."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

from .._messages import display_width

_WIDTH = 80  # columns of the text, where the classes have short names and the rows no weights


def aligned(table: list[list[str]]) -> list[str]:
    """Rows of right-aligned columns."""
    widths = [max(map(display_width, column)) for column in zip(*table, strict=True)]

    def line(row: list[str]) -> str:
        return "  ".join(" " * (width - display_width(cell)) + cell for cell, width in zip(row, widths, strict=True))

    return [f"  {line(row)}" for row in table]


def wrapped(text: str, first: str) -> list[str]:
    """Lines of a paragraph that begins with `first`, the others below its text."""
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def findings_as_text(report: dict[str, Any], title: Callable[[dict[str, Any]], str]) -> str:
    """The findings of a report, each below its title."""
    if not report["findings"]:
        return "Findings: none. The rows are consistent with these probabilities."
    lines = ["Findings"]
    for i, finding in enumerate(report["findings"], start=1):
        lines += ["", f"  {i}. {title(finding)}"]
        for label, text in (("", finding["message"]), ("rule", finding["rule"]), ("way out", finding["advice"])):
            lines += wrapped(text, f"     {label:<9}" if label else "     ")
    return "\n".join(lines)


def number(value: float | None, digits: int) -> str:
    """A number with so many decimals, or with one digit and an exponent if it is not 0 and they would all be 0."""
    if value is None:
        return "-"
    text = f"{value:,.{digits}f}"
    return f"{value:.0e}" if value and not text.strip("-0.") else text


def ratio(a: float, b: float) -> float | None:
    return float(a / b) if b > 0 else None
