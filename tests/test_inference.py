"""Covariances, tables and effects: figures of statsmodels and R, a dense oracle, and simulations."""

import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit, softmax
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xentropy as xe
from xentropy import SoftmaxClassifier, SoftmaxClassifierCV, _covariance, _inference

DATA = Path(__file__).parent / "data"


def anes96():
    """American National Election Studies 1996, as in `statsmodels.datasets.anes96` (public domain)."""
    popul, self_lr, age, educ, income, party = np.loadtxt(DATA / "anes96.csv", delimiter=",", skiprows=1).T
    return np.column_stack([np.log(popul + 0.1), self_lr, age, educ, income]), party.astype(int)


def hsbdemo():
    """High School and Beyond, https://stats.oarc.ucla.edu/r/dae/multinomial-logistic-regression/."""
    table = np.loadtxt(DATA / "hsbdemo.csv", delimiter=",", skiprows=1, dtype=str)
    return np.column_stack([table[:, 0] == "middle", table[:, 0] == "high", table[:, 2].astype(float)]), table[:, 1]


def draw(n, d, K, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    X, W = rng.standard_normal((n, d)), scale * rng.standard_normal((d, K))
    return X, (X @ W + rng.gumbel(size=(n, K))).argmax(axis=1)


def errors(covariance):
    return np.sqrt(np.diag(covariance))


def column(table, name):
    return np.asarray(table[name])


class Oracle:
    """Hessian, gradients and covariances in all K classes, with the pseudo-inverse of those that sum to zero."""

    def __init__(self, model, X, T, weight=None, C=np.inf):
        X = X.toarray() if sp.issparse(X) else np.asarray(X, dtype=float)
        n, K = T.shape
        weight = np.ones(n) if weight is None else weight
        coef, intercept = model.coef_.astype(float), model.intercept_.astype(float)
        if model.fit_intercept:
            X, coef = np.column_stack([X, np.ones(n)]), np.column_stack([coef, intercept])
        D, R = X.shape[1], len(coef)
        z = X @ coef.T
        p = np.column_stack([1 - expit(z), expit(z)]) if R == 1 else softmax(z, axis=1)
        residual = (p * T.sum(axis=1, keepdims=True) - T)[:, -R:] * weight[:, None]
        self.gradients = np.einsum("nk,nd->nkd", residual, X).reshape(n, R * D)
        H = np.zeros((R, D, R, D))
        for k in range(R):
            for j in range(R):
                pk, pj = p[:, k - R], p[:, j - R]
                c = weight * T.sum(axis=1) * (pk * (k == j) - pk * pj)
                H[k, :, j] = (X * c[:, None]).T @ X
        self.hessian = H.reshape(R * D, R * D)
        of_features = np.ones(D)
        of_features[-1] = not model.fit_intercept
        penalty = np.diag(np.tile(of_features, R)) / C
        # an orthonormal basis of what sums to zero over the classes
        basis = np.eye(1) if R == 1 else np.linalg.svd(np.ones((1, K)))[2][1:].T
        B = np.kron(basis, np.eye(D))
        self.inverse = B @ np.linalg.inv(B.T @ (self.hessian + penalty) @ B) @ B.T

    def covariance(self, kind, groups=None):
        if kind == "laplace":
            return self.inverse
        g = self.gradients
        if groups is not None:
            g = np.array([g[groups == group].sum(axis=0) for group in np.unique(groups)])
        return self.inverse @ (self.hessian if kind == "model" else g.T @ g) @ self.inverse


# statsmodels 0.15: MNLogit(y, [X, 1]).fit(method="newton"); the standard errors of class 1 less class 0, as well with
# cov_type="HC0", and get_margeff() of class 0
def test_figures_of_statsmodels():
    X, y = anes96()
    model = SoftmaxClassifier(C=np.inf, tol=1e-9).fit(X, y)
    assert model.objective_ == pytest.approx(1461.922747312, rel=1e-9)
    table = xe.coefficient_table(model, X, y, reference=0)
    expected = [0.0342823657, 0.093626795, 0.0065248584, 0.0735865799, 0.0176336937, 0.6298376313]
    np.testing.assert_allclose(column(table, "se")[:6], expected, rtol=5e-9)  # as printed
    expected = [-0.011536, 0.297714, -0.024945, 0.082491, 0.005197, -0.373402]
    np.testing.assert_allclose(column(table, "coef")[:6], expected, atol=1e-6)
    np.testing.assert_allclose(column(table, "p")[:3], [0.736495, 0.001474, 0.000132], atol=1e-6)
    np.testing.assert_allclose(column(table, "low")[1], 0.297714 - 1.959964 * 0.0936268, atol=1e-6)
    robust = xe.coefficient_table(model, X, y, reference=0, kind="robust")
    expected = [0.0341177, 0.0993402, 0.0061013, 0.0740386, 0.0167592, 0.5943331]
    np.testing.assert_allclose(column(robust, "se")[:6], expected, atol=6e-8)
    effects = xe.marginal_effects(model, X, y, features=["x0", 1, 2])
    np.testing.assert_allclose(column(effects, "effect")[:3], [0.008681, -0.097799, 0.002726], atol=6e-7)
    np.testing.assert_allclose(column(effects, "se")[:3], [0.003858, 0.008047, 0.000707], atol=6e-7)


# statsmodels 0.15: Logit(y > 3, [X, 1]).fit(method="newton"), with cov_type="HC0", with cov_type="cluster" for
# the groups arange(944) % 37 and use_correction=False, and get_margeff()
def test_figures_of_statsmodels_for_two_classes():
    X, y = anes96()
    y = y > 3
    model = SoftmaxClassifier(C=np.inf, tol=1e-9).fit(X, y)
    found = {
        "model": column(xe.coefficient_table(model, X, y), "se"),
        "robust": column(xe.coefficient_table(model, X, y, kind="robust"), "se"),
        "cluster": column(xe.coefficient_table(model, X, y, kind="robust", groups=np.arange(len(y)) % 37), "se"),
        "margins": column(xe.marginal_effects(model, X, y), "se")[5:],
    }
    expected = {
        "model": [0.027077451, 0.081604705, 0.0052617859, 0.058741595, 0.016390092, 0.61405568],
        "robust": [0.027495174, 0.083650195, 0.0054995008, 0.056833337, 0.016093207, 0.64125013],
        "cluster": [0.026627684, 0.061353884, 0.0061523555, 0.042100642, 0.016708242, 0.65956597],
        "margins": [0.0038355094, 0.0042381692, 0.00075235443, 0.0082579007, 0.0022693434],
    }
    for name, of_peer in expected.items():
        np.testing.assert_allclose(found[name], of_peer, rtol=1e-6, err_msg=name)


# R's nnet: multinom(prog2 ~ ses + write), https://stats.oarc.ucla.edu/r/dae/multinomial-logistic-regression/
def test_figures_of_R():
    X, y = hsbdemo()
    model = SoftmaxClassifier(C=np.inf, tol=1e-9).fit(X, y)
    assert model.objective_ == pytest.approx(179.981726, abs=5e-7)
    table = xe.coefficient_table(model, X, y, reference="academic")
    assert column(table, "class").tolist() == ["general"] * 4 + ["vocation"] * 4
    assert column(table, "feature").tolist() == ["x0", "x1", "x2", "intercept"] * 2
    coef = [-0.5332810, -1.1628226, -0.0579287, 2.852198, 0.2913859, -0.9826649, -0.1136037, 5.218260]
    error = [0.4437323, 0.5142196, 0.02141097, 1.166441, 0.4763739, 0.5955665, 0.02221996, 1.163552]
    np.testing.assert_allclose(column(table, "coef"), coef, rtol=5e-5)  # multinom stops early
    np.testing.assert_allclose(column(table, "se"), error, rtol=1e-5)


# R's glm(family = binomial): Species == "virginica" ~ the four features of iris[51:150, ]
def test_figures_of_R_for_two_classes():
    X, y = load_iris(return_X_y=True)
    model = SoftmaxClassifier(C=np.inf, tol=1e-9).fit(X[50:], y[50:])
    error = column(xe.coefficient_table(model, X[50:], y[50:]), "se")
    np.testing.assert_allclose(error, [2.394, 4.480, 4.737, 9.743, 25.708], atol=6e-4)


# Stata: logit honors female [fweight=n], https://stats.oarc.ucla.edu/stata/seminars/stata-beyondbinarylogistic/
def test_figures_of_Stata_with_frequency_weights():
    female, honors, n = np.array([[0.0], [0.0], [1.0], [1.0]]), [0, 1, 0, 1], [73, 18, 74, 35]
    model = SoftmaxClassifier(C=np.inf, tol=1e-9).fit(female, honors, n)
    assert model.objective_ == pytest.approx(113.6769, abs=5e-5)
    table = xe.coefficient_table(model, female, honors, n)
    np.testing.assert_allclose(column(table, "coef"), [0.6513707, -1.400088], atol=5e-7)
    np.testing.assert_allclose(column(table, "se"), [0.3336752, 0.2631619], atol=5e-8)
    np.testing.assert_allclose(column(table, "z"), [1.95, -5.32], atol=0.005)
    np.testing.assert_allclose(column(table, "low"), [-0.0026207, -1.915876], atol=5e-7)
    np.testing.assert_allclose(column(table, "high"), [1.305362, -0.8842998], atol=5e-7)


@pytest.mark.parametrize("kind", _inference.KINDS)
@pytest.mark.parametrize("C", [np.inf, 0.3])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_covariance_is_that_of_the_definition(kind, C, n_classes, fit_intercept):
    X, y = draw(400, 4, n_classes)
    X = X * [1.0, 30.0, 0.02, 1.0] + [5.0, 0.0, 0.1, -3.0]
    weight = np.random.default_rng(1).uniform(0.2, 3.0, len(y))
    weight[::17] = 0.0
    model = SoftmaxClassifier(C=C, tol=1e-9, fit_intercept=fit_intercept).fit(X, y, weight)
    oracle = Oracle(model, X, np.eye(n_classes)[y], weight, C)
    expected = oracle.covariance(kind)
    found = model.covariance(X, y, weight, kind=kind)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, found.T)
    scale = errors(expected)
    np.testing.assert_allclose(found / np.outer(scale, scale), expected / np.outer(scale, scale), atol=2e-6)
    if kind == "robust":
        groups = np.random.default_rng(2).integers(30, size=len(y))
        found = model.covariance(X, y, weight, kind=kind, groups=np.array([f"g{g}" for g in groups]))
        np.testing.assert_allclose(errors(found), errors(oracle.covariance(kind, groups)), rtol=2e-6)


