"""Minimisation with an L1 term: soft thresholds, optimality conditions and working sets."""

from math import inf

import numpy as np
import pytest
from quadratics import Quadratic, Renewing, turned

from xentropy import _active_set
from xentropy._active_set import PositiveNegative, minimise_l1
from xentropy._lbfgs import Minimisation, Status


def begun(problem, theta=None, *, tol=1e-10, max_iter=2000, monitor=None):
    theta = np.zeros(len(problem.best)) if theta is None else theta
    m = Minimisation(problem, theta, tol=tol, max_iter=max_iter, monitor=monitor, l1=problem.l1)
    m.begin()
    return m


def solved(problem, *, first=None, cost=inf, **options):
    m, preconditioning = begun(problem, **options), Renewing(problem, first=first, cost=cost)
    return minimise_l1(m, preconditioning, PositiveNegative(preconditioning.diagonal(), problem.l1)), preconditioning


def violation(problem, theta):
    """Of the optimality conditions, the largest."""
    grad = problem.A @ (theta - problem.best)
    at_zero = np.maximum(np.abs(grad) - problem.l1, 0.0)
    return np.where(theta == 0.0, at_zero, np.abs(grad + problem.l1 * np.sign(theta))).max()


@pytest.mark.parametrize("start", [0.0, -5.0])
def test_the_minimum_is_the_soft_threshold(start):
    best, l1 = np.array([3.0, 0.5, -0.2, -2.0, 0.0, 7.0]), np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    expected = np.sign(best) * np.maximum(np.abs(best) - l1, 0.0)
    units = np.logspace(-3, 3, 6)
    problem = Quadratic(np.diag(units**-2), best * units, l1=l1 / units)
    solution, _ = solved(problem, first=units**-2, theta=start * units, tol=1e-12)
    assert solution.converged
    np.testing.assert_allclose(solution.theta, expected * units, rtol=1e-10)
    np.testing.assert_array_equal(solution.theta == 0.0, expected == 0.0)
    value = problem(solution.theta)[0] + l1 @ np.abs(solution.theta / units)
    assert solution.value == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize("seed", range(8))
def test_proximal_newton_goes_on_where_its_hessian_pays(seed):
    A, best = turned(np.logspace(-2, 2, 40), seed)
    l1 = np.where(np.arange(40) < 2, 0.0, 0.3)
    fits = []
    for cost in (inf, 5.0):
        problem = Quadratic(A, best, l1=l1)
        fit, preconditioning = solved(problem, first=A.diagonal(), cost=cost)
        assert fit.converged
        assert fit.n_evaluations == problem.n_exact
        assert (preconditioning.n_renewed > 0) == np.isfinite(cost)
        assert preconditioning.n_counted == 0  # they say nothing of a fit without the term
        assert violation(problem, fit.theta) < 1e-8
        fits.append(fit)
    slow, fast = fits
    np.testing.assert_array_equal(fast.theta == 0.0, slow.theta == 0.0)
    np.testing.assert_allclose(fast.theta, slow.theta, atol=1e-7)
    assert 5 < np.count_nonzero(fast.theta) < 38
    assert fast.n_evaluations < 0.6 * slow.n_evaluations


@pytest.mark.parametrize("cost", [inf, 5.0])
@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-30])
def test_tol_bounds_the_shortest_subgradient(tol, cost):
    A, best = turned(np.logspace(-1, 1, 40))
    problem = Quadratic(A, best, l1=np.full(40, 0.3))
    fit, _ = solved(problem, first=np.ones(40), cost=cost, tol=tol)
    assert fit.status is (Status.RESOLVED if tol < 1e-20 else Status.CONVERGED)
    bound = max(tol, 1e-7) * fit.value
    assert fit.gradient_norm <= max(tol, 1e-7)
    assert violation(problem, fit.theta) <= bound


