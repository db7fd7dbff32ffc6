"""Coordinates in the span of gradients are those of the preconditioned variables, and L-BFGS goes on beyond them."""

import numpy as np
import pytest
from quadratics import Factored, Quadratic, Renewing, spread

from xentropy import _solver
from xentropy._gradient_subspace import GradientSubspace
from xentropy._lbfgs import Minimisation, Preconditioned, Status
from xentropy._preconditioner import Diagonal
from xentropy._solver import minimise, minimise_smooth

CURVATURES = np.diag(np.logspace(0, 2, 30))


def solved(problem, n_axes=None, *, start=None, cost=np.inf, first=None, max_iter=1000):
    """Where L-BFGS ends that starts in the span of so many gradients, or in all variables."""
    n = len(problem.best)
    m = Minimisation(problem, np.zeros(n) if start is None else start, tol=1e-8, max_iter=max_iter)
    m.begin()
    preconditioning = Renewing(problem, cost=cost, first=first)
    preconditioner = preconditioning.start(m.at.theta)
    coordinates = Preconditioned(preconditioner) if n_axes is None else GradientSubspace(preconditioner, n_axes)
    return minimise_smooth(m, preconditioning, coordinates), preconditioning


class WithoutCommonPart(Factored):
    """A preconditioner that takes what all three classes share out of theta."""

    def to_theta(self, x):
        theta = super().to_theta(x).reshape(-1, 3)
        return (theta - theta.mean(axis=1, keepdims=True)).ravel()


