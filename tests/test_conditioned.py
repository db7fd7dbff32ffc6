"""The variables of a minimisation, and what they are made of, against Hessians by central differences."""

import numpy as np
import pytest
import scipy.sparse as sp
from reference import N, many_rows, problem
from scipy.linalg import eigvalsh

from xentropy import _conditioned, _objective
from xentropy._objective import LinearObjective
from xentropy._solver import minimize_lbfgs
from xentropy._targets import learn_target
from xentropy._variables import ClassVariables, PackedClassVariables, Variables


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_variables_are_those_of_the_hessian(n_classes, weighted):
    X, y, coef, intercept, rng = problem(n_classes, soft=False)
    weights = rng.integers(0, 3, N) * 0.7 if weighted else None
    objective = LinearObjective(X, learn_target(y), C=0.3, sample_weight=weights)
    theta = objective.pack(coef - coef.mean(axis=0) * (n_classes > 2), intercept)
    objective.variables(theta)
    variables = objective.renewed_variables(theta)
    if isinstance(variables, ClassVariables):
        compare(objective, theta, variables, one_class=True)
        variables = objective.renewed_variables(theta)
    compare(objective, theta, variables)
    assert isinstance(variables, Variables)
    assert objective.renewal_cost(1.0) == np.inf  # it would find the same again
    assert np.isfinite(objective.renewal_cost(0.9))


def compare(objective, theta, variables, *, one_class=False, rel=1e-6):
    """In the variables the curvature is one: v^T v = theta^T H theta."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = rng.normal(size=(objective.n_features + 1, objective.n_outputs))
        if one_class:
            direction[:, 1:] = 0.0
        elif objective.n_outputs > 1:  # what all classes share changes nothing
            direction -= direction.mean(axis=1, keepdims=True)
        change = 1e-5 * direction.ravel()
        product = objective(theta + change)[1] - objective(theta - change)[1]
        v = variables.v(change)
        assert v @ v == pytest.approx(0.5 * change @ product, rel=rel)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_blocks_of_rows_without_weight_add_nothing_to_the_hessian(n_classes, monkeypatch):
    monkeypatch.setattr("xentropy._curvature._BLOCK_VALUES", 60)  # ten rows and fewer
    X, y, coef, intercept, _ = problem(n_classes, soft=False)
    weights = np.ones(len(X))
    weights[:12] = weights[-12:] = 0.0
    objective = LinearObjective(X, learn_target(y), C=0.3, sample_weight=weights)
    theta = objective.pack(coef - coef.mean(axis=0) * (n_classes > 2), intercept)
    objective._knows = "gram" if n_classes == 2 else "classes"
    compare(objective, theta, objective.renewed_variables(theta))


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_a_column_too_large_to_be_squared_is_named(storage, fit_intercept):
    X, y, *_ = problem(3, soft=False)
    X[5, 4] = 1e200
    objective = LinearObjective(storage(X), learn_target(y), fit_intercept=fit_intercept)
    with pytest.raises(ValueError, match="squares of column 4 of X overflow"):
        objective.variables(objective.start())


def test_rows_without_curvature_are_left_out_of_the_hessian():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 100))
    coef = rng.normal(size=(100, 4))
    objective = LinearObjective(X, learn_target((X @ coef).argmax(axis=1)), C=10.0)
    theta = objective.pack(coef.T - coef.mean(axis=1), np.zeros(4))
    objective.variables(theta)
    assert isinstance(objective.renewed_variables(theta), ClassVariables)
    dear = objective.renewal_cost(1.0)
    objective._used = 1.0
    assert dear < 0.8 * objective.renewal_cost(1.0)
    compare(objective, theta, objective.renewed_variables(theta), rel=0.01)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_squared_eigenvalue_of_correlations(weighted, storage):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 30)) @ rng.standard_normal((30, 30)) * np.logspace(-3, 3, 30) + 5.0
    weight = rng.exponential(size=3000) if weighted else None
    X[:, 7] = 2.0  # is nobody's relative
    known = np.linalg.eigvalsh(np.corrcoef(np.delete(X, 7, axis=1), rowvar=False))
    known[-1] = 0.0  # the largest is left out
    assert np.mean(known**2) > 1.5
    objective = LinearObjective(storage(X), learn_target(np.arange(3000) % 2), sample_weight=weight)
    assert objective._curvature.correlations[0] == pytest.approx(np.mean(known**2), rel=0.2)
    apart = LinearObjective(rng.standard_normal((3000, 30)), learn_target(np.arange(3000) % 2))
    assert apart._curvature.correlations == pytest.approx((0.9, 0.26), abs=0.1)
    constant = LinearObjective(np.ones((2, 2)), learn_target(np.array([0, 1])))
    assert constant._curvature.correlations == (0.0, np.inf)


def test_correlations_are_those_of_rows_with_weight():
    rng = np.random.default_rng(0)
    X, target, weight = rng.standard_normal((100, 30)), learn_target(np.arange(100) % 2), np.ones(100)
    weight[:40] = 0.0
    usual = LinearObjective(X, target, sample_weight=weight)._curvature.correlations
    X[:40] = 1e6
    assert LinearObjective(X, target, sample_weight=weight)._curvature.correlations == usual


def embeddings(n=4000, d=300):
    """Of unit length, correlated with a falling spectrum."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.6 @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    logits = X @ rng.standard_normal(d)
    return X, (3.0 * logits / logits.std() + rng.logistic(size=n) > 0.0).astype(int)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_gram_matrix_is_of_four_rows_or_more_for_each_feature(fit_intercept):
    X, y = embeddings(6000, 300)
    X = np.sign(X) if fit_intercept else X + 2.0 * np.abs(X).max()  # 128 rows tell all of each of these features
    objective = LinearObjective(X, learn_target(y), fit_intercept=fit_intercept)
    objective.variables(objective.start())
    assert objective._knows == "gram" or not fit_intercept
    assert objective._curvature.n_rows_of_gram() >= 4 * 300


