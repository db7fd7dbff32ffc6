"""Checks and encodes targets, which are labels or distributions.

A 1-D `y`, or one column, holds class labels of any kind. A 2-D `y` with two or more columns holds a distribution over
the classes in each row, one-hot or soft.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils._missing import is_pandas_na
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from ._arrays import refuse_masked, refuse_sparse_frame
from ._blas import one_blas_thread
from ._kernels._pointwise import first_bad_distribution
from ._kernels._proba import encode_labels, mark_labels, number_records
from ._messages import plain

# Names such as "0", "1" or "column_0", "column_1", which count columns: pandas' once written to a file, and polars'.
_COUNTED = ("", "column_")

# The largest distance from 1 of the sum of a row, by the dtype of the input.
SUM_RTOL = {"float64": 1e-6, "float32": 1e-3, "float16": 1e-2}


@dataclass(frozen=True)
class Target:
    """An encoded `y`. Exactly one of `labels` and `distribution` is not None.

    Attributes
    ----------
    classes : ndarray of shape (K,)
        The class of each label index or column.
    labels : int32 ndarray of shape (n,) or None
        Indices into `classes`, or -1 for a label that is not in `classes`.
    distribution : ndarray of shape (n, K), C-ordered, or None
        Rows that sum to 1.
    """

    classes: np.ndarray
    labels: np.ndarray | None = None
    distribution: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels if self.labels is not None else self.distribution)  # type: ignore[arg-type]

    def __getitem__(self, rows: np.ndarray | slice) -> Target:
        """The target of these rows, with the same classes."""
        if self.labels is not None:
            return Target(self.classes, labels=self.labels[rows])
        return Target(self.classes, distribution=self.distribution[rows])  # type: ignore[index]

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    @one_blas_thread()
    def class_mass(self, sample_weight: np.ndarray | None = None) -> np.ndarray:
        """The weight of each class, sum_i s_i y_ik, with the shape (K,), in float64."""
        if self.labels is not None:
            return np.bincount(self.labels, sample_weight, minlength=self.n_classes).astype(np.float64)
        assert self.distribution is not None
        if sample_weight is None:
            return self.distribution.sum(axis=0, dtype=np.float64)
        return sample_weight @ self.distribution

    @one_blas_thread()
    def row_mass(
        self, sample_weight: np.ndarray | None, class_weight: np.ndarray | None, label_smoothing: float = 0.0
    ) -> np.ndarray | None:
        """The weight of each row, s_i sum_k w_k t_ik with t smoothed, with the shape (n,), or None if all are 1."""
        if class_weight is None:
            return sample_weight
        asked = class_weight[self.labels] if self.labels is not None else self.distribution @ class_weight
        mass = (1.0 - label_smoothing) * asked + label_smoothing * class_weight.mean()
        with np.errstate(over="ignore"):  # a design says so
            return mass if sample_weight is None else mass * sample_weight


@dataclass(frozen=True)
class CodedLabels:
    """Integer labels with their original values, and a table in which ``table[value - low]`` is the class of a value.

    Attributes
    ----------
    values : integer ndarray of shape (n,), C-ordered, in native byte order
    low : int
    table : int32 ndarray
        Indices of classes. A label has no class if its entry is -1 or outside of the table.
    """

    values: np.ndarray
    low: int
    table: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def indices(self) -> np.ndarray:
        """The index of the class of each label, or -1, with the shape (n,), in int32."""
        return encode_labels(self.values, self.low, self.table)


def is_distribution(y: Any) -> bool:
    """Whether `y` holds distributions rather than labels, that is, two or more columns."""
    shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    return len(shape) == 2 and shape[1] != 1


def learn_target(y: Any, dtype: Any = np.float64) -> Target:
    """Encode the `y` of a fit, and find its classes, which are the sorted labels or the columns."""
    if is_distribution(y):
        names = column_names(y)
        distribution = check_distribution(y, dtype=dtype)
        classes = np.arange(distribution.shape[1]) if names is None else names
        return _plain_labels(Target(classes, distribution=distribution))
    y = _label_column(y, warn=True)
    if y.dtype.kind not in "biu":  # integers are always labels
        check_classification_targets(y)
    classes, labels = _unique_labels(y)
    if y.dtype.kind in "biu" and len(y) > 20 and len(classes) > len(y) // 2:
        check_classification_targets(y)  # warns of integers that look like regression targets
    return Target(classes, labels=labels.indices())


def learn_labels(y: Any, *, name: str = "y") -> tuple[np.ndarray, CodedLabels]:
    """The sorted classes of a `y` of labels, and the encoded labels."""
    return _unique_labels(_check_labels(y, name))


def learn_classes(labels: Any, *, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The sorted classes in a list, and the index of each entry among them."""
    classes, coded = _unique_labels(_check_labels(labels, name))
    return classes, coded.indices()


