"""Fits converge, to the right place, whatever the units of the features and however hard the data."""

import warnings

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from xentropy import SoftmaxClassifier, _preconditioning, _solver, cross_entropy
from xentropy._preconditioning import Preconditioning

LOADERS = {"iris": load_iris, "wine": load_wine, "breast cancer": load_breast_cancer, "digits": load_digits}


def real(name, standardised=False):
    X, y = LOADERS[name](return_X_y=True)
    return (StandardScaler().fit_transform(X) if standardised else np.ascontiguousarray(X)), y


def synthetic(n=600, d=12, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, (X @ rng.standard_normal((d, n_classes)) + rng.gumbel(size=(n, n_classes))).argmax(axis=1)


def objective(clf, X, y):
    penalised = reference.objective(
        X, reference.one_hot(y, y.max() + 1), clf.coef_, clf.intercept_, C=clf.C if np.isfinite(clf.C) else 1.0
    )
    if np.isfinite(clf.C):
        l2 = 0.5 * np.sum(clf.coef_**2)
        l1_ratio = clf.l1_ratio or 0.0  # None by default in scikit-learn 1.7
        return penalised - l1_ratio * l2 + l1_ratio * np.abs(clf.coef_).sum()
    return penalised - 0.5 * np.sum(clf.coef_**2)


def evaluations_to(clf, goal):
    return clf.history_["n_evaluations"][np.argmax(clf.history_["objective"] <= goal)]


# raw units


@pytest.mark.parametrize("name", LOADERS)
def test_raw_units_converge_in_few_evaluations(name):
    X, y = real(name)
    best = SoftmaxClassifier(tol=1e-10).fit(X, y)
    newton = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=200).fit(X - X.mean(axis=0), y)
    assert best.objective_ <= objective(newton, X - X.mean(axis=0), y) * (1 + 1e-9)
    clf = SoftmaxClassifier().fit(X, y)  # a ConvergenceWarning would be an error
    assert clf.converged_
    assert clf.objective_ <= best.objective_ * (1 + 1e-6)
    assert evaluations_to(clf, best.objective_ * (1 + 1e-6)) <= (200 if name == "digits" else 30)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scales_over_twelve_decades_and_offsets_of_a_million(dtype):
    Z, y = synthetic()
    rng = np.random.default_rng(1)
    X = (Z * 10.0 ** rng.permutation(np.linspace(-6, 6, 12)) + rng.choice([-1e6, 0.0, 1e6], 12)).astype(dtype)
    clf = SoftmaxClassifier().fit(X, y)
    assert clf.converged_
    assert clf.history_["n_evaluations"][-1] <= 40
    exact = X.astype(np.float64)
    centred = exact - exact.mean(axis=0)
    scale = np.maximum(centred.std(axis=0), 1e-3)  # a smaller one is penalised to nothing
    assert clf.objective_ <= minimize_centred(centred, y, scale) * (1 + 1e-6)


@pytest.mark.parametrize("tol", [1e-4, 1e-6])
@pytest.mark.parametrize(("n", "n_classes"), [(6000, 12), (6000, 2), (30_000, 3)])
def test_nearly_collinear_features_take_no_more_evaluations(n, n_classes, tol):
    Z, y = synthetic(n=n, d=30, n_classes=n_classes)
    common = np.random.default_rng(1).standard_normal((3, 30))
    X = 1e-3 * Z + Z[:, :3] @ common  # any Z W^T is some X V^T
    apart, near = (SoftmaxClassifier(C=np.inf, tol=tol).fit(of, y) for of in (Z, X))
    assert near.objective_ == pytest.approx(apart.objective_, rel=2 * tol)
    assert near.history_["n_evaluations"][-1] <= 1.2 * apart.history_["n_evaluations"][-1] + 3