@pytest.mark.parametrize("kind", _inference.KINDS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_one_feature_without_an_intercept(kind, n_classes):
    X, y = draw(50, 1, n_classes)
    model = SoftmaxClassifier(tol=1e-9, fit_intercept=False).fit(X, y)
    expected = Oracle(model, X, np.eye(n_classes)[y], C=1.0).covariance(kind)
    np.testing.assert_allclose(model.covariance(X, y, kind=kind), expected, rtol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_groups_may_lie_in_several_blocks(n_classes, monkeypatch):
    X, y = draw(500, 3, n_classes)
    groups = np.random.default_rng(2).integers(4, size=len(y))
    model = SoftmaxClassifier(tol=1e-8).fit(X, y)
    expected = model.covariance(X, y, kind="robust", groups=groups)
    monkeypatch.setattr(_covariance, "_BLOCK_VALUES", 0)
    monkeypatch.setattr(_covariance, "_MIN_BLOCK_ROWS", 60)
    np.testing.assert_allclose(model.covariance(X, y, kind="robust", groups=groups), expected, rtol=1e-9, atol=1e-15)
    alone = model.covariance(X, y, kind="robust", groups=np.arange(len(y)))
    np.testing.assert_allclose(alone, model.covariance(X, y, kind="robust"), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_soft_targets_class_weights_and_smoothing(n_classes):
    X, y = draw(300, 3, n_classes)
    rng = np.random.default_rng(3)
    T = 0.6 * np.eye(n_classes)[y] + 0.4 * rng.dirichlet(np.ones(n_classes), len(y))
    soft = SoftmaxClassifier(tol=1e-9).fit(X, T)
    for kind in _inference.KINDS:
        expected = Oracle(soft, X, T, C=1.0).covariance(kind)
        np.testing.assert_allclose(soft.covariance(X, T, kind=kind), expected, rtol=1e-5, atol=1e-9)
    model = SoftmaxClassifier(C=np.inf, tol=1e-9, class_weight={0: 3.0, 1: 0.5}, label_smoothing=0.1).fit(X, T)
    weights = np.ones(n_classes)
    weights[:2] = 3.0, 0.5
    smoothed = (0.9 * T + 0.1 / n_classes) * weights
    expected = Oracle(model, X, smoothed).covariance("robust")
    np.testing.assert_allclose(model.covariance(X, T, kind="robust"), expected, rtol=1e-5, atol=1e-9)


def test_weights_are_repetitions_of_rows_for_the_model():
    X, y = draw(300, 3, 3)
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), weight)
    weighted = SoftmaxClassifier(tol=1e-9).fit(X, y, weight)
    repeated = SoftmaxClassifier(tol=1e-9).fit(X[rows], y[rows])
    for kind in ("model", "laplace"):
        np.testing.assert_allclose(
            weighted.covariance(X, y, weight, kind=kind), repeated.covariance(X[rows], y[rows], kind=kind), rtol=1e-6
        )
    effects = xe.marginal_effects(weighted, X, y, weight), xe.marginal_effects(repeated, X[rows], y[rows])
    np.testing.assert_allclose(column(effects[0], "se"), column(effects[1], "se"), rtol=1e-6)
    # errors shrink with the number of rows, whatever C is: C does not count as a weight of the rows
    nearly, without = (SoftmaxClassifier(C=C, tol=1e-9).fit(X, y) for C in (1e8, np.inf))
    np.testing.assert_allclose(nearly.covariance(X, y), without.covariance(X, y), rtol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_storage_and_dtype_do_not_matter(n_classes):
    X, y = draw(300, 5, n_classes)
    X[:, 3] = 0.0  # a column that a CSR matrix does not store
    X[np.random.default_rng(0).random(X.shape) < 0.5] = 0.0
    X = X.astype(np.float32).astype(np.float64)
    model = SoftmaxClassifier(tol=1e-9).fit(X, y)
    csr = sp.csr_matrix(X)
    for kind in _inference.KINDS:
        expected = model.covariance(X, y, kind=kind)
        interval = model.predict_proba_interval(X + 0.5)
        at_csr = SoftmaxClassifier(tol=1e-9).fit(csr, y)
        np.testing.assert_allclose(at_csr.covariance(csr, y, kind=kind), expected, rtol=1e-6, atol=1e-10)
        np.testing.assert_allclose(at_csr.predict_proba_interval(sp.csr_matrix(X + 0.5)), interval, atol=1e-6)
        dense, sparse = (xe.coefficient_table(m, rows, y, kind=kind) for m, rows in ((model, X), (at_csr, csr)))
        np.testing.assert_allclose(column(dense, "se"), column(sparse, "se"), rtol=1e-6)
        dense, sparse = (xe.marginal_effects(m, rows, y, kind=kind) for m, rows in ((model, X), (at_csr, csr)))
        np.testing.assert_allclose(column(dense, "se"), column(sparse, "se"), rtol=1e-6, atol=1e-12)
        single = X.astype(np.float32)
        found = SoftmaxClassifier(tol=1e-7).fit(single, y).covariance(single, y, kind=kind)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    contrast = column(xe.coefficient_table(model, X, y, kind="laplace", reference=0), "se")
    assert contrast[3] == pytest.approx(1.0 if n_classes == 2 else np.sqrt(2.0))  # that of the prior


def test_units_and_offsets_of_features_do_not_matter():
    X, y = draw(500, 4, 3)
    unit, offset = np.array([1e-9, 1.0, 1e7, 1e3]), np.array([0.0, 1e4, 1e8, 5e5])
    model, other = SoftmaxClassifier(C=np.inf, tol=1e-9).fit(X, y), SoftmaxClassifier(C=np.inf, tol=1e-9)
    moved = X * unit + offset
    other.fit(moved, y)
    for kind in ("model", "robust"):
        table, of_moved = xe.coefficient_table(model, X, y, kind=kind), xe.coefficient_table(other, moved, y, kind=kind)
        is_coef = column(table, "feature") != "intercept"
        error = column(of_moved, "se")[is_coef] * np.tile(unit, 3)
        np.testing.assert_allclose(error, column(table, "se")[is_coef], rtol=1e-5)
        model.covariance(X, y, kind=kind)
        other.covariance(moved, y, kind=kind)
        intervals = model.predict_proba_interval(X), other.predict_proba_interval(moved)
        np.testing.assert_allclose(intervals[1], intervals[0], atol=1e-5)
        effects = xe.marginal_effects(model, X, y, kind=kind), xe.marginal_effects(other, moved, y, kind=kind)
        np.testing.assert_allclose(column(effects[1], "se") * np.tile(unit, 3), column(effects[0], "se"), rtol=1e-5)


def test_a_rare_class_costs_no_digits():
    X, y = draw(4000, 3, 3)
    y[y == 2] = np.where(np.arange(np.sum(y == 2)) < 12, 2, 0)
    model = SoftmaxClassifier(C=np.inf, tol=1e-9).fit(X, y)
    expected = Oracle(model, X, np.eye(3)[y]).covariance("model")
    np.testing.assert_allclose(model.covariance(X, y), expected, rtol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_each_reference_tells_the_same(n_classes):
    X, y = draw(300, 2, n_classes)
    model = SoftmaxClassifier().fit(X, np.array(["a", "b", "c"])[y])
    y = np.array(["a", "b", "c"])[y]
    a, b = (xe.coefficient_table(model, X, y, reference=r) for r in "ab")
    assert set(column(a, "class")) == set("abc"[1:n_classes])
    of_b, of_a = column(a, "class") == "b", column(b, "class") == "a"
    np.testing.assert_allclose(column(a, "coef")[of_b], -column(b, "coef")[of_a])
    np.testing.assert_allclose(column(a, "se")[of_b], column(b, "se")[of_a])
    np.testing.assert_allclose(column(a, "low")[of_b], -column(b, "high")[of_a])
    plain = xe.coefficient_table(model, X, y)
    stacked = np.column_stack([model.coef_, model.intercept_])
    np.testing.assert_allclose(column(plain, "coef"), stacked.ravel(), rtol=1e-12)
    np.testing.assert_allclose(column(plain, "se"), errors(model.covariance(X, y)), rtol=1e-12)


def numerical_effects(model, X):
    step = 1e-5
    return np.array([
        ((model.predict_proba(X + step * e) - model.predict_proba(X - step * e)) / (2 * step)).mean(axis=0)
        for e in np.eye(X.shape[1])
    ]).T  # fmt: skip


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_effects_and_their_errors_are_those_of_differences(n_classes, fit_intercept):
    X, y = draw(200, 3, n_classes)
    X = X * [1.0, 5.0, 0.3] + [0.0, 2.0, 1.0]
    model = SoftmaxClassifier(tol=1e-8, fit_intercept=fit_intercept).fit(X, y)
    table = xe.marginal_effects(model, X, y, kind="robust")
    effect = column(table, "effect").reshape(n_classes, 3)
    np.testing.assert_allclose(effect, numerical_effects(model, X), atol=1e-8)
    np.testing.assert_allclose(effect.sum(axis=0), 0.0, atol=1e-12)
    covariance = model.covariance(X, y, kind="robust")
    theta = np.column_stack([model.coef_, model.intercept_]) if fit_intercept else model.coef_.copy()
    slopes = []
    for at in np.ndindex(theta.shape):
        moved = []
        for sign in (1.0, -1.0):
            changed = theta.copy()
            changed[at] += sign * 1e-5
            other = SoftmaxClassifier(fit_intercept=fit_intercept)
            other.classes_, other.n_features_in_ = model.classes_, 3
            other.coef_ = changed[:, :3].copy()
            other.intercept_ = changed[:, 3].copy() if fit_intercept else np.zeros(len(theta))
            moved.append(numerical_effects(other, X))
        slopes.append((moved[0] - moved[1]) / 2e-5)
    slopes = np.moveaxis(np.array(slopes), 0, -1)
    error = np.sqrt(np.einsum("kfi,ij,kfj->kf", slopes, covariance, slopes))
    np.testing.assert_allclose(column(table, "se").reshape(n_classes, 3), error, rtol=1e-4)


def test_intervals_of_probabilities():
    X, y = draw(300, 3, 2)
    model = SoftmaxClassifier(C=np.inf, tol=1e-8).fit(X, y)
    covariance = model.covariance(X, y)
    rows = np.column_stack([X, np.ones(len(X))])
    z, error = model.decision_function(X), np.sqrt(np.einsum("ni,ij,nj->n", rows, covariance, rows))
    found = model.predict_proba_interval(X, level=0.9)
    np.testing.assert_allclose(found[:, 1], expit(z[:, None] + 1.6448536 * error[:, None] * [-1.0, 1.0]), rtol=1e-6)
    np.testing.assert_allclose(found[:, 0], 1.0 - found[:, 1, ::-1], atol=1e-12)
    far = model.predict_proba_interval(1e4 * X[:3])
    assert np.isfinite(far).all()
    X, y = draw(300, 3, 4)
    model = SoftmaxClassifier().fit(X, y)
    covariance = model.covariance(X, y, kind="laplace").reshape(4, 4, 4, 4)
    found, p = model.predict_proba_interval(X), model.predict_proba(X)
    rows = np.column_stack([X, np.ones(len(X))])
    for k in range(4):
        slope = (np.eye(4)[k] - p) / (1 - p[:, [k]])
        error = np.sqrt(np.einsum("nk,nd,kdje,nj,ne->n", slope, rows, covariance, slope, rows))
        logit = np.log(p[:, k] / (1 - p[:, k]))
        expected = expit(logit[:, None] + 1.959964 * error[:, None] * [-1.0, 1.0])
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-5)
    assert ((found[..., 0] < p) & (p < found[..., 1])).all()


def test_intervals_ask_for_a_covariance_of_this_fit():
    X, y = draw(100, 3, 3)
    for model in (SoftmaxClassifier(), SoftmaxClassifierCV(Cs=[0.1, 1.0])):
        model.fit(X, y)
        with pytest.raises(ValueError, match=r"call covariance\(X, y\)"):
            model.predict_proba_interval(X)
        model.covariance(X, y)
        assert model.predict_proba_interval(X).shape == (100, 3, 2)
        model.fit(X, y)
        with pytest.raises(ValueError, match="again after each fit"):
            model.predict_proba_interval(X)
        model.covariance(X, y)
        with pytest.raises(ValueError, match="level=95 must be between 0 and 1"):
            model.predict_proba_interval(X, level=95)


@pytest.mark.parametrize(("kind", "n_classes"), [("model", 2), ("robust", 3)])
def test_intervals_cover_the_coefficients(kind, n_classes):
    rng = np.random.default_rng(20)
    n, d, n_simulations = 400, 2, 2000
    X = rng.standard_normal((n, d))
    W = np.column_stack([np.zeros(d), 0.5 * rng.standard_normal((d, n_classes - 1))])
    p = softmax(X @ W, axis=1)
    truth = (W[:, 1:].T, np.zeros((n_classes - 1, 1)))
    covered = np.zeros((n_classes - 1) * (d + 1))
    for _ in range(n_simulations):
        y = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
        model = SoftmaxClassifier(C=np.inf).fit(X, y)
        covariance = _table_bounds(model, X, y, kind)
        covered += (covariance[0] <= np.hstack(truth).ravel()) & (np.hstack(truth).ravel() <= covariance[1])
    assert (covered >= 0.93 * n_simulations).all()
    assert (covered <= 0.97 * n_simulations).all()


def _table_bounds(model, X, y, kind):
    table = xe.coefficient_table(model, X, y, kind=kind, reference=0)
    return column(table, "low"), column(table, "high")


def test_intervals_of_probabilities_cover_them():
    rng = np.random.default_rng(21)
    X, W = rng.standard_normal((500, 2)), np.array([[0.0, 0.7, -0.4], [0.0, 0.2, 0.5]])
    p = softmax(X @ W, axis=1)
    covered = 0.0
    for _ in range(300):
        y = (p.cumsum(axis=1) < rng.random((500, 1))).sum(axis=1)
        model = SoftmaxClassifier(C=np.inf).fit(X, y)
        model.covariance(X, y)
        bounds = model.predict_proba_interval(X[:40])
        covered += np.mean((bounds[..., 0] <= p[:40]) & (p[:40] <= bounds[..., 1])) / 300
    assert 0.93 < covered < 0.97


def test_a_pipeline_is_read_from_its_last_step():
    X, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), SoftmaxClassifier(tol=1e-8)).fit(X, y)
    scaled = pipeline[:-1].transform(X)
    for function in (xe.coefficient_table, xe.marginal_effects):
        tables = function(pipeline, X, y), function(pipeline[-1], scaled, y)
        np.testing.assert_array_equal(column(tables[0], "se"), column(tables[1], "se"))
    left_out = xe.leave_one_out(pipeline, X, y), xe.leave_one_out(pipeline[-1], scaled, y)
    np.testing.assert_array_equal(left_out[0].loss, left_out[1].loss)