def plain_labels(y: Any, *, name: str = "y") -> np.ndarray:
    """The labels of `y` as one array, checked. Numbers in an array of objects become an array of numbers."""
    return _label_column(y, name=name, warn=False)


def match_target(y: Any, classes: np.ndarray, dtype: Any = np.float64, *, name: str = "y") -> Target:
    """Encode `y` for known `classes`. A label that is not in `classes` becomes -1, which the caller handles."""
    if is_distribution(y):
        names = column_names(y, name=name)
        distribution = check_distribution(y, dtype=dtype, name=name)
        return Target(classes, distribution=match_columns(distribution, names, classes, name=name))
    return Target(classes, labels=match_labels(y, classes, name=name).indices())


def match_columns(values: np.ndarray, names: np.ndarray | None, classes: np.ndarray, *, name: str) -> np.ndarray:
    """Sort the columns of `values`, which may have `names`, into the order of `classes`.

    A name is that of a class if the two are equal, or equal as text, because files and some libraries name columns with
    strings only. Numbers from 0 that are the names of no classes only count the columns.
    """
    if values.shape[1] != len(classes):
        raise ValueError(
            f"{name} has {values.shape[1]} columns, one for each class, but there are {len(classes)} classes: "
            f"{_brief(classes)}"
        )
    if names is None:
        return values
    column_of = _places(classes, names)
    if (column_of >= 0).all():
        in_order = np.array_equal(column_of, np.arange(len(classes)))
        return values if in_order else np.ascontiguousarray(values[:, column_of])
    if any(names.tolist() == [f"{prefix}{k}" for k in range(len(names))] for prefix in _COUNTED):
        return values
    other = plain(names[_places(names, classes) < 0])[0]
    raise ValueError(
        f"{name} has columns {_brief(names)} for the classes {_brief(classes)}, but {other!r} is none of them: rename "
        f"the columns, or pass an array with its columns in the order of the classes"
    )


def match_one_column(values: np.ndarray, names: np.ndarray | None, classes: np.ndarray) -> np.ndarray:
    """The probabilities of both classes if the one column has the name of the first class, or else `values`."""
    if names is None or _places(names, classes)[0] != 0:
        return values
    return np.hstack([values, 1 - values])