def minimize_centred(X, y, scale, C=1.0):
    """The minimum of the objective by SciPy's Newton-CG in a trust region, in the variables W * scale."""
    n_classes = y.max() + 1
    Y = reference.one_hot(y, n_classes)
    V = np.hstack([X / scale, np.ones((len(X), 1))])
    penalty = np.append(1.0 / scale**2, 0.0)

    def fun(theta):
        B = theta.reshape(-1, n_classes)
        log_p = reference.log_softmax(V @ B).astype(float)
        value = -C * np.sum(Y * log_p) + 0.5 * np.sum(penalty[:, None] * B**2)
        return value, (C * V.T @ (np.exp(log_p) - Y) + penalty[:, None] * B).ravel()

    def hessp(theta, v):
        p = np.exp(reference.log_softmax(V @ theta.reshape(-1, n_classes)).astype(float))
        u = V @ v.reshape(-1, n_classes)
        u = p * (u - np.sum(p * u, axis=1, keepdims=True))
        return (C * V.T @ u + penalty[:, None] * v.reshape(-1, n_classes)).ravel()

    theta = np.zeros(V.shape[1] * n_classes)
    return minimize(fun, theta, jac=True, hessp=hessp, method="trust-ncg", options={"gtol": 1e-7, "maxiter": 500}).fun


@pytest.mark.parametrize("n_classes", [2, 3])
def test_units_change_nothing_but_the_units(n_classes):
    X, y = synthetic(n_classes=n_classes)
    scale, offset = 2.0 ** np.arange(-20, 28, 4), np.where(np.arange(12) % 2, 1e4, 0.0)
    plain = SoftmaxClassifier(C=np.inf).fit(X, y)
    other = SoftmaxClassifier(C=np.inf).fit(X * scale + offset * scale, y)
    assert other.n_iter_[0] == plain.n_iter_[0]
    np.testing.assert_allclose(other.history_["gradient_norm"], plain.history_["gradient_norm"], rtol=1e-4)
    np.testing.assert_allclose(other.coef_ * scale, plain.coef_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", LOADERS)
def test_no_worse_than_plain_lbfgs_on_standardised_data(name):
    X, y = real(name, standardised=True)
    Y = reference.one_hot(y, y.max() + 1)
    sigmoid = Y.shape[1] == 2
    values = []

    def fun(theta):
        B = theta.reshape(-1, 1 if sigmoid else Y.shape[1])
        z = X @ B[:-1] + B[-1]
        z = np.hstack([np.zeros_like(z), z]) if sigmoid else z
        log_p = z - z.max(axis=1, keepdims=True)
        log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
        values.append(-np.sum(Y * log_p) + 0.5 * np.sum(B[:-1] ** 2))
        G = (np.exp(log_p) - Y)[:, 1 if sigmoid else 0 :]
        return values[-1] / len(X), np.vstack([X.T @ G + B[:-1], G.sum(axis=0)]).ravel() / len(X)

    theta = np.zeros((X.shape[1] + 1) * (1 if sigmoid else Y.shape[1]))
    minimize(fun, theta, jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 0.0, "maxiter": 1000})
    clf = SoftmaxClassifier(tol=1e-10).fit(X, y)
    goal = clf.objective_ * (1 + 1e-6)
    assert evaluations_to(clf, goal) <= 1.3 * (1 + np.argmax(np.array(values) <= goal))


# tol


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["wine", "breast cancer"])
def test_a_tighter_tol_gives_a_better_solution(name, dtype):
    X, y = real(name)
    X = X.astype(dtype)
    best = SoftmaxClassifier(tol=1e-13).fit(X.astype(np.float64), y)
    norms, errors = [], []
    for tol in (1e-1, 1e-3, 1e-5, 1e-7, 1e-9):
        clf = SoftmaxClassifier(tol=tol).fit(X, y)
        assert clf.converged_
        assert clf.history_["gradient_norm"][-1] <= tol
        assert clf.coef_.dtype == dtype
        norms.append(clf.history_["gradient_norm"][-1])
        scaled = (clf.coef_ - best.coef_) * X.std(axis=0)
        errors.append(np.abs(scaled).max() / np.abs(best.coef_ * X.std(axis=0)).max())
        assert clf.objective_ <= best.objective_ * (1 + max(tol, 1e-13))
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[2] < 1e-3
    assert errors[4] < (1e-8 if dtype == np.float64 else 2e-7)  # coef_ has the dtype of X


def from_all_rows(fit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Preconditioning, "subsample", lambda self: None)
        return fit()


