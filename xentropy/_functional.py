"""Losses of logits and their gradients, for neural networks, sequences and custom models."""

from __future__ import annotations

import math
from numbers import Complex, Integral, Real
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from ._arrays import refuse_masked
from ._kernels import _pointwise as kernels
from ._kernels._linear import LinearPass
from ._kernels._threads import effective_n_threads
from ._losses import Loss, check_loss, refuse_smoothing
from ._messages import plain
from ._targets import SUM_RTOL, bad_distribution, column_names, match_columns

Reduction = Literal["mean", "sum", "none"]

# Weights within these bounds leave room in the range of float32, 2^-126 to 2^128, for the product of two and a logit.
_FLOAT32_WEIGHTS = 2.0**-40, 2.0**40
# The product of two such weights, and the sum of 2^63 of these, are within the range of float64, and so are inverses.
_LARGEST_WEIGHT = 2.0**400


def cross_entropy(
    y_true: Any,
    logits: Any,
    *,
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    loss: str | Loss = "cross_entropy",
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    return_grad: bool = False,
) -> Any:
    r"""Compute the cross-entropy, or another of the losses, from logits.

    With logits z, :math:`\ell_k = -\log p_k = \log \sum_j e^{z_j} - z_k` and a target distribution y, a row's loss is

    .. math:: L = s \sum_k w_k t_k\, \phi(\ell_k), \qquad t_k = (1 - \epsilon)\, y_k + \epsilon / K

    with its sample weight s, class weights w and label smoothing :math:`\epsilon`. For the cross-entropy,
    :math:`\phi(\ell) = \ell`. Label smoothing is spread over the classes whose logit is not -inf. No intermediate value
    underflows or overflows: a loss of 1e-30 is 1e-30, in float32 too.

    Parameters
    ----------
    y_true : array-like of shape (...) or (..., K)
        Class indices in [0, K), of any integer dtype, or distributions over the classes, one-hot or soft. The number of
        axes decides. If this and `logits` are DataFrames with names, columns are matched by name.

    logits : array-like of shape (..., K)
        Logits, with classes on the last axis and any leading axes. C-ordered float32 and float64 arrays are not copied.
        float16 is computed in float32, and integers are computed in float64.

    sample_weight : array-like, default=None
        Weights, 0 or more, of the shape (...) or of its first axes, such as (batch,) for logits (batch, time, K). A row
        of weight 0 is ignored, even if it holds NaN or an invalid label.

    class_weight : array-like of shape (K,), default=None
        Weights of the classes, 0 or more. A row whose classes all have the weight 0 is ignored as well.

    label_smoothing : float, default=0.0
        Share of each target, in [0, 1], that is spread evenly over the classes.

    loss : str or loss object, default="cross_entropy"
        A name, or an object that holds parameters: "focal" stands for ``FocalLoss()``. docs/losses.md lists them.

    ignore_index : int, default=None
        A label whose rows are ignored as if their weight were 0, for example padding.

    reduction : {"mean", "sum", "none"}, default="mean"
        "mean" divides the sum by the total weight of the rows, :math:`\sum_i s_i \sum_k w_k y_{ik}` (with y not
        smoothed). If it is 0, because every row is ignored or there are no rows, value and gradient are 0.

    return_grad : bool, default=False
        Whether to return the gradient with respect to the logits as well; it comes from the same pass.

    Returns
    -------
    value : float, or float64 ndarray of shape (...) for reduction="none"

    grad : ndarray of the shape of `logits`, float32 or float64 as they are
        Only with `return_grad`. For reduction="none" it is the gradient of each row's own loss.

    Raises
    ------
    ValueError
        If shapes do not agree, a label is out of range or not an integer, a row of `y_true` is not a distribution, a
        weight is negative or NaN, or the loss is not defined for the targets.

    See Also
    --------
    binary_cross_entropy : The elementwise loss of independent binary targets.
    linear_cross_entropy : The same loss of the logits ``X @ coef.T + intercept``, which are not stored.

    Notes
    -----
    A row with a NaN or +inf logit, or with -inf in every class, has no distribution, so its loss and gradient are NaN.
    A class with a logit of -inf is masked: its probability and gradient are 0. If it is the target, the loss is +inf,
    or the bound of a bounded loss. The result is the same, bit for bit, for any number of threads. If weights could
    leave the range of float32, float32 logits are computed in float64.

    References
    ----------
    Goodfellow, Bengio & Courville (2016), Deep Learning, sections 6.2.2.3 (softmax units) and 7.5.1 (label smoothing).

    Examples
    --------
    >>> import numpy as np
    >>> import xentropy as xe
    >>> logits = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    >>> value, grad = xe.cross_entropy([0, 1], logits, return_grad=True)
    >>> round(value, 6)
    0.895495
    >>> grad.round(3)
    array([[-0.107,  0.053,  0.053],
           [ 0.106, -0.394,  0.288]])

    Targets can be soft, and rows of padding can be ignored:

    >>> round(xe.cross_entropy([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]], logits), 6)
    1.395495
    >>> xe.cross_entropy([0, -1], logits, ignore_index=-1, reduction="none").round(6)
    array([0.239545, 0.      ])

    In float32, probabilities round to 1 for a margin of 18 or more, but the loss keeps its digits:

    >>> print(f"{xe.cross_entropy([0], np.array([[40.0, 0.0]], dtype=np.float32)):.4g}")
    4.248e-18
    """
    z = _float_array(logits, "logits")
    if z.ndim == 0 or z.shape[-1] == 0:
        raise ValueError(f"logits has shape {z.shape}; its last axis must hold the classes")
    shape, lead, n_classes = z.shape, z.shape[:-1], z.shape[-1]
    z = z.reshape(math.prod(lead), n_classes)
    target, dtype = _target(
        _in_order_of(logits, y_true),
        lead,
        n_classes,
        z.dtype,
        sample_weight=sample_weight,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        loss=loss,
        ignore_index=ignore_index,
        reduction=reduction,
    )
    row_loss = np.empty(len(z)) if reduction == "none" else None
    grad = np.empty(z.shape, dtype) if return_grad else None
    value = kernels.softmax_loss(
        z.astype(dtype, copy=False), **target, row_loss=row_loss, grad=grad, n_threads=effective_n_threads()
    )
    result = value if row_loss is None else row_loss.reshape(lead)
    return result if grad is None else (result, _cast(grad, z.dtype).reshape(shape))


