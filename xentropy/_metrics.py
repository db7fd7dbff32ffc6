"""The log loss of probabilities: the metric, the loss of each row, and scorers for model selection."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics._scorer import _BaseScorer
from sklearn.utils import _safe_indexing, check_array, check_consistent_length
from sklearn.utils.metadata_routing import MetadataRequest

from ._arrays import is_dask, refuse_dask, refuse_masked, refuse_sparse_frame
from ._binary_log_loss import binary_log_loss, match_predictions, predicts_labels
from ._indicator import is_indicator
from ._kernels._proba import mark_labels, proba_rows
from ._kernels._threads import effective_n_threads
from ._messages import plain
from ._metric_arguments import check_eps, check_weights, epsilon
from ._targets import (
    CodedLabels,
    check_distribution,
    code_labels,
    column_names,
    is_distribution,
    learn_classes,
    learn_labels,
    match_columns,
    match_labels,
    match_one_column,
)

_BLOCK_VALUES = 1 << 18  # probabilities that are converted at a time, if they are not read in place


def log_loss(
    y_true: Any,
    y_proba: Any,
    *,
    normalize: bool = True,
    sample_weight: Any = None,
    labels: Any = None,
    eps: float | str = "auto",
) -> float:
    r"""Compute the log loss, the mean cross-entropy of predicted probabilities.

    .. math::
        L = -\frac{1}{\sum_i s_i} \sum_i s_i \sum_k t_{ik} \log q_{ik}, \qquad
        q = \min(\max(p, \varepsilon), 1 - \varepsilon)

    where t is 1 for the true class and 0 for the others, or the target distribution. The result equals
    :func:`sklearn.metrics.log_loss` wherever that function returns a number. It takes one pass over `y_proba`.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, K)
        Class labels of any kind, or, with two or more columns, a distribution over the classes in each row, one-hot
        or soft. A matrix of integers or booleans that are 0 or 1 is a label indicator as in scikit-learn, and the
        losses of all classes that a row marks are added up.
    y_proba : array-like of shape (n, K), (n, 1) or (n,)
        Predicted probabilities, with columns in the order of the sorted classes. One column holds the probabilities of
        the second of two classes. The columns of a DataFrame are sorted by their names, which must be the classes, and
        may name classes that `y_true` lacks. One column, or a Series, with the name of the first class holds its
        probabilities. Numbers 0, ..., K - 1, such as the default names of pandas and polars, are no names, unless they
        are the classes. C-ordered float32 and float64 arrays are read in place, and other arrays are converted a block
        of rows at a time. float16 is computed in float32.
        Dask collections, with `y_true` and `sample_weight` of the same blocks, are reduced block by block.
    normalize : bool, default=True
        Whether to return the (weighted) mean of the rows' losses or their sum.
    sample_weight : array-like of shape (n,), default=None
        Weights of the rows, 0 or more. A row of weight 0 is ignored, even if it holds NaN in `y_proba`.
    labels : array-like of shape (K,), default=None
        All the classes, if `y_true` may lack some of them; None means the classes of `y_true`, or those that the
        columns of a DataFrame name. If `y_true` has several columns, `labels` names them, and the columns of a
        DataFrame are sorted into this order. Without `labels` the order is that of the columns of `y_true`.
    eps : "auto" or float in [0, 0.5), default="auto"
        Probabilities are clipped to [eps, 1 - eps]. "auto" is the machine epsilon of the dtype of `y_proba`, as in
        scikit-learn. With 0 nothing is clipped, and a probability of 0 for the true class has an infinite loss.

    Returns
    -------
    float
        The loss in nats.

    Raises
    ------
    ValueError
        If `y_proba` holds NaN or a number outside of [0, 1], if its number of columns is not that of the classes, if
        the columns of a DataFrame have other names than the classes, if `y_true` holds a label that is not in `labels`,
        only one class, or a row that is not a distribution, if a weight is negative or NaN or all weights are 0, or if
        shapes do not agree.

    Warns
    -----
    UserWarning
        If a row of `y_proba` does not sum to one (up to the square root of the dtype's epsilon), or if `labels` are not
        sorted.

    See Also
    --------
    log_loss_samples : The loss of each row.
    neg_log_loss_scorer : A scorer for model selection, where a fold may lack classes.

    References
    ----------
    C. M. Bishop, *Pattern Recognition and Machine Learning*, Springer 2006, p. 209.

    Examples
    --------
    >>> from xentropy import log_loss
    >>> round(log_loss(["no", "yes"], [[0.9, 0.1], [0.3, 0.7]]), 4)
    0.231
    >>> round(log_loss([[0.8, 0.2], [0.5, 0.5]], [[0.9, 0.1], [0.3, 0.7]]), 4)
    0.6626

    The columns of a DataFrame are the classes that they name:

    >>> import pandas as pd
    >>> round(log_loss(["no", "yes"], pd.DataFrame({"yes": [0.1, 0.7], "no": [0.9, 0.3]})), 4)
    0.231
    """
    if not isinstance(normalize, (bool, np.bool_)):
        raise ValueError(f"normalize={plain(normalize)!r} is neither True nor False")
    if is_dask(y_proba):
        from ._dask import all_classes, mean_over_blocks

        if labels is None and column_names(y_proba, name="y_proba") is None:
            labels = all_classes(y_true)
        of_block = partial(_log_loss_of_block, labels=labels, eps=eps)
        mean, mass = mean_over_blocks(of_block, y_proba, y_true, sample_weight)
        return mean if normalize else mean * mass
    result = evaluate(y_true, y_proba, labels=labels, eps=eps, sample_weight=sample_weight)
    return result.total / result.mass if normalize else result.total


def log_loss_samples(y_true: Any, y_proba: Any, *, labels: Any = None, eps: float | str = "auto") -> np.ndarray:
    r"""Compute the log loss of each row.

    .. math::
        L_i = -\sum_k t_{ik} \log q_{ik}, \qquad q = \min(\max(p, \varepsilon), 1 - \varepsilon)

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, K)
        Class labels, or a distribution in each row, as in :func:`log_loss`.
    y_proba : array-like of shape (n, K), (n, 1) or (n,)
        Predicted probabilities, as in :func:`log_loss`.
    labels : array-like of shape (K,), default=None
        All the classes, if `y_true` may lack some of them.
    eps : "auto" or float in [0, 0.5), default="auto"
        Probabilities are clipped to [eps, 1 - eps], as in :func:`log_loss`.

    Returns
    -------
    ndarray of shape (n,), float64
        The losses, whose mean is ``log_loss(y_true, y_proba)``.

    Raises
    ------
    ValueError
        For the reasons that :func:`log_loss` gives.

    See Also
    --------
    log_loss : The mean of the losses, and the conventions.

    Examples
    --------
    >>> from xentropy import log_loss_samples
    >>> log_loss_samples([0, 1, 1], [0.1, 0.9, 0.1]).round(3)
    array([0.105, 0.105, 2.303])
    """
    losses = evaluate(y_true, y_proba, labels=labels, eps=eps, per_row=True).losses
    assert losses is not None
    return losses


def _log_loss_of_block(y_proba: Any, y_true: Any, sample_weight: Any, **options: Any) -> float:
    return log_loss(y_true, y_proba, sample_weight=sample_weight, **options)


class LogLossScorer(_BaseScorer):
    """A scorer, made by :func:`make_log_loss_scorer`, of minus the log loss of an estimator's `predict_proba`."""

    def __init__(self, eps: float | str = "auto"):
        check_eps(eps)
        super().__init__(_loss_of_predictions, -1, {} if eps == "auto" else {"eps": eps}, "predict_proba")
        self.eps = eps
        self._metadata_request = MetadataRequest(owner=self)  # weights that are routed have to be asked for, or refused
        self._metadata_request.score.add_request(param="sample_weight", alias=None)

    def __call__(self, estimator: Any, X: Any, y_true: Any, sample_weight: Any = None) -> float:
        """Score a fitted estimator.

        Parameters
        ----------
        estimator : object
            A fitted estimator with `predict_proba` and `classes_`.
        X : array-like
            The input of `predict_proba`.
        y_true : array-like of shape (n,) or (n, K)
            Labels, or distributions over `classes_`, one-hot or soft. The columns of a DataFrame are sorted into their
            order by name.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows.

        Returns
        -------
        float
            Minus the weighted mean loss. Higher is better, and the score is never NaN.
        """
        return self._score(None, estimator, X, y_true, sample_weight)

    def _score(self, method_caller: Any, estimator: Any, X: Any, y_true: Any, sample_weight: Any = None) -> float:
        """The score. `method_caller` is None, or finds in scikit-learn's cache what a method gave another scorer."""
        if is_dask(X):
            from ._dask import mean_over_blocks

            return mean_over_blocks(partial(self._score, None, estimator), X, y_true, sample_weight)[0]
        ask: Callable[[Any, Any], Any] | None
        ask = None if method_caller is None else partial(_ask_shared, method_caller, self.eps)
        if is_indicator(y_true) and hasattr(estimator, "predict_proba"):
            predicted = estimator.predict_proba(X)
            if predicts_labels(estimator, predicted):
                return -self._loss_of_labels(estimator, predicted, y_true, sample_weight)
            ask = partial(_known, predicted)
        classes, proba = predict_proba(estimator, X, ask)
        _check_lengths(proba, y_true, sample_weight)
        weights, mass = check_weights(sample_weight, len(proba))
        target: CodedLabels | np.ndarray
        if is_distribution(y_true):
            names = column_names(y_true)
            target = match_columns(check_distribution(y_true, dtype=None), names, classes, name="y")
        else:
            target = match_labels(y_true, classes)
        eps = check_eps(self.eps, proba.dtype)
        total, unknown, _ = _total_loss(_rounded(proba, len(classes)), len(classes), target, weights, eps)
        if isinstance(target, CodedLabels) and unknown >= 0:
            _check_comparable(y_true, target, classes)
        return -total / mass

    def _loss_of_labels(self, estimator: Any, predicted: Any, y_true: Any, sample_weight: Any) -> float:
        """The mean of the losses of the labels, which their names in `classes_` match if `y_true` has names."""
        names = getattr(estimator, "classes_", None)
        labels = None if names is None or isinstance(names, list) else np.asarray(names)
        indicator, proba = match_predictions(y_true, predicted, labels=labels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a fold may have no row of a label
            return float(binary_log_loss(indicator.decoded(), proba, sample_weight=sample_weight, eps=self.eps))

    def __repr__(self) -> str:
        return f"make_log_loss_scorer({'' if self.eps == 'auto' else f'eps={plain(self.eps)!r}'})"

    def set_score_request(self, **requests: bool | str | None) -> LogLossScorer:
        """Request `sample_weight`, if metadata routing is enabled.

        Parameters
        ----------
        **requests : bool, str or None
            For ``sample_weight``, True passes it to this scorer, False does not, and None raises an error if it is
            given. A string is the name of the weights in the routed metadata.

        Returns
        -------
        LogLossScorer
            This scorer, modified. Of `neg_log_loss_scorer`, which all code shares, it is a modified copy.
        """
        return super(LogLossScorer, copy(self) if self is neg_log_loss_scorer else self).set_score_request(**requests)


def _loss_of_predictions(
    y_true: Any, y_proba: Any, *, sample_weight: Any = None, eps: float | str = "auto"
) -> float:
    """The metric that scikit-learn sees in the scorer. TunedThresholdClassifierCV calls it with labels 0 and 1, as
    probabilities of the second class."""
    return log_loss(y_true, y_proba, sample_weight=sample_weight, eps=eps)


class _Recorder(ClassifierMixin, BaseEstimator):
    """A classifier that keeps the probabilities of another, with its columns in the order of the classes: of two
    columns, scikit-learn's cache has only one."""

    def __init__(self, estimator: Any):
        self.estimator = estimator
        self.classes_ = np.asarray(estimator.classes_)

    def predict_proba(self, X: Any) -> np.ndarray:
        _, self.given_ = predict_proba(self.estimator, X)
        return np.hstack([1.0 - self.given_, self.given_]) if self.given_.shape[1] == 1 else self.given_


def _known(predicted: Any, estimator: Any, X: Any) -> Any:
    """Probabilities that the estimator has already been asked for."""
    return predicted


def _ask_shared(method_caller: Any, eps: float | str, estimator: Any, X: Any) -> Any:
    """The probabilities of an estimator, which the scorers that scikit-learn evaluates at once share."""
    classes = getattr(estimator, "classes_", None)
    if classes is None or len(classes) < 2 or np.ndim(classes[0]) > 0:  # scikit-learn's cache has no such probabilities
        return estimator.predict_proba(X)
    recorder = _Recorder(estimator)
    shared = method_caller(recorder, "predict_proba", X)
    if hasattr(recorder, "given_"):
        return recorder.given_
    if np.ndim(shared) == 1:  # one column of two, without the digits of the other that a small eps asks for
        enough_digits = check_eps(eps, shared.dtype) >= epsilon(shared.dtype)
        if not (enough_digits and _is_of_second_class(shared, estimator, X)):
            return estimator.predict_proba(X)
    return shared


def _is_of_second_class(column: np.ndarray, estimator: Any, X: Any) -> bool:
    """Whether a shared column is seen to be the probability of the second class. It is that of the first if another
    scorer, whose `pos_label` that is, asked before. The predictions for the largest and the least tell."""
    if not hasattr(estimator, "predict"):
        return False
    ends = [int(np.argmax(column)), int(np.argmin(column))]
    return np.array_equal(estimator.predict(_safe_indexing(X, ends)), np.asarray(estimator.classes_)[[1, 0]])


def make_log_loss_scorer(*, eps: float | str = "auto") -> LogLossScorer:
    """Make a scorer of minus the log loss, for the `scoring` parameters of scikit-learn.

    If a fold lacks a class, ``scoring="neg_log_loss"`` gives NaN, or compares probabilities with the wrong class. This
    scorer looks up labels in the estimator's `classes_` instead:

    - The columns of `predict_proba` belong to `classes_`, in any order. If it returns a DataFrame, their names decide.
    - A class may be absent from the test fold.
    - A row whose class is absent from the training fold has the probability 0. Its loss is -log(eps), which is 36.04 in
      float64, and infinity if `eps` is 0.

    Of a classifier of several labels, such as :class:`MultilabelClassifier` or
    :class:`~sklearn.multioutput.MultiOutputClassifier`, it is minus the :func:`binary_log_loss`, averaged over the
    labels.

    Parameters
    ----------
    eps : "auto" or float in [0, 0.5), default="auto"
        Probabilities are clipped to [eps, 1 - eps]; "auto" is the machine epsilon of their dtype.

    Returns
    -------
    LogLossScorer
        A callable ``scorer(estimator, X, y, sample_weight=None)``, for which higher is better. `y` can hold
        distributions too. If metadata routing is enabled, ``set_score_request`` controls `sample_weight`.

    See Also
    --------
    neg_log_loss_scorer : The scorer with default parameters.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import KFold, cross_val_score
    >>> from xentropy import make_log_loss_scorer
    >>> X, y = load_iris(return_X_y=True)  # sorted, so each test fold is a class that its training fold lacks
    >>> clf = LogisticRegression(max_iter=1000)
    >>> cross_val_score(clf, X, y, cv=KFold(3), scoring=make_log_loss_scorer(eps=1e-6)).round(1)
    array([-13.8, -13.8, -13.8])
    """
    return LogLossScorer(eps)


@dataclass(frozen=True)
class Evaluation:
    """Checked probabilities and targets, and their log loss.

    Attributes
    ----------
    classes : ndarray of shape (K,)
    proba : ndarray of shape (n, K) or (n, 1)
        Probabilities of any numeric dtype and layout. One column holds the probabilities of the second of two classes.
    target : CodedLabels or ndarray of shape (n, K)
    weights : float64 ndarray of shape (n,) or None
    eps : float
        Probabilities were clipped to [eps, 1 - eps].
    total, mass : float
        Weighted sum of the losses, and sum of the weights.
    losses : float64 ndarray of shape (n,) or None
        The loss of each row, if requested.
    """

    classes: np.ndarray
    proba: np.ndarray
    target: CodedLabels | np.ndarray
    weights: np.ndarray | None
    eps: float
    total: float
    mass: float
    losses: np.ndarray | None


def evaluate(
    y_true: Any,
    y_proba: Any,
    *,
    labels: Any,
    eps: float | str,
    sample_weight: Any = None,
    per_row: bool = False,
    rounded: bool = False,
) -> Evaluation:
    """Check the arguments, and compute the log loss. Probabilities that are outside of [0, 1] by no more than rounding
    are errors, as in scikit-learn, or `rounded` to 0 and 1."""
    refuse_dask(y_true, "y_true")
    refuse_dask(y_proba, "y_proba")
    if y_true is None or np.ndim(y_true) == 0:
        raise ValueError(f"y_true must hold a label or a distribution for each row; it is {plain(y_true)!r}")
    names = column_names(y_proba, name="y_proba")
    proba = _check_proba(y_proba)
    clip = check_eps(eps, proba.dtype)
    _check_lengths(proba, y_true, sample_weight)
    weights, mass = check_weights(sample_weight, len(proba))
    declared = None if labels is None else _check_classes(labels)
    n_columns = 2 if proba.shape[1] == 1 else proba.shape[1]
    target: CodedLabels | np.ndarray | None
    if is_distribution(y_true):
        target_names = column_names(y_true, name="y_true")
        target = _check_rows(y_true)
        named = [c for c in (declared, target_names, names if proba.shape[1] > 1 else None) if c is not None]
        classes = named[0] if named else np.arange(target.shape[1])
        target = match_columns(target, target_names, classes, name="y_true")
    elif declared is None and (target := _as_column_numbers(y_true, n_columns)) is not None:
        classes = np.arange(n_columns)
    elif declared is None:
        classes, target = learn_labels(y_true, name="y_true")
        if names is not None and len(classes) < len(names) and (code_labels(classes, names).indices() >= 0).all():
            classes, _ = learn_classes(names, name="the columns of y_proba")  # y_true lacks some of them
            target = match_labels(y_true, classes, name="y_true")
        if len(classes) == 1:
            raise ValueError(
                f"y_true contains only one label ({classes[0]}). Please provide the list of all expected class labels "
                f"explicitly through the labels argument."
            )
    else:
        classes, target = declared, match_labels(y_true, declared, name="y_true")
    if isinstance(y_true, list) and classes.dtype.kind == "U" and len({isinstance(v, str) for v in y_true}) > 1:
        raise ValueError(f"Mix of label input types (string and number); Got {_shown(classes)}. y_true has both")
    if len(classes) != n_columns:
        _raise_class_count(classes, n_columns, declared, _hint_at_labels(proba))
    proba = _match_proba(proba, names, classes, name="y_proba")
    if rounded:
        proba = _rounded(proba, n_columns)
    total, unknown, losses = _total_loss(proba, n_columns, target, weights, clip, per_row=per_row)
    if unknown >= 0:
        assert isinstance(target, CodedLabels)
        if declared is None:
            _raise_class_count(learn_labels(y_true)[0], n_columns, declared)
        values = set(plain(np.unique(np.asarray(y_true).ravel()[target.indices() < 0])))
        raise ValueError(
            f"y_true contains values {values} not belonging to the passed labels {_shown(labels)}. The first is in row "
            f"{unknown}."
        )
    return Evaluation(classes, proba, target, weights, clip, total, mass, losses)


def _as_column_numbers(y_true: Any, n_columns: int) -> CodedLabels | None:
    """The labels, if each of 0, ..., K - 1 occurs, which a few rows usually show. The kernel reports other labels."""
    if type(y_true) is not np.ndarray or y_true.ndim != 1 or y_true.dtype.kind not in "iu":
        return None
    plain = y_true.dtype.isnative and y_true.flags.c_contiguous and y_true.flags.aligned
    if not plain or not mark_labels(y_true, 0, n_columns).all():
        return None
    return CodedLabels(y_true, 0, np.arange(n_columns, dtype=np.int32))


def _hint_at_labels(proba: np.ndarray) -> str:
    """What to do if `y_proba` seems to hold labels."""
    if proba.shape[1] > 1 or not np.all(proba == np.trunc(proba)):
        return ""
    return "; y_proba holds whole numbers: pass predict_proba(X), not predict(X), and after y_true"


def _raise_class_count(classes: np.ndarray, n_columns: int, declared: np.ndarray | None, hint: str = "") -> None:
    if declared is None:
        raise ValueError(
            f"y_true and y_prob contain different number of classes: {len(classes)} vs {n_columns}. Please provide the "
            f"true labels explicitly through the labels argument. Classes found in y_true: {_shown(classes)}{hint}"
        )
    raise ValueError(
        f"The number of classes in labels is different from that in y_prob. Classes found in labels: "
        f"{_shown(classes)}; y_proba has {n_columns} columns{hint}"
    )


def _total_loss(
    proba: np.ndarray,
    n_classes: int,
    target: CodedLabels | np.ndarray,
    weights: np.ndarray | None,
    eps: float,
    *,
    per_row: bool = False,
) -> tuple[float, int, np.ndarray | None]:
    """The weighted sum of the losses, the first row whose label has no class (or -1), and optionally the row losses."""
    n = len(proba)
    losses = np.empty(n) if per_row else None
    tolerance = float(np.sqrt(epsilon(proba.dtype)))
    coded = target if isinstance(target, CodedLabels) else None
    distribution = None if isinstance(target, CodedLabels) else target
    complete = distribution is not None and proba.shape[1] < n_classes  # the kernel needs both columns
    exact = complete or (distribution is not None and distribution.dtype == np.float64)
    compute = np.dtype(np.float32 if proba.dtype.name in ("float16", "float32") and not exact else np.float64)
    in_place = _is_plain(proba, compute) and (distribution is None or _is_plain(distribution, compute)) and not complete
    step = n if in_place else max(1, _BLOCK_VALUES // n_classes)
    total, first_unknown, first_off_one = 0.0, -1, -1
    for first in range(0, n, step):
        rows = slice(first, first + step)
        block = proba if in_place else np.array(proba[rows], dtype=compute, order="C")
        if coded is not None:
            compared: dict[str, Any] = {"labels": coded.values[rows], "low": coded.low, "table": coded.table}
        else:
            assert distribution is not None
            compared = {"distribution": np.asarray(distribution[rows], dtype=compute, order="C")}
        part, outside, off_one, unknown = proba_rows(
            np.hstack([1.0 - block, block]) if complete else block,
            n_classes,
            **compared,
            sample_weight=None if weights is None else weights[rows],
            eps=eps,
            sum_tolerance=tolerance,
            row_loss=None if losses is None else losses[rows],
            n_threads=effective_n_threads(),
        )
        if outside >= 0:
            _raise_outside(proba, weights)
        total += part
        if first_off_one < 0 <= off_one:
            first_off_one = first + off_one
        if first_unknown < 0 <= unknown:
            first_unknown = first + unknown
    if first_off_one >= 0:
        warnings.warn(
            f"The y_prob values do not sum to one. Make sure to pass probabilities. Row {first_off_one} sums to "
            f"{proba[first_off_one].sum(dtype=np.float64):.10g}.",
            UserWarning,
            stacklevel=4,
        )
    return total, first_unknown, losses


def _rounded(proba: np.ndarray, n_classes: int) -> np.ndarray:
    """Probabilities with those that rounding has put outside of [0, 1], as in 1 - (a sum of others), at 0 and 1."""
    if not (proba.min(initial=0.0) < 0.0 or proba.max(initial=0.0) > 1.0):
        return proba
    slack = n_classes * epsilon(proba.dtype)
    near = (proba < 0.0) & (proba >= -slack) | (proba > 1.0) & (proba <= 1.0 + slack)
    return np.where(near, np.clip(proba, 0.0, 1.0), proba)


def _is_plain(a: np.ndarray, dtype: np.dtype) -> bool:
    """Whether a kernel can read the array in place."""
    return a.dtype == dtype and a.flags.c_contiguous and a.flags.aligned


def _check_proba(y_proba: Any) -> np.ndarray:
    """`y_proba` as a matrix (n, K), or (n, 1) for the second of two classes. Its values are not checked."""
    if type(y_proba) is not np.ndarray or y_proba.dtype.kind not in "fiub" or not y_proba.size or y_proba.ndim > 2:
        if y_proba is None or isinstance(y_proba, str) or sp.issparse(y_proba) or np.ndim(y_proba) == 0:
            raise ValueError(
                f"y_proba must be an array of probabilities, a row for each of y_true; it is {plain(y_proba)!r}"
            )
        refuse_masked(y_proba, "y_proba")
        refuse_sparse_frame(y_proba, "y_proba")
        try:
            y_proba = check_array(
                y_proba,
                dtype=[np.float64, np.float32, np.float16],
                ensure_2d=False,
                ensure_all_finite=False,
                input_name="y_proba",
            )
        except ValueError as error:
            if "could not convert string" not in str(error):
                raise
            raise ValueError(f"y_proba holds strings: pass predict_proba(X), not predict(X) ({error})") from None
    return y_proba[:, np.newaxis] if y_proba.ndim == 1 else y_proba


def _match_proba(proba: np.ndarray, names: np.ndarray | None, classes: np.ndarray, *, name: str) -> np.ndarray:
    """Probabilities with their columns, which may have `names`, in the order of `classes`."""
    if proba.shape[1] == 1 and len(classes) == 2:
        return match_one_column(proba, names, classes)
    return match_columns(proba, names, classes, name=name)


def _check_classes(labels: Any) -> np.ndarray:
    """The classes that `labels` declares, sorted."""
    if isinstance(labels, (str, set, frozenset, dict)) or np.ndim(labels) != 1:
        raise ValueError(f"labels must be a list or a 1-D array of all the classes; it is {plain(labels)!r}")
    if len(labels) == 0:
        raise ValueError("labels is empty; pass all the classes")
    classes, order = learn_classes(labels, name="labels")
    if len(classes) == 1:
        raise ValueError(f"The labels array needs to contain at least two labels, got {_shown(classes)}.")
    if len(order) != len(classes):
        seen = np.bincount(order)
        raise ValueError(f"labels holds {plain(classes)[seen.argmax()]!r} {seen.max()} times; pass each class once")
    if np.any(order[1:] < order[:-1]):
        warnings.warn(
            f"Labels passed were {_shown(labels)}. But this function assumes labels are ordered lexicographically. "
            f"Pass the ordered labels={plain(classes)} and ensure that the columns of y_prob correspond to this "
            "ordering.",
            UserWarning,
            stacklevel=4,
        )
    return classes


def _check_rows(y_true: Any) -> np.ndarray:
    """A target of several columns, whose rows are distributions or label indicators."""
    refuse_masked(y_true, "y_true")
    refuse_sparse_frame(y_true, "y_true")
    if isinstance(y_true, np.ndarray) or not sp.issparse(y_true):
        rows = check_array(y_true, dtype=None, ensure_all_finite=False, input_name="y_true")
        if rows.dtype.kind in "biu" and rows.min() >= 0 and rows.max() <= 1:
            return rows
    return check_distribution(y_true, dtype=None, name="y_true")


def _check_lengths(proba: np.ndarray, y_true: Any, sample_weight: Any) -> None:
    """Raise if the lengths differ, which are listed in scikit-learn's order."""
    try:
        check_consistent_length(proba, y_true, sample_weight if np.ndim(sample_weight) else None)
    except ValueError as error:
        raise ValueError(f"{error}. These are y_proba, y_true and the weights, if there are any") from None


def _shown(labels: Any) -> Any:
    """The labels that a message lists: an array as scikit-learn writes it, and a list without NumPy's types."""
    if not isinstance(labels, np.ndarray):
        return plain(labels)
    return labels if labels.dtype != object else f"[{' '.join(map(repr, plain(labels)))}]"


def _raise_outside(proba: np.ndarray, weights: np.ndarray | None) -> None:
    counted = slice(None) if weights is None else weights > 0.0
    rows = np.arange(len(proba))[counted]
    with np.errstate(invalid="ignore"):
        most, least = proba.max(axis=1)[counted], proba.min(axis=1)[counted]  # NaN if the row holds NaN
    infinity = f"infinity or a value too large for {proba.dtype!r}"
    for what, bad in (("NaN", np.isnan(most)), (infinity, np.isinf(most) | np.isinf(least))):
        if bad.any():
            row = rows[bad.argmax()]
            raise ValueError(f"Input contains {what}. Drop row {row} of y_proba, or give it sample_weight 0")
    if most.max() > 1:
        raise ValueError(
            f"y_prob contains values greater than 1: {most.max()} (row {rows[most.argmax()]}){_hint_at_labels(proba)}"
        )
    raise ValueError(f"y_prob contains values lower than 0: {least.min()} (row {rows[least.argmin()]})")


def _check_comparable(y: Any, target: CodedLabels, classes: np.ndarray) -> None:
    """Raise if `y` holds strings and the classes are numbers, or the reverse. A fold may lack all classes otherwise."""
    labels = np.asarray(y).ravel()
    if (labels.dtype.kind in "biuf") != (classes.dtype.kind in "biuf") and np.all(target.indices() < 0):
        raise ValueError(
            f"y holds {plain(labels)[0]!r} (row 0) and the like; the estimator's classes_ are {_shown(classes)}"
        )


def predict_proba(
    estimator: Any, X: Any, ask: Callable[[Any, Any], Any] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The classes of a fitted estimator, and its probabilities, with a column for each class.

    If there is `ask`, it is called with the estimator and X for its probabilities.
    """
    name = type(estimator).__name__
    if not hasattr(estimator, "predict_proba"):
        raise AttributeError(f"{name} has no predict_proba, which the log loss needs: calibrate it, or score otherwise")
    predicted = estimator.predict_proba(X) if ask is None else ask(estimator, X)
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        raise AttributeError(f"{name} has no classes_, which say what the columns of its predict_proba are")
    if isinstance(predicted, list) or (isinstance(classes, list) and np.ndim(classes[0]) > 0):
        raise ValueError(f"{name} predicts several outputs at once; score each of them with its own log_loss")
    classes = np.asarray(classes)
    source = f"{name}.predict_proba"
    columns = column_names(predicted, name=source)
    proba = _check_proba(predicted)
    if proba.shape[1] != len(classes) and not (proba.shape[1] == 1 and len(classes) == 2):
        raise ValueError(
            f"{name}.predict_proba gave {proba.shape[1]} columns for the {len(classes)} classes {_shown(classes)}"
        )
    return classes, _match_proba(proba, columns, classes, name=source)


neg_log_loss_scorer = make_log_loss_scorer()
