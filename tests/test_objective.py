"""The objective against an extended-precision oracle, and its gradient against central differences of that oracle."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from problems import independent, separable_by_planes
from reference import D, N, problem

from xentropy._design import Design, RowLoss
from xentropy._losses import FocalLoss
from xentropy._objective import Objective
from xentropy._solver import minimise
from xentropy._targets import learn_target


def objective_of(X, y, *, C=1.0, l1_ratio=0.0, sample_weight=None, fit_intercept=True, **row_loss):
    design = Design(
        X, learn_target(y), row_loss=RowLoss(**row_loss), sample_weight=sample_weight, fit_intercept=fit_intercept
    )
    return Objective(design, C=C, l1_ratio=l1_ratio)


# value and gradient


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3, 17])
def test_value_and_gradient_are_those_of_the_formula(n_classes, soft, label_smoothing, weighted, fit_intercept):
    X, y, coef, intercept, rng = problem(n_classes, soft=soft)
    if not fit_intercept:
        intercept = np.zeros_like(intercept)
    weights = {"sample_weight": None, "class_weight": None}
    if weighted:
        weights = {"sample_weight": rng.integers(0, 3, N) * 0.7, "class_weight": rng.uniform(0.1, 2, n_classes)}
    options = {"C": 0.3, "label_smoothing": label_smoothing, **weights}
    objective = objective_of(X, y, fit_intercept=fit_intercept, **options)
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


@pytest.mark.parametrize("n_classes", [2, 5])
def test_an_infinite_C_is_no_penalty(n_classes):
    X, y, coef, intercept, _ = problem(n_classes, soft=False)
    objective = objective_of(X, y, C=np.inf)
    theta = objective.pack(coef, intercept)
    full = (coef, intercept) if n_classes > 2 else reference.two_columns(coef, intercept)
    expected = reference.linear_loss(X, reference.one_hot(y, n_classes), *full)
    assert objective.unscaled(objective(theta)[0]) == pytest.approx(float(expected), rel=1e-13)
    assert objective.penalty(theta) == 0.0
    assert objective.l1_weights() is None


@pytest.mark.parametrize("l1_ratio", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_l1_term_is_left_to_the_solver(n_classes, l1_ratio):
    X, y, coef, intercept, rng = problem(n_classes, soft=False)
    weight = rng.exponential(size=N)
    objective = objective_of(X, y, C=0.3, l1_ratio=l1_ratio, sample_weight=weight)
    theta = objective.pack(coef, intercept)
    value, _ = objective(theta)
    unit = 1.0 / (0.3 * weight.sum())
    l1, l2 = l1_ratio * np.abs(coef).sum() * unit, 0.5 * (1.0 - l1_ratio) * np.sum(coef**2) * unit
    assert value == pytest.approx(objective.loss + l2, rel=1e-14)
    assert objective.value(theta) == pytest.approx(value + l1, rel=1e-14)
    assert objective.penalty(theta) == pytest.approx(l1 + l2, rel=1e-14)
    weights = objective.l1_weights()
    if l1_ratio == 0.0:
        assert weights is None
    else:
        of_coef, of_intercept = objective.design.views(weights)
        np.testing.assert_allclose(of_coef, l1_ratio * unit)
        np.testing.assert_array_equal(of_intercept, 0.0)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_another_penalty_takes_the_loss_that_is_known(n_classes, monkeypatch):
    X, y, coef, intercept, _ = problem(n_classes, soft=False)
    objective = objective_of(X, y, C=0.3)
    theta, evaluations = objective.pack(coef, intercept), []
    of_design = objective.design.loss_gradient
    monkeypatch.setattr(objective.design, "loss_gradient", lambda *at: evaluations.append(at) or of_design(*at))
    for C, l1_ratio in ((0.3, 0.0), (7.0, 0.0), (7.0, 0.5), (np.inf, 0.0)):
        objective.penalise(C, l1_ratio)
        value, grad = objective(theta)
        expected_value, expected_grad = objective_of(X, y, C=C, l1_ratio=l1_ratio)(theta)
        assert value == expected_value
        np.testing.assert_array_equal(grad, expected_grad)
        grad[:] = np.nan  # belongs to the caller
    assert len(evaluations) == 1
    np.testing.assert_array_equal(objective.last_theta, theta)
    theta[0] += 1.0  # so does theta
    np.testing.assert_array_equal(objective(theta)[1], objective_of(X, y, C=np.inf)(theta)[1])
    assert len(evaluations) == 2


@pytest.mark.parametrize(
    ("dtype", "n", "n_classes"), [("float32", 70_000, 2), ("float32", 20_000, 4), ("float64", 9000, 8)]
)
def test_values_in_float32_are_near_until_the_exact_ones_are_known(dtype, n, n_classes):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, 30)).astype(dtype), rng.integers(n_classes, size=n)
    objective = objective_of(X, y, C=0.3)
    theta = rng.standard_normal(objective.design.n_theta)
    near, near_grad = objective(theta, "float32")
    value, grad = objective(theta)
    assert 0.0 < abs(near - value) < 1e-6 * value
    np.testing.assert_allclose(near_grad, grad, atol=1e-6 * np.abs(grad).max())
    again, _ = objective(theta, "float32")  # what is known exactly
    assert again == value


# what float32 resolves


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 50.0])
@pytest.mark.parametrize("size", [1.0, 8.0])
@pytest.mark.parametrize("n", [2000, 40_000])
def test_the_resolution_of_float32_bounds_its_noise(n, size, offset, weighted):
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, 120)) + offset
    y = (X[:, :10] + rng.gumbel(size=(n, 10))).argmax(axis=1)
    weight = rng.exponential(size=n) if weighted else None
    objective = objective_of(X, y, sample_weight=weight)
    noise = noise_of_float32(objective, size / 8.0 * rng.standard_normal(objective.design.n_theta), rng)
    assert noise < objective.resolution() < 300.0 * noise
    assert objective.resolution() < 1e-6 * (1.0 + offset) * objective.loss


@pytest.mark.parametrize("steep", [1.0, 2.0, 3.0])
def test_float32_resolves_more_of_a_small_loss(steep):
    """Where classes are nearly separated: the rounding is a share of the loss."""
    X, y = separable_by_planes(9000, 30, 8)
    objective = objective_of(X, y, C=1e4)
    at = minimise(objective, objective.start(), tol=0.1, max_iter=100).theta * steep
    noise = noise_of_float32(objective, at, np.random.default_rng(0))
    assert objective.loss < 0.002
    assert noise < objective.resolution()
    assert objective.resolution() < 3e-5 * objective.loss


def noise_of_float32(objective, theta, rng):
    """Standard deviation of what float32 adds to values nearby. The last evaluation is in float64."""
    noise = []
    for _ in range(20):
        theta = theta + 1e-6 * rng.standard_normal(len(theta))
        noise.append(objective(theta.copy(), "float32")[0] - objective(theta.copy())[0])
    return np.std(noise)


def test_fewer_rows_resolve_less_in_float32():
    X, y = independent(9000, 30, 12)
    rng = np.random.default_rng(0)
    weight = rng.exponential(size=9000)
    heavy = weight > 1.0
    objectives = [
        objective_of(X, y),
        objective_of(X, y, sample_weight=weight),
        objective_of(X, y, sample_weight=heavy.astype(float)),
        objective_of(X[heavy], y[heavy]),
    ]
    for objective in objectives:
        objective(np.zeros(objective.design.n_theta))
    plain, weighted, chosen, fewer = (objective.resolution() for objective in objectives)
    assert weighted > 1.2 * plain
    assert chosen == pytest.approx(fewer, rel=0.05)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_the_scale_of_the_weights_does_not_change_the_resolution(scale):
    X, y = independent(9000, 30, 8)
    weight = np.random.default_rng(0).uniform(1, 2, 9000)
    usual, extreme = (objective_of(X, y, sample_weight=weight * unit) for unit in (1.0, scale))
    for objective in (usual, extreme):
        objective(np.zeros(objective.design.n_theta))
    assert extreme.resolution() == pytest.approx(usual.resolution(), rel=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_float32_takes_no_more_evaluations_where_terms_cancel(fit_intercept, monkeypatch):
    rng = np.random.default_rng(0)
    n, d, K = 6000, 30, 12
    apart = rng.standard_normal((n, d))
    y = (apart @ rng.standard_normal((d, K)) + rng.gumbel(size=(n, K))).argmax(axis=1)
    X = 1e-3 * apart + (apart[:, :3] @ rng.standard_normal((3, d)) if fit_intercept else rng.standard_normal(d))

    def fitted():
        objective = objective_of(X, y, C=np.inf, fit_intercept=fit_intercept)
        return minimise(objective, objective.start(), tol=1e-4, max_iter=1000)

    coarse = fitted()
    monkeypatch.setattr("xentropy._design._MIN_FLOAT32_WORK", np.inf)
    exact = fitted()
    # where rounding decides the path of some hundred evaluations, so does it when they end
    assert coarse.n_evaluations <= 1.5 * exact.n_evaluations
    assert coarse.value <= exact.value * (1 + 1e-6)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_small_loss_of_float32_rows_is_minimised_exactly(n_classes):
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=80_000)
    X = (np.eye(30)[y] + 0.05 * rng.standard_normal((80_000, 30))).astype(np.float32)
    values = []
    for rows in (X, X.astype(np.float64)):
        objective = objective_of(rows, y, C=10.0)
        found = minimise(objective, objective.start(), tol=1e-6, max_iter=1000)
        assert found.converged
        assert objective.loss < 0.01
        assert found.value == objective.value(found.theta.copy())
        values.append(found.value)
    assert values[0] == pytest.approx(values[1], rel=1e-10)


# coefficients and theta


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_unpack_returns_what_was_packed(n_classes, storage, fit_intercept):
    X, y, coef, intercept, _ = problem(n_classes, soft=False)
    X = np.insert(X, [2, 2, 5], 0.0, axis=1)  # empty columns
    coef = np.insert(coef, [2, 2, 5], 0.0, axis=1)
    if n_classes > 2:
        coef, intercept = coef - coef.mean(axis=0), intercept - intercept.mean()
    objective = objective_of(storage(X), y, fit_intercept=fit_intercept)
    assert objective.design.n_features == (10 if storage is np.asarray else 7)
    found, shift = objective.unpack(objective.pack(coef, intercept))
    np.testing.assert_allclose(found, coef, atol=1e-14)
    np.testing.assert_allclose(shift, intercept * fit_intercept, atol=1e-14)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_unpack_centres_the_classes_and_keeps_the_probabilities(l1_ratio):
    X, y, coef, intercept, _ = problem(4, soft=False)
    objective = objective_of(X, y, l1_ratio=l1_ratio)
    coef[0, 3] = 0.0
    found, shift = objective.unpack(objective.pack(coef, intercept))
    if l1_ratio:  # zeros stay zeros
        np.testing.assert_array_equal(found, coef)
    else:
        np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-14)
    assert shift.sum() == pytest.approx(0.0, abs=1e-14)
    np.testing.assert_allclose(
        reference.log_softmax(X @ found.T + shift), reference.log_softmax(X @ coef.T + intercept), atol=1e-13
    )


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_start_predicts_the_shares_of_the_classes(n_classes, offset):
    X, y, *_, rng = problem(n_classes, soft=False)
    weight = rng.exponential(size=N)
    of_classes = np.linspace(-1.0, 2.0, n_classes if n_classes > 2 else 1) if offset else None
    objective = objective_of(X, y, sample_weight=weight, offset=of_classes)
    design, theta = objective.design, objective.start()
    shares = np.bincount(y, weight) / weight.sum()
    np.testing.assert_allclose(design.probabilities(design.rows(np.array([5])), theta)[0], shares)
    np.testing.assert_array_equal(design.views(theta)[0], 0.0)
    np.testing.assert_allclose(design.views(objective(theta)[1])[1], 0.0, atol=1e-15)
    np.testing.assert_array_equal(objective_of(X, y, fit_intercept=False).start(), 0.0)


def test_the_loss_on_other_rows_is_without_penalty():
    X, y, coef, intercept, rng = problem(3, soft=False)
    objective = objective_of(X, y, C=1e-3, label_smoothing=0.2)
    others, labels, weight = rng.normal(size=(20, D)), rng.integers(3, size=20), rng.exponential(size=20)
    loss = objective.loss_on(others, learn_target(labels), weight)
    want = reference.linear_loss(
        others, reference.one_hot(labels, 3), coef, intercept, sample_weight=weight, label_smoothing=0.2
    )
    assert loss(objective.pack(coef, intercept)) == pytest.approx(float(want) / weight.sum(), rel=1e-13)


# separation


def test_a_value_below_log_two_of_the_lightest_row_proves_separation():
    X, y, *_ = problem(3, soft=False)
    weight = np.linspace(0.0, 2.0, N)
    objective = objective_of(X, y, C=np.inf, sample_weight=weight)
    bound = np.log(2.0) * weight[1] / weight.sum()
    assert objective.is_separated(0.999 * bound)
    assert not objective.is_separated(1.001 * bound)
    objective.penalise(1e6, 0.0)
    assert not objective.is_separated(0.0)


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing": 0.1},
        {"loss": FocalLoss()},
        {"offset": np.array([0.0, 1.0, 0.0]), "fit_intercept": False},
    ],
    ids=str,
)
def test_no_value_proves_separation_where_another_reason_could_lower_it(options):
    X, y, *_ = problem(3, soft=False)
    assert not objective_of(X, y, C=np.inf, **options).is_separated(0.0)


def test_no_value_proves_separation_of_soft_targets():
    X, y, *_ = problem(3, soft=True)
    assert not objective_of(X, y, C=np.inf).is_separated(0.0)