def test_monitors_and_max_iter_end_a_minimisation():
    A, best = turned(np.logspace(-2, 2, 40))
    problem, seen = Quadratic(A, best, l1=np.full(40, 0.3)), []
    preconditioning = Renewing(problem, first=A.diagonal(), cost=12.0)

    def monitor(at):
        seen.append((at.value, problem(at.theta)[0] + 0.3 * np.abs(at.theta).sum()))
        return Status.STOPPED if preconditioning.n_renewed else None

    m = begun(problem, monitor=monitor)
    fit = minimise_l1(m, preconditioning, PositiveNegative(preconditioning.diagonal(), problem.l1))
    assert (fit.status, fit.n_iter) == (Status.STOPPED, len(seen))
    values, exact = np.array(seen).T
    assert (np.diff(exact) <= 1e-9).all()
    assert values[-1] == pytest.approx(exact[-1], rel=1e-12)
    assert len(seen) > 8
    less, _ = solved(problem, first=A.diagonal(), cost=12.0, max_iter=fit.n_iter - 1)
    assert (less.status, less.n_iter, less.value) == (Status.MAX_ITER, fit.n_iter - 1, values[-2])


# many entries


def test_a_working_set_ends_where_all_entries_do(monkeypatch):
    rng = np.random.default_rng(0)
    n = 10_000
    curvature, best = rng.uniform(0.5, 2.0, n), rng.standard_normal(n) * (rng.random(n) < 0.6)
    l1 = np.where(np.arange(n) < 5, 0.0, 0.5 * curvature)

    class Separable(Quadratic):
        def __call__(self, theta, precision="float64"):
            self.n_exact += 1
            gradient = self.A * (theta - self.best) / n
            return 1.0 + 0.5 * float((theta - self.best) @ gradient), gradient

    expected = np.sign(best) * np.maximum(np.abs(best) - l1 / curvature, 0.0)
    assert np.count_nonzero(expected) > 3000
    for working_set in (4000, 1 << 30):
        monkeypatch.setattr(_active_set, "_WORKING_SET", working_set)
        problem = Separable(curvature, best, l1=l1 / n)
        solution, _ = solved(problem, first=np.full(n, 1.0 / n), tol=1e-9)
        assert solution.converged
        np.testing.assert_allclose(solution.theta, expected, atol=1e-6)
        np.testing.assert_array_equal(solution.theta == 0.0, expected == 0.0)


@pytest.mark.parametrize(("n", "n_moving"), [(3999, 3999), (4001, 2001)])
def test_of_many_entries_those_move_that_violate_their_conditions_most(n, n_moving):
    best = np.linspace(0.0, 2.0, n)
    problem = Quadratic(1.0, best, l1=np.full(n, 0.01))
    theta = np.zeros(n)
    theta[3] = -1.0
    space = PositiveNegative(Renewing(problem).diagonal(), problem.l1)
    x = space.start(theta, theta - best)
    assert len(x) == 2 * n_moving
    np.testing.assert_array_equal(space.to_theta(x), theta)
    moving = space.to_theta(np.repeat([1.0, 0.0], n_moving)) != 0.0
    least = np.setdiff1d(np.arange(2001), [3])  # entry 3 moves because it is not zero
    np.testing.assert_array_equal(np.flatnonzero(~moving), least if n > n_moving else [])
    norm, reachable = space.norms(x, space.to_gradient(theta - best))
    assert reachable == pytest.approx(norm) if n == n_moving else reachable < norm


# coordinates


def test_bounds_hold_positive_and_negative_parts_apart():
    problem = Quadratic(np.eye(3), np.ones(3), l1=np.array([0.5, 0.5, 0.0]))
    space = PositiveNegative(Renewing(problem, first=np.array([4.0, 1.0, 1.0])).diagonal(), problem.l1)
    theta = np.array([-1.0, 2.0, -3.0])
    grad = theta - 1.0
    x = space.start(theta, grad)
    np.testing.assert_array_equal(space.to_theta(x), theta)
    np.testing.assert_array_equal(x, [0.0, 2.0, -3.0, 2.0, 0.0, 0.0])
    np.testing.assert_array_equal(space.bounds.lb, [0.0, 0.0, -inf, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(space.bounds.ub, [inf, inf, inf, inf, inf, 0.0])
    assert space.penalty(x) == 0.5 + 1.0
    gradient = space.to_gradient(grad)
    np.testing.assert_allclose(gradient, [-1.0 + 0.25, 1.5, -4.0, 0.25 + 1.0, 0.5 - 1.0, 4.0])
    norm, reachable = space.norms(x, gradient)
    assert norm == reachable == pytest.approx(np.linalg.norm([-1.25, 1.5, -4.0]))