@pytest.mark.parametrize("order", ["shuffled", "by class", "by feature"])
@pytest.mark.parametrize(("n_classes", "dtype"), [(2, "float64"), (5, "float64"), (5, "float32")])
def test_many_rows_start_from_a_sample(n_classes, dtype, order):
    rng = np.random.default_rng(0)
    n, d = 400_000 // (1 if n_classes == 2 else 3), 45
    X = rng.standard_normal((n, d)).astype(dtype)
    y = (X @ rng.standard_normal((d, n_classes)) * 0.3 + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    if order != "shuffled":
        at = np.argsort(y if order == "by class" else X[:, 0], kind="stable")
        X, y = X[at], y[at]
    clf = SoftmaxClassifier()
    plain = from_all_rows(lambda: clf.fit(X, y).history_["n_evaluations"][-1])
    goal = clf.objective_
    clf.fit(X, y)
    assert clf.history_["n_evaluations"][-1] < plain
    assert clf.n_iter_[0] <= 7
    assert clf.converged_
    assert clf.objective_ == pytest.approx(goal, rel=1e-7)


def test_a_sample_without_a_minimum_is_no_start(monkeypatch):
    """Perfectly separable, without a penalty: a larger W is always better."""
    monkeypatch.setattr(_preconditioning, "_MIN_SUBSAMPLED_NS", 0.0)
    monkeypatch.setattr(_solver, "_MAX_SUBSAMPLE_ITER", 1000)
    X = np.random.default_rng(0).standard_normal((4000, 3))
    clf = SoftmaxClassifier(C=np.inf, max_iter=1)
    with pytest.warns(ConvergenceWarning, match="separable"):
        clf.fit(X, X[:, 0] > 0.0)
    coef = clf.coef_
    with pytest.warns(ConvergenceWarning, match="separable"):
        from_all_rows(lambda: clf.fit(X, X[:, 0] > 0.0))
    assert np.array_equal(clf.coef_, coef)


@pytest.mark.parametrize("options", [{"warm_start": True}, {"max_iter": 0}])
def test_what_starts_where_it_is_told_takes_no_sample(options, monkeypatch):
    monkeypatch.setattr(_preconditioning, "_MIN_SUBSAMPLED_NS", 0.0)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4000, 3))
    y = (X @ rng.standard_normal((3, 3)) + rng.gumbel(size=(4000, 3))).argmax(axis=1)
    clf = SoftmaxClassifier(random_state=0).fit(X, y).set_params(**options)

    def refuse(self):
        raise AssertionError("asked for a sample")

    monkeypatch.setattr(Preconditioning, "subsample", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf.fit(X, y)
    clf.set_params(warm_start=False, max_iter=100)
    with pytest.raises(AssertionError, match="asked for a sample"):
        clf.fit(X, y)


def test_an_interrupt_on_the_sample_leaves_the_start(monkeypatch):
    monkeypatch.setattr(_preconditioning, "_MIN_SUBSAMPLED_NS", 0.0)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((4000, 3)), rng.integers(3, size=4000)
    subsample = Preconditioning.subsample

    def press_ctrl_c(*_):
        raise KeyboardInterrupt

    def interrupted(self):
        sample = subsample(self)
        sample.loss_gradient = press_ctrl_c
        return sample

    monkeypatch.setattr(Preconditioning, "subsample", interrupted)
    clf = SoftmaxClassifier()
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    assert np.array_equal(clf.coef_, np.zeros((3, 3)))
    shares = np.bincount(y) / len(y)
    assert clf.objective_ == pytest.approx(-4000 * shares @ np.log(shares), rel=1e-9)


def test_more_rows_and_heavier_rows_ask_for_the_same_steps():
    X, y = real("iris")
    once = SoftmaxClassifier(C=2.0).fit(X, y)
    thrice = SoftmaxClassifier(C=2.0 / 3.0).fit(np.tile(X, (3, 1)), np.tile(y, 3))
    heavy = SoftmaxClassifier(C=2e-6).fit(X, y, np.full(len(X), 1e6))
    for other in (thrice, heavy):  # with more rows an evaluation costs more, so a Hessian may come an iteration earlier
        assert abs(other.n_iter_[0] - once.n_iter_[0]) <= 2
        norms, expected = other.history_["gradient_norm"][:8], once.history_["gradient_norm"][:8]
        np.testing.assert_allclose(norms, expected, rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e30, 1e100])