def test_a_large_penalty_or_one_common_factor_needs_no_gram_matrix():
    X, y = embeddings()
    target = learn_target(y)
    assert LinearObjective(X, target, C=1.0)._starts_with_gram()
    assert not LinearObjective(X, target, C=1e-4)._starts_with_gram()
    rng = np.random.default_rng(0)
    common = rng.standard_normal((4000, 300)) + 0.4 * rng.standard_normal((4000, 1))
    assert not LinearObjective(common, target)._starts_with_gram()


def test_features_that_vary_elsewhere_do_not_start_with_few_rows():
    X, y = embeddings(20_000, 256)
    sampled, _ = LinearObjective(X, learn_target(y))._curvature.sample(128)
    far = np.setdiff1d(np.arange(len(X)), sampled)[::2400]
    X[far, ::4] += 300.0 * X.std()
    objective = LinearObjective(X, learn_target(y))
    assert objective._curvature.correlations[0] > 2.5
    assert objective._curvature.correlations[1] < 0.01
    assert not objective._starts_with_gram()


def test_a_matrix_that_would_not_pay_is_not_asked_for(monkeypatch):
    rng = np.random.default_rng(0)
    X = sp.csr_matrix(rng.random((500, 2000)) * (rng.random((500, 2000)) < 0.01))
    objective = LinearObjective(X, learn_target(np.arange(500) % 2))
    monkeypatch.setattr(objective._curvature, "_centred", None)
    assert not objective._starts_with_gram()


def test_rows_whose_fourth_powers_overflow_are_no_sign_of_anything():
    X, y = embeddings(1500, 300)
    weight = np.ones(len(X))
    weight[[0, 700]] = 1e-160
    X[[0, 700]] = 1e80
    objective = LinearObjective(X, learn_target(y), sample_weight=weight)
    objective._curvature.sample = lambda n_rows: (np.arange(650, 650 + n_rows), np.ones(n_rows))
    assert not objective._starts_with_gram()


def test_correlated_features_start_with_a_gram_matrix_of_few_rows():
    X, y = embeddings()
    objective = LinearObjective(X, learn_target(y), C=100.0)
    assert objective._cost_of("gram") > 16.0
    start = objective.start()
    objective(start)
    assert not objective.variables(start).is_diagonal
    assert 4 * 300 <= objective._curvature.n_rows_of_gram() < 2000
    rng = np.random.default_rng(1)
    apart = LinearObjective(rng.permuted(X, axis=0), learn_target(y), C=100.0)  # the same features, each on its own
    assert apart.variables(start).is_diagonal
    found = minimize_lbfgs(objective, start, tol=1e-4, max_iter=1000)
    assert found.converged
    assert found.n_evaluations < 30  # 220 with the diagonal
    X[:, 5] *= rng.random(len(X)) < 0.003  # few rows show this one
    rare = LinearObjective(X, learn_target(y), C=100.0)
    assert rare.variables(start).is_diagonal