def _places(labels: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The index of each label in `among`, compared as values or else as text. One that is not there gives -1."""
    places = code_labels(labels, among).indices()
    if (places < 0).all() and labels.dtype.kind != among.dtype.kind:
        labels, among = (np.array(list(map(str, a.tolist()))) for a in (labels, among))
        places = code_labels(labels, among).indices()
    return places


def match_labels(y: Any, classes: np.ndarray, *, name: str = "y") -> CodedLabels:
    """Check and encode labels for known `classes`. The caller handles labels that are not in `classes`."""
    return code_labels(_check_labels(y, name), classes)


def code_labels(y: np.ndarray, classes: np.ndarray) -> CodedLabels:
    """Encode labels for known `classes`. A label that is not in `classes` has no class."""
    if y.dtype.kind in "biu" and classes.dtype.kind in "biu" and len(classes):
        low, high = int(classes.min()), int(classes.max())
        # the table uses signed 64-bit arithmetic, in which an unsigned label of 2^63 or more would look negative
        fits = high < 1 << 63 and (y.dtype != np.uint64 or y.max(initial=0) < 1 << 63)
        if fits and _is_table_size(high - low + 1, len(y)):
            return _table(y, low, classes.astype(np.int64) - low)
    if y.dtype.kind == classes.dtype.kind == "U" and (few := _few_strings(y)) is not None and len(few[1]) < len(y):
        return CodedLabels(few[0], 0, code_labels(few[1], classes).indices())
    ordered = (y.dtype.kind in "biuf" and classes.dtype.kind in "biuf") or y.dtype.kind == classes.dtype.kind == "U"
    if not ordered:  # objects, or numbers and strings, can be compared for equality only
        index = {c: k for k, c in enumerate(classes.tolist())}
        found = np.fromiter((index.get(v, -1) for v in y.tolist()), dtype=np.int32, count=len(y))
    else:
        order = np.argsort(classes, kind="stable")
        at = order[np.minimum(np.searchsorted(classes, y, sorter=order), len(classes) - 1)]
        found = np.where(classes[at] == y, at, -1)
    return _encoded(found, len(classes))


def check_distribution(y: Any, *, dtype: Any = np.float64, name: str = "y") -> np.ndarray:
    """Return `y` as a C-ordered (n, K) array of `dtype`. A row that is not a distribution is an error that names it.

    If `dtype` is None, float32 and float64 are kept, and other dtypes become float64.
    """
    if sp.issparse(y):
        raise ValueError(
            f"{name} is a sparse matrix; distributions must be dense: pass {name}.toarray(), or class labels"
        )
    refuse_sparse_frame(y, name, ", or class labels")
    refuse_masked(y, name)
    y = check_array(y, dtype=None, input_name=name, ensure_all_finite=False, ensure_min_features=2)
    rtol = SUM_RTOL.get(y.dtype.name, SUM_RTOL["float64"])
    if y.dtype.kind not in "biuf":
        try:
            y = y.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(
                f"{name} has {y.shape[1]} columns, one for each class, so it must hold numbers, not {y.dtype}"
            ) from None
    if dtype is None:
        dtype = np.float32 if y.dtype == np.float32 else np.float64
    y = np.require(y, dtype=dtype, requirements=["C", "A"])
    bad = first_bad_distribution(y, rtol)
    if bad >= 0:
        raise bad_distribution(y[bad], name, f"row {bad}")
    return y


def bad_distribution(row: np.ndarray, name: str, where: str) -> ValueError:
    """The error for a row, at `where`, that is not a distribution."""
    if not np.all(row >= 0):
        problem = f"holds {row[~(row >= 0)][0]!s} in {where}; probabilities are 0 or more"
    else:
        problem = f"sums to {row.sum(dtype=np.float64):.7g} in {where}, not to 1"
    several = ""
    if np.all((row == 0) | (row == 1)):
        several = (
            " If a row may have several labels or none, use MultilabelClassifier, binary_log_loss, and "
            "multilabel=True in reports and displays."
        )
    return ValueError(
        f"{name} {problem}. With {len(row)} columns each row is a distribution over the classes (one-hot or soft): "
        f"divide the row by its sum, or drop it. For class labels pass one column.{several}"
    )


def column_names(y: Any, *, name: str = "y") -> np.ndarray | None:
    """The names of the columns of a DataFrame, or of a Series, as an array of labels.

    None if they have no names: for other types, and for a DataFrame with the default columns 0, ..., K - 1.
    """
    columns = getattr(y, "columns", None)
    if isinstance(columns, list):
        columns = getattr(y, "column_names", columns)  # the columns of a pyarrow.Table are values
    if columns is None:
        columns = [y.name] if getattr(y, "name", None) is not None and np.ndim(y) == 1 else []
    names = list(columns)
    if not names or (all(map(_is_integer, names)) and names == list(range(len(names)))):
        return None
    if len(set(names)) < len(names):
        twice = next(c for c in names if names.count(c) > 1)
        raise ValueError(f"{name} has two columns named {plain(twice)!r}; name each column after its class")
    if all(isinstance(c, str) for c in names):
        return np.array(names)
    out = np.asarray(names)
    if out.ndim != 1 or out.dtype.kind not in "biufU":
        out = np.fromiter(names, dtype=object, count=len(names))  # tuples stay whole
    return out


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _label_column(y: Any, *, name: str = "y", warn: bool = True) -> np.ndarray:
    if y is None:
        raise ValueError(f"requires {name} to be passed, but the target {name} is None")
    if sp.issparse(y):
        raise ValueError(f"{name} is a sparse matrix; pass {name}.toarray(), or class labels")
    refuse_masked(y, name)
    refuse_sparse_frame(y, name)
    if type(y) is not np.ndarray or y.ndim != 1 or y.dtype.kind not in "biu":
        y = column_or_1d(y, warn=warn)
        if y.dtype.kind == "O" and len(y):
            y = _plain_objects(y, name)
        if y.dtype.kind in "mM" and (missing := np.isnat(y)).any():
            raise ValueError(f"{name} contains NaT in row {missing.argmax()}; drop rows without a label")
        try:
            assert_all_finite(y, input_name=name)
        except ValueError as error:
            row = int(np.argmin(np.isfinite(y)))
            raise ValueError(f"{error} Row {row} has {y[row]}; drop rows without a label") from None
    return y


def _check_labels(y: Any, name: str) -> np.ndarray:
    y = _label_column(y, name=name, warn=False)
    if y.dtype.kind not in "biuU" and (kind := type_of_target(y, input_name=name)) not in ("binary", "multiclass"):
        order = " Are y_true and y_proba swapped?" if name == "y_true" and kind == "continuous" else ""
        raise ValueError(
            f"Unknown label type: {kind}. Maybe you are trying to fit a classifier, which expects discrete classes on "
            f"a regression target with continuous values. {name} must hold class labels, or a distribution in each "
            f"row.{order}"
        )
    return y


def _plain_objects(y: np.ndarray, name: str) -> np.ndarray:
    """Convert numbers in an object array, and keep strings. A mixture has no order, so it is an error."""
    if all(isinstance(v, Number) for v in y):
        return np.asarray(y.tolist())
    for i, v in enumerate(y):
        if v is None or is_pandas_na(v) or v != v:
            raise ValueError(f"{name} contains {v!s} in row {i}; drop rows without a label")
        if isinstance(v, str) != isinstance(y[0], str):
            raise ValueError(
                f"{name} contains {plain(v)!r} in row {i} beside {plain(y[0])!r} in row 0; use labels of one kind"
            )
    return y


def _unique_labels(y: np.ndarray) -> tuple[np.ndarray, CodedLabels]:
    if y.dtype.kind in "biuf" and len(y):
        low, high = y.min().item(), y.max().item()  # Python's: 2^62 overflows in float16
        if low > -(1 << 62) and high < 1 << 62 and _is_table_size(int(high) - int(low) + 1, len(y)):
            integers = y if y.dtype.kind != "f" else y.astype(np.int64)
            if integers is y or np.array_equal(integers, y):
                integers = _plain_integers(integers)
                low = int(low)
                present = np.flatnonzero(mark_labels(integers, low, int(high) - low + 1))
                return (present + low).astype(y.dtype.newbyteorder("=")), _table(integers, low, present)
    if (found := _few_strings(y)) is not None:
        numbers, strings = found
        order = np.argsort(strings)
        return strings[order], CodedLabels(numbers, 0, np.argsort(order).astype(np.int32))
    encoder = LabelEncoder()
    labels = encoder.fit_transform(y)
    return encoder.classes_, _encoded(labels, len(encoder.classes_))


def _few_strings(y: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The number of each string, and the different strings in the order of their numbers. None if too many differ."""
    if y.dtype.kind != "U" or not y.dtype.itemsize or not y.dtype.isnative:
        return None
    y = np.ascontiguousarray(y)
    numbers, first_rows = number_records(y)
    return None if numbers is None else (numbers, y[first_rows])


def _is_table_size(size: int, n_labels: int) -> bool:
    """Whether a table of `size` entries is so small, compared with `n_labels`, that it is faster than sorting."""
    return size < 4 * n_labels + 1000


def _table(integers: np.ndarray, low: int, places: np.ndarray) -> CodedLabels:
    table = np.full(int(places.max()) + 1, -1, dtype=np.int32)
    table[places] = np.arange(len(places), dtype=np.int32)
    return CodedLabels(_plain_integers(integers), low, table)


def _encoded(indices: np.ndarray, n_classes: int) -> CodedLabels:
    return CodedLabels(indices.astype(np.int32, copy=False), 0, np.arange(n_classes, dtype=np.int32))


def _plain_integers(y: np.ndarray) -> np.ndarray:
    """Integers that a kernel can read: contiguous, aligned, and in native byte order."""
    return np.require(y, dtype=y.dtype.newbyteorder("="), requirements=["C", "A"])


def _plain_labels(target: Target) -> Target:
    """Replace one-hot rows with labels, which give the same result and take 4 bytes a row."""
    y = target.distribution
    assert y is not None
    labels = y.argmax(axis=1)
    if np.all(y[np.arange(len(y)), labels] == 1.0) and np.count_nonzero(y) == len(y):
        return Target(target.classes, labels=labels.astype(np.int32))
    return target


def _brief(classes: np.ndarray, most: int = 10) -> str:
    shown = ", ".join(repr(c) for c in plain(classes[:most]))
    return f"[{shown}{', ...' if len(classes) > most else ''}]"
