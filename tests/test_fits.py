"""Fits end at the minimum, and neither units, weights, the order of what they are given nor threads move it."""

import contextlib

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from problems import (
    distances,
    embeddings,
    exact_objective,
    independent,
    log_normal,
    mixed,
    separable_by_planes,
    standardised_digits,
    text,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from xentropy import SoftmaxClassifier


def unfinished(max_iter):
    return pytest.warns(ConvergenceWarning, match=f"max_iter={max_iter}")


# the minimum


OPTIONS = [{}, {"label_smoothing": 0.3}, {"label_smoothing": 1.0}, {"fit_intercept": False}, {"class_weight": 1}]


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3, 17])
def test_the_objective_is_the_formula_anywhere_and_has_no_gradient_where_a_fit_ends(n_classes, soft, options, weighted):
    X, y, coef, intercept, rng = reference.problem(n_classes, soft=soft)
    weight = rng.integers(0, 3, len(X)) * 0.7 if weighted else None
    asked, of_classes = dict(options), {}
    if "class_weight" in options:
        of_classes = {"class_weight": rng.uniform(0.1, 2.0, n_classes)}
        asked["class_weight"] = dict(enumerate(of_classes["class_weight"].tolist()))
    if n_classes > 2:
        coef, intercept = coef - coef.mean(axis=0), intercept - intercept.mean()
    intercept *= options.get("fit_intercept", True)
    target = y if soft else reference.one_hot(y, n_classes)

    def formula(coef, intercept):
        smoothing = options.get("label_smoothing", 0.0)
        return reference.objective(
            X, target, coef, intercept, C=0.3, sample_weight=weight, label_smoothing=smoothing, **of_classes
        )

    clf = SoftmaxClassifier(C=0.3, tol=1e-10, warm_start=True, **asked).fit(X, y, weight)
    clf.set_params(max_iter=0)
    clf.coef_, clf.intercept_ = coef, intercept
    with unfinished(0):
        clf.fit(X, y, weight)
    np.testing.assert_allclose(clf.coef_, coef, atol=1e-13)
    np.testing.assert_allclose(clf.intercept_, intercept, atol=1e-13)
    assert clf.objective_ == pytest.approx(formula(coef, intercept), rel=1e-13)
    clf.set_params(max_iter=1000).fit(X, y, weight)
    assert clf.objective_ == pytest.approx(formula(clf.coef_, clf.intercept_), rel=1e-13)
    grad = reference.central_difference(lambda w: formula(w, clf.intercept_), clf.coef_)
    np.testing.assert_allclose(grad, 0.0, atol=1e-7)
    if clf.fit_intercept:
        grad = reference.central_difference(lambda b: formula(clf.coef_, b), clf.intercept_)
        np.testing.assert_allclose(grad, 0.0, atol=1e-7)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_the_minimum_is_that_of_newtons_method(n_classes, fit_intercept, weighted, storage):
    X, y = mixed(1500, 30, n_classes)
    rng = np.random.default_rng(1)
    weight = np.where(rng.random(1500) < 0.3, 0.0, rng.exponential(size=1500) ** 2) if weighted else None
    options = {"C": 10.0, "fit_intercept": fit_intercept}
    clf = SoftmaxClassifier(tol=1e-11, **options).fit(storage(X), y, weight)
    newton = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=200, **options).fit(X, y, weight)
    np.testing.assert_allclose(clf.coef_, newton.coef_, atol=1e-7 * np.abs(newton.coef_).max())
    np.testing.assert_allclose(clf.intercept_, newton.intercept_, atol=1e-7)
    assert clf.objective_ == pytest.approx(exact_objective(clf, X, y, weight), rel=1e-12)
    assert clf.objective_ <= exact_objective(newton_as(clf, newton), X, y, weight) * (1.0 + 1e-13)


def newton_as(clf, newton):
    other = SoftmaxClassifier(**clf.get_params())
    other.classes_, other.coef_, other.intercept_ = newton.classes_, newton.coef_, newton.intercept_
    return other


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_l1_meets_its_optimality_conditions_on_features_that_go_together(n_classes, weighted, fit_intercept, l1_ratio):
    X, y = embeddings(1000, 60, n_classes)
    weight = np.random.default_rng(1).exponential(size=1000) ** 2 if weighted else None
    options = {"C": 0.4 / l1_ratio, "l1_ratio": l1_ratio, "fit_intercept": fit_intercept}
    clf = SoftmaxClassifier(tol=1e-9, **options).fit(X, y, weight)
    assert clf.converged_
    assert distances(clf, X, y, weight).max() < 1e-9
    assert clf.objective_ == pytest.approx(exact_objective(clf, X, y, weight), rel=1e-12)
    assert 0.02 < np.mean(clf.coef_ == 0.0) < 0.98


