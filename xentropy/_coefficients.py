"""Tables of coefficients and of marginal effects, with their standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from ._covariance import Covariance, blocks_of_rows, normal_quantile
from ._inference import Fit, last_step
from ._messages import plain
from ._targets import code_labels


def coefficient_table(
    model: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    kind: str = "model",
    groups: Any = None,
    reference: Any = None,
    level: float = 0.95,
) -> Any:
    r"""Tabulate the coefficients of a fitted classifier with standard errors, tests and intervals.

    The errors are the square roots of variances from :meth:`SoftmaxClassifier.covariance`, and tests and intervals are
    those of Wald, :math:`z = \hat w / \mathrm{se}`, with the normal distribution.

    Parameters
    ----------
    model : SoftmaxClassifier, SoftmaxClassifierCV, or a Pipeline that ends in one
        A fitted model. The coefficients are those of the features that the last step of a pipeline sees.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows of its fit.

    y : array-like of shape (n_samples,) or (n_samples, n_classes)
        The targets of its fit.

    sample_weight : array-like of shape (n_samples,), default=None
        The weights of its fit.

    kind : {"model", "robust", "laplace"}, default="model"
        Which covariance; see :meth:`SoftmaxClassifier.covariance`.

    groups : array-like of shape (n_samples,), default=None
        Groups of dependent rows, for ``kind="robust"``.

    reference : label, default=None
        The class whose coefficients are subtracted from those of the others, as other packages do. None leaves them as
        they are in `coef_`: less the mean over the classes, or for two classes those of ``classes_[1]`` less those of
        ``classes_[0]``.

    level : float, default=0.95
        Probability that an interval is to cover.

    Returns
    -------
    pandas.DataFrame, or a structured ndarray that prints as a table if pandas is not installed
        A row for each class and each feature, and for the ``"intercept"``, with the columns `class`, `feature`,
        `coef`, `se`, `z`, `p`, `low` and `high`. `p` is the probability of a larger :math:`|z|` for a coefficient of 0.

    Raises
    ------
    ValueError
        For the reasons that :meth:`SoftmaxClassifier.covariance` gives, or if `reference` is no class.

    See Also
    --------
    marginal_effects : Effects on the probabilities, which do not depend on a reference.
    CoefficientDisplay : Plot of this table.

    References
    ----------
    Agresti (2013), Categorical Data Analysis, 3rd edition, sections 1.3 and 8.1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> import xentropy as xe
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> X, y = X[50:], y[50:]
    >>> model = xe.SoftmaxClassifier(C=np.inf, tol=1e-6).fit(X, y)
    >>> table = xe.coefficient_table(model, X, y)
    >>> list(zip(table["feature"], table["coef"].round(2), table["se"].round(2), table["p"].round(3)))[:2]
    [('sepal length (cm)', -2.47, 2.39, 0.303), ('sepal width (cm)', -6.68, 4.48, 0.136)]
    """
    model, X = last_step(model, X)
    quantile = normal_quantile(level)
    classes = np.asarray(model.classes_)
    ref = None if reference is None else _place(reference, classes)
    covariance, fit = model._covariance_of(X, y, sample_weight, kind, groups)
    error = np.sqrt(covariance.variances(ref))
    coef, intercept = fit.objective.unpack(fit.theta)
    values = np.column_stack([coef, intercept]) if covariance.fit_intercept else coef
    names = [*fit.feature_names, *(["intercept"] if covariance.fit_intercept else [])]
    if len(values) == 1:
        shown = [1 - (ref or 0)]
        values = -values if ref == 1 else values
    else:
        shown = [k for k in range(len(classes)) if k != ref]
        values, error = (values if ref is None else values - values[ref])[shown], error[shown]
    labels = np.repeat(classes[shown], len(names))
    return _table(labels, names * len(shown), "coef", values.ravel(), error.ravel(), quantile)


def marginal_effects(
    model: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    features: Sequence[Any] | None = None,
    kind: str = "model",
    groups: Any = None,
    level: float = 0.95,
) -> Any:
    r"""Tabulate the average marginal effects of features on the probabilities of the classes.

    The effect of feature j on class k is the mean over the rows, with their weights, of the derivative

    .. math:: \frac{\partial p_k}{\partial x_j} = p_k \Bigl(w_{kj} - \sum_l p_l w_{lj}\Bigr)

    and its standard error follows from the covariance of the coefficients by the delta method. The effects of a feature
    sum to zero over the classes. They do not depend on a reference class, and are in units of probability per unit of
    the feature.

    Parameters
    ----------
    model : SoftmaxClassifier, SoftmaxClassifierCV, or a Pipeline that ends in one
        A fitted model. The features are those that the last step of a pipeline sees.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows of its fit.

    y : array-like of shape (n_samples,) or (n_samples, n_classes)
        The targets of its fit.

    sample_weight : array-like of shape (n_samples,), default=None
        The weights of its fit.

    features : sequence of str or int, default=None
        Names or columns of features; None means all.

    kind : {"model", "robust", "laplace"}, default="model"
        Which covariance of the coefficients; see :meth:`SoftmaxClassifier.covariance`.

    groups : array-like of shape (n_samples,), default=None
        Groups of dependent rows, for ``kind="robust"``.

    level : float, default=0.95
        Probability that an interval is to cover.

    Returns
    -------
    pandas.DataFrame, or a structured ndarray that prints as a table if pandas is not installed
        A row for each class and each feature, with the columns `class`, `feature`, `effect`, `se`, `z`, `p`, `low` and
        `high`.

    Raises
    ------
    ValueError
        For the reasons that :meth:`SoftmaxClassifier.covariance` gives, or if X has no such feature.

    See Also
    --------
    coefficient_table : The coefficients themselves.

    Notes
    -----
    The standard error takes the rows as given. Features are varied one by one: if one is a function of another, such as
    its square, the effect of neither is that of both. An effect of a feature of zeros and ones is a derivative as well,
    not the difference between the two.

    References
    ----------
    Agresti (2013), Categorical Data Analysis, 3rd edition, section 5.1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> import xentropy as xe
    >>> X, y = load_iris(return_X_y=True)
    >>> model = xe.SoftmaxClassifier().fit(X, y)
    >>> table = xe.marginal_effects(model, X, y, features=[2], kind="laplace")
    >>> list(zip(table["class"].tolist(), table["effect"].round(3).tolist(), table["se"].round(3).tolist()))
    [(0, -0.035, 0.017), (1, -0.141, 0.044), (2, 0.177, 0.038)]
    """
    model, X = last_step(model, X)
    quantile = normal_quantile(level)
    covariance, fit = model._covariance_of(X, y, sample_weight, kind, groups)
    columns = _columns(features, fit.feature_names)
    effect, error = _average_effects(fit, covariance, columns)
    names = [fit.feature_names[j] for j in columns]
    labels = np.repeat(np.asarray(model.classes_), len(names))
    return _table(labels, names * len(effect), "effect", effect.ravel(), error.ravel(), quantile)


def _average_effects(fit: Fit, covariance: Covariance, columns: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The average marginal effects of columns of X, (K, len(columns)), and their standard errors.

    In the coefficient of feature m for class l, p_k (w_kj - sum p w_j) has the derivative
    (delta_kl p_k u_kj - p_k p_l (u_kj + u_lj)) x_m + delta_mj p_k (delta_kl - p_l), with u_kj = w_kj - sum p w_j.
    """
    design, others = fit.objective.design.in_memory, covariance.others
    K, r, d = design.n_classes, len(others), design.n_features
    coef, _ = design.views(fit.theta)
    coef = np.hstack([np.zeros_like(coef), coef]) if design.n_outputs == 1 else coef
    place_of = {int(j): at for at, j in enumerate(np.arange(design.n_columns)[design.columns])}
    places = [place_of.get(j) for j in columns]
    weight = np.ones(design.n_rows) if fit.sample_weight is None else fit.sample_weight
    weight = weight / weight.sum()
    effect, direct = np.zeros((K, len(columns))), np.zeros((K, r))
    slopes = np.zeros((len(columns), K * r, d + covariance.fit_intercept))
    for at in blocks_of_rows(design.n_rows, d + 2 * K * r):
        rows = design.rows(at)
        p = design.probabilities(rows, fit.theta)
        weighted = weight[at, None] * p
        pairs = weighted[:, :, None] * p[:, None, others]
        direct -= pairs.sum(axis=0)
        direct[others, np.arange(r)] += weighted[:, others].sum(axis=0)
        for f, place in enumerate(places):
            if place is None:
                continue
            u = coef[place] - (p @ coef[place])[:, None]
            each = weighted * u
            effect[:, f] += each.sum(axis=0)
            slope = -pairs * (u[:, :, None] + u[:, None, others])
            slope[:, others, np.arange(r)] += each[:, others]
            slopes[f] += slope.reshape(len(rows), K * r).T @ rows
    error = np.empty_like(effect)
    for f, place in enumerate(places):
        if place is None:  # a column of zeros, which the design leaves out
            error[:, f] = np.sqrt(np.einsum("kl,lm,km->k", direct, covariance.unseen(), direct))
            continue
        slope = slopes[f].reshape(K, r, -1)
        slope[:, :, place] += direct
        slope = slope.reshape(K, -1)
        error[:, f] = np.sqrt(np.maximum(0.0, np.einsum("ki,ki->k", slope @ covariance.matrix, slope)))
    return effect, error


