"""The error that a user of the command can correct."""

from __future__ import annotations

from collections.abc import Sequence


class InputError(ValueError):
    """The user's file or options cannot be used. The message gives the reason and a remedy."""


def raise_together(problems: Sequence[str], remedy: str = "") -> None:
    """Raise one `InputError` that lists all `problems`, if there are any, followed by what helps against them."""
    if len(problems) == 1:
        raise InputError(f"{problems[0]}{f'; {remedy}' if remedy else ''}")
    if problems:
        lines = [*(f"  - {problem}" for problem in problems), *([remedy] if remedy else [])]
        raise InputError("\n".join(["several problems:", *lines]))
