"""A fit that says it has converged is at a minimum, or it says that it is not."""

import warnings

import numpy as np
import pytest
from hard_problems import hard_problem
from sklearn.exceptions import ConvergenceWarning

from xentropy import SoftmaxClassifier


def fit(problem, **options):
    clf = SoftmaxClassifier(
        C=problem.C, l1_ratio=problem.l1_ratio, fit_intercept=problem.fit_intercept, **options
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf.fit(problem.stored, problem.y, sample_weight=problem.sample_weight)
    assert clf.converged_ or any(issubclass(w.category, ConvergenceWarning) for w in caught)
    return clf


def least_value(problem, clf):
    """The least value that is found from several starts."""
    found = [problem.value(clf.coef_, clf.intercept_)]
    tight = fit(problem, tol=1e-13, max_iter=5000)
    found.append(problem.value(tight.coef_, tight.intercept_))
    if problem.l1_ratio == 0.0:
        found.append(problem.newton(clf.coef_, clf.intercept_))
        found.append(problem.newton(np.zeros_like(clf.coef_), np.zeros_like(clf.intercept_), max_iter=200))
    else:
        other = fit(problem, tol=1e-13, max_iter=5000, warm_start=True)
        found.append(problem.value(other.coef_, other.intercept_))
    return min(found)


@pytest.mark.parametrize("first", range(0, 80, 20))
def test_a_fit_is_at_a_minimum_or_says_that_it_is_not(first):
    n_converged = 0
    for seed in range(first, first + 20):
        problem = hard_problem(seed)
        clf = fit(problem)
        if clf.converged_:
            n_converged += 1
            value = problem.value(clf.coef_, clf.intercept_)
            assert value - least_value(problem, clf) <= 1e-6 * abs(value), seed
    assert n_converged >= 18  # without a penalty some have no minimum
