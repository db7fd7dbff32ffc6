"""Problems that ask the solver for this or that, and how far from its minimum a fit has ended."""

from functools import cache

import numpy as np
import reference
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.preprocessing import StandardScaler


def drawn(logits, rng):
    """Labels of rows with these logits, of which one column means two classes."""
    if logits.ndim == 1:
        return (logits + rng.logistic(size=len(logits)) > 0.0).astype(int)
    return (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def labels(Z, n_classes, steep, rng):
    """Drawn from a softmax model of the features Z, whose logits have this standard deviation."""
    logits = Z @ rng.standard_normal((Z.shape[1], n_classes) if n_classes > 2 else Z.shape[1])
    return drawn(steep * logits / logits.std(), rng)


@cache
def digits():
    return load_digits(return_X_y=True)


@cache
def standardised_digits():
    X, y = digits()
    return StandardScaler().fit_transform(X), y


@cache
def cancer():
    return load_breast_cancer(return_X_y=True)


@cache
def standardised_cancer():
    X, y = cancer()
    return StandardScaler().fit_transform(X), y


@cache
def independent(n, d, n_classes, steep=2.0, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + 0.5
    return X, labels(X, n_classes, steep, rng)


@cache
def mixed(n, d, n_classes, steep=2.0):
    """Each feature is a mixture of the same independent ones."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) @ rng.standard_normal((d, d))
    return X, labels(X, n_classes, steep, rng)


@cache
def nearly_collinear(n=6000, d=30, n_classes=12):
    """Three features make up all but a ten-thousandth of the others."""
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((n, d))
    return 1e-4 * Z + Z[:, :3] @ rng.standard_normal((3, d)), labels(Z, n_classes, 5.5, rng)


@cache
def embeddings(n, d, n_classes=2, steep=3.0):
    """Of unit length, correlated with a falling spectrum."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.6 @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X, labels(X, n_classes, steep, rng)


def embeddings_and_a_rare_feature():
    X, y = embeddings(4000, 300)
    X = X.copy()
    X[:, 5] *= np.random.default_rng(1).random(len(X)) < 0.003
    return X, y


def embeddings_and_rows_far_off():
    X, y = embeddings(4000, 300)
    X = X.copy()
    X[np.random.default_rng(3).choice(4000, 5, replace=False), ::4] += 100.0 * X.std()
    return X, y


def embeddings_apart():
    """The same features, each on its own."""
    X, y = embeddings(4000, 300)
    return np.random.default_rng(1).permuted(X, axis=0), y


@cache
def log_normal(n, d, n_classes, steep=20.0):
    rng = np.random.default_rng(3)
    X = np.exp(2.0 * rng.standard_normal((n, d)))
    return X, labels((X - X.mean(axis=0)) / X.std(axis=0), n_classes, steep, rng)


@cache
def images(n=3000, size=16):
    """Blobs around the middle: few rows show the border."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:size, :size]
    centre = rng.normal(size / 2 - 0.5, 1.5, (n, 6, 2))
    squares = (down - centre[..., 0, None, None]) ** 2 + (across - centre[..., 1, None, None]) ** 2
    X = np.exp(-0.5 * squares).sum(axis=1).reshape(n, -1)
    X *= X > 0.05
    return X, labels(X, 2, 4.0, rng)


@cache
def separable_by_planes(n, d, n_classes):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    return X, (X @ rng.standard_normal((d, n_classes))).argmax(axis=1)


@cache
def text(n=1200, d=15_000, n_stored=30, n_classes=20):
    """CSR, of features that fewer and fewer rows show."""
    rng = np.random.default_rng(0)
    columns = np.sort((d * rng.random((n, n_stored)) ** 2).astype(np.int32), axis=1).ravel()
    X = sp.csr_array((rng.random(n * n_stored), columns, np.arange(0, n * n_stored + 1, n_stored)), shape=(n, d))
    X.sum_duplicates()
    return X, labels(X[:, :200].toarray(), n_classes, 2.0, rng)


def distances(clf, X, y, weight=None, offset=0.0):
    """The gradient of the objective at the coefficients, with the subgradient of an L1 penalty that is nearest to zero:
    of each coefficient, over the sum of the weights and the feature's spread, and of each intercept."""
    n_classes = len(clf.classes_)
    X = X.toarray() if sp.issparse(X) else np.asarray(X, dtype=np.float64)
    s = np.ones(len(X)) if weight is None else weight
    mean = np.average(X, axis=0, weights=s) if clf.fit_intercept else 0.0
    coef, intercept = clf.coef_.astype(np.float64), clf.intercept_ + clf.coef_.astype(np.float64) @ (mean + 0.0 * X[0])
    X = X - mean
    z = X @ coef.T + intercept + offset
    z = np.hstack([np.zeros_like(z), z]) if n_classes == 2 else z
    target = reference.smoothed(reference.one_hot(y, n_classes), clf.label_smoothing)
    residual = s[:, None] * (np.exp(reference.log_softmax(z)).astype(float) - target)
    residual = residual[:, 1:] if n_classes == 2 else residual
    unit = np.sqrt(np.average(X**2, axis=0, weights=s))
    C, l1 = clf.C * s.sum(), clf.l1_ratio / (clf.C * s.sum())
    grad = residual.T @ X / s.sum() + ((1.0 - clf.l1_ratio) / C) * coef
    grad = np.where(coef == 0.0, np.maximum(np.abs(grad) - l1, 0.0), np.abs(grad + l1 * np.sign(coef)))
    of_intercepts = np.abs(residual.sum(axis=0)) / s.sum() * clf.fit_intercept
    return np.append(grad / np.where(unit > 0.0, unit, 1.0), of_intercepts)


def exact_objective(clf, X, y, weight=None, offset=0.0):
    X = X.toarray() if sp.issparse(X) else X
    coef, intercept = clf.coef_.astype(np.longdouble), clf.intercept_ + np.asarray(offset)
    full = (coef, intercept) if len(coef) > 1 else reference.two_columns(coef, intercept)
    target = reference.one_hot(y, len(clf.classes_))
    options = {"sample_weight": weight, "label_smoothing": clf.label_smoothing}
    loss = reference.linear_loss(X, target, *full, **options)
    if np.isinf(clf.C):
        return float(loss)
    penalty = 0.5 * (1.0 - clf.l1_ratio) * np.sum(coef**2) + clf.l1_ratio * np.abs(coef).sum()
    return float(clf.C * loss + penalty)