def test_units_beyond_float32(scale):
    X, y = synthetic()
    clf = SoftmaxClassifier(tol=1e-9).fit(X, y)
    other = SoftmaxClassifier(C=1.0 / scale**2, tol=1e-9).fit(scale * X, y)
    np.testing.assert_allclose(other.coef_ * scale, clf.coef_, atol=1e-6)
    np.testing.assert_allclose(other.objective_ * scale**2, clf.objective_, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_classes_too_large_to_be_kept_end_where_others_do(dtype, monkeypatch):
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((6000, 40)) + rng.uniform(-2, 2, 40)).astype(dtype)
    y = (2.0 * X @ rng.standard_normal((40, 25)) / 6.0 + rng.gumbel(size=(6000, 25))).argmax(axis=1)
    weight = rng.exponential(size=6000) ** 3
    kept = SoftmaxClassifier(tol=1e-8).fit(X, y, weight)
    found, one_by_one = [], _preconditioning.each_class_hessian
    monkeypatch.setattr(
        _preconditioning, "each_class_hessian", lambda *at, **how: found.append(at) or one_by_one(*at, **how)
    )
    monkeypatch.setattr(_preconditioning, "_MAX_KEPT", 1000)
    large = SoftmaxClassifier(tol=1e-8).fit(X, y, weight)
    assert found
    assert large.converged_
    monkeypatch.setattr(_preconditioning, "_MAX_BYTES", 0)
    with pytest.warns(ConvergenceWarning, match="max_iter=1000"):
        SoftmaxClassifier(tol=1e-8).fit(X, y, weight)
    assert large.n_iter_[0] <= 110
    np.testing.assert_allclose(large.coef_, kept.coef_, atol=1e-6)
    np.testing.assert_allclose(large.objective_, kept.objective_, rtol=1e-12)


@pytest.mark.parametrize(("column", "C"), [(1e22, 1.0), (1e30, 1.0), (1e-25, np.inf)])
def test_large_classes_in_units_beyond_float32(column, C, monkeypatch):
    monkeypatch.setattr(_preconditioning, "_MAX_KEPT", 100)
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((5000, 50))
    y = (Z @ rng.standard_normal((50, 12)) * 0.4 + rng.gumbel(size=(5000, 12))).argmax(axis=1)
    usual = SoftmaxClassifier(C=C, tol=1e-6).fit(Z, y)
    X = Z.copy()
    X[:, 7] *= column
    clf = SoftmaxClassifier(C=C, tol=1e-6).fit(X, y)  # no warning: they are errors
    assert clf.converged_
    assert clf.n_iter_[0] <= 2 * usual.n_iter_[0]
    assert clf.objective_ <= usual.objective_ * (1.0 + 1e-3)


def test_heavy_tails_with_a_weak_penalty():
    """Renewals of the Hessian, one after the other, bring it to an end."""
    rng = np.random.default_rng(3)
    X = np.exp(2.5 * rng.standard_normal((10_000, 60)))
    W = rng.standard_normal((60, 10))
    y = ((X - X.mean(axis=0)) / X.std(axis=0) @ W * 8 + 0.1 * rng.gumbel(size=(10_000, 10))).argmax(axis=1)
    assert SoftmaxClassifier(C=1e6).fit(X, y).converged_


# L1 and elastic net


def kkt_violation(clf, X, y):
    """Largest violation of the optimality conditions, over C n and in units of the features' spread."""
    n_classes = y.max() + 1
    Y = reference.one_hot(y, n_classes)
    z = X @ clf.coef_.T + clf.intercept_
    z = np.hstack([np.zeros_like(z), z]) if n_classes == 2 else z
    G = np.exp(reference.log_softmax(z).astype(float)) - Y
    G = G[:, 1:] if n_classes == 2 else G
    grad = clf.C * G.T @ X + (1 - clf.l1_ratio) * clf.coef_
    slope = clf.l1_ratio * np.sign(clf.coef_)
    violation = np.where(clf.coef_ == 0, np.maximum(np.abs(grad) - clf.l1_ratio, 0.0), np.abs(grad + slope))
    return max(np.max(violation / (clf.C * X.std(axis=0))), np.max(np.abs(clf.C * G.sum(axis=0)))) / len(X)