@pytest.mark.parametrize("max_iter", [2, 4, 1000])
@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda: independent(30_000, 30, 4), "float32"),
        (lambda: independent(9000, 30, 12), "float64"),
        (lambda: embeddings(3000, 300, 60, 6.0), "float64"),
        (lambda: independent(90_000, 25, 2), "float32"),
    ],
    ids=["four classes", "twelve classes", "sixty classes", "two classes"],
)
def test_the_last_value_of_a_phase_in_low_precision_is_exact(make, dtype, max_iter):
    X, y = make()
    X = X.astype(dtype)
    clf = SoftmaxClassifier(max_iter=max_iter, tol=1e-4)
    with contextlib.nullcontext() if max_iter == 1000 else unfinished(max_iter):
        clf.fit(X, y)
    asked = clf.coef_.dtype == np.float64  # else coef_ is rounded, which moves the value by the square of 1e-7
    assert clf.objective_ == pytest.approx(exact_objective(clf, X, y), rel=1e-12 if asked else 1e-9)


def test_a_phase_in_low_precision_ends_where_float64_does():
    X, y = independent(30_000, 30, 4)
    X = X.astype(np.float32)
    single = SoftmaxClassifier(tol=1e-9).fit(X, y)
    double = SoftmaxClassifier(tol=1e-9).fit(X.astype(np.float64), y)
    assert single.objective_ == pytest.approx(double.objective_, rel=1e-13)
    np.testing.assert_allclose(single.coef_, double.coef_, rtol=1e-6, atol=1e-7)


def test_values_of_nearly_separated_classes_are_exact():
    """float32 would hide what is left of the loss."""
    X, y = separable_by_planes(9000, 30, 8)
    clf = SoftmaxClassifier(C=1e4, tol=1e-7).fit(X, y)
    assert clf.converged_
    assert clf.objective_ == pytest.approx(exact_objective(clf, X, y), rel=1e-12)
    assert distances(clf, X, y).max() < 1e-8


@pytest.mark.parametrize("tol", [1e-13, 1e-30])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_tol_below_what_float64_resolves_ends_at_the_minimum(n_classes, tol):
    X, y = independent(600, 12, n_classes)
    clf = SoftmaxClassifier(tol=tol).fit(X, y)  # a ConvergenceWarning would be an error
    newton = LogisticRegression(solver="newton-cholesky", tol=1e-14, max_iter=200).fit(X, y)
    assert clf.converged_
    assert distances(clf, X, y).max() < 1e-12
    np.testing.assert_allclose(clf.coef_, newton.coef_, atol=1e-9)


# what does not matter


@pytest.mark.parametrize("name", ["log-normal", "embeddings", "large classes", "L1"])
def test_rows_of_no_weight_are_not_there(name):
    make, options = {
        "log-normal": (lambda: log_normal(3000, 40, 5), {"C": 1e4}),
        "embeddings": (lambda: embeddings(4000, 300), {"C": 100.0}),
        "large classes": (lambda: embeddings(3000, 300, 60, 6.0), {"C": 300.0}),
        "L1": (standardised_digits, {"C": 0.3, "l1_ratio": 1.0}),
    }[name]
    X, y = make()
    keep = np.random.default_rng(0).random(len(y)) < 0.7
    X = np.where(keep[:, None], X, 1e6)
    there = SoftmaxClassifier(tol=1e-8, **options).fit(X[keep], y[keep])
    weighted = SoftmaxClassifier(tol=1e-8, **options).fit(X, y, keep.astype(float))
    assert weighted.objective_ == pytest.approx(there.objective_, rel=1e-12)
    assert weighted.history_["n_evaluations"][-1] <= 1.2 * there.history_["n_evaluations"][-1] + 3
    np.testing.assert_allclose(weighted.coef_, there.coef_, atol=1e-6 * np.abs(there.coef_).max())


@pytest.mark.parametrize(
    ("make", "options"),
    [(lambda: log_normal(1500, 20, 3), {"C": 100.0}), (lambda: log_normal(1500, 20, 2), {"C": 100.0})],
    ids=["three classes", "two classes"],
)
def test_weights_that_repeat_rows_are_those_rows(make, options):
    X, y = make()
    times = np.random.default_rng(0).integers(0, 4, len(y))
    weighted = SoftmaxClassifier(tol=1e-8, **options).fit(X, y, times.astype(float))
    repeated = SoftmaxClassifier(tol=1e-8, **options).fit(X.repeat(times, axis=0), y.repeat(times))
    np.testing.assert_allclose(weighted.history_["loss"][:4], repeated.history_["loss"][:4], rtol=1e-9)
    assert weighted.history_["n_evaluations"][-1] <= 1.15 * repeated.history_["n_evaluations"][-1] + 2
    assert weighted.objective_ == pytest.approx(repeated.objective_, rel=1e-12)
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-6 * np.abs(repeated.coef_).max())


