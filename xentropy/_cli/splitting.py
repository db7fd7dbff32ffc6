"""Holds out a share of each class for the score, and distributes the other rows to folds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .text import count, printable, short, some


@dataclass(frozen=True)
class Split:
    """Indices of rows. `fold` has the number of the fold that scores each training row, -1 if none does."""

    train: np.ndarray
    test: np.ndarray
    fold: np.ndarray
    n_folds: int
    notes: list[str]


def split_rows(
    codes: np.ndarray, classes: np.ndarray, target: str, test_size: float, most_folds: int, seed: int
) -> Split:
    """Split the rows whose class has a number, 0 or more. Each class keeps a row to fit with, in every fold too."""
    rng = np.random.default_rng(seed)
    shown = printable(repr(short(target, 40)))
    counts = np.bincount(codes[codes >= 0], minlength=len(classes))
    # sorted by class, and within a class in the order of the file
    by_class = np.split(np.argsort(codes, kind="stable")[(codes < 0).sum() :], np.cumsum(counts)[:-1])
    held_out, kept = [], []
    for rows in by_class:
        rows = rng.permutation(rows)
        n_held_out = min(round(test_size * len(rows)), len(rows) - 1)
        held_out.append(rows[:n_held_out])
        kept.append(rows[n_held_out:])
    test, train = np.sort(np.concatenate(held_out)), np.sort(np.concatenate(kept))
    if not len(test):
        raise InputError(
            f"no class has enough rows to hold out {test_size:g} of it (the largest of the {len(classes):,} classes of "
            f"{shown} has {counts.max()}): use more rows, a larger --test-size, or other classes"
        )

    # Rows are distributed to the folds in turn, class by class, and each class continues where the last one ended. A
    # class with one row is in no fold, so every fit uses it.
    fold = np.full(len(codes), -1)
    repeated = [rows for rows in kept if len(rows) > 1]
    dealt = np.concatenate(repeated) if repeated else np.array([], dtype=int)
    n_folds = min(most_folds, len(dealt))
    if n_folds < 2:
        raise InputError(
            f"no class has two rows left for the folds (the largest of the {len(classes):,} classes of {shown} has "
            f"{counts.max()}): use more rows, a smaller --test-size, or other classes"
        )
    fold[dealt] = np.arange(len(dealt)) % n_folds

    sizes = np.array([len(rows) for rows in kept])
    notes = []
    if (single := sizes == 1).any():
        notes.append(f"{count(int(single.sum()), 'class')} with one row to fit with: every fit uses it, and no score: "
                     f"{some(classes[single])}.")
    if (rare := (sizes > 1) & (sizes < n_folds)).any():
        notes.append(f"{count(int(rare.sum()), 'class')} with fewer rows than the {n_folds} folds, some of which lack "
                     f"it: {some(classes[rare])}.")
    return Split(train, test, fold[train], n_folds, notes)