@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
@pytest.mark.parametrize("name", LOADERS)
def test_l1_meets_its_optimality_conditions(name, l1_ratio):
    X, y = real(name, standardised=True)
    X += 1e-9 * (X.std(axis=0) == 0)
    keep = X.std(axis=0) > 0
    X = np.ascontiguousarray(X[:, keep])
    clf = SoftmaxClassifier(C=0.3, l1_ratio=l1_ratio, tol=1e-9).fit(X, y)
    assert clf.converged_
    assert kkt_violation(clf, X, y) < 1e-8
    assert 0.0 < np.mean(clf.coef_ == 0.0) < 1.0
    np.testing.assert_allclose(clf.objective_, objective(clf, X, y), rtol=1e-12)


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
@pytest.mark.parametrize("name", ["iris", "wine", "breast cancer"])
def test_l1_is_where_saga_ends(name, l1_ratio):
    X, y = real(name, standardised=True)
    C = 0.1 if name == "breast cancer" else 1.0
    saga = LogisticRegression(solver="saga", C=C, l1_ratio=l1_ratio, tol=1e-10, max_iter=100_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the oldest scikit-learn asks for penalty=
        if "penalty" in saga.get_params() and saga.penalty == "l2":
            saga.set_params(penalty="elasticnet")
        saga.fit(X, y)
    clf = SoftmaxClassifier(C=C, l1_ratio=l1_ratio, tol=1e-9).fit(X, y)
    np.testing.assert_allclose(clf.coef_, saga.coef_, atol=2e-4)
    np.testing.assert_array_equal(clf.coef_ == 0.0, saga.coef_ == 0.0)


def test_l1_in_raw_units_and_sparse_rows():
    X, y = real("breast cancer")
    for C in (1.0, 0.01):
        dense = SoftmaxClassifier(C=C, l1_ratio=1.0, tol=1e-8).fit(X, y)
        sparse = SoftmaxClassifier(C=C, l1_ratio=1.0, tol=1e-8).fit(sp.csr_array(X), y)
        assert kkt_violation(dense, X, y) < 1e-6
        np.testing.assert_allclose(sparse.coef_, dense.coef_, rtol=1e-4, atol=1e-9)


def test_enough_l1_leaves_the_prior():
    X, y = real("iris", standardised=True)
    clf = SoftmaxClassifier(C=1e-4, l1_ratio=1.0).fit(X, np.minimum(y, 1))
    np.testing.assert_array_equal(clf.coef_, 0.0)
    np.testing.assert_allclose(clf.predict_proba(X)[0], [1 / 3, 2 / 3], rtol=1e-6)


# hard problems


@pytest.mark.parametrize("n_classes", [2, 3])
def test_perfect_separation_without_a_penalty_is_said(n_classes):
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=200)
    X = rng.standard_normal((200, 5))
    X[:, 0] += 100.0 * y
    X[:, 1] -= 100.0 * (y == 1)
    with pytest.warns(ConvergenceWarning, match="perfectly separable"):
        clf = SoftmaxClassifier(C=np.inf).fit(X, y)
    assert not clf.converged_
    assert clf.n_iter_[0] < 100
    assert np.isfinite(clf.coef_).all()
    assert clf.score(X, y) == 1.0
    assert SoftmaxClassifier(C=np.inf, label_smoothing=0.1).fit(X, y).converged_  # its minimum is finite


@pytest.mark.parametrize("tol", [1e-4, 1e-8])
@pytest.mark.parametrize("C", [1e4, 1e5, 1e6, 1e7])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_a_loss_of_next_to_nothing_is_minimised(n_classes, C, tol):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        y = rng.integers(n_classes, size=200)
        X = rng.standard_normal((200, 5))
        X[:, 0] += 100.0 * y
        X[:, 1] -= 100.0 * (y == 1)
        clf = SoftmaxClassifier(C=C, tol=tol).fit(X, y)  # a ConvergenceWarning would be an error
        assert clf.converged_
        assert clf.history_["n_evaluations"][-1] < 300


@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_penalty_on_overlapping_classes(n_classes):
    X, y = synthetic(n_classes=n_classes)
    clf = SoftmaxClassifier(C=np.inf, tol=1e-9).fit(X, y)
    newton = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # singular for three classes: it falls back
        newton.fit(X, y)
    centred = newton.coef_ - newton.coef_.mean(axis=0) * (n_classes > 2)
    np.testing.assert_allclose(clf.coef_, centred, atol=2e-5)
    for l1_ratio in (0.5, 1.0):
        again = SoftmaxClassifier(C=np.inf, l1_ratio=l1_ratio, tol=1e-9).fit(X, y)
        np.testing.assert_allclose(again.coef_, clf.coef_, atol=1e-7)