def binary_cross_entropy(
    y_true: Any,
    logits: Any,
    *,
    sample_weight: Any = None,
    pos_weight: Any = None,
    label_smoothing: float = 0.0,
    loss: str | Loss = "cross_entropy",
    reduction: Reduction = "mean",
    return_grad: bool = False,
) -> Any:
    r"""Compute the cross-entropy, or another of the losses, of independent binary targets from logits, elementwise.

    With a logit z, a target y in [0, 1] and :math:`p = 1 / (1 + e^{-z})`, an element's loss is

    .. math:: L = s\, \bigl(c\, t\, \phi(-\log p) + (1 - t)\, \phi(-\log (1 - p))\bigr),
              \qquad t = (1 - \epsilon)\, y + \epsilon / 2

    with its sample weight s, positive weight c and label smoothing :math:`\epsilon`. For the cross-entropy,
    :math:`\phi(\ell) = \ell`. Use a vector for a binary problem, an array ``(n, n_labels)`` for a multilabel problem,
    or images for the reconstruction loss of a variational autoencoder.

    Parameters
    ----------
    y_true : array-like of the shape of `logits`
        Targets in [0, 1], which are 0 and 1 or probabilities. If this and `logits` are DataFrames with names, columns
        are matched by name.

    logits : array-like of any shape
        Logits. C-ordered float32 and float64 arrays are not copied. float16 is computed in float32, and integers are
        computed in float64.

    sample_weight : array-like, default=None
        Weights, 0 or more, of the shape of `logits` or of its first axes, such as (n,) for logits (n, n_labels).
        Elements of weight 0 are ignored, even if they hold NaN.

    pos_weight : float or array-like, default=None
        Weight c of the positive targets, 0 or more. It broadcasts against `logits`, for example from (n_labels,) to
        (n, n_labels). It is part of the loss, so the mean does not divide by it. A target of 1 with the weight 0 is
        ignored, even if its logit is NaN.

    label_smoothing : float, default=0.0
        Share of each target, in [0, 1], that is spread evenly over its two classes.

    loss : str or loss object, default="cross_entropy"
        As for `cross_entropy`.

    reduction : {"mean", "sum", "none"}, default="mean"
        "mean" divides the sum by the sum of the sample weights, or by the number of elements if there are no weights.
        If the divisor is 0, value and gradient are 0.

    return_grad : bool, default=False
        Whether to return the gradient with respect to the logits as well; it comes from the same pass.

    Returns
    -------
    value : float, or float64 ndarray of the shape of `logits` for reduction="none"

    grad : ndarray of the shape of `logits`, float32 or float64 as they are
        Only with `return_grad`. For reduction="none" it is the gradient of each element's own loss.

    Raises
    ------
    ValueError
        If shapes do not agree, a target is not in [0, 1], a weight is negative or NaN, or the loss is not defined for
        the targets.

    See Also
    --------
    cross_entropy : The loss of one of K classes in each row.

    Notes
    -----
    A logit of +-inf has a loss of 0 if its class is the target. Otherwise the loss is +inf, or the bound of a bounded
    loss. A logit of NaN gives NaN.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, section 4.3.2.

    Examples
    --------
    >>> import numpy as np
    >>> import xentropy as xe
    >>> value, grad = xe.binary_cross_entropy([1, 0, 1], [3.0, -2.0, -1.0], return_grad=True)
    >>> round(value, 6)
    0.496259
    >>> grad.round(3)
    array([-0.016,  0.04 , -0.244])

    Each of several labels can have its own positive weight:

    >>> xe.binary_cross_entropy([[1, 0], [0, 1]], np.zeros((2, 2)), pos_weight=[1.0, 3.0], reduction="none").round(3)
    array([[0.693, 0.693],
           [0.693, 2.079]])
    """
    z = _float_array(logits, "logits")
    refuse_masked(y_true, "y_true")
    y_given = np.asarray(_in_order_of(logits, y_true))
    if y_given.shape != z.shape:
        raise ValueError(
            f"y_true has shape {y_given.shape}, logits {z.shape}: binary targets are elementwise, so the shapes must "
            f"be equal; reshape one of them, say logits[:, 0]"
        )
    y = _float_array(y_given, "y_true", dtype=z.dtype)
    checked = _check_options(loss, label_smoothing, reduction)
    s, run = _leading_weights(sample_weight, z.shape)
    if reduction == "mean":
        s = _within_range(s)
    bad = kernels.first_outside_unit(y.ravel(), s, run)
    if bad < 0 and checked.one_hot_only:
        soft = (y.ravel() != 0) & (y.ravel() != 1)
        if s is not None:
            soft &= np.repeat(s, run) != 0
        if soft.any():
            raise ValueError(
                f"{checked} is not defined for soft targets, but y_true holds {y.flat[soft.argmax()]} "
                f"({_where(soft.argmax(), y.shape)}); use targets of 0 and 1, or another loss"
            )
    if bad >= 0:
        raise ValueError(
            f"y_true holds {y_given.flat[bad]} ({_where(bad, y.shape)}), outside of [0, 1]; give elements to leave out "
            f"sample_weight 0"
        )
    scale = 1.0
    if reduction == "mean":
        with np.errstate(over="ignore"):
            scale = _inverse(float(z.size) if s is None else float(s.sum()) * run)
    c = _pos_weight(pos_weight, z.shape)
    if c is not None and not c.all() and label_smoothing == 0.0:
        s, run = None if s is None else np.repeat(s, run), 1
        s = _ignore((y.ravel() == 1.0) & np.resize(c == 0.0, y.size), s)
    if s is not None and c is not None and _may_overflow(s, c):
        _refuse_infinite(np.repeat(s, run), np.resize(c, y.size) * y.ravel(), "sample_weight times pos_weight", z.shape)
    dtype = _computed_in(z.dtype, s, c)
    element_loss = np.empty(z.size) if reduction == "none" else None
    grad = np.empty(z.shape, dtype) if return_grad else None
    value = kernels.binary_loss(
        z.astype(dtype, copy=False).ravel(),
        y.astype(dtype, copy=False).ravel(),
        sample_weight=s,
        run=run,
        pos_weight=c,
        label_smoothing=label_smoothing,
        loss=checked.kernel(),
        scale=scale,
        element_loss=element_loss,
        grad=None if grad is None else grad.ravel(),
        n_threads=effective_n_threads(),
    )
    result = value if element_loss is None else element_loss.reshape(z.shape)
    return result if grad is None else (result, _cast(grad, z.dtype))


