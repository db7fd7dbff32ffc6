"""The objective against an extended-precision oracle, and its gradient against central differences of that oracle."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from reference import D, N, many_rows, problem

from xentropy import _objective
from xentropy._objective import LinearObjective
from xentropy._solver import minimize_lbfgs
from xentropy._targets import learn_target


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