@pytest.mark.parametrize("C", [1.0, np.inf])
@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
@pytest.mark.parametrize("constant", [1.0, 1e6])
def test_constant_and_duplicated_columns(C, l1_ratio, constant):
    X, y = synthetic()
    wide = np.column_stack([X, X[:, 0], np.full(len(X), constant), X[:, 0]])
    clf = SoftmaxClassifier(C=C, l1_ratio=l1_ratio, tol=1e-9).fit(wide, y)
    assert clf.converged_
    np.testing.assert_array_equal(clf.coef_[:, -2], 0.0)
    narrow = SoftmaxClassifier(C=C, l1_ratio=l1_ratio, tol=1e-9).fit(X, y)
    if l1_ratio == 0.0 and np.isfinite(C):
        np.testing.assert_allclose(clf.coef_[:, [12, 14]], clf.coef_[:, [0, 0]], rtol=1e-6)
    else:
        np.testing.assert_allclose(clf.predict_proba(wide), narrow.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
def test_fewer_rows_than_features(C):
    X, y = synthetic(n=40, d=300, seed=3)
    clf = SoftmaxClassifier(C=C, tol=1e-9).fit(X, y)
    newton = LogisticRegression(C=C, solver="newton-cg", tol=1e-10, max_iter=1000).fit(X, y)
    assert clf.converged_
    np.testing.assert_allclose(clf.coef_, newton.coef_, atol=2e-5)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_one_sample_in_a_class(n_classes):
    X, y = synthetic(n=400, n_classes=n_classes)
    y = np.where(y == 1, 0, y)
    y[7] = 1
    clf = SoftmaxClassifier(tol=1e-9).fit(X, y)
    newton = LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(X, y)
    assert clf.converged_
    np.testing.assert_allclose(clf.coef_, newton.coef_, atol=1e-6)


def test_a_hundred_thousand_features():
    rng = np.random.default_rng(0)
    n, d, stored = 1000, 100_000, 30
    columns = np.sort((d * rng.random((n, stored)) ** 4).astype(np.int32), axis=1)
    X = sp.csr_array((np.ones(n * stored), columns.ravel(), np.arange(0, n * stored + 1, stored)), shape=(n, d))
    X.sum_duplicates()
    y = (X[:, :20] @ rng.standard_normal((20, 3)) + rng.gumbel(size=(n, 3))).argmax(axis=1)
    unseen = np.ones(d, dtype=bool)
    unseen[X.indices] = False
    for l1_ratio in (0.0, 1.0):
        clf = SoftmaxClassifier(l1_ratio=l1_ratio).fit(X, y)
        assert clf.converged_
        np.testing.assert_array_equal(clf.coef_[:, unseen], 0.0)
    few = np.flatnonzero(np.bincount(X.indices, minlength=d) > 0)[:1500]
    narrow = SoftmaxClassifier(l1_ratio=1.0, tol=1e-7).fit(X[:, few], y)  # 4500 entries: some wait
    all_move = SoftmaxClassifier(l1_ratio=1.0, tol=1e-7).fit(X[:, few[:1300]], y)
    for fitted, columns in ((narrow, few), (all_move, few[:1300])):
        assert kkt_violation(fitted, X[:, columns].toarray(), y) < 1e-5
        assert np.mean(fitted.coef_ == 0.0) > 0.9


def test_weights_over_eighteen_decades():
    X, y = synthetic(n=400)
    weight = 10.0 ** np.random.default_rng(0).uniform(-12, 6, 400)
    C = 1.0 / weight.sum()
    clf = SoftmaxClassifier(C=400 * C, tol=1e-9).fit(X, y, weight)
    heavy = weight > 1e-10 * weight.max()
    newton = LogisticRegression(C=400 * C, solver="newton-cholesky", tol=1e-13, max_iter=200)
    newton.fit(X[heavy], y[heavy], weight[heavy])
    assert clf.converged_
    np.testing.assert_allclose(clf.coef_, newton.coef_, atol=1e-5)


def test_five_hundred_classes():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(500), 4)
    X = rng.standard_normal((500, 20))[y] + 0.5 * rng.standard_normal((2000, 20))
    clf = SoftmaxClassifier().fit(X, y)
    assert clf.converged_
    assert clf.history_["n_evaluations"][-1] <= 60
    assert clf.score(X, y) > 0.9
    np.testing.assert_allclose(clf.coef_.sum(axis=0), 0.0, atol=1e-10)