def test_names_of_features():
    pd = pytest.importorskip("pandas")
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = SoftmaxClassifier().fit(X, y)
    table = xe.coefficient_table(model, X, y)
    assert isinstance(table, pd.DataFrame)
    assert table["feature"].tolist() == [*X.columns, "intercept"] * 3
    model.covariance(X, y)
    assert model.predict_proba_interval(X).shape == (150, 3, 2)
    effects = xe.marginal_effects(model, X, y, features=["petal width (cm)"])
    assert effects["feature"].unique().tolist() == ["petal width (cm)"]
    with pytest.raises(ValueError, match=r"features holds 'petal', .* column \(0 to 3\)"):
        xe.marginal_effects(model, X, y, features=["petal"])
    with pytest.raises(ValueError, match="features holds 4"):
        xe.marginal_effects(model, X, y, features=[4])


def test_without_pandas_a_table_is_an_array_that_prints(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    X, y = load_iris(return_X_y=True)
    model = SoftmaxClassifier().fit(X, np.array(["setosa", "versicolor", "virginica"])[y])
    table = xe.coefficient_table(model, X, np.array(["setosa", "versicolor", "virginica"])[y])
    assert isinstance(table, np.ndarray)
    assert table.shape == (15,)
    lines = str(table).splitlines()
    assert lines[0].split() == ["class", "feature", "coef", "se", "z", "p", "low", "high"]
    assert lines[15].split()[:2] == ["virginica", "intercept"]
    assert len({len(line) for line in lines}) == 1
    assert str(table["se"][:1]).startswith("[")
    assert xe.CoefficientDisplay(table).table is table


def refused(match, model, X, y, *args, fit_weight=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y, fit_weight)
    with pytest.raises(ValueError, match=match):
        model.covariance(X, y, *args, **options)


def test_what_is_no_likelihood_is_refused():
    X, y = draw(200, 3, 3)
    for kind in ("model", "laplace"):
        balanced = SoftmaxClassifier(class_weight="balanced")
        refused("class_weight weighs rows .* kind='robust'", balanced, X, y, kind=kind)
        smoothed = SoftmaxClassifier(label_smoothing=0.1)
        refused("label_smoothing=0.1 changes the targets: use kind='robust'", smoothed, X, y, kind=kind)
    refused(r"loss=FocalLoss\(.*is not the cross-entropy", SoftmaxClassifier(loss="focal"), X, y, kind="robust")
    refused("l1_ratio above 0 .* l1_ratio=0", SoftmaxClassifier(l1_ratio=0.5), X, y)
    refused("early_stopping has chosen", SoftmaxClassifier(early_stopping=True, random_state=0), X, y)
    refused("kind='hc0' must be one of 'model', 'robust', 'laplace'", SoftmaxClassifier(), X, y, kind="hc0")
    refused("groups are for kind='robust'", SoftmaxClassifier(), X, y, groups=y)
    refused(r"groups has shape \(3,\)", SoftmaxClassifier(), X, y, kind="robust", groups=[1, 2, 3])
    refused("groups holds one group only", SoftmaxClassifier(), X, y, kind="robust", groups=np.zeros(200))
    model = SoftmaxClassifier().fit(X, y)
    with pytest.raises(ValueError, match=r"label 3 \(row 0\) that the fit did not see"):
        model.covariance(X, y + 3)
    with pytest.raises(ValueError, match=r"reference='z' must be one of the classes, \[0, 1, 2\]"):
        xe.coefficient_table(model, X, y, reference="z")


def test_class_weights_of_one_are_none():
    X, y = draw(200, 3, 3)
    model, weighted = SoftmaxClassifier().fit(X, y), SoftmaxClassifier(class_weight={0: 1.0}).fit(X, y)
    np.testing.assert_allclose(weighted.covariance(X, y), model.covariance(X, y), rtol=1e-4, atol=1e-7)


def test_a_penalty_of_infinite_C_has_no_l1_part():
    X, y = draw(200, 3, 3)
    model = SoftmaxClassifier(C=np.inf, l1_ratio=0.5).fit(X, y)
    assert np.isfinite(model.covariance(X, y)).all()


def test_what_has_no_minimum_is_refused():
    X, y = draw(200, 3, 3)
    flag = np.zeros(200)
    flag[np.flatnonzero(y == 1)[:5]] = 1.0
    refused("no standard errors.*classes .* are separable", SoftmaxClassifier(C=np.inf), np.column_stack([X, flag]), y)
    refused("no standard errors.*perfectly separable", SoftmaxClassifier(C=np.inf), X, (X[:, 0] > 0).astype(int))
    twice = np.column_stack([X, X[:, 0] - 2.0 * X[:, 1]])
    refused(r"column 3 of X \(x3\) for class .* linear combination", SoftmaxClassifier(C=np.inf), twice, y)
    constant = np.column_stack([np.full(200, 3.0), X])
    refused(r"column 0 of X \(x0\) is constant", SoftmaxClassifier(C=np.inf), constant, y)
    refused("column 0 of X .* is zero", SoftmaxClassifier(C=np.inf, fit_intercept=False), constant * [0, 1, 1, 1], y)
    refused("column 0 of X .* is constant", SoftmaxClassifier(C=np.inf), sp.csr_matrix(constant * [0, 1, 1, 1]), y)
    model = SoftmaxClassifier(tol=1e-8).fit(X, X[:, 0] > 0)  # at a minimum, but not at one without a penalty
    with pytest.raises(ValueError, match="not at the minimum"):
        model.set_params(C=np.inf).covariance(X, X[:, 0] > 0)
    del model.converged_
    with pytest.raises(ValueError, match="are separable"):
        model.covariance(X, X[:, 0] > 0)
    for X in (twice, constant):  # a penalty tells them apart
        assert np.isfinite(SoftmaxClassifier(tol=1e-7).fit(X, y).covariance(X, y)).all()


def test_large_problems_are_refused():
    X = sp.csr_matrix(np.random.default_rng(0).standard_normal((30, 5000)))
    y = np.arange(30) % 3
    with pytest.raises(ValueError, match=r"5000 features and 3 classes are 10002 coefficients, .* the limit is 8192"):
        SoftmaxClassifier().fit(X, y).covariance(X, y)


def test_other_rows_than_those_of_the_fit_are_noticed():
    X, y = draw(2000, 3, 3)
    model = SoftmaxClassifier(C=np.inf, tol=1e-8).fit(X[:1000], y[:1000])
    with pytest.raises(ValueError, match=r"not at the minimum for these rows: .* Pass the X, y and sample_weight"):
        model.covariance(X[1000:], y[1000:])
    model = SoftmaxClassifier(C=np.inf, tol=1e-9).fit(X, y)
    error = errors(model.covariance(X, y))
    model.coef_[0, 0] += 0.2 * error[0]
    model.coef_[1, 0] -= 0.2 * error[0]
    with pytest.warns(ConvergenceWarning, match=r"0\.\d+ standard errors away") as caught:
        model.covariance(X, y)
    assert caught[0].filename == __file__


def test_inputs_are_not_modified_and_threads_do_not_matter():
    from threadpoolctl import threadpool_limits

    X, y = draw(3000, 6, 4)
    weight = np.random.default_rng(0).uniform(0.5, 1.0, len(y))
    for array in (X, y, weight):
        array.flags.writeable = False
    model = SoftmaxClassifier().fit(X, y, weight)
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            found.append(model.covariance(X, y, weight, kind="robust"))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12, atol=1e-18)


