"""Checks and encodes label indicators: several yes/no labels for each row, of which some may be missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_array

from ._arrays import refuse_masked, refuse_sparse_frame
from ._messages import plain
from ._targets import Target, column_names, match_columns

MISSING = 2  # in an indicator of uint8; NaN in one of floats
_BLOCK_VALUES = 1 << 20  # that are looked at together


@dataclass(frozen=True)
class Indicator:
    """An encoded `y` of several labels.

    Attributes
    ----------
    labels : ndarray of shape (L,)
        The name of each label.
    values : ndarray of shape (n, L), C-ordered
        uint8 0, 1 or `MISSING`, or float32 or float64 probabilities, where NaN is missing.
    """

    labels: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: np.ndarray | slice) -> Indicator:
        """These rows, with the same labels."""
        return Indicator(self.labels, self.values[rows])

    @property
    def n_labels(self) -> int:
        return self.values.shape[1]

    @cached_property
    def has_missing(self) -> bool:
        step = max(1, _BLOCK_VALUES // max(1, self.n_labels))
        return any(self._is_missing(self.values[i : i + step]).any() for i in range(0, len(self), step))

    def known(self, k: int) -> np.ndarray | None:
        """Which rows have label k, or None if all have."""
        missing = self._is_missing(self.values[:, k])
        return ~missing if missing.any() else None

    def target(self, k: int) -> Target:
        """Label k as a target of the classes 0 and 1. Rows that do not have it are of class 0."""
        y = self.values[:, k]
        if y.dtype.kind == "f":
            y = np.where(np.isnan(y), 0.0, y).astype(np.float64)
            if ((y != 0.0) & (y != 1.0)).any():
                return Target(np.arange(2), distribution=np.column_stack([1.0 - y, y]))
        return Target(np.arange(2), labels=(y == 1).astype(np.int32))

    def decoded(self) -> np.ndarray:
        """The values as floats, where NaN is missing."""
        if self.values.dtype.kind == "f":
            return self.values
        return np.where(self.values == MISSING, np.nan, self.values.astype(np.float64))

    def _is_missing(self, values: np.ndarray) -> np.ndarray:
        return np.isnan(values) if values.dtype.kind == "f" else values == MISSING


def is_indicator(y: Any) -> bool:
    """Whether `y` has a column for each label: two or more columns, or a sparse matrix."""
    shape = y.shape if hasattr(y, "shape") else np.asarray(y, dtype=object).shape
    return len(shape) == 2 and (sp.issparse(y) or shape[1] != 1)


def learn_indicator(y: Any, *, name: str = "y") -> Indicator:
    """Encode an indicator. The columns of a DataFrame name the labels, which else are 0, 1, ..."""
    names, values = column_names(y, name=name), _encoded(y, name)
    return Indicator(np.arange(values.shape[1]) if names is None else names, values)


def match_indicator(y: Any, labels: np.ndarray, *, name: str = "y") -> Indicator:
    """Encode an indicator for known labels. The columns of a DataFrame are sorted into their order by name."""
    names, values = column_names(y, name=name), _encoded(y, name)
    return Indicator(labels, np.ascontiguousarray(match_columns(values, names, labels, name=name)))


def _encoded(y: Any, name: str) -> np.ndarray:
    if sp.issparse(y):
        if not y.shape[1]:
            raise ValueError(f"{name} has 0 columns, one for each label: there is nothing to fit or to score")
        return _encoded_sparse(sp.csr_matrix(y), name)
    refuse_sparse_frame(y, name)
    refuse_masked(y, name)
    names = column_names(y, name=name)
    y = check_array(y, dtype=None, input_name=name, ensure_all_finite=False, estimator=None)
    if y.dtype.kind not in "biuf":
        try:
            y = np.array(y, dtype=np.float64)  # None becomes NaN
        except (TypeError, ValueError):
            raise ValueError(
                f"{name} has {y.shape[1]} columns, one for each label, so it must hold numbers, not {y.dtype}: pass "
                f"the indicator that MultiLabelBinarizer makes of sets of labels"
            ) from None
    if y.dtype.kind == "b":
        return np.ascontiguousarray(y).view(np.uint8)
    codes = np.empty(y.shape, dtype=np.uint8)
    step = max(1, _BLOCK_VALUES // max(1, y.shape[1]))
    is_hard = True
    for first in range(0, len(y), step):
        block = y[first : first + step]
        missing = np.isnan(block) if y.dtype.kind == "f" else np.zeros((), dtype=bool)
        wrong = ~((block >= 0) & (block <= 1) | missing)
        if wrong.any():
            row, k = np.argwhere(wrong)[0].tolist()
            raise _bad_value(block[row, k], first + row, k if names is None else names[k], name)
        is_hard = is_hard and bool(((block == 0) | (block == 1) | missing).all())
        if is_hard:
            codes[first : first + step] = np.where(missing, MISSING, block == 1)
    if is_hard:
        return codes
    return np.require(y, dtype=np.float32 if y.dtype.itemsize <= 4 else np.float64, requirements=["C", "A"])


def _encoded_sparse(y: sp.csr_matrix, name: str) -> np.ndarray:
    """Entries that are not stored are 0."""
    if not y.has_canonical_format:
        y = y.copy()
        y.sum_duplicates()
    data = y.data
    rows, columns = np.repeat(np.arange(y.shape[0]), np.diff(y.indptr)), y.indices
    missing = np.isnan(data) if data.dtype.kind == "f" else np.zeros(len(data), dtype=bool)
    wrong = ~((data >= 0) & (data <= 1) | missing)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise _bad_value(data[at], int(rows[at]), int(columns[at]), name)
    if ((data == 0) | (data == 1) | missing).all():
        out = np.zeros(y.shape, dtype=np.uint8)
        out[rows, columns] = np.where(missing, MISSING, data == 1)
    else:
        out = np.zeros(y.shape, dtype=np.float32 if data.dtype.itemsize <= 4 else np.float64)
        out[rows, columns] = data
    return out


def _bad_value(value: Any, row: int, column: Any, name: str) -> ValueError:
    return ValueError(
        f"{name} holds {plain(value)!r} in row {row} for the label {plain(column)!r}: a label is 0 or 1, a probability "
        "between them, or NaN if it is missing. For class labels pass one column, and for several columns of classes "
        "fit MultiOutputClassifier(SoftmaxClassifier())"
    )