def test_near_duplicates_and_nearly_constant_columns():
    X, y = synthetic()
    X = np.column_stack([X, X[:, 0] + 1e-9 * X[:, 1], 1.0 + 1e-12 * X[:, 2]])
    for C in (1.0, 1e6):
        clf = SoftmaxClassifier(C=C).fit(X, y)
        assert clf.converged_
        assert clf.history_["n_evaluations"][-1] <= 60


@pytest.mark.parametrize(("C", "seed", "at_most"), [(1e3, 0, 60), (1e3, 3, 60), (1e6, 0, 80), (1e6, 4, 80)])
def test_light_rows_that_alone_show_a_direction_count_in_the_hessian(C, seed, at_most):
    """One-hot columns of few rows each, whose weights lie over ten decades."""
    n, d, n_classes, rng = 60, 30, 4, np.random.default_rng(seed)
    X = np.eye(d)[rng.integers(d, size=n)]
    y = ((X - X.mean(axis=0)) @ rng.normal(size=(d, n_classes)) + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    y[:n_classes] = range(n_classes)
    clf = SoftmaxClassifier(C=C).fit(X, y, 10.0 ** rng.uniform(-5, 5, size=n))
    assert clf.converged_
    assert clf.history_["n_evaluations"][-1] <= at_most


@pytest.mark.parametrize("l1_ratio", [1.0, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_l1_of_nearly_collinear_features_converges(seed, l1_ratio):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(300, 20))
    X[:, 10:] = X[:, :10] + 1e-3 * X[:, 10:]
    y = ((X - X.mean(axis=0)) @ rng.normal(size=(20, 4)) + rng.gumbel(size=(300, 4))).argmax(axis=1)
    for C in (1.0, 1e3, 1e5):
        clf = SoftmaxClassifier(C=C, l1_ratio=l1_ratio).fit(X, y)
        assert clf.converged_
        assert clf.history_["n_evaluations"][-1] <= 40
        best = SoftmaxClassifier(C=C, l1_ratio=l1_ratio, tol=1e-8).fit(X, y)
        assert clf.objective_ - best.objective_ <= 1e-6 * best.objective_
        assert (clf.coef_ == 0.0).any() or C > 1e3


def test_the_objective_of_a_stopped_l1_fit_is_that_of_its_coefficients():
    """Within bounds a coefficient is a difference of two numbers, whose sum is larger than its absolute value."""
    X, y = real("digits")
    for max_iter in range(3, 12):
        with pytest.warns(ConvergenceWarning):
            clf = SoftmaxClassifier(C=10.0, l1_ratio=0.5, max_iter=max_iter).fit(X, y)
        loss = cross_entropy(y, clf.decision_function(X), reduction="sum")
        penalty = 0.25 * (clf.coef_**2).sum() + 0.5 * np.abs(clf.coef_).sum()
        assert clf.objective_ == pytest.approx(10.0 * loss + penalty, rel=1e-6)
        assert clf.history_["objective"][-1] == pytest.approx(clf.objective_, rel=1e-6)


# warm start


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
@pytest.mark.parametrize("name", LOADERS)
def test_a_second_fit_ends_at_once(name, l1_ratio):
    X, y = real(name)
    clf = SoftmaxClassifier(l1_ratio=l1_ratio, warm_start=True).fit(X, y)
    assert clf.n_iter_[0] > 3
    kept = clf.objective_
    clf.fit(X, y)
    assert clf.n_iter_[0] <= 3
    np.testing.assert_allclose(clf.objective_, kept, rtol=1e-6 if l1_ratio == 0.0 else 1e-5)
    clf.set_params(C=1.1)
    assert clf.fit(X, y).converged_


@pytest.mark.parametrize("lightest", [1e-16, 1e-10])
def test_a_first_row_of_next_to_no_weight_does_not_hide_directions(lightest):
    """It is the only row that tells two nearly equal features apart as much: sampled whole, it stands for many."""
    rng = np.random.default_rng(0)
    n, d = 8000, 20
    X = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.6 @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    X /= X.std(axis=0)
    apart = rng.standard_normal(n)
    X[:, -1] = X[:, 0] + 1e-6 * apart
    y = (2.0 * apart + rng.logistic(size=n) > 0.0).astype(int)
    X[0, -1] = -X[0, 0]
    weight = np.ones(n)
    weight[0] = 0.0
    without = SoftmaxClassifier(C=np.inf).fit(X, y, sample_weight=weight)
    weight[0] = lightest
    model = SoftmaxClassifier(C=np.inf).fit(X, y, sample_weight=weight)
    assert model.converged_
    assert model.objective_ == pytest.approx(without.objective_, rel=1e-6)


# values that own the variance of a column


def two_parameter_minimum(x, y, C, coef, intercept):
    """The objective of two classes and one feature with an L2 penalty, by Newton in long double."""
    x, sign = x.astype(np.longdouble), np.where(y == 1, -1, 1).astype(np.longdouble)
    C, penalty = (C, 1) if np.isfinite(C) else (1.0, 0)
    w = np.array([coef, intercept], dtype=np.longdouble)

    def value(w):
        return C * np.logaddexp(np.longdouble(0), sign * (w[0] * x + w[1])).sum() + penalty * w[0] ** 2 / 2

    for _ in range(100):
        p = np.exp(-np.logaddexp(0, -sign * (w[0] * x + w[1])))
        g = np.array([C * (p * sign * x).sum() + penalty * w[0], C * (p * sign).sum()])
        c = p * np.exp(-np.logaddexp(0, sign * (w[0] * x + w[1])))
        if not c.sum() > 0:
            break
        mean = (c * x).sum() / c.sum()  # about it the Hessian is diagonal
        curvature = C * (c * (x - mean) ** 2).sum() + penalty
        if not curvature > 0:
            break
        first = (g[0] - mean * g[1]) / curvature
        if not np.isfinite(first):
            break
        step = np.array([first, g[1] / (C * c.sum()) - mean * first])
        t = np.longdouble(1)
        while value(w - t * step) > value(w) and t > 1e-12:
            t /= 2
        if t <= 1e-12:
            break
        w = w - t * step
    return float(value(w))


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, np.float32])
@pytest.mark.parametrize("n_rows", [1, 6])
@pytest.mark.parametrize("C", [1.0, 100.0, np.inf])
@pytest.mark.parametrize("value", [-1e6, -999999.0, -(2.0**31), 1e9, 1e12])
def test_few_huge_values_do_not_end_a_fit(value, C, n_rows, kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    y = (x + rng.normal(size=300) > 0).astype(int)
    x[:n_rows], y[:n_rows] = value, 0
    X = kind(x[:, None])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of 1e12 with C=inf: its fits say that they have stalled
        clf = SoftmaxClassifier(C=C).fit(X, y)
    assert clf.converged_ or (value == 1e12 and np.isinf(C))
    x = (X.toarray() if sp.issparse(X) else X)[:, 0]
    starts = [(1.6, 0.0), (clf.coef_[0, 0], clf.intercept_[0]), (0.0, 0.0)]
    best = min(two_parameter_minimum(x, y, C, *start) for start in starts)
    assert abs(clf.objective_ - best) <= 1e-6 * best
    if value < 0.0:
        assert clf.score(X, y) > 0.7


@pytest.mark.parametrize("C", [1.0, 100.0])
@pytest.mark.parametrize("value", [-999999.0, -(2.0**31)])
def test_few_huge_values_do_not_end_an_l1_fit(value, C):
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    y = (x + rng.normal(size=300) > 0).astype(int)
    x[0], y[0] = value, 0
    with_value = SoftmaxClassifier(C=C, l1_ratio=1.0).fit(x[:, None], y)
    without = SoftmaxClassifier(C=C, l1_ratio=1.0).fit(x[1:, None], y[1:])
    assert with_value.converged_
    assert with_value.objective_ == pytest.approx(without.objective_, rel=1e-6)  # the row costs nothing
    np.testing.assert_allclose(with_value.coef_, without.coef_, rtol=1e-3)