def test_memory_does_not_grow_with_the_rows_but_by_a_few_numbers_each():
    X, y = draw(60_000, 20, 3)
    model = SoftmaxClassifier(C=np.inf).fit(X, y)
    groups = np.arange(len(y)) % 100
    calls = {
        "model": lambda: model.covariance(X, y),
        "robust": lambda: model.covariance(X, y, kind="robust"),
        "groups": lambda: model.covariance(X, y, kind="robust", groups=groups),
        "effects": lambda: xe.marginal_effects(model, X, y, features=[0, 1]),
        "left out": lambda: xe.leave_one_out(model, X, y),
    }
    for name, call in calls.items():
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        numbers = {"left out": 40, "groups": 4}.get(name, 2)  # of each row, where logits of all rows are returned
        assert peak < 10e6 + 8 * numbers * len(y), name  # X takes 9.6 MB


def test_coefficients_set_sparse_are_read():
    X, y = draw(200, 3, 3)
    model = SoftmaxClassifier(tol=1e-8).fit(X, y)
    expected = model.covariance(X, y)
    np.testing.assert_array_equal(model.sparsify().covariance(X, y), expected)


def test_logit_adjustment_moves_intercepts_only():
    X, y = draw(500, 3, 3)
    plain, adjusted = (SoftmaxClassifier(C=np.inf, tol=1e-9, logit_adjustment=t).fit(X, y) for t in (0.0, 1.0))
    np.testing.assert_allclose(adjusted.covariance(X, y), plain.covariance(X, y), rtol=1e-5)


