"""Quadratic models with an L1 term, their minima, and the steps of proximal Newton."""

import numpy as np
import pytest
from problems import log_normal
from quadratics import Quadratic, Renewing, turned

import xentropy._proximal_newton
from xentropy import SoftmaxClassifier
from xentropy._kernels._coordinate import coordinate_descent
from xentropy._lbfgs import Minimisation, Status
from xentropy._proximal_newton import QuadraticModel, line_minimum, proximal_newton


def begun(problem, theta=None, *, tol=1e-12, max_iter=500, fun=None):
    theta = np.zeros(len(problem.l1)) if theta is None else theta
    m = Minimisation(fun or problem, theta, tol=tol, max_iter=max_iter, l1=problem.l1)
    m.begin()
    return m


def violation(hessian, grad, l1, theta, to):
    """The largest violation of the optimality conditions of a model of theta, at another point."""
    slope = grad + hessian @ (to - theta)
    return np.where(to == 0.0, np.maximum(np.abs(slope) - l1, 0.0), np.abs(slope + l1 * np.sign(to))).max()


def collinear(seed, n_pairs=12, apart=1e-3):
    """A Hessian of pairs of features that differ by a thousandth."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((200, n_pairs))
    X = np.hstack([X, X + apart * rng.standard_normal(X.shape)])
    return X.T @ X / len(X), X.T @ rng.standard_normal(len(X)) / len(X)


# coordinate descent


def test_a_sweep_is_a_soft_threshold_of_each_coordinate():
    z, slope = np.array([1.0, 0.0, -2.0]), np.array([3.0, 0.4, 1.0])
    coordinate_descent(np.diag([2.0, 1.0, 4.0]), np.array([0.5, 0.5, 0.0]), z, slope, 1)
    np.testing.assert_allclose(z, [-0.25, 0.0, -2.25])
    np.testing.assert_allclose(slope, [0.5, 0.4, 0.0])


@pytest.mark.parametrize("seed", range(5))
def test_many_sweeps_end_at_the_minimum(seed):
    A, best = turned(np.logspace(-1, 1, 25), seed)
    l1, z = np.full(25, 0.3), np.zeros(25)
    slope = A @ (z - best)
    coordinate_descent(A, l1, z, slope, 10_000)
    np.testing.assert_allclose(slope, A @ (z - best), atol=1e-12)
    assert violation(A, A @ -best, l1, np.zeros(25), z) < 1e-10
    assert 3 < np.count_nonzero(z) < 25


@pytest.mark.parametrize("sizes", [((3, 2), 3, 3, 3), ((2, 2), 3, 3, 3), ((3, 3), 2, 3, 3), ((3, 3), 3, 3, 4)])
def test_sizes_that_differ_raise(sizes):
    shape, *others = sizes
    with pytest.raises(ValueError, match="must be"):
        coordinate_descent(np.ones(shape), *(np.ones(n) for n in others), 1)


# line search


@pytest.mark.parametrize("seed", range(30))
def test_the_minimum_on_a_line(seed):
    rng = np.random.default_rng(seed)
    n = 8
    factor = rng.standard_normal((n, n))
    A = factor @ factor.T + 0.1 * np.eye(n)
    z, l1 = rng.standard_normal(n) * 10.0 ** rng.uniform(-3, 0.5), rng.uniform(0.0, 2.0, n) * (rng.random(n) < 0.8)
    grad = rng.standard_normal(n) * 3.0
    slope = grad + np.sign(z) * l1
    step = -np.linalg.solve(A, slope)
    t, zeros = line_minimum(z, step, l1, float(step @ slope), float(step @ A @ step))

    def value(t):
        to = z + np.multiply.outer(t, step)
        to[..., zeros] = np.where(np.asarray(t)[..., None] == found, 0.0, to[..., zeros])
        return t * (grad @ step) + 0.5 * t * t * (step @ A @ step) + np.abs(to) @ l1

    found = t
    assert 0.0 < t <= 1.0
    assert value(t) <= value(np.linspace(0.0, 1.0, 4001)).min() + 1e-12
    np.testing.assert_allclose((z + t * step)[zeros], 0.0, atol=1e-14)
    if not (z * (z + step) < 0.0).any():
        assert t == 1.0


# models


@pytest.mark.parametrize("seed", range(6))
def test_a_model_of_nearly_collinear_features_has_its_minimum(seed):
    A, b = collinear(seed)
    n = len(b)
    l1 = np.full(n, 0.02)
    l1[3] = 0.0
    model = QuadraticModel(A.copy(), np.arange(n), np.ones(n), l1, 1)
    z, decrease = model.minimise(np.zeros(n), -b)
    reached = -b @ z + 0.5 * z @ A @ z + l1 @ np.abs(z)
    assert decrease == pytest.approx(-reached, rel=1e-9)
    for _ in range(20):  # from where the last one ended
        z, more = model.minimise(z, A @ z - b)
    assert violation(A, -b, l1, np.zeros(n), z) < 1e-9
    least = -b @ z + 0.5 * z @ A @ z + l1 @ np.abs(z)
    assert reached - least <= 0.1 * abs(least)
    assert more == pytest.approx(0.0, abs=1e-12)


def test_entries_without_a_hessian_have_soft_thresholds():
    A, _ = turned(np.logspace(-1, 1, 6))
    l1, diagonal, theta = np.full(9, 0.3), np.arange(1.0, 10.0), np.linspace(-1.0, 1.0, 9)
    entries, grad = np.array([0, 2, 3, 5, 7, 8]), np.random.default_rng(0).standard_normal(9)
    z, decrease = QuadraticModel(A.copy(), entries, diagonal, l1, 1).minimise(theta, grad)
    for j in (1, 4, 6):
        target = theta[j] - grad[j] / diagonal[j]
        assert z[j] == pytest.approx(np.sign(target) * max(abs(target) - 0.3 / diagonal[j], 0.0))
    alone, of_entries = QuadraticModel(A.copy(), np.arange(6), diagonal[:6], l1[:6], 1).minimise(
        theta[entries], grad[entries]
    )
    np.testing.assert_allclose(z[entries], alone)
    others = np.array([1, 4, 6])
    step = z[others] - theta[others]
    of_others = l1[others] @ (np.abs(theta[others]) - np.abs(z[others])) - grad[others] @ step
    assert decrease == pytest.approx(of_entries + of_others - 0.5 * diagonal[others] @ step**2)


@pytest.mark.parametrize("K", [3, 4])
def test_outputs_that_shift_together_go_to_their_median(K):
    """The Hessian of a softmax has no curvature where all classes shift together, so only the L1 term counts there."""
    rng = np.random.default_rng(K)
    d, p = 5, rng.dirichlet(np.ones(K))
    factor = rng.standard_normal((d, d))
    A = np.kron(factor @ factor.T, np.diag(p) - np.outer(p, p))
    grad = rng.standard_normal((d, K))
    grad = (grad - grad.mean(axis=1, keepdims=True)).ravel()
    l1 = np.full(d * K, 0.01)
    theta = 5.0 + rng.standard_normal(d * K)
    model, slope = QuadraticModel(A.copy(), np.arange(d * K), np.ones(d * K), l1, K), grad
    z = theta
    for _ in range(30):
        z, _ = model.minimise(z, slope)
        slope = grad + A @ (z - theta)
    assert violation(A + 0.0, grad, l1, theta, z) < 1e-8
    assert (np.sort(z.reshape(d, K), axis=1)[:, [(K - 1) // 2, K // 2]].prod(axis=1) <= 1e-20).all()


def test_an_update_gives_the_curvature_that_was_seen():
    A, _ = turned(np.logspace(-1, 1, 12))
    model = QuadraticModel(np.eye(12), np.arange(12), np.ones(12), np.zeros(12), 1)
    rng, theta = np.random.default_rng(0), np.zeros(12)
    for _ in range(12):
        step = rng.standard_normal(12)
        model.update(step, A @ step)
    model.update(step, -A @ step)  # no curvature: it is left out
    z, decrease = model.minimise(theta, A @ step)
    assert decrease > 0.0
    np.testing.assert_allclose(z, -step, rtol=1e-9)  # as B step = A step


# steps


@pytest.mark.parametrize("seed", range(6))
def test_a_quadratic_takes_few_steps(seed):
    A, b = collinear(seed)
    problem = Quadratic(A, np.linalg.solve(A, b), l1=np.full(len(b), 0.02))
    m = begun(problem, tol=1e-9)
    assert proximal_newton(m, Renewing(problem, cost=5.0, first=A.diagonal())) is Status.CONVERGED
    assert violation(A, -b, problem.l1, np.zeros(len(b)), m.at.theta) < 1e-6
    assert m.at.n_evaluations <= 8
    assert m.at.value == pytest.approx(problem(m.at.theta)[0] + problem.l1 @ np.abs(m.at.theta), rel=1e-14)


def test_a_hessian_that_is_too_small_is_made_again_or_updated():
    A, best = turned(np.logspace(-1, 1, 20))
    problem = Quadratic(A, best, l1=np.full(20, 0.1))

    class Wrong(Renewing):
        def hessian_of(self, theta, entries):
            return super().hessian_of(theta, entries) * (1e-3 if self.n_renewed == 1 else 1.0)

    m, preconditioning = begun(problem, tol=1e-9), Wrong(problem, cost=20.0)
    assert proximal_newton(m, preconditioning) is Status.CONVERGED
    assert violation(A, -A @ best, problem.l1, np.zeros(20), m.at.theta) < 1e-7
    assert preconditioning.n_renewed <= 3


def test_factors_count_as_what_is_spent_with_a_hessian():
    A, best = turned(np.logspace(-3, 3, 30))
    problem = Quadratic(A, best, l1=np.full(30, 0.1))

    class Diagonals(Renewing):
        def hessian_of(self, theta, entries):
            return np.diag(super().hessian_of(theta, entries).diagonal())

    seldom, often = Diagonals(problem, cost=200.0), Diagonals(problem, cost=200.0, of_factor=50.0)
    for preconditioning in (seldom, often):
        proximal_newton(begun(problem, max_iter=60), preconditioning)
    assert seldom.n_renewed == 1
    assert 3 <= often.n_renewed < 20  # each model takes a factor or more, and a run of coordinate descent


def test_a_step_that_was_too_long_is_as_long_as_the_value_decreases():
    """There is a wall before the minimum of the model, at 2: one tenth of the way is low enough, and 0.4 are lower."""
    problem = Quadratic(np.array([[0.5]]), np.array([2.0]), l1=np.zeros(1))

    def wall(theta):
        beyond = np.maximum(theta - 1.5, 0.0)
        value, grad = 0.5 * (theta - 1.0) ** 2 + 1e6 * beyond**2, theta - 1.0 + 2e6 * beyond
        return float(value[0]), grad

    m = begun(problem, max_iter=1, fun=wall)
    proximal_newton(m, Renewing(problem, cost=5.0))
    np.testing.assert_allclose(m.at.theta, 0.8)
    assert m.at.n_evaluations == 1 + 5  # at 1, 0.1, 0.2, 0.4 and 0.8 of the way


def test_a_slope_that_is_wrong_stalls():
    problem = Quadratic(np.eye(4), np.ones(4), l1=np.full(4, 0.1))
    m = begun(problem, fun=lambda theta: (1.0 + theta @ theta, -np.ones(4)))
    assert proximal_newton(m, Renewing(problem, cost=5.0)) is Status.STALLED
    np.testing.assert_array_equal(m.at.theta, 0.0)
    assert m.at.n_iter == 0


def test_max_iter_and_unaffordable_hessians_end_it():
    A, best = turned(np.logspace(-1, 1, 20))
    problem = Quadratic(A, best, l1=np.full(20, 0.1))
    assert proximal_newton(begun(problem), Renewing(problem)) is Status.RENEW
    m = begun(problem, max_iter=0)
    assert proximal_newton(m, Renewing(problem, cost=5.0)) is Status.MAX_ITER
    assert m.at.n_evaluations == 1


def test_many_classes_and_heavy_tails(monkeypatch):
    """Each model has its minimum at the end of a way over dozens of faces, and the Hessian changes in each step."""
    factors = []

    class Counted(QuadraticModel):
        def minimise(self, theta, grad):
            before = self.n_factors
            found = super().minimise(theta, grad)
            factors.append(self.n_factors - before)
            return found

    monkeypatch.setattr(xentropy._proximal_newton, "QuadraticModel", Counted)
    clf = SoftmaxClassifier(C=100.0, l1_ratio=1.0, tol=1e-9).fit(*log_normal(1500, 40, 20))
    assert clf.converged_
    assert clf.objective_ < 18732.6852  # 18807 after 1000 iterations within bounds
    assert 5 < len(factors) < 60
    assert np.mean(factors) < 12