def large(monkeypatch):
    """From here on the Hessians of three classes are too large to be kept."""
    monkeypatch.setattr(_conditioned, "_MOST_KEPT", 2)
    monkeypatch.setattr("xentropy._curvature._BLOCK_VALUES", 60)  # ten rows and fewer


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_large_classes_one_after_the_other(weighted, fit_intercept, storage, monkeypatch):
    X, y, coef, intercept, rng = problem(5, soft=False)
    weights = rng.integers(0, 3, N) * 0.7 if weighted else None
    offset = None if fit_intercept else np.array([1.0, 0.0, -1.0, 0.5, 0.0])
    objective = LinearObjective(
        storage(X), learn_target(y), C=0.3, sample_weight=weights, fit_intercept=fit_intercept, offset=offset
    )
    theta = objective.pack(coef - coef.mean(axis=0), intercept)[: objective.n_theta]
    monkeypatch.setattr(_conditioned, "_NEGLIGIBLE_IN_LARGE", 0.0)
    large(monkeypatch)
    objective(theta)
    objective._knows = "gram"
    monkeypatch.setattr(LinearObjective, "_hessian_kinds", lambda self: ("classes",))
    variables = objective.renewed_variables(theta)
    assert isinstance(variables, PackedClassVariables)
    rng = np.random.default_rng(0)
    for k in range(5):
        direction = np.zeros((objective.n_features + fit_intercept, 5))
        direction[:, k] = rng.normal(size=len(direction))
        change = 1e-5 * direction.ravel()
        product = objective(theta + change)[1] - objective(theta - change)[1]
        v = variables.v(change)
        assert v @ v == pytest.approx(0.5 * change @ product, rel=3e-6)
    for C in (0.3, 30.0):  # another C begins with what is at hand
        objective.C = C
        assert not isinstance(objective.variables(theta), ClassVariables)
        assert isinstance(objective.renewed_variables(theta), PackedClassVariables)


def test_a_fit_starts_with_a_hessian_where_the_last_one_took_long():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(500, 20)), rng.integers(5, size=500)
    theta = LinearObjective(X, learn_target(y)).start()

    def minimised(objective, C, n_evaluations, l1_ratio=0.0):
        objective.C, objective.l1_ratio = C, l1_ratio
        variables = objective.variables(theta)
        for _ in range(n_evaluations):
            objective(theta + 0.0)
        return type(variables)

    for n_evaluations, kind in ((3, Variables), (60, ClassVariables)):
        objective = LinearObjective(X, learn_target(y))
        assert minimised(objective, 0.1, n_evaluations) is Variables
        assert minimised(objective, 1.0, n_evaluations) is Variables  # the first one says nothing of the others
        assert minimised(objective, 10.0, 2) is kind
        assert minimised(objective, 100.0, 2) is kind  # and stays with it
    objective = LinearObjective(X, learn_target(y))
    for l1_ratio, n_evaluations in ((0.0, 3), (0.0, 3), (0.5, 60)):
        minimised(objective, 1.0, n_evaluations, l1_ratio)
    assert minimised(objective, 1.0, 3) is Variables  # evaluations with an L1 penalty do not count


def test_hessians_of_classes_are_found_again_where_the_loss_has_fallen():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 20))
    y = (X @ rng.normal(size=(20, 5))).argmax(axis=1)
    objective = LinearObjective(X, learn_target(y), C=10.0)
    start = objective.start()
    objective(start)
    objective.variables(start)
    assert isinstance(objective.renewed_variables(start), ClassVariables)
    assert objective._next_kind() == "coupled"
    there = minimize_lbfgs(LinearObjective(X, learn_target(y), C=10.0), start, tol=1e-2, max_iter=100).theta
    objective(there)
    assert objective._next_kind() == "classes"
    before = objective._hessian
    assert isinstance(objective.renewed_variables(there), ClassVariables)
    assert np.abs(objective._hessian - before).max() > 1e-2
    assert objective._next_kind() == "coupled"


def test_a_kept_hessian_is_left_as_it_is():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(500, 8)), rng.integers(4, size=500)
    for kind in ("classes", "coupled"):
        objective = LinearObjective(X, learn_target(y))
        objective._knows = kind
        objective._find_hessian(objective.start())
        kept = objective._hessian.copy()
        objective.C = 10.0
        objective.variables(objective.start())
        np.testing.assert_array_equal(objective._hessian, kept)