def linear_cross_entropy(
    X: Any,
    y_true: Any,
    coef: Any,
    intercept: Any = None,
    *,
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    loss: str | Loss = "cross_entropy",
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    return_grad: bool = False,
    return_input_grad: bool = False,
) -> Any:
    r"""Compute `cross_entropy` of the logits ``X @ coef.T + intercept`` without storing them.

    The logits of a block of rows stay in cache until its losses and its part of the gradient are computed, so memory
    does not grow with rows times classes. Use this function for the last layer of a language model, or to fit a linear
    model with your own optimiser.

    .. math:: z_i = W x_i + b, \quad g_i = \partial L / \partial z_i, \quad
              \partial L / \partial W = \sum_i g_i x_i^\top, \quad \partial L / \partial b = \sum_i g_i, \quad
              \partial L / \partial x_i = W^\top g_i

    Parameters
    ----------
    X : array-like of shape (..., d), or sparse matrix of shape (n, d)
        Inputs. C-ordered float32 and float64 arrays, and CSR matrices of these dtypes, are not copied. The arithmetic
        is in their dtype.

    y_true : array-like of shape (...) or (..., K)
        Class indices or distributions, as in `cross_entropy`.

    coef : array-like of shape (K, d), or (1, d)
        Coefficients W. One row is the sigmoid form of two classes, in which z is the logit of class 1.

    intercept : array-like of shape (K,) or (1,), default=None
        Intercepts b; None means zeros.

    sample_weight, class_weight, label_smoothing, loss, ignore_index, reduction
        As in `cross_entropy`. A row of X of weight 0 may hold NaN.

    return_grad : bool, default=False
        Whether to return the gradients with respect to `coef` and `intercept` as well. They are sums over rows, so they
        are not available for reduction="none".

    return_input_grad : bool, default=False
        Whether to return the gradient with respect to X too, which implies `return_grad`. X must be dense, because the
        gradient with respect to a sparse X is not sparse.

    Returns
    -------
    value : float, or float64 ndarray of shape (...) for reduction="none"

    grad : tuple ``(grad_coef, grad_intercept)``, or ``(grad_coef, grad_intercept, grad_X)``
        Only with `return_grad` or `return_input_grad`. `grad_coef` and `grad_intercept` have the dtype of `coef`, and
        `grad_X` has the dtype of X. `grad_intercept` is returned even if `intercept` is None.

    Raises
    ------
    ValueError
        For the reasons that `cross_entropy` gives, if a gradient is requested with reduction="none", or if the gradient
        of a sparse X is requested.

    See Also
    --------
    cross_entropy : The same loss from logits.
    SoftmaxClassifier : A classifier that fits `coef` and `intercept`.

    Examples
    --------
    >>> import numpy as np
    >>> import xentropy as xe
    >>> X = np.array([[1.0, 2.0], [3.0, 0.0]])
    >>> W = np.array([[0.5, 0.0], [0.0, 0.5], [0.0, 0.0]])
    >>> value, (grad_W, grad_b) = xe.linear_cross_entropy(X, [1, 0], W, return_grad=True)
    >>> round(value, 6) == round(xe.cross_entropy([1, 0], X @ W.T), 6)
    True
    >>> grad_W.shape, grad_b.shape
    ((3, 2), (3,))
    """
    return_grad = return_grad or return_input_grad
    if return_grad and reduction == "none":
        raise ValueError(
            "reduction='none' has a gradient of coef for every row; ask for 'sum' or 'mean', or for return_grad=False"
        )
    is_sparse = bool(sp.issparse(X))
    if is_sparse:
        if return_input_grad:
            raise ValueError("return_input_grad=True needs dense X: the gradient with respect to a sparse X is dense")
        if X.ndim != 2:
            raise ValueError(f"X is sparse of shape {X.shape}; it must have two axes")
        rows = X.tocsr()
        if rows.dtype.kind not in "biuf":
            raise ValueError(f"X must hold real numbers, not {rows.dtype}")
        if rows.dtype not in (np.float32, np.float64):
            rows = rows.astype(np.float64)
        lead = rows.shape[:1]
    else:
        X = _float_array(X, "X")
        if X.ndim == 0:
            raise ValueError("X is a number; its last axis must hold the features")
        lead = X.shape[:-1]
        rows = X.reshape(math.prod(lead), X.shape[-1])
    W = _float_array(coef, "coef")
    if W.ndim != 2 or W.shape[0] == 0 or W.shape[1] != rows.shape[1]:
        raise ValueError(
            f"coef has shape {W.shape}, X {X.shape}; coef must be (n_classes, {rows.shape[1]}), or "
            f"(1, {rows.shape[1]}) for the sigmoid form of two classes"
        )
    n_outputs = W.shape[0]
    b = np.zeros(n_outputs) if intercept is None else _float_array(intercept, "intercept", dtype=np.float64)
    if b.shape != (n_outputs,):
        raise ValueError(f"intercept has shape {b.shape}, coef {W.shape}; intercept must be ({n_outputs},)")
    n_classes = max(2, n_outputs)
    target, dtype = _target(
        y_true,
        lead,
        n_classes,
        rows.dtype,
        sample_weight=sample_weight,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        loss=loss,
        ignore_index=ignore_index,
        reduction=reduction,
    )
    fused = LinearPass(rows, n_classes, **target, sigmoid=n_outputs == 1, compute=dtype.name)
    grad_coef = np.empty((rows.shape[1], n_outputs))
    grad_intercept = np.empty(n_outputs)
    row_loss = np.empty(rows.shape[0]) if reduction == "none" else None
    grad_input = np.empty(rows.shape, dtype) if return_input_grad else None
    value = fused.loss_gradient(
        np.ascontiguousarray(W.T, dtype=np.float64),
        b,
        grad_coef,
        grad_intercept,
        effective_n_threads(),
        row_loss=row_loss,
        grad_input=grad_input,
    )
    result = value if row_loss is None else row_loss.reshape(lead)
    if not return_grad:
        return result
    grad: tuple[np.ndarray, ...] = (np.ascontiguousarray(_cast(grad_coef.T, W.dtype)), _cast(grad_intercept, W.dtype))
    if grad_input is not None:
        grad += (_cast(grad_input, rows.dtype).reshape(X.shape),)
    return result, grad


