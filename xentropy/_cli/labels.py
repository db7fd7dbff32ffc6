"""Checks the target of a table: which rows have a label, and whether the labels are classes."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError
from .text import count, paragraph, printable, short

_MISSING = frozenset({"", "nan"})
_MOST_NUMERIC = 50
_MOST_CHARACTERS = 200  # the name of a class is shorter; more is free text, or a quote that was not closed


@dataclass(frozen=True)
class Labels:
    """The classes in order, and the number of the class of each row, -1 where the label is missing."""

    classes: np.ndarray
    codes: np.ndarray
    notes: list[str]

    @property
    def counts(self) -> np.ndarray:
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.classes))


def read_labels(texts: Any, name: str, target: str) -> Labels:
    """The classes of a target whose cells are `texts`: integers if all of them are integers, else text."""
    levels: dict[str, int] = {}
    raw = np.fromiter((levels.setdefault(text, len(levels)) for text in texts), dtype=np.intp, count=len(texts))
    shown = printable(repr(short(target, 40)))
    stripped = [level.strip() for level in levels]
    known = [i for i, level in enumerate(stripped) if level.casefold() not in _MISSING]
    if not known:
        raise InputError(f"{shown} holds no labels in any of the {count(len(raw), 'row')} of {name}")
    for i in known:
        if len(stripped[i]) > _MOST_CHARACTERS:
            row = int((raw == i).argmax())
            raise InputError(
                f"{shown} holds {len(stripped[i]):,} characters in row {row} ({short(stripped[i], 30)!r}): a label has "
                f"at most {_MOST_CHARACTERS}; choose another --target, or look for a quote that is not closed"
            )
    values = _as_integers([stripped[i] for i in known])
    classes, order = np.unique(values, return_inverse=True)
    code_of = np.full(len(stripped), -1)
    code_of[known] = order
    codes = code_of[raw]
    notes = []
    n_missing = int((codes < 0).sum())
    if n_missing:
        are = "is" if n_missing == 1 else "are"
        notes.append(f"{count(n_missing, 'row')} without a label in {shown} {are} left out.")
    if len(classes) < 2:
        raise InputError(
            f"{shown} holds one class only, {short(classes[0], 30)}, in all {count(int((codes >= 0).sum()), 'row')} of "
            f"{name}: a model needs two classes or more"
        )
    return Labels(classes, codes, notes)


def _as_integers(texts: list[str]) -> np.ndarray:
    """Integers if all texts are, unless they are codes such as 007, whose digits a number would lose."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return np.array(texts)
    whole = all(math.isfinite(number) and number == int(number) and abs(number) < 2**53 for number in numbers)
    coded = any("_" in text or (text.isdigit() and text != str(int(text))) for text in texts)
    return np.array([int(number) for number in numbers]) if whole and not coded else np.array(texts)


def doubt(labels: Labels, target: str) -> str | None:
    """Why the labels may not be classes, or None."""
    n_rows, n_classes = int(labels.counts.sum()), len(labels.classes)
    shown = printable(repr(short(target, 40)))
    if labels.classes.dtype.kind in "iu":
        if n_classes > _MOST_NUMERIC:
            return f"{shown} holds {n_classes:,} different numbers: it is a measurement rather than a class"
    else:
        numbers = _finite(labels.classes)
        if numbers is not None and any(number != int(number) for number in numbers):
            example = next(text for text, number in zip(labels.classes, numbers, strict=True) if number != int(number))
            return f"{shown} holds {short(example, 20)}: it is a measurement rather than a class"
    if n_classes > n_rows / 2:
        return f"{shown} has {count(n_classes, 'value')} in {count(n_rows, 'row')}: it names rows rather than classes"
    return None


def _finite(texts: np.ndarray) -> list[float] | None:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def confirm(doubtful: str, yes: bool, can_ask: bool) -> None:
    """Ask whether to go on. Raise if the answer is no, or if nobody can be asked and `yes` is not set."""
    if yes:
        return
    remedy = "choose another --target, cut its range into classes, or pass --yes to take each value for a class"
    if not can_ask or not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise InputError(f"{doubtful}; {remedy}")
    question = paragraph(f"{doubtful}. Take each value for a class? [y/N]", rest="")
    print(question, end=" ", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().casefold() not in ("y", "yes"):
        raise InputError(f"not confirmed; {remedy}")