def test_what_a_coupled_hessian_leaves_out_keeps_its_weight():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 3)), rng.integers(4, size=400)
    objective = LinearObjective(X, learn_target(y))
    theta = rng.normal(size=objective.n_theta)
    exact, _ = objective._curvature.hessian(theta, is_coupled=True, negligible=0.0)
    near, used = objective._curvature.hessian(theta, is_coupled=True, negligible=1.0)
    assert used < 0.7
    np.testing.assert_allclose(np.diag(near[3, :, 3, :]), np.diag(exact[3, :, 3, :]), rtol=1e-12)  # of the intercepts
    assert np.abs(near - exact).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_negligible_rows_of_large_classes_count_as_mean_ones(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 20))
    coef = 0.2 * rng.normal(size=(20, 8))
    y = (X @ coef + rng.gumbel(size=(4000, 8))).argmax(axis=1)
    objective = LinearObjective(X + 3.0, learn_target(y), C=10.0)
    theta = objective.pack(coef.T - coef.mean(axis=1), np.zeros(8))
    curvature = objective._curvature
    exact, _ = curvature.hessian(theta, is_coupled=False, negligible=0.0)
    near = curvature.of_each_class(np.copy, theta, 0.1, dtype=dtype, n_threads=2)
    alone = curvature.of_each_class(np.copy, theta, 0.1, dtype=dtype)
    np.testing.assert_array_equal(near, alone)
    rows, *_ = curvature._rows_of_classes(theta, 0.1)
    share = sum(len(at) for of_class in rows for at in of_class) / (8 * len(X))
    assert 0.5 < share < 0.9
    assert curvature.share_of_classes(theta, 0.1) == pytest.approx(share, rel=0.1)
    largest = 1.0
    for hessian, want in zip(near, exact, strict=True):
        hessian = np.triu(hessian) + np.triu(hessian, 1).T
        ratios = eigvalsh(hessian, want)
        assert 0.8 < ratios.min() < ratios.max() < 1.7
        largest = max(largest, ratios.max())
        np.testing.assert_allclose(hessian[-1, -1], want[-1, -1], rtol=1e-6)
    assert largest > 1.1  # something was neglected


def test_when_large_classes_are_worth_it(monkeypatch):
    monkeypatch.setattr(_objective, "_WORTH_A_SAMPLE", 1)
    X, y = many_rows()
    objective = LinearObjective(X, learn_target(y))
    assert objective.few_rows() is not None
    large(monkeypatch)
    assert objective.few_rows() is None  # their Hessian would not be kept
    monkeypatch.setattr(LinearObjective, "_hessian_kinds", lambda self: ("classes",))
    start = objective.start()
    objective(start)
    objective._knows = "gram"
    waits = []
    for _ in range(4):
        waits.append(objective.renewal_cost(0.5) - 4.0)
        objective.renewed_variables(start)
    np.testing.assert_allclose(np.array(waits) / waits[0], [1.0, 1.0, 2.0, 4.0])
    objective.variables(start)
    objective._knows = "gram"
    assert objective.renewal_cost(0.5) == pytest.approx(waits[0] + 4.0)
    for limit in ("_MOST_USED", "_MOST_PACKED"):
        with monkeypatch.context() as only:
            only.setattr(_conditioned, limit, 10)
            assert objective.renewal_cost(0.5) == np.inf


def test_large_classes_are_summed_like_the_evaluations(monkeypatch):
    rng = np.random.default_rng(0)
    X, target = rng.standard_normal((9000, 30)), learn_target(np.arange(9000) % 8)
    objective, asked = LinearObjective(X, target), []
    of_each_class = objective._curvature.of_each_class
    monkeypatch.setattr(
        objective._curvature, "of_each_class", lambda *a, **k: asked.append(k) or of_each_class(*a, **k)
    )
    objective._n_threads = 2
    objective.coarse(np.zeros(objective.n_theta))
    objective._variables_of_large_classes(np.zeros(objective.n_theta))
    objective(np.ones(objective.n_theta))
    objective._variables_of_large_classes(np.ones(objective.n_theta))
    assert asked == [{"dtype": "float32", "n_threads": 2}, {"dtype": "float64", "n_threads": 2}]


