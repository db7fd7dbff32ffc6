"""Tables of numbers as text."""

from __future__ import annotations

WIDTH = 100


def aligned(table: list[list[str]]) -> list[str]:
    """Rows of right-aligned columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  " + "   ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True)) for row in table]


def number(value: float | None, digits: int) -> str:
    """A number with so many decimals, or with one digit and an exponent if it is not 0 and they would all be 0."""
    if value is None:
        return "-"
    text = f"{value:,.{digits}f}"
    return f"{value:.0e}" if value and not text.strip("-0.") else text


def ratio(a: float, b: float) -> float | None:
    return float(a / b) if b > 0 else None