def softmax(logits: Any) -> np.ndarray:
    r"""Compute the probabilities :math:`p_k = e^{z_k} / \sum_j e^{z_j}` over the last axis.

    Parameters
    ----------
    logits : array-like of shape (..., K)

    Returns
    -------
    ndarray of the shape of `logits`, float32 or float64 as they are
        NaN in a row with a NaN or +inf logit, or with -inf in every class.

    Raises
    ------
    ValueError
        If `logits` has no axis, or does not hold numbers.

    References
    ----------
    Bridle (1990), Probabilistic Interpretation of Feedforward Classification Network Outputs, Neurocomputing 68.

    Examples
    --------
    >>> import xentropy as xe
    >>> xe.softmax([1.0, 1.0, -float("inf")])
    array([0.5, 0.5, 0. ])
    """
    return _softmax(logits, log=False)


def log_softmax(logits: Any) -> np.ndarray:
    r"""Compute the log-probabilities :math:`\log p_k = z_k - \log \sum_j e^{z_j}` over the last axis.

    They are finite if a probability underflows, and not 0 if it rounds to 1.

    Parameters
    ----------
    logits : array-like of shape (..., K)

    Returns
    -------
    ndarray of the shape of `logits`, float32 or float64 as they are
        NaN in a row with a NaN or +inf logit, or with -inf in every class.

    Raises
    ------
    ValueError
        If `logits` has no axis, or does not hold numbers.

    References
    ----------
    Blanchard, Higham & Higham (2021), Accurately computing the log-sum-exp and softmax functions, IMA J. Numer. Anal.
    41(4), section 4.

    Examples
    --------
    >>> import xentropy as xe
    >>> xe.log_softmax([1000.0, 0.0])
    array([    0., -1000.])
    """
    return _softmax(logits, log=True)


