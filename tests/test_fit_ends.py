"""How fits end before the minimum, or where there is none: what they say, and what they leave."""

import contextlib
import io

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