def test_display(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    X, y = load_iris(return_X_y=True)
    model = SoftmaxClassifier().fit(X, y)
    display = xe.CoefficientDisplay.from_estimator(model, X, y, reference=0, kind="laplace")
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["x0", "x1", "x2", "x3"]
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["class 1", "class 2"]
    table = xe.coefficient_table(model, X, y, reference=0, kind="laplace")
    drawn = display.containers_[0].lines[0].get_xdata()
    np.testing.assert_array_equal(drawn, column(table, "coef")[:4])
    display = xe.CoefficientDisplay.from_estimator(model, X, y, intercept=True, ax=display.ax_)
    assert len(display.ax_.get_yticklabels()) == 5
    effects = xe.CoefficientDisplay(xe.marginal_effects(model, X, y, features=[2])).plot()
    assert "effect" in effects.ax_.get_xlabel()
    assert len(effects.containers_) == 3
    pyplot.close("all")
    for wrong in (np.zeros(3), [1, 2], np.zeros(2, dtype=[("class", int)])):
        with pytest.raises(ValueError, match="must be one that coefficient_table or marginal_effects returns"):
            xe.CoefficientDisplay(wrong)


def test_the_documentation_names_the_limit():
    for documented in (SoftmaxClassifier.covariance, SoftmaxClassifierCV):
        assert str(_inference.MAX_VARIABLES) in documented.__doc__