def _softmax(logits: Any, *, log: bool) -> np.ndarray:
    z = _float_array(logits, "logits")
    if z.ndim == 0:
        raise ValueError("logits is a number; its last axis must hold the classes")
    rows = z.reshape(math.prod(z.shape[:-1]), z.shape[-1])
    return kernels.softmax(rows, log=log, n_threads=effective_n_threads()).reshape(z.shape)


def _float_array(a: Any, name: str, *, dtype: Any = None) -> np.ndarray:
    """`a` as an aligned, C-ordered float32 or float64 array in native byte order, without a copy if possible."""
    if sp.issparse(a):
        raise ValueError(f"{name} is a sparse matrix; pass {name}.toarray()")
    refuse_masked(a, name)
    a = np.asarray(a)
    if a.dtype.kind == "O":
        a = _numbers(a, name)
    if a.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, not {a.dtype}")
    if dtype is None:
        dtype = np.float32 if a.dtype.kind == "f" and a.dtype.itemsize <= 4 else np.float64
    return np.require(a, dtype, ["C", "A"])


def _numbers(objects: np.ndarray, name: str) -> np.ndarray:
    """The numbers in an object array. NumPy would read the number in a string, and NaN in None."""
    for at, v in enumerate(objects.flat):
        if v is None or isinstance(v, (str, bytes)) or (isinstance(v, Complex) and not isinstance(v, Real)):
            raise ValueError(f"{name} must hold real numbers, not {plain(v)!r} ({_where(at, objects.shape)})")
    try:
        return objects.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must hold real numbers: {error}") from None


