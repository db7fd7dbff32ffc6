"""Leave-one-out without refitting, beside fits without each row."""

import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

import xentropy as xe
from xentropy import SoftmaxClassifier, SoftmaxClassifierCV, _classifier_cv, _covariance, _leave_one_out


def standardised(load):
    X, y = load(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def draw(n, d, K, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    X, W = rng.standard_normal((n, d)), scale * rng.standard_normal((d, K))
    return X, (X @ W + rng.gumbel(size=(n, K))).argmax(axis=1)


def refitted(model, X, y, weight=None):
    """The logits of each row by a fit without it."""
    weight = np.ones(X.shape[0]) if weight is None else weight
    logits = []
    for i in range(X.shape[0]):
        without = weight.copy()
        without[i] = 0.0
        other = SoftmaxClassifier(**model.get_params()).set_params(tol=1e-7).fit(X, y, without)
        logits.append(other.decision_function(X[[i]])[0])
    return np.array(logits)


# Of fits without each row by scikit-learn's LogisticRegression at the same objective, of standardised features
@pytest.mark.parametrize(
    ("load", "C", "expected"),
    [
        (load_iris, 0.01, 0.64490), (load_iris, 1.0, 0.14205), (load_iris, 100.0, 0.07255),
        (load_wine, 0.01, 0.38184), (load_wine, 1.0, 0.05887), (load_wine, 100.0, 0.06739),
        (load_breast_cancer, 0.01, 0.16665), (load_breast_cancer, 1.0, 0.07567), (load_breast_cancer, 100.0, 0.21226),
    ],
)  # fmt: skip
def test_the_mean_loss_is_that_of_fits_without_each_row(load, C, expected):
    X, y = standardised(load)
    model = SoftmaxClassifier(C=C).fit(X, y)
    left_out = xe.leave_one_out(model, X, y)
    assert left_out.loss.mean() == pytest.approx(expected, rel=0.005)
    assert left_out.refitted.mean() < 0.1
    assert xe.log_loss(y, left_out.proba, eps=0) == pytest.approx(left_out.loss.mean(), rel=1e-9)


def test_the_formula_alone_fails_where_classes_are_nearly_separated(monkeypatch):
    X, y = standardised(load_wine)
    model = SoftmaxClassifier(C=100.0).fit(X, y)
    monkeypatch.setattr(_leave_one_out, "_LONG_STEP", np.inf)
    assert xe.leave_one_out(model, X, y).loss.mean() > 1.5 * 0.06739
    monkeypatch.setattr(_leave_one_out, "_LONG_STEP", 0.0)
    left_out = xe.leave_one_out(model, X, y)
    assert left_out.refitted.all()
    assert left_out.loss.mean() == pytest.approx(0.06739, abs=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("kind", ["plain", "weighted", "soft", "balanced", "smoothed", "no penalty", "csr", "float32"])
def test_each_row_is_that_of_a_fit_without_it(kind, n_classes, fit_intercept, monkeypatch):
    X, y = draw(70, 3, n_classes, scale=0.7)
    X = X * [1.0, 10.0, 0.1] + [0.0, 3.0, 0.1]
    rng = np.random.default_rng(1)
    weight, options, target = None, {}, y
    if kind == "weighted":
        weight = rng.uniform(0.2, 3.0, len(y))
        weight[::9] = 0.0
    elif kind == "soft":
        target = 0.7 * np.eye(n_classes)[y] + 0.3 / n_classes
    elif kind == "balanced":
        options["class_weight"] = {k: 1.0 + k for k in range(n_classes)}
    elif kind == "smoothed":
        options["label_smoothing"] = 0.1
    elif kind == "no penalty":
        options["C"] = np.inf
    elif kind == "csr":
        X = sp.csr_matrix(X)
    elif kind == "float32":
        X = X.astype(np.float32)
    model = SoftmaxClassifier(fit_intercept=fit_intercept, tol=1e-6, **options).fit(X, target, weight)
    left_out = xe.leave_one_out(model, X, target, weight)
    logits = refitted(model, X, target, weight)
    assert left_out.logits.shape == logits.shape
    at = np.zeros_like(logits) + model.decision_function(X)
    moved = np.abs(logits - at).max()
    assert np.abs(left_out.logits - logits).max() < 0.2 * moved
    t = target if target.ndim == 2 else np.eye(n_classes)[target]
    z = np.column_stack([np.zeros(len(y)), logits]) if logits.ndim == 1 else logits
    expected = -(t * (z - np.logaddexp.reduce(z, axis=1, keepdims=True))).sum(axis=1)
    np.testing.assert_allclose(left_out.loss.mean(), expected.mean(), rtol=0.012)
    np.testing.assert_allclose(left_out.loss, expected, atol=0.05 * expected.max())
    np.testing.assert_allclose(left_out.proba.sum(axis=1), 1.0)
    if weight is not None:  # a row without weight was never fitted
        np.testing.assert_allclose(left_out.logits[::9], at[::9], atol=1e-4)
        np.testing.assert_array_equal(left_out.leverage[::9], 0.0)
    monkeypatch.setattr(_leave_one_out, "_LONG_STEP", 0.0)
    exact = xe.leave_one_out(model, X, target, weight)
    np.testing.assert_allclose(exact.logits, logits, atol=2e-3 * moved)


def test_leverages_add_up_to_the_effective_number_of_coefficients():
    X, y = draw(300, 4, 3)
    without = xe.leave_one_out(SoftmaxClassifier(C=np.inf).fit(X, y), X, y)
    assert without.leverage.sum() == pytest.approx(2 * 5, rel=1e-4)
    assert (without.leverage > 0.0).all()
    model = SoftmaxClassifier(C=0.1).fit(X, y)
    p = model.predict_proba(X)  # without a penalty these targets give the same coefficients
    H = np.linalg.pinv(SoftmaxClassifier(C=np.inf, tol=1e-9).fit(X, p).covariance(X, p))
    A = model.covariance(X, y, kind="laplace")
    assert xe.leave_one_out(model, X, y).leverage.sum() == pytest.approx(np.trace(A @ H), rel=1e-3)


def test_rows_without_weight_do_not_matter_and_weights_leave_out_all_of_a_row():
    X, y = draw(60, 2, 3)
    twice = np.concatenate([np.arange(60), [0, 0]])
    weight = np.ones(60)
    weight[0] = 3.0
    model = SoftmaxClassifier(tol=1e-8).fit(X, y, weight)
    left_out = xe.leave_one_out(model, X, y, weight)
    assert left_out.loss[0] == pytest.approx(-np.log(
        SoftmaxClassifier(tol=1e-8).fit(X[1:], y[1:]).predict_proba(X[:1])[0, y[0]]
    ), rel=0.05)  # fmt: skip
    repeated = xe.leave_one_out(SoftmaxClassifier(tol=1e-8).fit(X[twice], y[twice]), X[twice], y[twice])
    np.testing.assert_allclose(repeated.loss[1:60], left_out.loss[1:], rtol=1e-5)


def test_what_cannot_be_left_out_is_refused():
    X, y = draw(60, 2, 3)
    y[y == 2] = 0
    y[7] = 2
    model = SoftmaxClassifier().fit(X, y)
    with pytest.raises(ValueError, match=r"class 2 has one row only \(row 7\), .* drop the row, or use"):
        xe.leave_one_out(model, X, y)
    assert np.isfinite(xe.leave_one_out(SoftmaxClassifier(fit_intercept=False).fit(X, y), X, y).loss).all()
    smoothed = SoftmaxClassifier(label_smoothing=0.1).fit(X, y)
    assert np.isfinite(xe.leave_one_out(smoothed, X, y).loss).all()
    with pytest.raises(ValueError, match="is not the cross-entropy"):
        xe.leave_one_out(SoftmaxClassifier(loss="focal").fit(X, y), X, y)
    with pytest.raises(ValueError, match="l1_ratio above 0"):
        xe.leave_one_out(SoftmaxClassifier(l1_ratio=1.0).fit(X, y), X, y)
    X, y = draw(3000, 2, 3)
    model = SoftmaxClassifier().fit(X[:1000], y[:1000])
    with pytest.raises(ValueError, match="not at the minimum for these rows"):
        xe.leave_one_out(model, X, y)


def test_rows_without_which_there_is_no_minimum_are_named():
    x = np.r_[np.linspace(-2, -0.1, 20), np.linspace(0.1, 2, 20), 1.0][:, None]
    y = np.r_[np.zeros(20), np.ones(20), 0.0].astype(int)  # without the last row the classes are separated
    model = SoftmaxClassifier(C=np.inf, tol=1e-8).fit(x, y)
    with pytest.warns(ConvergenceWarning, match=r"\(rows 40\); without a penalty .* separated: set a finite C"):
        left_out = xe.leave_one_out(model, x, y)
    assert left_out.loss[40] > 10.0
    assert np.isfinite(left_out.loss).all()


def test_many_classes_and_coefficients_in_blocks(monkeypatch):
    X, y = load_digits(return_X_y=True)
    X, y = X[:300] / 16.0, y[:300]
    model = SoftmaxClassifier(C=0.1).fit(X, y)
    expected = xe.leave_one_out(model, X, y)
    monkeypatch.setattr(_covariance, "_BLOCK_VALUES", 0)
    monkeypatch.setattr(_covariance, "_MIN_BLOCK_ROWS", 70)
    found = xe.leave_one_out(model, X, y)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-9)
    np.testing.assert_allclose(found.leverage, expected.leverage, rtol=1e-9)


def test_memory_with_many_classes():
    X, y = draw(900, 1, 150, scale=0.1)
    y[:300] = np.repeat(np.arange(150), 2)
    model = SoftmaxClassifier(C=0.1).fit(X, y)
    tracemalloc.start()
    left_out = xe.leave_one_out(model, X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80e6  # one array of 149 x 149 numbers for each row takes 160 MB
    assert np.isfinite(left_out.loss).all()


def test_mislabelled_rows_cost_most():
    X, y = standardised(load_wine)
    wrong = np.random.default_rng(0).choice(len(y), 8, replace=False)
    y = y.copy()
    y[wrong] = (y[wrong] + 1) % 3
    left_out = xe.leave_one_out(SoftmaxClassifier(C=0.1).fit(X, y), X, y)
    assert set(np.argsort(-left_out.loss)[:8]) == set(wrong)
    report = xe.cross_entropy_report(y, left_out.proba, output_dict=True)
    assert report["log_loss"] == pytest.approx(left_out.loss.mean(), rel=1e-9)


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer])
def test_search_with_leave_one_out(load):
    X, y = standardised(load)
    Cs = [0.01, 1.0, 100.0]
    search = SoftmaxClassifierCV(Cs=Cs, cv="loo").fit(X, y)
    assert search.scores_.shape == search.n_iter_.shape == (1, 1, 3)
    expected = [-xe.leave_one_out(SoftmaxClassifier(C=C).fit(X, y), X, y).loss.mean() for C in Cs]
    np.testing.assert_allclose(search.scores_[0, 0], expected, rtol=0.005)
    assert Cs[int(np.argmax(expected))] == search.C_
    direct = SoftmaxClassifier(C=search.C_, tol=1e-7).fit(X, y)
    np.testing.assert_allclose(search.coef_, direct.coef_, atol=0.01 * np.abs(direct.coef_).max())
    kept = SoftmaxClassifierCV(Cs=Cs, cv="loo", refit=False).fit(X, y)
    assert kept.C_ == search.C_
    np.testing.assert_allclose(kept.coef_, direct.coef_, atol=0.01 * np.abs(direct.coef_).max())


def test_search_counts_weights():
    X, y = draw(80, 3, 3)
    weight = np.random.default_rng(0).uniform(0.1, 2.0, 80)
    weight[:5] = 0.0
    search = SoftmaxClassifierCV(Cs=[1.0], cv="loo").fit(X, y, weight)
    left_out = xe.leave_one_out(SoftmaxClassifier(tol=1e-6).fit(X, y, weight), X, y, weight)
    assert -search.scores_[0, 0, 0] == pytest.approx(np.average(left_out.loss, weights=weight), rel=1e-4)


def test_search_says_what_leave_one_out_does_not_serve(monkeypatch, capsys):
    X, y = draw(80, 3, 3)
    with pytest.raises(ValueError, match=r"cv='loo' approximates fits with an L2 penalty only, but l1_ratios="):
        SoftmaxClassifierCV(cv="loo", l1_ratios=[0.0, 0.5]).fit(X, y)
    with pytest.raises(ValueError, match="cv='loo' scores by the log loss"):
        SoftmaxClassifierCV(cv="loo", scoring="accuracy").fit(X, y)
    with pytest.raises(ValueError, match="The 'cv' parameter"):
        SoftmaxClassifierCV(cv="loocv").fit(X, y)
    SoftmaxClassifierCV(Cs=[1.0], cv="loo", verbose=1).fit(X, y)
    assert "leave-one-out: best score" in capsys.readouterr().out
    monkeypatch.setattr(_classifier_cv, "MAX_VARIABLES", 7)
    with pytest.warns(UserWarning, match="matrix of 8 x 8, .* more than 7 .* folds are used instead, as with cv=None"):
        search = SoftmaxClassifierCV(Cs=[1.0], cv="loo").fit(X, y)
    np.testing.assert_array_equal(search.scores_, SoftmaxClassifierCV(Cs=[1.0]).fit(X, y).scores_)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SoftmaxClassifierCV(Cs=[1.0], cv="loo").set_params(cv=3).fit(X, y)