@pytest.mark.parametrize("scale", [1e-308, 1e-200, 1e300])
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda: log_normal(1500, 20, 3), {"label_smoothing": 0.1}),
        (lambda: independent(90_000, 25, 8), {}),
        (lambda: embeddings(3000, 300, 60, 2.0), {"label_smoothing": 0.1}),
    ],
    ids=["three classes", "many rows", "large classes"],
)
def test_the_scale_of_all_weights_changes_nothing(make, options, scale):
    X, y = make()
    weight = np.random.default_rng(0).uniform(1.0, 2.0, len(y))
    usual = SoftmaxClassifier(C=np.inf, tol=1e-8, **options).fit(X, y, weight)
    scaled = SoftmaxClassifier(C=np.inf, tol=1e-8, **options).fit(X, y, weight * scale)
    assert scaled.n_iter_[0] <= 1.15 * usual.n_iter_[0] + 2
    np.testing.assert_allclose(scaled.history_["loss"][:4], usual.history_["loss"][:4], rtol=1e-6)
    assert scaled.history_["loss"][-1] == pytest.approx(usual.history_["loss"][-1], rel=1e-12)
    np.testing.assert_allclose(scaled.coef_, usual.coef_, atol=1e-5 * np.abs(usual.coef_).max())


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("shape", [(40, 60), (60, 300)])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_without_a_penalty_and_with_few_rows_the_shortest_coefficients_are_found(storage, shape, n_classes):
    n, d = shape
    X = np.random.default_rng(0).standard_normal(shape) * np.logspace(-2, 2, d)
    y = np.arange(n) % n_classes
    clf = SoftmaxClassifier(C=np.inf, label_smoothing=0.1, tol=1e-8).fit(storage(X), y)
    assert clf.converged_
    logits = np.log(0.9 * np.eye(n_classes)[y] + 0.1 / n_classes)  # of the targets, which some coefficients reach
    logits = logits[:, 1:] - logits[:, :1] if n_classes == 2 else logits - logits.mean(axis=1, keepdims=True)
    features = (X - X.mean(axis=0)) / X.std(axis=0)
    shortest = (np.linalg.pinv(features) @ (logits - logits.mean(axis=0))).T
    assert np.linalg.norm(clf.coef_ * X.std(axis=0) - shortest) < 1e-2 * np.linalg.norm(shortest)


@pytest.mark.parametrize("C", [1.0, np.inf])
@pytest.mark.parametrize("lightest", [1e-12, 1e-6])
def test_weights_over_many_decades(C, lightest):
    X, y = independent(6000, 10, 3)
    rng = np.random.default_rng(0)
    weight = 10.0 ** rng.uniform(np.log10(lightest), 6.0, 6000)
    C /= weight.sum() / 6000
    clf = SoftmaxClassifier(C=C, tol=1e-9).fit(X, y, weight)
    assert clf.converged_
    assert distances(clf, X, y, weight).max() < 1e-8
    assert clf.history_["n_evaluations"][-1] <= 40


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_units_over_twelve_decades_without_a_penalty(n_classes, storage, seed):
    X, y = log_normal(1500, 20, n_classes, 3.0)
    units = 2.0 ** np.random.default_rng(seed).permutation(np.linspace(-20, 20, 20).round())
    plain = SoftmaxClassifier(C=np.inf, tol=1e-7).fit(storage(X), y)
    other = SoftmaxClassifier(C=np.inf, tol=1e-7).fit(storage(X * units), y)
    np.testing.assert_array_equal(other.history_["n_evaluations"], plain.history_["n_evaluations"])
    np.testing.assert_allclose(other.history_["loss"], plain.history_["loss"], rtol=1e-6)
    np.testing.assert_allclose(other.coef_ * units, plain.coef_, rtol=1e-4, atol=1e-6 * np.abs(plain.coef_).max())