@pytest.mark.parametrize("kind", ["diagonal", "factor", "one factor for three columns", "classes"])
def test_coordinates_in_the_span_of_gradients_are_those_of_the_variables(kind):
    rng = np.random.default_rng(0)
    n, K = 12, 3
    A = rng.standard_normal((n, n))
    A = A @ A.T + np.eye(n)
    B = rng.standard_normal((4, 4))
    preconditioner = {
        "diagonal": Diagonal(A.diagonal()),
        "factor": Factored(A),
        "one factor for three columns": Factored(B @ B.T + np.eye(4)),
        "classes": WithoutCommonPart(B @ B.T + np.eye(4)),
    }[kind]
    space, start = GradientSubspace(preconditioner, 4), rng.standard_normal(n)
    gradients = rng.standard_normal((5, n // K, K))
    if kind == "classes":  # which leave out what classes share
        gradients -= gradients.mean(axis=2, keepdims=True)
    gradients = gradients.reshape(5, n)
    x = space.start(start, gradients[0])
    np.testing.assert_array_equal(space.to_theta(x), start)
    for i, gradient in enumerate(gradients):
        rejected = space.to_gradient(gradients[(i + 2) % 5])  # of a step that the line search went beyond
        g = space.to_gradient(gradient)
        length = np.linalg.norm(preconditioner.to_gradient(gradient))
        norm, part = space.norms(x, g)
        assert norm == pytest.approx(length, rel=1e-12)
        assert part == pytest.approx(np.linalg.norm(g), rel=1e-9)
        if i < 4:
            assert part == pytest.approx(norm, rel=1e-9)
            assert np.linalg.norm(rejected) == pytest.approx(
                np.linalg.norm(preconditioner.to_gradient(gradients[(i + 2) % 5])), rel=1e-9
            )
            x = x - 0.1 * g
        else:
            assert part < 0.95 * norm  # all axes are taken
        np.testing.assert_allclose(space.to_gradient_again(gradient), g, atol=1e-9 * norm)
        nearby = space.to_gradient_again(gradient + 1e-3 * gradients[0])
        assert np.linalg.norm(nearby - g) <= 1.001e-3 * np.linalg.norm(preconditioner.to_gradient(gradients[0]))
        # x moves theta as far in the variables as in x, and the gradient is that with respect to x
        change = 1e-3 * rng.standard_normal(4) * (np.arange(4) <= i)
        there = space.to_theta(x + change) - space.to_theta(x)
        assert np.linalg.norm(preconditioner.to_x(there)) == pytest.approx(np.linalg.norm(change), rel=1e-9)
        assert gradient @ there == pytest.approx(g @ change, rel=1e-9)


@pytest.mark.parametrize("n_axes", [3, 12, 40])
def test_a_minimisation_starts_in_the_span_of_gradients_and_goes_on_in_all_variables(n_axes):
    best = np.random.default_rng(0).standard_normal(30)
    whole, _ = solved(Quadratic(CURVATURES, best))
    solution, preconditioning = solved(Quadratic(CURVATURES, best), n_axes)
    assert solution.status is Status.CONVERGED
    np.testing.assert_allclose(solution.theta, best, atol=1e-6)
    assert n_axes == 3 or solution.n_iter <= whole.n_iter + 12
    if n_axes > whole.n_iter:
        assert solution.n_iter == whole.n_iter
    assert preconditioning.n_counted == solution.n_evaluations - 1


def test_a_span_ends_where_most_of_the_gradient_lies_outside():
    m = Minimisation(Quadratic(CURVATURES, np.ones(30)), np.zeros(30), tol=1e-8, max_iter=1000)
    m.begin()
    space = GradientSubspace(Diagonal(np.ones(30)), 3)
    assert m.run(space, lambda _: None) is Status.SUBSPACE_EXHAUSTED
    norm, reachable = space.norms(np.zeros(3), space.to_gradient(m.grad))
    assert reachable < 0.3 * norm
    assert m.at.gradient_norm * m.at.value == pytest.approx(norm)


def test_a_gradient_that_is_not_finite_ends_a_span_as_it_ends_any_other():
    class Wall(Quadratic):
        def __call__(self, theta, precision="float64"):
            value, gradient = super().__call__(theta, precision)
            return (np.inf, np.full(30, np.nan)) if theta[0] > 0.3 else (value, gradient)

    with np.errstate(invalid="ignore"):
        whole, _ = solved(Wall(CURVATURES, np.full(30, 2.0)))
        solution, _ = solved(Wall(CURVATURES, np.full(30, 2.0)), 20)
    assert solution.status == whole.status == Status.STALLED
    assert np.isfinite(solution.theta).all()


def test_variables_whose_curvature_is_next_to_nothing():
    """The square of the inverse of their factor overflows."""
    units = np.array([1.0, 1e-158, 1e3])
    solution, _ = solved(Quadratic(np.diag(units**2), 1.0 / units), 20, first=units**2)
    assert solution.converged
    np.testing.assert_allclose(solution.theta * units, 1.0, atol=1e-7)


def test_a_better_preconditioner_follows_a_span():
    A, best = spread()
    solution, preconditioning = solved(Quadratic(A, best), 20, cost=10.0)
    assert solution.converged
    assert preconditioning.n_renewed == 1
    np.testing.assert_allclose(solution.theta, best, atol=1e-6)


def test_a_change_of_precision_keeps_the_axes():
    best = np.random.default_rng(0).standard_normal(30)
    problem = Quadratic(CURVATURES, best, bias=1e-5)
    low = {"low_precision": problem.low, "resolution": problem.resolution}
    m = Minimisation(problem, np.zeros(30), tol=1e-8, max_iter=1000, **low)
    m.begin()
    solution = minimise_smooth(m, Renewing(problem), GradientSubspace(Diagonal(np.ones(30)), 40))
    whole, _ = solved(Quadratic(CURVATURES, best), 40)
    assert solution.converged
    assert min(problem.n_low, problem.n_exact) > 5
    assert solution.n_evaluations <= 1.2 * whole.n_evaluations + 4
    np.testing.assert_allclose(solution.theta, best, atol=1e-6)


@pytest.mark.parametrize(("many", "in_span"), [(30, True), (31, False)])
def test_very_many_variables_start_in_a_span(many, in_span, monkeypatch):
    spans = []

    class Span(GradientSubspace):
        def start(self, theta, grad):
            spans.append(len(theta))
            return super().start(theta, grad)

    monkeypatch.setattr(_solver, "GradientSubspace", Span)
    monkeypatch.setattr(_solver, "MANY_VARIABLES", many)
    problem = Quadratic(CURVATURES, np.ones(30))
    assert minimise(problem, np.zeros(30), tol=1e-8, max_iter=1000, preconditioning=Renewing(problem)).converged
    assert spans == [30] * in_span