def _check_options(loss: str | Loss, label_smoothing: float, reduction: str) -> Loss:
    if not (isinstance(label_smoothing, Real) and 0.0 <= label_smoothing <= 1.0):
        raise ValueError(f"label_smoothing={plain(label_smoothing)!r} is not a number in [0, 1]")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction={plain(reduction)!r} is none of 'mean', 'sum' and 'none'")
    checked = check_loss(loss)
    refuse_smoothing(checked, label_smoothing)
    return checked


def _target(
    y_true: Any,
    lead: tuple[int, ...],
    n_classes: int,
    dtype: np.dtype,
    *,
    sample_weight: Any,
    class_weight: Any,
    label_smoothing: float,
    loss: str | Loss,
    ignore_index: int | None,
    reduction: str,
) -> tuple[dict[str, Any], np.dtype]:
    """The arguments of the kernels for a target of logits of the shape (*lead, n_classes) and of that dtype, and the
    dtype to compute in."""
    checked = _check_options(loss, label_smoothing, reduction)
    n = math.prod(lead)
    s, run = _leading_weights(sample_weight, lead)
    if s is not None and run != 1:
        s = np.repeat(s, run)
    w = _class_weights(class_weight, n_classes)
    if reduction == "mean":
        s, w = _within_range(s), _within_range(w)
    dtype = _computed_in(dtype, s, w)
    # smoothing gives weight to all rows if any class has some
    weightless = w == 0.0 if w is not None and (label_smoothing == 0.0 or not w.any()) else np.zeros(n_classes, bool)
    target: dict[str, Any] = {}
    refuse_masked(y_true, "y_true")
    y = np.asarray(y_true)
    if y.shape == lead:
        if ignore_index is not None:
            if not isinstance(ignore_index, Integral):
                raise TypeError(f"ignore_index={plain(ignore_index)!r} must be an integer or None")
            s = np.ones(n) if s is None else s.copy()
        labels, mass, bad = kernels.encode_labels(_integers(y, s), n_classes, ignore_index, s, w)
        if bad >= 0:
            raise ValueError(
                f"y_true holds {y.flat[bad]} ({_where(bad, lead)}), outside of [0, {n_classes}): there are {n_classes} "
                f"classes; pass ignore_index={y.flat[bad]} if it marks rows to leave out"
            )
        target["labels"] = labels
        if weightless.any():
            s = _ignore(weightless[labels], s)
    elif y.shape == (*lead, n_classes):
        if ignore_index is not None:
            raise ValueError(
                f"ignore_index={ignore_index} is a label, but y_true holds distributions; give rows to leave out "
                f"sample_weight 0"
            )
        rtol = SUM_RTOL.get(y.dtype.name, SUM_RTOL["float64"])
        q = _float_array(y, "y_true", dtype=dtype).reshape(n, n_classes)
        bad = kernels.first_bad_distribution(q, rtol, s)
        if bad >= 0:
            raise bad_distribution(q[bad], "y_true", _where(bad, lead))
        if checked.one_hot_only:
            soft = ((q != 0) & (q != 1)).any(axis=1)
            if s is not None:
                soft &= s != 0
            if soft.any():
                raise ValueError(
                    f"{checked} is not defined for soft targets, but y_true is soft in "
                    f"{_where(soft.argmax(), lead)}; pass labels, or use another loss"
                )
        mass = kernels.distribution_mass(q, s, w)
        target["distribution"] = q
        if weightless.any():
            s = _ignore(np.all(q[:, ~weightless] == 0.0, axis=1), s)
    else:
        hint = "; pass y_true[..., 0]" if y.shape == (*lead, 1) else _hint_at_axis(y.shape, (*lead, n_classes))
        raise ValueError(
            f"y_true has shape {y.shape}; for {n_classes} classes it must be {lead} (class indices) or "
            f"{(*lead, n_classes)} (distributions){hint}"
        )
    if s is not None and w is not None and _may_overflow(s, w):
        share = w[labels] if "labels" in target else q @ w
        smoothed = (1.0 - label_smoothing) * share + label_smoothing * w.mean()
        _refuse_infinite(s, smoothed, "sample_weight times class_weight", lead)
    if reduction == "mean" and mass == 0.0:
        s = np.zeros(n)
    target |= {
        "sample_weight": s,
        "class_weight": w,
        "label_smoothing": label_smoothing,
        "loss": checked.kernel(),
        "scale": _inverse(mass) if reduction == "mean" else 1.0,
    }
    return target, dtype


