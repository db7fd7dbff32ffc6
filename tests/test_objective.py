"""The objective against an extended-precision oracle, and its gradient against central differences of that oracle."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from scipy.linalg import eigvalsh

from xentropy import _conditioned, _objective
from xentropy._objective import LinearObjective
from xentropy._solver import minimize_lbfgs
from xentropy._targets import learn_target
from xentropy._variables import ClassVariables, PackedClassVariables, Variables

N, D = 41, 7


def problem(n_classes, *, soft, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, D)) * (rng.random((N, D)) < 0.7)
    y = rng.dirichlet(np.ones(n_classes), size=N) if soft else np.arange(N) % n_classes
    n_outputs = 1 if n_classes == 2 else n_classes
    coef = rng.normal(size=(n_outputs, D))
    intercept = rng.normal(size=n_outputs)
    return X, y, coef, intercept, rng


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3, 17])
def test_value_and_gradient(n_classes, soft, label_smoothing, weighted, fit_intercept):
    X, y, coef, intercept, rng = problem(n_classes, soft=soft)
    if not fit_intercept:
        intercept = np.zeros_like(intercept)
    weights = {"sample_weight": None, "class_weight": None}
    if weighted:
        weights = {"sample_weight": rng.integers(0, 3, N) * 0.7, "class_weight": rng.uniform(0.1, 2, n_classes)}
    options = {"C": 0.3, "label_smoothing": label_smoothing, **weights}
    objective = LinearObjective(X, learn_target(y), fit_intercept=fit_intercept, **options)
    distribution = y if soft else reference.one_hot(y, n_classes)

    value, grad = objective(objective.pack(coef, intercept))
    expected = reference.objective(X, distribution, coef, intercept, **options)
    assert objective.unscaled(value) == pytest.approx(expected, rel=1e-13)

    scale = objective.unscaled(1.0)

    def plain_intercept(w):  # theta holds the intercepts of centred features: they stay while w changes
        return intercept + objective.pack(coef - w, 0 * intercept)[coef.size :] if fit_intercept else intercept

    grad_coef = reference.central_difference(
        lambda w: reference.objective(X, distribution, w, plain_intercept(w), **options), coef
    )
    np.testing.assert_allclose(grad[: coef.size].reshape(D, -1).T * scale, grad_coef, rtol=1e-7, atol=1e-8)
    if fit_intercept:
        grad_intercept = reference.central_difference(
            lambda b: reference.objective(X, distribution, coef, b, **options), intercept
        )
        np.testing.assert_allclose(grad[coef.size :] * scale, grad_intercept, rtol=1e-7, atol=1e-8)
    else:
        assert grad.size == coef.size


@pytest.mark.parametrize("n_classes", [2, 4])
def test_any_storage_of_X_gives_the_same_numbers(n_classes):
    X, y, coef, intercept, _ = problem(n_classes, soft=False)
    X = X.astype(np.float32).astype(np.float64)
    target = learn_target(y)
    theta = LinearObjective(X, target).pack(coef, intercept)
    value, grad = LinearObjective(X, target)(theta)
    shuffled = sp.csr_array(X)
    wide = sp.csr_array((shuffled.data, shuffled.indices.astype(np.int64), shuffled.indptr.astype(np.int64)), X.shape)
    for stored in (X.astype(np.float32), sp.csr_array(X), sp.csr_matrix(X), sp.csr_array(X.astype(np.float32)), wide):
        other_value, other_grad = LinearObjective(stored, target)(theta)
        assert other_value == pytest.approx(value, rel=1e-14)
        np.testing.assert_allclose(other_grad, grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_no_penalty(n_classes):
    X, y, coef, intercept, _ = problem(n_classes, soft=False)
    objective = LinearObjective(X, learn_target(y), C=np.inf)
    value, _ = objective(objective.pack(coef, intercept))
    full = (coef, intercept) if n_classes > 2 else reference.two_columns(coef, intercept)
    expected = reference.linear_loss(X, reference.one_hot(y, n_classes), *full)
    assert objective.unscaled(value) == pytest.approx(float(expected), rel=1e-13)


def test_unpack_centres_the_classes_and_keeps_the_probabilities():
    X, y, coef, intercept, _ = problem(4, soft=False)
    objective = LinearObjective(X, learn_target(y))
    centred, shift = objective.unpack(objective.pack(coef, intercept))
    np.testing.assert_allclose(centred.sum(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(
        reference.log_softmax(X @ centred.T + shift), reference.log_softmax(X @ coef.T + intercept), atol=1e-13
    )


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


@pytest.mark.parametrize("n_classes", [2, 4])
def test_another_penalty_takes_the_loss_that_is_known(n_classes):
    X, y, coef, intercept, _ = problem(n_classes, soft=False)
    objective, target = LinearObjective(X, learn_target(y), C=0.3), learn_target(y)
    theta = objective.pack(coef, intercept)
    for C, l1_ratio in ((0.3, 0.0), (7.0, 0.0), (7.0, 0.5), (np.inf, 0.0)):
        objective.C, objective.l1_ratio = C, l1_ratio
        value, grad = objective(theta)
        expected_value, expected_grad = LinearObjective(X, target, C=C, l1_ratio=l1_ratio)(theta)
        assert value == expected_value
        np.testing.assert_array_equal(grad, expected_grad)
        grad[:] = np.nan  # belongs to the caller
    theta[0] += 1.0  # so does theta
    np.testing.assert_array_equal(objective(theta)[1], LinearObjective(X, target, C=np.inf)(theta)[1])


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


@pytest.mark.parametrize(
    ("dtype", "n", "n_classes"), [("float32", 70_000, 2), ("float32", 20_000, 4), ("float64", 9000, 8)]
)
def test_coarse_values_are_near(dtype, n, n_classes):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, 30)).astype(dtype), rng.integers(n_classes, size=n)
    objective = LinearObjective(X, learn_target(y), C=0.3)
    theta = rng.standard_normal(objective.n_theta)
    near, near_grad = objective.coarse(theta)
    value, grad = objective(theta)
    assert 0.0 < abs(near - value) < 1e-6 * value
    np.testing.assert_allclose(near_grad, grad, atol=1e-6 * np.abs(grad).max())
    again, _ = objective.coarse(theta)  # what is known exactly
    assert again == value


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 50.0])
@pytest.mark.parametrize("n", [2000, 40_000])
def test_coarse_values_resolve_what_they_say(n, offset, weighted):
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, 120)) + offset
    y = (X[:, :10] + rng.gumbel(size=(n, 10))).argmax(axis=1)
    weight = rng.exponential(size=n) if weighted else None
    objective = LinearObjective(X, learn_target(y), sample_weight=weight)
    theta = rng.standard_normal(objective.n_theta) / 8
    noise = []
    for _ in range(20):
        theta = theta + 1e-6 * rng.standard_normal(len(theta))
        noise.append(objective.coarse(theta.copy())[0] - objective(theta.copy())[0])
    assert np.std(noise) < objective.coarse_resolution < 1e-6
    if weighted and not offset:  # as fewer rows do
        rows = weight > 1.0
        assert objective.coarse_resolution > 1.2 * LinearObjective(X, learn_target(y)).coarse_resolution
        equal = LinearObjective(X, learn_target(y), sample_weight=rows.astype(float))
        fewer = LinearObjective(X[rows], learn_target(y[rows]))
        for some in (equal, fewer):
            some(np.zeros(some.n_theta))
        assert equal.coarse_resolution == pytest.approx(fewer.coarse_resolution, rel=0.05)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_coarse_values_of_extreme_weights_resolve_the_same(scale):
    rng = np.random.default_rng(0)
    X, target, weight = rng.standard_normal((9000, 30)), learn_target(np.arange(9000) % 8), rng.uniform(1, 2, 9000)
    usual = LinearObjective(X, target, sample_weight=weight)
    extreme = LinearObjective(X, target, sample_weight=weight * scale)
    for objective in (usual, extreme):
        objective(np.zeros(objective.n_theta))
    assert extreme.coarse_resolution == pytest.approx(usual.coarse_resolution, rel=1e-9)


def test_where_no_coarse_values_are():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((70_000, 30)), rng.integers(8, size=70_000)
    assert LinearObjective(X, learn_target(y)).coarse is not None
    assert LinearObjective(sp.csr_matrix(X), learn_target(y)).coarse is None
    assert LinearObjective(X.astype(np.float32), learn_target(y % 2)).coarse is not None
    assert LinearObjective(X, learn_target(y % 2)).coarse is None  # to make floats takes longer than they save
    assert LinearObjective(X, learn_target(rng.dirichlet(np.ones(8), 70_000))).coarse is None
    assert LinearObjective(X + 1e5, learn_target(y)).coarse is None
    assert LinearObjective(X[:1000], learn_target(y[:1000])).coarse is None


def test_no_coarse_values_of_a_small_loss():
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=20_000)
    objective = LinearObjective(np.eye(30, dtype=np.float32)[y], learn_target(y))
    assert objective.coarse is not None
    theta = np.zeros(objective.n_theta)
    objective(theta)
    assert objective.coarse is not None
    theta.reshape(-1, 4)[:4] = 20.0 * np.eye(4)
    objective(theta)
    assert objective.coarse is None


def many_rows(K=3, n=40_000, d=4):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) + 0.5
    return X, (X @ rng.standard_normal((d, K)) + rng.gumbel(size=(n, K))).argmax(axis=1)


@pytest.mark.parametrize(
    "asked", [{}, {"class_weight": [1.0, 4.0, 0.5]}, {"label_smoothing": 0.1, "class_weight": [1.0, 4.0, 0.5]}]
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_few_rows_have_nearly_the_same_value_and_gradient(fit_intercept, soft, weighted, asked, monkeypatch):
    monkeypatch.setattr(_objective, "_WORTH_A_SAMPLE", 1)
    rng = np.random.default_rng(1)
    X, y = many_rows()
    if soft:
        y = 0.8 * np.eye(3)[y] + 0.2 * rng.dirichlet(np.ones(3), len(y))
    weight = rng.exponential(size=len(X)) * (rng.random(len(X)) < 0.5) if weighted else None
    options = {name: np.array(value) if name == "class_weight" else value for name, value in asked.items()}
    all_rows = LinearObjective(
        X, learn_target(y), C=0.01, sample_weight=weight, fit_intercept=fit_intercept, **options
    )
    few = all_rows.few_rows()
    assert few._n <= len(X) // 8
    theta = all_rows.start() + 0.2 * rng.standard_normal(all_rows.n_theta)
    value, grad = all_rows(theta)
    near, near_grad = few(theta)
    assert near != value
    assert near == pytest.approx(value, rel=0.05)
    assert np.linalg.norm(near_grad - grad) < 0.2 * np.linalg.norm(grad)
    assert few.penalty(theta) == pytest.approx(all_rows.penalty(theta), rel=1e-12)
    # its Hessian is about that of all rows, by central differences
    monkeypatch.setattr(LinearObjective, "_hessian_kinds", lambda self: ("coupled",))
    all_rows.learn_hessian(few, theta)
    change = 1e-3 * rng.standard_normal((all_rows.n_theta // 3, 3))
    change = (change - change.mean(axis=1, keepdims=True)).ravel()  # a shift of all classes has no curvature
    v = all_rows.variables(theta).v(change)
    assert 0.8 < v @ v / (change @ (all_rows(theta + change)[1] - all_rows(theta - change)[1]) / 2) < 1.25


def test_rows_come_in_by_their_weight_once(monkeypatch):
    """What few rows sum is what all rows would, had each the weight of those that stand for it."""
    monkeypatch.setattr(_objective, "_WORTH_A_SAMPLE", 1)
    X, y = many_rows()
    weight = np.where(np.arange(len(X)) < 100, 1000.0, 1.0)
    few = LinearObjective(X, learn_target(y), C=np.inf, sample_weight=weight).few_rows()
    rows, times = few._pass_with.keywords["rows"], few._row_weight
    assert (rows < 100).sum() == 100
    assert times[rows < 100].sum() / times.sum() == pytest.approx(1e5 / 139_900, rel=0.01)
    same = LinearObjective(X[rows], learn_target(y)[rows], C=np.inf, sample_weight=times)
    theta = few.start() + 0.1
    assert few(theta)[0] == pytest.approx(same(same.pack(*few.unpack(theta)))[0], rel=1e-12)


def test_where_a_sample_is_no_start(monkeypatch):
    monkeypatch.setattr(_objective, "_WORTH_A_SAMPLE", 1)
    X, y = many_rows()
    target = learn_target(y)
    assert LinearObjective(X, target).few_rows() is not None
    assert LinearObjective(X.astype(np.float32), target).few_rows() is not None
    assert LinearObjective(sp.csr_matrix(X), target).few_rows() is None
    assert LinearObjective(X, target, l1_ratio=0.5).few_rows() is None
    assert LinearObjective(X, target, loss="focal").few_rows() is None
    assert LinearObjective(X[:2000], target[np.arange(2000)]).few_rows() is None  # 250 rows for 15 variables
    for value in (1.0, 1e4):  # an indicator of few rows, and a few that lie far from the others
        few_ones = X.copy()
        few_ones[:, 1] = 0.0 if value == 1.0 else X[:, 1]
        for few in (slice(8), slice(-8, None), slice(3000, 3080, 10)):
            these = few_ones.copy()
            these[few, 1] = value
            assert LinearObjective(these, target).few_rows() is None
    boundless = X.copy()
    boundless[:, 1] *= 1e200  # whose squares overflow: `variables` says so, and nothing warns before
    assert LinearObjective(boundless, target).few_rows() is None
    constant = X.copy()
    constant[:, 1] = 3.0
    assert LinearObjective(constant, target).few_rows() is not None
    rare = y.copy()
    rare[rare == 2] = 0
    rare[:50] = 2
    assert LinearObjective(X, learn_target(rare)).few_rows() is None
    monkeypatch.undo()
    assert LinearObjective(X, target).few_rows() is None  # an evaluation takes a millisecond


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_few_rows_of_extreme_weights(scale, monkeypatch):
    monkeypatch.setattr(_objective, "_WORTH_A_SAMPLE", 1)
    X, y = many_rows()
    weight = np.random.default_rng(0).uniform(1.0, 2.0, len(X))
    usual = LinearObjective(X, learn_target(y), C=np.inf, sample_weight=weight).few_rows()
    few = LinearObjective(X, learn_target(y), C=np.inf, sample_weight=weight * scale).few_rows()
    for got, want in zip(few(few.start()), usual(usual.start()), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_empty_columns_are_no_variables(n_classes, kind):
    rng = np.random.default_rng(0)
    n, d = 200, 50
    dense = np.zeros((n, d))
    stored = np.r_[3, 7:20, 41]
    dense[:, stored] = rng.standard_normal((n, len(stored))) * (rng.random((n, len(stored))) < 0.5)
    X, target = kind(dense), learn_target(rng.integers(n_classes, size=n))
    objective, whole = LinearObjective(X, target), LinearObjective(dense, target)
    assert objective.n_theta == objective.n_outputs * (len(stored) + 1)
    assert X.shape == (n, d)
    coef, intercept = rng.standard_normal((objective.n_outputs, d)), rng.standard_normal(objective.n_outputs)
    coef[:, np.setdiff1d(np.arange(d), stored)] = 0.0
    if n_classes > 2:
        coef -= coef.mean(axis=0)
        intercept -= intercept.mean()
    theta = objective.pack(coef, intercept)
    for got, want in zip(objective.unpack(theta), (coef, intercept), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-14)
    value, grad = objective(theta)
    want, want_grad = whole(whole.pack(coef, intercept))
    assert value == pytest.approx(want, rel=1e-14)
    np.testing.assert_allclose(
        grad[: -objective.n_outputs], want_grad[: -objective.n_outputs].reshape(d, -1)[stored].ravel(), atol=1e-14
    )


def test_a_few_empty_columns_stay():
    X = sp.csr_matrix(np.eye(40)[:39])
    assert LinearObjective(X, learn_target(np.arange(39) % 2)).n_theta == 41
    nothing = LinearObjective(sp.csr_matrix((39, 40)), learn_target(np.arange(39) % 2))
    assert nothing.unpack(nothing.start())[0].shape == (1, 40)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_no_coarse_values_of_terms_that_cancel(fit_intercept, monkeypatch):
    rng = np.random.default_rng(0)
    n, d, K = 6000, 30, 12
    apart = rng.standard_normal((n, d))
    y = (apart @ rng.standard_normal((d, K)) + rng.gumbel(size=(n, K))).argmax(axis=1)
    X = 1e-3 * apart + (apart[:, :3] @ rng.standard_normal((3, d)) if fit_intercept else rng.standard_normal(d))

    def fitted():
        objective = LinearObjective(X, learn_target(y), C=np.inf, fit_intercept=fit_intercept)
        return minimize_lbfgs(objective, objective.start(), tol=1e-4, max_iter=1000)

    coarse = fitted()
    monkeypatch.setattr("xentropy._objective._WORTH_COARSE", np.inf)
    exact = fitted()
    # where rounding decides the path of some hundred evaluations, so does it when they end
    assert coarse.n_evaluations <= 1.5 * exact.n_evaluations
    assert coarse.value <= exact.value * (1 + 1e-6)


def test_an_interrupt_between_coarse_and_exact_values(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20_000, 30), dtype=np.float32), rng.integers(4, size=20_000)
    objective, theta = LinearObjective(X, learn_target(y)), np.zeros(31 * 4)
    objective.coarse(theta)

    def interrupted(**_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(objective, "_pass_with", interrupted)
        with pytest.raises(KeyboardInterrupt):
            objective(theta)
    assert objective(theta)[0] == pytest.approx(np.log(4.0))  # what an interrupted fit asks for at its best iteration