@pytest.mark.parametrize("unit", [1e-60, 1e-42, 1e42, 1e140])
@pytest.mark.parametrize("n_classes", [2, 9])
def test_a_feature_in_units_beyond_float32(n_classes, unit):
    X, y = independent(9000, 30, n_classes)
    usual = SoftmaxClassifier(C=np.inf, tol=1e-7).fit(X, y)
    X = X.copy()
    X[:, 7] *= unit
    clf = SoftmaxClassifier(C=np.inf, tol=1e-7).fit(X, y)
    assert clf.objective_ == pytest.approx(usual.objective_, rel=1e-10)
    assert clf.n_iter_[0] <= usual.n_iter_[0] + 3
    clf.coef_[:, 7] *= unit
    np.testing.assert_allclose(clf.coef_, usual.coef_, atol=1e-5)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("offset", [100.0, 1e5])
@pytest.mark.parametrize("n_classes", [2, 9])
def test_offsets_of_the_features_move_only_the_intercept(n_classes, offset, storage):
    X, y = independent(9000, 30, n_classes)
    away = X + offset * np.arange(-15.0, 15.0).round()
    usual, clf = (SoftmaxClassifier(tol=1e-7).fit(storage(rows), y) for rows in (X, away))
    assert clf.n_iter_[0] <= usual.n_iter_[0] + 3
    assert clf.objective_ == pytest.approx(usual.objective_, rel=1e-10)
    np.testing.assert_allclose(clf.coef_, usual.coef_, atol=1e-6)
    np.testing.assert_allclose(clf.predict_proba(storage(away)), usual.predict_proba(storage(X)), atol=1e-5)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.9])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_order_of_features_and_classes_changes_nothing(n_classes, l1_ratio):
    X, y = log_normal(1500, 20, n_classes, 5.0) if l1_ratio == 0.0 else embeddings(1000, 20, n_classes)
    order, names = np.random.default_rng(0).permutation(20), np.array([2, 0, 1] if n_classes == 3 else [1, 0])
    usual = SoftmaxClassifier(C=10.0, l1_ratio=l1_ratio, tol=1e-9).fit(X, y)
    other = SoftmaxClassifier(C=10.0, l1_ratio=l1_ratio, tol=1e-9).fit(np.ascontiguousarray(X[:, order]), names[y])
    there = other.coef_[names] if n_classes == 3 else -other.coef_
    assert other.objective_ == pytest.approx(usual.objective_, rel=1e-12)
    np.testing.assert_allclose(there, usual.coef_[:, order], atol=1e-6 * np.abs(usual.coef_).max())
    np.testing.assert_array_equal(there == 0.0, usual.coef_[:, order] == 0.0)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_columns_without_spread_have_no_coefficient(n_classes, fit_intercept, storage):
    X, y = embeddings(800, 20, n_classes)
    empty = np.zeros((800, 30))
    constant = np.full((800, 1), 7.3) if fit_intercept else np.zeros((800, 1))
    wide = np.hstack([empty, X[:, :9], constant, empty, X[:, 9:], constant])
    options = {"C": 100.0, "fit_intercept": fit_intercept, "tol": 1e-9}
    narrow, clf = SoftmaxClassifier(**options).fit(X, y), SoftmaxClassifier(**options).fit(storage(wide), y)
    shows = wide.std(axis=0) > 1e-9
    assert clf.coef_.shape[1] == wide.shape[1]
    np.testing.assert_array_equal(clf.coef_[:, wide[0] == 0.0], 0.0)
    np.testing.assert_allclose(clf.coef_[:, ~shows], 0.0, atol=0.0 if storage is np.asarray else 1e-9)
    np.testing.assert_allclose(clf.coef_[:, shows], narrow.coef_, atol=1e-6 * np.abs(narrow.coef_).max())
    assert clf.objective_ == pytest.approx(narrow.objective_, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda: log_normal(3000, 40, 5), {"C": 1e4}),
        (lambda: independent(9000, 30, 12), {}),
        (lambda: text(n_classes=5), {}),
        (standardised_digits, {"C": 0.3, "l1_ratio": 1.0}),
        (lambda: embeddings(3000, 300, 60, 6.0), {"C": 300.0, "tol": 1e-6}),
        (lambda: independent(90_000, 25, 8), {}),
    ],
    ids=["dense", "low precision", "CSR", "L1", "large classes", "many rows"],
)
def test_one_and_two_threads_give_the_same_bits(make, options):
    X, y = make()
    fits = []
    for n_threads in (1, 2):
        with threadpool_limits(limits=n_threads, user_api="openmp"):
            fits.append(SoftmaxClassifier(**options).fit(X, y))
    one, two = fits
    assert two.coef_.tobytes() == one.coef_.tobytes()
    assert two.objective_ == one.objective_
    np.testing.assert_array_equal(two.history_["n_evaluations"], one.history_["n_evaluations"])
