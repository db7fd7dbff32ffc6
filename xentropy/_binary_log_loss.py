"""The log loss of independent yes/no labels."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.special import xlog1py, xlogy
from sklearn.utils import check_array, check_consistent_length

from ._arrays import refuse_masked, refuse_sparse_frame
from ._indicator import Indicator, learn_indicator, match_indicator
from ._messages import plain
from ._metric_arguments import check_eps, check_weights
from ._targets import column_names, match_columns

_BLOCK_VALUES = 1 << 18  # probabilities whose losses are computed together
_AVERAGES = ("macro", "micro", None)


def binary_log_loss(
    y_true: Any,
    y_proba: Any,
    *,
    average: str | None = "macro",
    sample_weight: Any = None,
    eps: float | str = "auto",
) -> float | np.ndarray:
    r"""Compute the log loss of predicted probabilities of yes/no labels, the mean of their binary cross-entropies.

    .. math::
        L_l = -\frac{1}{\sum_i s_i} \sum_i s_i \bigl(y_{il} \log q_{il} + (1 - y_{il}) \log (1 - q_{il})\bigr), \qquad
        q = \min(\max(p, \varepsilon), 1 - \varepsilon)

    for each label l, over the rows i in which it is not missing. :func:`log_loss` takes each row of a matrix for one
    distribution, and of a label indicator it gives scikit-learn's number, which leaves out the labels that are 0.

    Parameters
    ----------
    y_true : {array-like, sparse matrix} of shape (n, L), or array-like of shape (n,)
        Each label is 0 or 1, a probability between them, or NaN if it is missing in that row, which is then left out.
    y_proba : array-like of shape (n, L) or (n,), or list of L arrays of shape (n, 2)
        Probabilities of the labels. The columns of a DataFrame are sorted by their names into the order of those of
        `y_true`. A list is that of :class:`~sklearn.multioutput.MultiOutputClassifier`.
    average : {"macro", "micro", None}, default="macro"
        ``"macro"`` is the mean of the losses of the labels, ``"micro"`` the mean over all known labels of all rows,
        which differs only if labels are missing. None gives the loss of each label.
    sample_weight : array-like of shape (n,), default=None
        Weights of the rows, 0 or more. A row of weight 0 is ignored, even if it holds NaN in `y_proba`.
    eps : "auto" or float in [0, 0.5), default="auto"
        Probabilities are clipped to [eps, 1 - eps]. "auto" is the machine epsilon of their dtype. With 0 nothing is
        clipped, and a probability of 0 for what came true has an infinite loss.

    Returns
    -------
    float or ndarray of shape (L,)
        The loss in nats. That of a label which is missing in all rows is NaN, and no part of an average.

    Raises
    ------
    ValueError
        If `y_true` holds something else than the above, if `y_proba` holds NaN or a number outside of [0, 1], if the
        shapes or names of the columns do not agree, if all labels are missing, or if a weight is negative or NaN or
        all weights are 0.

    Warns
    -----
    UserWarning
        If a label is missing in all rows, and `average` is not None.

    See Also
    --------
    binary_cross_entropy : The same loss of logits, with its gradient.
    log_loss : The log loss of classes that exclude each other.
    MultilabelClassifier : The classifier that minimises it.

    References
    ----------
    C. M. Bishop, *Pattern Recognition and Machine Learning*, Springer 2006, p. 206.

    Examples
    --------
    >>> import numpy as np
    >>> from xentropy import binary_log_loss
    >>> y_true = [[1, 0, 1], [0, 0, 1]]
    >>> y_proba = [[0.9, 0.2, 0.6], [0.3, 0.1, 0.5]]
    >>> round(binary_log_loss(y_true, y_proba), 4)
    0.3324
    >>> binary_log_loss(y_true, y_proba, average=None).round(4)
    array([0.231 , 0.1643, 0.602 ])

    A missing label is left out:

    >>> binary_log_loss([[1, 0, 1], [np.nan, 0, 1]], y_proba, average=None).round(4)
    array([0.1054, 0.1643, 0.602 ])
    """
    if average not in _AVERAGES:
        raise ValueError(f"average={plain(average)!r} is none of 'macro', 'micro' and None")
    indicator, proba = match_predictions(y_true, y_proba)
    clip = check_eps(eps, proba.dtype)
    weight, _ = check_weights(sample_weight, len(proba))
    check_consistent_length(proba, sample_weight)
    total, mass = np.zeros(indicator.n_labels), np.zeros(indicator.n_labels)
    step = max(1, _BLOCK_VALUES // indicator.n_labels)
    for first in range(0, len(proba), step):
        at = slice(first, first + step)
        loss, known = label_losses(indicator[at], proba[at], clip, None if weight is None else weight[at], first)
        of_row = known if weight is None else known * weight[at, None]
        total += (loss * of_row).sum(axis=0)  # no loss of weight 0 is infinite: it is 0
        mass += of_row.sum(axis=0)
    if not mass.any():
        raise ValueError("every label of y_true is missing, or in rows of weight 0: there is nothing to score")
    losses = np.divide(total, mass, out=np.full(len(mass), np.nan), where=mass > 0.0)
    if average is None:
        return losses
    if not mass.all():
        names = plain(indicator.labels[mass == 0.0])
        warnings.warn(
            f"The labels {names} of y_true are missing in all rows, and no part of the average.",
            UserWarning,
            stacklevel=2,
        )
    return float(losses[mass > 0.0].mean() if average == "macro" else total.sum() / mass.sum())


def match_predictions(y_true: Any, y_proba: Any, *, labels: Any = None) -> tuple[Indicator, np.ndarray]:
    """The labels, encoded, and their probabilities (n, L), with the columns in one order. The probabilities are not
    checked: `label_losses` does that."""
    if isinstance(y_proba, list) and y_proba and all(np.ndim(p) == 2 and np.shape(p)[1] == 2 for p in y_proba):
        y_proba = np.column_stack([np.asarray(p)[:, 1] for p in y_proba])
    if sp.issparse(y_proba) or y_proba is None or np.ndim(y_proba) not in (1, 2):
        raise ValueError("y_proba must be an array of probabilities, a column for each label")
    refuse_masked(y_proba, "y_proba")
    refuse_sparse_frame(y_proba, "y_proba")
    names = column_names(y_proba, name="y_proba")
    proba = check_array(
        y_proba,
        dtype=[np.float64, np.float32, np.float16],
        ensure_2d=False,
        ensure_all_finite=False,
        input_name="y_proba",
    )
    proba = proba[:, None] if proba.ndim == 1 else proba
    if not sp.issparse(y_true) and np.ndim(y_true) == 1:
        y_true = np.asarray(y_true, dtype=None)[:, None]
    indicator = learn_indicator(y_true, name="y_true")
    if labels is not None:
        indicator = match_indicator(y_true, np.asarray(labels), name="y_true")
    check_consistent_length(indicator, proba)
    if proba.shape[1] != indicator.n_labels:
        raise ValueError(f"y_proba has {proba.shape[1]} columns for the {indicator.n_labels} labels of y_true")
    return indicator, match_columns(proba, names, indicator.labels, name="y_proba")


def label_losses(
    indicator: Indicator, proba: np.ndarray, eps: float, weight: np.ndarray | None, first: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The loss (n, L) of each label of each row, and which are known; 0 where they are not, or the weight is 0."""
    y, p = indicator.decoded(), proba.astype(np.float64)
    counted = np.ones(len(y), dtype=bool) if weight is None else weight > 0.0
    known = ~np.isnan(y) & counted[:, None]
    wrong = ~((p >= 0.0) & (p <= 1.0)) & counted[:, None]
    if wrong.any():
        row, k = np.argwhere(wrong)[0]
        raise ValueError(
            f"y_proba holds {proba[row, k]} in row {first + int(row)} for the label {plain(indicator.labels[k])!r}: "
            "probabilities are in [0, 1]"
        )
    y, p = np.where(known, y, 0.0), np.where(known, p, 0.0)
    p = np.clip(p, eps, 1.0 - eps)
    return np.where(known, -(xlogy(y, p) + xlog1py(1.0 - y, -p)), 0.0), known


def predicts_labels(estimator: Any, predicted: Any) -> bool:
    """Whether what `predict_proba` has returned are probabilities of several labels rather than of classes.

    A multilabel classifier says so by `multilabel_`, or by an array of two columns for each label. Otherwise
    probabilities that do not sum to one in each row are those of labels."""
    if isinstance(predicted, list):
        return all(np.ndim(of_output) == 2 and np.shape(of_output)[1] == 2 for of_output in predicted)
    if isinstance(getattr(estimator, "classes_", None), list):
        return True
    found = getattr(estimator, "multilabel_", None)
    if found is not None:
        return bool(found)
    proba = np.asarray(predicted)
    if proba.ndim != 2 or proba.dtype.kind != "f":
        return False
    slack = np.sqrt(np.finfo(proba.dtype).eps)
    return not np.allclose(proba.sum(axis=1, dtype=np.float64), 1.0, rtol=0.0, atol=slack)
