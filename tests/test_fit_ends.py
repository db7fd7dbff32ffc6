"""How fits end before the minimum, or where there is none: what they say, and what they leave."""

import contextlib
import io
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from problems import (
    cancer,
    digits,
    embeddings,
    exact_objective,
    independent,
    separable_by_planes,
    standardised_cancer,
    standardised_digits,
    text,
)
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

from xentropy import SoftmaxClassifier


def unfinished(max_iter):
    return pytest.warns(ConvergenceWarning, match=f"max_iter={max_iter}")


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_a_column_too_large_to_be_squared_is_named(storage, fit_intercept):
    X, y = independent(300, 7, 3)
    X = X * (np.arange(7) != 2)  # the second is empty
    X[5, 4] = 1e200
    with pytest.raises(ValueError, match="squares of column 4 of X overflow"):
        SoftmaxClassifier(fit_intercept=fit_intercept).fit(storage(X), y)


def test_a_start_that_overflows_is_refused():
    X, y = independent(300, 7, 3)
    clf = SoftmaxClassifier(warm_start=True).fit(X, y)
    clf.coef_ = 1e200 * clf.coef_
    with pytest.raises(ValueError, match="objective is inf at the start"), np.errstate(over="ignore"):
        clf.fit(X, y)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_separation_is_said_where_it_is_proved(storage, n_classes):
    X, y = separable_by_planes(500, 5, n_classes)
    with pytest.warns(ConvergenceWarning, match="perfectly separable.*Set a finite C"):
        clf = SoftmaxClassifier(C=np.inf).fit(storage(X), y)
    assert not clf.converged_
    assert clf.score(storage(X), y) == 1.0
    assert clf.history_["loss"][-1] < np.log(2.0) / 500 <= clf.history_["loss"][-2]
    y = y.copy()
    y[0] = (y[0] + 1) % n_classes  # no longer
    assert SoftmaxClassifier(C=np.inf, tol=1e-3).fit(storage(X), y).converged_


def test_the_lightest_row_decides_whether_separation_is_proved():
    X, y = separable_by_planes(500, 5, 2)
    y = y.copy()
    at = np.argmax(np.abs(X @ np.linalg.lstsq(X, 2.0 * y - 1.0, rcond=None)[0]))
    y[at] = 1 - y[at]
    weight = np.ones(500)
    weight[at] = 1e-4
    clf = SoftmaxClassifier(C=np.inf, tol=1e-3).fit(X, y, weight)
    assert clf.converged_


def test_warnings_say_how_far_the_minimum_is():
    X, y = standardised_digits()
    with pytest.warns(ConvergenceWarning, match="max_iter=5 .*gradient norm at .* tol=1.0e-04 .* Increase max_iter"):
        clf = SoftmaxClassifier(max_iter=5).fit(X, y)
    assert clf.n_iter_[0] == 5
    assert not clf.converged_
    assert clf.history_["gradient_norm"][-1] > 1e-4


def test_a_fit_whose_rounding_hides_the_minimum_says_that_it_stalled():
    X, y = independent(600, 5, 3)
    with pytest.warns(ConvergenceWarning, match="no further decrease after .*Increase tol"):
        clf = SoftmaxClassifier(tol=1e-9).fit(sp.csr_array(X + 1e11), y)
    assert not clf.converged_
    assert np.isfinite(clf.coef_).all()


class Interrupting(io.StringIO):
    """A terminal at which somebody presses Ctrl-C when so many lines are printed."""

    def __init__(self, n_lines):
        super().__init__()
        self.left = n_lines

    def write(self, text):
        self.left -= text.count("\n")
        if self.left < 0:
            raise AssertionError("it goes on")
        if self.left == 0 and text.endswith("\n"):
            self.left = 1 << 30
            raise KeyboardInterrupt
        return len(text)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (cancer, {}),
        (digits, {}),
        (standardised_cancer, {"l1_ratio": 1.0}),
        (lambda: independent(90_000, 25, 8), {}),
        (lambda: text(), {}),
    ],
    ids=["two classes", "ten classes", "L1", "many rows", "text"],
)
def test_an_interrupt_leaves_the_best_coefficients(make, options):
    X, y = make()
    clf = SoftmaxClassifier(verbose=2, tol=0.0, **options)
    with contextlib.redirect_stdout(Interrupting(4)), pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    assert clf.n_iter_[0] == len(clf.history_["objective"]) == 4
    assert not clf.converged_
    same = SoftmaxClassifier(max_iter=4, tol=0.0, **options)
    with unfinished(4):
        same.fit(X, y)
    np.testing.assert_array_equal(clf.coef_, same.coef_)
    value = exact_objective(clf, X, y)
    if options:  # far from the minimum, what L-BFGS sees of an L1 penalty may be more than it is
        assert value <= clf.objective_ * (1.0 + 1e-12)
    else:
        assert clf.objective_ == pytest.approx(value, rel=1e-6)
    assert clf.objective_ <= clf.history_["objective"].min() * (1.0 + 1e-6)


@pytest.mark.parametrize("options", [{}, {"l1_ratio": 0.5}, {"C": np.inf}])
def test_a_warm_start_goes_on_where_it_was(options):
    X, y = embeddings(800, 20, 4)
    clf = SoftmaxClassifier(warm_start=True, max_iter=6, tol=1e-9, **options)
    with unfinished(6):
        clf.fit(X, y)
    last, coef = clf.objective_, clf.coef_.copy()
    clf.set_params(max_iter=0)
    with unfinished(0):
        clf.fit(X, y)
    assert clf.objective_ == pytest.approx(exact_objective(clf, X, y), rel=1e-12)
    assert clf.objective_ <= last * (1.0 + 1e-12)
    np.testing.assert_allclose(clf.coef_, coef, atol=1e-12)
    clf.set_params(max_iter=1000).fit(X, y)
    assert clf.history_["objective"][0] < last
    assert clf.objective_ == pytest.approx(SoftmaxClassifier(tol=1e-9, **options).fit(X, y).objective_, rel=1e-12)


