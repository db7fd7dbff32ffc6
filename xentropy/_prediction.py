"""Predictions of a linear model from its coefficients, also where products of finite numbers overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import safe_sparse_dot

from ._kernels._linear import linear_predict
from ._kernels._pointwise import softmax
from ._kernels._threads import effective_n_threads

# The logits of a block of rows, where they are stored: 8 MB.
_BLOCK_LOGITS = 1 << 20


def predict_by_kernel(
    X: Any, coef: np.ndarray, intercept: np.ndarray, n_classes: int, kind: str
) -> tuple[np.ndarray, bool]:
    """Predict as the kernels do, which do not store logits unless these are asked for.

    Parameters
    ----------
    X : C-ordered ndarray or CSR matrix of shape (n, D), float64 or float32
    coef : ndarray of shape (R, D)
        R is 1 for the sigmoid form of two classes, or else K.
    intercept : ndarray of shape (R,)
    n_classes : int
        K.
    kind : {"logits", "probabilities", "log_probabilities", "classes"}

    Returns
    -------
    out : ndarray of shape (n, R), (n, K), (n, K) or (n,)
    finite : bool
        Whether all logits are finite, and so X.
    """
    return linear_predict(
        X,
        np.ascontiguousarray(coef.T, dtype=np.float64),
        np.ascontiguousarray(intercept, dtype=np.float64),
        n_classes=n_classes,
        kind=kind,
        compute="float32" if X.dtype == coef.dtype == np.float32 else "float64",
        n_threads=effective_n_threads(),
    )


def predict_by_sparse_coef(X: Any, coef: Any, intercept: np.ndarray, n_classes: int, kind: str) -> np.ndarray:
    """Predict from sparse coefficients, block by block of rows."""
    dtype = np.result_type(X.dtype, coef.dtype)  # scikit-learn multiplies matrices of one dtype only
    transposed, out = coef.T.astype(dtype, copy=False), np.empty(0)
    step = max(1, _BLOCK_LOGITS // n_classes)
    for start in range(0, X.shape[0], step):
        rows = X[start : start + step].astype(dtype, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            z = safe_sparse_dot(rows, transposed, dense_output=True) + intercept
        block = _with_overflown(_of_logits(z, n_classes, kind), z, rows, coef, intercept, n_classes, kind)
        if start == 0:
            out = np.empty((X.shape[0], *block.shape[1:]), dtype=block.dtype)
        out[start : start + step] = block
    return out


def with_overflown(
    out: np.ndarray, X: Any, coef: np.ndarray, intercept: np.ndarray, n_classes: int, kind: str
) -> np.ndarray:
    """What `predict_by_kernel` has found, with the right predictions for rows whose logits are not finite."""
    step = max(1, _BLOCK_LOGITS // n_classes)
    for start in range(0, len(out), step):
        rows = X[start : start + step]
        z, finite = predict_by_kernel(rows, coef, intercept, n_classes, "logits")
        if not finite:
            block = out[start : start + step]
            block[:] = _with_overflown(block, z, rows, coef, intercept, n_classes, kind)
    return out


def _with_overflown(
    out: np.ndarray, z: np.ndarray, X: Any, coef: Any, intercept: np.ndarray, n_classes: int, kind: str
) -> np.ndarray:
    """Predictions of rows X with the logits z, and with those of more range where z is not finite."""
    far = np.flatnonzero(~np.isfinite(z).all(axis=1))
    if not len(far):
        return out
    dense = coef.toarray() if sp.issparse(coef) else coef
    for name, fitted in (("coef_", dense), ("intercept_", intercept)):
        if not np.isfinite(fitted).all():
            bad = np.asarray(fitted)[~np.isfinite(fitted)][0]
            raise ValueError(f"{name} holds {bad}, which gives no predictions: fit again, or set finite numbers")
    step = max(1, _BLOCK_LOGITS // dense.size)
    for at in (far[i : i + step] for i in range(0, len(far), step)):
        rows = X[at].toarray() if sp.issparse(X) else X[at]
        with np.errstate(over="ignore", invalid="ignore"):  # X may hold NaN, if scikit-learn is told to assume that not
            z, exponent = _scaled_logits(rows, dense, intercept)
            out[at] = _of_logits(z, n_classes, kind, exponent)
    return out


def _of_logits(z: np.ndarray, n_classes: int, kind: str, exponent: np.ndarray | None = None) -> np.ndarray:
    """Predictions from logits z (n, R), which may be divided by 2**exponent (n, 1)."""
    if kind == "logits":
        return z if exponent is None else np.ldexp(z, exponent)
    if kind == "classes":
        return (z[:, 0] > 0).astype(np.intp) if z.shape[1] == 1 else z.argmax(axis=1)
    if z.shape[1] < n_classes:  # the first of two classes has the logit 0
        z = np.hstack([np.zeros_like(z), z])
    if exponent is not None:
        z = np.ldexp(z - z.max(axis=1, keepdims=True), exponent)  # -inf where a probability is below all numbers
    return softmax(np.ascontiguousarray(z), log=kind == "log_probabilities", n_threads=effective_n_threads())


def _scaled_logits(X: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits divided by a power of two for each row (n, R), so that none overflows, and its exponent (n, 1)."""
    (x, of_x), (w, of_w), (b, of_b) = (np.frexp(a.astype(np.float64)) for a in (X, coef, intercept))
    products, exponents = x[:, None, :] * w, of_x[:, None, :] + of_w  # (n, R, D)
    lowest = np.iinfo(np.int32).min // 2
    largest = np.where(products != 0.0, exponents, lowest).max(axis=(1, 2), initial=lowest)
    largest = np.maximum(largest, np.where(b != 0.0, of_b, lowest).max())[:, None]
    z = np.ldexp(products, exponents - largest[:, :, None]).sum(axis=2) + np.ldexp(b, of_b - largest)
    return z, largest
