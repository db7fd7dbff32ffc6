"""Fits take few evaluations of the objective: each kind of curvature, of space and of start has its problem here."""

import numpy as np
import pytest
import scipy.sparse as sp
from problems import (
    cancer,
    digits,
    distances,
    embeddings,
    embeddings_and_a_rare_feature,
    embeddings_and_rows_far_off,
    embeddings_apart,
    images,
    independent,
    log_normal,
    mixed,
    nearly_collinear,
    separable_by_planes,
    standardised_cancer,
    standardised_digits,
    text,
)
from sklearn.exceptions import ConvergenceWarning

from xentropy import SoftmaxClassifier, SoftmaxClassifierCV


def evaluations(clf):
    return int(clf.history_["n_evaluations"][-1])


# Of each problem: the options, and how many evaluations may take it to tol=1e-4 and 1e-8, some 15 % more than they do.
# Without a Gram matrix the embeddings take 32, without renewals raw digits take 574
PROBLEMS = {
    "raw digits": (digits, {}, 62, 91),
    "digits": (standardised_digits, {}, 34, 50),
    "digits, weak penalty": (standardised_digits, {"C": 100.0}, 107, 110),
    "breast cancer": (cancer, {}, 20, 58),
    "breast cancer, weak penalty": (cancer, {"C": 100.0}, 22, 22),
    "embeddings": (lambda: embeddings(4000, 300), {"C": 100.0}, 18, 32),
    "embeddings, strong penalty": (lambda: embeddings(4000, 300), {}, 11, 18),
    "few embeddings": (lambda: embeddings(2000, 80), {"C": 100.0}, 12, 13),
    "embeddings of five classes": (lambda: embeddings(3000, 100, 5), {"C": 100.0}, 25, 35),
    "embeddings, one feature rare": (embeddings_and_a_rare_feature, {"C": 100.0}, 37, 45),
    "embeddings, some rows far off": (embeddings_and_rows_far_off, {"C": 100.0}, 38, 46),
    "embeddings apart": (embeddings_apart, {"C": 100.0}, 10, 18),
    "mixed": (lambda: mixed(3000, 40, 2), {}, 12, 16),
    "nearly collinear": (nearly_collinear, {"C": np.inf}, 26, 69),
    "mixed, no intercept": (lambda: mixed(3000, 40, 2), {"fit_intercept": False}, 12, 16),
    "log-normal, two classes": (lambda: log_normal(3000, 40, 2), {"C": 1e4}, 24, 24),
    "log-normal, five classes": (lambda: log_normal(3000, 40, 5), {"C": 1e4}, 31, 46),
    "log-normal, no intercept": (lambda: log_normal(3000, 40, 5), {"C": 1e4, "fit_intercept": False}, 35, 42),
    "log-normal, smoothed": (lambda: log_normal(3000, 40, 5), {"C": 1e4, "label_smoothing": 0.2}, 19, 28),
    "steep, three classes": (lambda: independent(1000, 20, 3, 20.0), {"C": 100.0}, 30, 33),
    "steep, twelve classes": (lambda: independent(3000, 40, 12, 10.0), {"C": 100.0}, 88, 94),
    "images": (images, {}, 36, 49),
    "steep, twenty classes": (lambda: independent(3000, 40, 20, 8.0), {"C": 100.0}, 91, 81),
    "ten classes apart": (lambda: separable_by_planes(2000, 110, 10), {"C": 10.0}, 86, 76),
    "large classes": (lambda: embeddings(3000, 300, 60, 6.0), {"C": 300.0}, 56, 77),
    "large classes, steep": (lambda: separable_by_planes(3000, 300, 60), {"C": 10.0}, 78, 76),
    "text": (text, {}, 23, 50),
    "L1: digits": (standardised_digits, {"C": 0.3, "l1_ratio": 1.0}, 96, 96),
    "L1: breast cancer": (standardised_cancer, {"l1_ratio": 1.0}, 46, 50),
    "L1: mixed": (lambda: mixed(3000, 40, 2), {"l1_ratio": 0.7}, 111, 112),
    "L1: many entries": (lambda: text(n_classes=3), {"l1_ratio": 0.9}, 51, 74),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_takes_few_evaluations(name):
    make, options, *most = PROBLEMS[name]
    X, y = make()
    for tol, at_most in zip((1e-4, 1e-8), most, strict=True):
        clf = SoftmaxClassifier(tol=tol, **options).fit(X, y)
        assert clf.converged_
        assert evaluations(clf) <= at_most
    assert distances(clf, X, y).max() < 1e-7


def weighted(X, rng):
    """Of some features, and a few of them weigh much more than others."""
    return np.where(rng.random(X.shape[0]) < 0.2, 0.0, rng.exponential(size=X.shape[0]) ** 3)


WEIGHTED = {
    "embeddings": (lambda: embeddings(4000, 300), {"C": 100.0}, 35),
    "log-normal, five classes": (lambda: log_normal(3000, 40, 5), {"C": 1e4}, 56),
    "log-normal, two classes": (lambda: log_normal(3000, 40, 2), {"C": 1e4}, 44),
    "large classes": (lambda: embeddings(3000, 300, 60, 6.0), {"C": 300.0}, 96),
    "L1: digits": (standardised_digits, {"C": 0.3, "l1_ratio": 1.0}, 130),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_weighted_rows_take_few_evaluations(name):
    make, options, at_most = WEIGHTED[name]
    X, y = make()
    weight = weighted(X, np.random.default_rng(7))
    clf = SoftmaxClassifier(tol=1e-8, **options).fit(X, y, weight)
    assert clf.converged_
    assert evaluations(clf) <= at_most
    assert distances(clf, X, y, weight).max() < 1e-7


@pytest.mark.parametrize("name", ["digits", "log-normal, five classes", "mixed", "embeddings"])
def test_csr_rows_take_as_many_evaluations_as_dense_ones(name):
    make, options, *_ = PROBLEMS[name]
    X, y = make()
    dense, sparse = (SoftmaxClassifier(tol=1e-8, **options).fit(rows, y) for rows in (X, sp.csr_array(X)))
    assert abs(evaluations(sparse) - evaluations(dense)) <= 3
    np.testing.assert_allclose(sparse.objective_, dense.objective_, rtol=1e-12)
    np.testing.assert_allclose(sparse.coef_, dense.coef_, rtol=1e-5, atol=1e-7 * np.abs(dense.coef_).max())


@pytest.mark.parametrize(
    ("n_classes", "fit_intercept", "at_most"), [(2, True, 25), (2, False, 26), (4, True, 38), (4, False, 69)]
)
def test_offsets_of_the_logits_take_few_evaluations(n_classes, fit_intercept, at_most):
    X, y = independent(2000, 30, n_classes, 15.0)
    keep = np.random.default_rng(0).random(len(y)) < 0.02 ** (y / (n_classes - 1))  # the last class is rare
    X, y = X[keep], y[keep]
    clf = SoftmaxClassifier(C=100.0, logit_adjustment=1.5, fit_intercept=fit_intercept, tol=1e-8).fit(X, y)
    log_prior = 1.5 * np.log(np.bincount(y) / len(y))
    offset = log_prior if n_classes > 2 else log_prior[1:] - log_prior[0]
    assert distances(clf, X, y, offset=offset).max() < 1e-7
    assert evaluations(clf) <= at_most
    plain = SoftmaxClassifier(C=100.0, tol=1e-8).fit(X, y)
    if fit_intercept:
        np.testing.assert_allclose(clf.coef_, plain.coef_, atol=1e-6 * np.abs(plain.coef_).max())
    else:
        assert np.abs(clf.coef_ - plain.coef_).max() > 1e-2 * np.abs(plain.coef_).max()


# a start from a sample of many rows

MANY_ROWS = {
    "two classes": (lambda: mixed(430_000, 40, 2, 4.0), 7, 12, 23),
    "five classes": (lambda: independent(135_000, 25, 5, 4.0), 9, 18, 18),
    "eight classes": (lambda: independent(90_000, 25, 8), 9, 15, 15),
}


@pytest.mark.parametrize("order", ["shuffled", "by class", "by feature", "weighted"])
@pytest.mark.parametrize("name", MANY_ROWS)
def test_many_rows_start_near_the_minimum(name, order):
    make, loosely, tightly, weighted = MANY_ROWS[name]
    X, y = make()
    weight = None
    if order == "weighted":  # which moves the minimum
        weight = np.exp(1.5 * X[:, 0] / X[:, 0].std()) * np.random.default_rng(4).exponential(size=len(X))
    if order.startswith("by"):
        at = np.argsort(y if order == "by class" else X[:, 0], kind="stable")
        X, y = X[at], y[at]
    for tol, at_most in ((1e-4, loosely), (1e-8, tightly if weight is None else weighted)):
        clf = SoftmaxClassifier(tol=tol).fit(X, y, weight)
        assert clf.converged_
        assert evaluations(clf) <= at_most
        assert clf.history_["objective"][0] < 1.01 * clf.objective_
    assert distances(clf, X, y, weight).max() < 1e-7


def test_what_starts_where_it_is_told_takes_no_sample():
    X, y = independent(90_000, 25, 8)
    from_sample = SoftmaxClassifier().fit(X, y)
    best = from_sample.objective_
    assert from_sample.history_["objective"][0] < 1.01 * best
    stopping = SoftmaxClassifier(early_stopping=True).fit(X, y, X_val=X[:100], y_val=y[:100])
    assert stopping.history_["objective"][0] > 1.05 * best
    l1 = SoftmaxClassifier(l1_ratio=1e-6).fit(X, y)
    assert l1.history_["objective"][0] > 1.05 * best
    sparse = SoftmaxClassifier().fit(sp.csr_array(X), y)
    assert sparse.objective_ == pytest.approx(best, rel=1e-7)
    clf = SoftmaxClassifier(max_iter=0)
    with pytest.warns(ConvergenceWarning, match="max_iter=0"):
        clf.fit(X, y)
    np.testing.assert_array_equal(clf.coef_, 0.0)
    clf.set_params(warm_start=True, max_iter=1).coef_ = np.ones((8, 25)) * np.arange(-3.5, 4.0)[:, None]
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        clf.fit(X, y)
    assert clf.history_["objective"][0] > 1.05 * best


def test_few_rows_that_tell_of_a_feature_are_no_worse_start():
    X, y = independent(90_000, 25, 8)
    X, y = X.copy(), y.copy()
    X[:, 1] = 0.0
    X[3000:3240:10, 1] = 1.0
    clf = SoftmaxClassifier(C=100.0).fit(X, y)
    assert clf.converged_
    assert evaluations(clf) <= 23
    assert distances(clf, X, y).max() < 1e-4


# one fit after the other


@pytest.mark.parametrize(
    ("make", "options", "at_most"),
    [
        (digits, {}, 355),
        (standardised_digits, {}, 286),
        (standardised_cancer, {"l1_ratios": [1.0]}, 1080),
        (lambda: log_normal(3000, 40, 5), {}, 217),
        (lambda: embeddings(2000, 80), {}, 107),
    ],
    ids=["raw digits", "digits", "L1", "log-normal", "embeddings"],
)
def test_paths_take_few_iterations(make, options, at_most):
    X, y = make()
    clf = SoftmaxClassifierCV(cv=3, **options).fit(X, y)
    assert clf.n_iter_.sum() <= at_most
    assert clf.converged_


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_a_path_ends_where_fits_one_by_one_do(l1_ratio):
    X, y = embeddings(600, 20, 4)
    Cs = [0.01, 1.0, 10.0, 100.0, 1e4]
    train = np.arange(len(y)) % 3 > 0
    split = [(np.flatnonzero(train), np.flatnonzero(~train))]
    cv = SoftmaxClassifierCV(Cs=Cs, l1_ratios=[l1_ratio], cv=split, tol=1e-9).fit(X, y)
    scores = []
    for j, C in enumerate(Cs):
        one = SoftmaxClassifier(C=C, l1_ratio=l1_ratio, tol=1e-9).fit(X[train], y[train])
        coef = cv.coefs_paths_[0, 0, j]
        np.testing.assert_allclose(coef[:, :-1], one.coef_, atol=1e-4 * np.abs(one.coef_).max())
        rows = np.flatnonzero(~train)
        scores.append(one.predict_log_proba(X[rows])[np.arange(len(rows)), y[rows]].mean())
    np.testing.assert_allclose(cv.scores_[0, 0], scores, rtol=1e-6)
    assert Cs.index(cv.C_) == np.argmax(scores)