def test_hessians_of_large_classes_cost_what_their_rows_do():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 300))
    coef = rng.normal(size=(300, 60))
    objective = LinearObjective(X, learn_target((X @ coef).argmax(axis=1)))
    assert objective.few_rows() is None
    objective._knows = "gram"
    theta = objective.pack(coef.T - coef.mean(axis=1), np.zeros(60))
    objective(0.01 * theta)
    half_of_the_rows = objective.renewal_cost(1.0)
    objective(theta)
    assert 10.0 < objective.renewal_cost(0.5) < 0.5 * half_of_the_rows < np.inf
    assert isinstance(objective.renewed_variables(theta), PackedClassVariables)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_variables_of_a_support_are_those_of_its_hessian(n_classes):
    X, y, coef, intercept, rng = problem(n_classes, soft=False)
    objective = LinearObjective(X, learn_target(y), C=0.3, l1_ratio=0.4)
    theta = objective.pack(coef, intercept)
    free = np.flatnonzero(rng.random(theta.size) < 0.5)
    if n_classes > 2:  # of every feature, and the intercepts, some class is not free: those that all share count apart
        free = free[free % n_classes > 0]
    assert np.isfinite(objective.support_cost(len(free)))
    variables = objective.support_variables(theta, free)
    for _ in range(3):
        change = np.zeros(theta.size)
        change[free] = 1e-5 * rng.normal(size=len(free))
        product = objective(theta + change)[1] - objective(theta - change)[1]
        v = variables.v(change[free])
        assert v @ v == pytest.approx(0.5 * change @ product, rel=1e-6)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_variables_of_some_rows_are_near_those_of_the_hessian(n_classes, weighted):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8000, 5)) @ rng.normal(size=(5, 5)) + 3.0
    weights = np.where(rng.random(8000) < 0.5, 0.0, 10.0 ** rng.uniform(-6, 1, 8000)) if weighted else None
    objective = LinearObjective(X, learn_target(np.arange(8000) % n_classes), C=0.3, sample_weight=weights)
    theta = 0.1 * rng.normal(size=objective.n_theta)
    theta -= theta.reshape(6, -1).mean(axis=1).repeat(objective.n_outputs) * (n_classes > 2)
    assert objective._curvature.n_rows(objective.n_theta) < len(X)
    objective.variables(theta)
    while np.isfinite(objective.renewal_cost(1.0)):
        variables = objective.renewed_variables(theta)
    compare(objective, theta, variables, rel=0.3)


@pytest.mark.parametrize("units", [1e-100, 1.0, 1e100])
def test_a_feature_that_some_rows_do_not_show_keeps_its_variance(units):
    rng = np.random.default_rng(0)
    X = np.hstack([rng.normal(size=(20_000, 3)), np.zeros((20_000, 2))])
    y = rng.integers(0, 2, 20_000)
    unseen = np.setdiff1d(np.arange(20_000), LinearObjective(X, learn_target(y))._curvature.sample(600)[0])
    X[unseen[:4], 3] = X[unseen[4:9], 4] = 1.0
    X *= units
    objective = LinearObjective(X, learn_target(y), C=np.inf)
    assert objective._curvature.n_rows(6) == 600
    theta = objective.start()
    for variables in (objective.variables(theta), objective.renewed_variables(theta)):
        for j in (3, 4):
            change = np.zeros(6)
            change[j] = 1e-3 / units
            curvature = change @ (objective(theta + change)[1] - objective(theta - change)[1]) / 2
            v = variables.v(change)
            assert v @ v == pytest.approx(curvature, rel=0.1)


def test_the_rows_of_a_curvature_come_in_by_their_weight_and_share_no_period():
    weights = np.array([0.0, 1.0] * 500 + [0.0, 9.0] * 500)
    X, y = np.zeros((2000, 1)), np.arange(2000) // 2 % 2
    objective = LinearObjective(X, learn_target(y), sample_weight=weights)
    at, times = objective._curvature.sample(1000)
    assert times.sum() == 1000
    assert (weights[at] > 0.0).all()
    assert times[at < 1000].sum() == pytest.approx(100, abs=2)
    at, times = LinearObjective(X, learn_target(y))._curvature.sample(200)
    assert np.array_equal(at, np.unique(at))
    np.testing.assert_allclose(np.bincount(at % 10) / 200, 0.1, atol=0.02)