class Table(np.ndarray):
    """A structured array that prints as a table."""

    def __str__(self) -> str:
        if self.dtype.names is None or self.ndim != 1:
            return str(np.asarray(self))
        cells = [list(self.dtype.names)]
        cells += [[_as_text(value) for value in row] for row in np.asarray(self).tolist()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join("  ".join(map(str.rjust, row, widths)) for row in cells)

    __repr__ = __str__


def _table(
    labels: np.ndarray, names: list[str], what: str, values: np.ndarray, errors: np.ndarray, quantile: float
) -> Any:
    """A DataFrame if pandas is installed, and otherwise a `Table`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = values / errors
    columns = {
        "class": labels,
        "feature": np.array(names),
        what: values,
        "se": errors,
        "z": z,
        "p": 2.0 * ndtr(-np.abs(z)),
        "low": values - quantile * errors,
        "high": values + quantile * errors,
    }
    try:
        import pandas as pd
    except ImportError:
        table = np.empty(len(values), dtype=[(name, column.dtype) for name, column in columns.items()])
        for name, column in columns.items():
            table[name] = column
        return table.view(Table)
    return pd.DataFrame(columns)


def _as_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _place(reference: Any, classes: np.ndarray) -> int:
    found = int(code_labels(np.asarray([reference]), classes).indices()[0])
    if found < 0:
        raise ValueError(f"reference={plain(reference)!r} must be one of the classes, {plain(classes)}, or None")
    return found


def _columns(features: Sequence[Any] | None, names: list[str]) -> list[int]:
    """The columns of features that are given by their names or their places."""
    if features is None:
        return list(range(len(names)))
    if isinstance(features, str):
        features = [features]
    found = []
    for feature in features:
        if isinstance(feature, (int, np.integer)) and 0 <= feature < len(names):
            found.append(int(feature))
        elif isinstance(feature, str) and feature in names:
            found.append(names.index(feature))
        else:
            raise ValueError(
                f"features holds {plain(feature)!r}, which is neither the name nor the column (0 to {len(names) - 1}) "
                "of a feature"
            )
    return found