# weights over many decades


def weighted_objective(clf, X, y, weight):
    """The objective in long double, also of losses far below 1."""
    z = clf.decision_function(X).astype(np.longdouble)
    z = z if z.ndim == 2 else np.column_stack([np.zeros_like(z), z])
    z -= z[np.arange(len(y)), y][:, None]
    most = np.maximum(z.max(axis=1, keepdims=True), 0)
    others = np.exp(z - most)
    others[np.arange(len(y)), y] = 0
    far = most[:, 0] + np.log(np.exp(-most[:, 0]) + others.sum(axis=1))
    losses = np.where(most[:, 0] > 0, far, np.log1p(others.sum(axis=1)))
    C, penalty = (clf.C, 1) if np.isfinite(clf.C) else (1.0, 0)
    coef = clf.coef_.astype(np.longdouble)
    return float(C * (weight * losses).sum() + penalty * (coef**2).sum() / 2)


def sigmoid_minimum(X, y, weight):
    """The objective of two classes with C=1 by Newton, with a gradient in long double."""
    X, sign = np.column_stack([X, np.ones(len(X))]).astype(np.longdouble), np.where(y == 1, -1, 1)
    weight, ridge = weight.astype(np.longdouble), np.append(np.ones(X.shape[1] - 1), 0)
    w = np.zeros(X.shape[1], dtype=np.longdouble)

    def value(w):
        return (weight * np.logaddexp(np.longdouble(0), sign * (X @ w))).sum() + (ridge * w**2).sum() / 2

    for _ in range(500):
        p = np.exp(-np.logaddexp(np.longdouble(0), -sign * (X @ w)))
        gradient = X.T @ (weight * p * sign) + ridge * w
        hessian = (X * (weight * p * (1 - p))[:, None]).T @ X + np.diag(ridge)
        scale = np.sqrt(np.diag(hessian))
        scaled = (hessian / scale / scale[:, None]).astype(float)
        step = np.linalg.solve(scaled, (gradient / scale).astype(float)) / scale
        t = np.longdouble(1)
        while value(w - t * step) > value(w) and t > 1e-9:
            t /= 2
        w = w - t * step
    return float(value(w))


@pytest.mark.parametrize("class_weight", [1e14, 1e16, 1e18])
@pytest.mark.parametrize("flip", [False, True])
def test_a_class_that_has_all_the_weight_is_not_the_only_one_that_is_fitted(flip, class_weight):
    X, y = load_iris(return_X_y=True)
    X, y = X[:100], y[:100]
    y[::17] = 1 - y[::17] if flip else y[::17]
    weight = np.where(y == 0, class_weight, 1.0)
    clf = SoftmaxClassifier(class_weight={0: class_weight}).fit(X, y)
    assert clf.converged_
    assert clf.objective_ == pytest.approx(sigmoid_minimum(X, y, weight), rel=1e-6)
    assert weighted_objective(clf, X, y, weight) == pytest.approx(clf.objective_, rel=1e-9)


def test_a_class_that_has_all_the_weight_beside_two_others():
    X, y = load_iris(return_X_y=True)
    weight = np.where(y == 0, 1e16, 1.0)
    clf = SoftmaxClassifier(class_weight={0: 1e16}).fit(X, y)
    assert clf.converged_
    assert weighted_objective(clf, X, y, weight) == pytest.approx(158.7724, rel=1e-6)  # of fits with tol=1e-10, 1e-12


@pytest.mark.parametrize("C", [1.0, 1e6, np.inf])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("decades", [12, 30, 100, 600])
def test_weights_over_hundreds_of_decades_are_fitted_or_said_not_to_be(decades, n_classes, C):
    X, y = load_iris(return_X_y=True)
    y[::17] = (y[::17] + 1) % 3
    X, y = X[y < n_classes], y[y < n_classes]
    weight = 10.0 ** np.clip(np.random.default_rng(0).uniform(-decades / 2, decades / 2, len(y)), -305, 295)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        clf = SoftmaxClassifier(C=C, max_iter=300).fit(X, y, weight)
    assert clf.converged_ or any(w.category is ConvergenceWarning for w in said)
    assert not [w for w in said if w.category is RuntimeWarning]
    if not clf.converged_:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        tight = SoftmaxClassifier(C=C, tol=1e-10).fit(X, y, weight)
    value = weighted_objective(clf, X, y, weight)
    assert value <= weighted_objective(tight, X, y, weight) * (1 + 1e-6)


@pytest.mark.parametrize("C", [1.0, np.inf])
@pytest.mark.parametrize("weight", [1e-306, 1e-310, 1e300])
def test_class_weights_near_the_ends_of_float64(weight, C):
    X, y = load_iris(return_X_y=True)
    clf = SoftmaxClassifier(class_weight=dict.fromkeys(range(3), weight), C=C, label_smoothing=0.1).fit(X, y)
    with_C = 1e300 if C * weight > 1e300 else C * weight
    same = SoftmaxClassifier(C=with_C, label_smoothing=0.1).fit(X, y)
    assert clf.converged_
    np.testing.assert_allclose(clf.predict_proba(X), same.predict_proba(X), atol=1e-3)