def _integers(y: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
    """Class indices as a contiguous integer array. Rows of weight 0 may hold other values."""
    if y.dtype.kind == "O":
        y = np.asarray(y.tolist())
    if y.dtype.kind == "f":
        whole = np.isfinite(y) & (y == np.trunc(y))
        bad = ~whole.ravel() if sample_weight is None else ~whole.ravel() & (sample_weight != 0)
        if bad.any():
            at = bad.argmax()
            raise ValueError(f"y_true holds {y.flat[at]} ({_where(at, y.shape)}); class indices are integers")
        y = np.clip(np.where(whole, y, 0).astype(np.float64), -(2.0**62), 2.0**62).astype(np.int64)
    if y.dtype.kind == "b":
        y = y.astype(np.uint8)
    if y.dtype.kind not in "iu":
        raise ValueError(
            f"y_true must hold class indices, not {y.dtype}; np.unique(y, return_inverse=True) makes them from other "
            f"labels"
        )
    return np.require(y, y.dtype.newbyteorder("="), ["C", "A"]).reshape(-1)


def _weights(weights: Any, name: str) -> np.ndarray:
    weights = _float_array(weights, name, dtype=np.float64)
    bad = ~((weights >= 0) & (weights < np.inf)).ravel()
    if bad.any():
        at = bad.argmax()
        raise ValueError(
            f"{name} holds {weights.flat[at]} ({_where(at, weights.shape)}); weights are finite and 0 or more"
        )
    return weights


def _class_weights(class_weight: Any, n_classes: int) -> np.ndarray | None:
    if class_weight is None:
        return None
    if isinstance(class_weight, (dict, str)):
        raise ValueError(
            f"class_weight={plain(class_weight)!r} must be an array of shape ({n_classes},), one weight for each "
            f"class; SoftmaxClassifier takes dicts and 'balanced'"
        )
    w = _weights(class_weight, "class_weight")
    if w.shape != (n_classes,):
        raise ValueError(f"class_weight has shape {w.shape}; it must be ({n_classes},), one weight for each class")
    return w


def _hint_at_axis(labels: tuple[int, ...], logits: tuple[int, ...]) -> str:
    """What to do about labels that lack another axis than the last one of the logits."""
    for axis in range(len(logits) - 1):
        if labels == logits[:axis] + logits[axis + 1 :]:
            return f". The classes of logits go last: pass np.moveaxis(logits, {axis}, -1)"
    return ""


def _leading_weights(sample_weight: Any, shape: tuple[int, ...]) -> tuple[np.ndarray | None, int]:
    """The flattened weights of the first axes of `shape`, and how many adjacent elements share one weight."""
    if sample_weight is None:
        return None, 1
    s = _weights(sample_weight, "sample_weight")
    if s.shape != shape[: s.ndim]:
        raise ValueError(f"sample_weight has shape {s.shape}; it must be {shape}, or the first axes of it")
    return s.ravel(), math.prod(shape[s.ndim :])


def _pos_weight(pos_weight: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """The flattened weights of the positive targets, which repeat along the flattened logits."""
    if pos_weight is None:
        return None
    c = _weights(pos_weight, "pos_weight")
    try:
        if np.broadcast_shapes(c.shape, shape) != shape:
            raise ValueError
    except ValueError:
        raise ValueError(f"pos_weight has shape {c.shape}, which does not broadcast to {shape}") from None
    if not math.prod(shape):
        return None
    return np.ascontiguousarray(np.broadcast_to(c, shape[len(shape) - c.ndim :])).ravel()


def _ignore(rows: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray | None:
    """The sample weights, and 0 in these rows: no class of theirs weighs anything, so their logits do not matter."""
    if not rows.any():
        return sample_weight
    return np.where(rows, 0.0, 1.0 if sample_weight is None else sample_weight)


def _within_range(weights: np.ndarray | None) -> np.ndarray | None:
    """Weights of a mean, divided by a power of two if their products or their sum could leave the range of float64."""
    if weights is None:
        return None
    largest = float(weights.max(initial=0.0))
    if largest == 0.0 or _LARGEST_WEIGHT >= largest >= 1.0 / _LARGEST_WEIGHT:
        return weights
    return np.ldexp(weights, -math.frexp(largest)[1])


def _may_overflow(weights: np.ndarray, others: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isinf(weights.max(initial=0.0) * others.max(initial=0.0)))


def _refuse_infinite(weights: np.ndarray, others: np.ndarray, what: str, shape: tuple[int, ...]) -> None:
    """Raise if a product of two weights is infinite, whose gradient would be NaN where a probability is 0."""
    with np.errstate(over="ignore"):
        infinite = np.isinf(weights * others)
    if infinite.any():
        where = _where(int(infinite.argmax()), shape)
        raise ValueError(f"{what} is inf in float64 ({where}): divide the weights by a number")


def _in_order_of(logits: Any, y_true: Any) -> Any:
    """`y_true` with its columns in the order of those of `logits`, where both are DataFrames with names."""
    if np.ndim(logits) != 2 or np.shape(y_true) != np.shape(logits):
        return y_true
    classes, names = column_names(logits, name="logits"), column_names(y_true, name="y_true")
    if classes is None or names is None:
        return y_true
    refuse_masked(y_true, "y_true")
    return match_columns(np.asarray(y_true), names, classes, name="y_true")


def _computed_in(dtype: np.dtype, *weights: np.ndarray | None) -> np.dtype:
    """The dtype to compute in: float64 where weights could leave the range of float32."""
    low, high = _FLOAT32_WEIGHTS
    fits = dtype == np.float64 or all(w is None or np.all((w == 0.0) | ((w >= low) & (w <= high))) for w in weights)
    return dtype if fits else np.dtype(np.float64)


def _cast(grad: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):  # a gradient beyond the range of float32 is infinite there
        return grad.astype(dtype, copy=False)


def _inverse(mass: float) -> float:
    """1 / mass, or 0 if no row has weight, which makes value and gradient 0."""
    if mass == 0.0:
        return 0.0
    inverse = 1.0 / mass
    if not 0.0 < inverse < math.inf:
        raise ValueError(f"the weights sum to {mass}, by which no mean can be divided; scale them")
    return inverse


def _where(index: int, shape: tuple[int, ...]) -> str:
    if len(shape) < 2:
        return f"row {index}"
    return f"position {tuple(int(i) for i in np.unravel_index(index, shape))}"
