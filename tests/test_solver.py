"""Minimisations as a whole: starts, changes of preconditioner, coordinates and precision, and where they end."""

import numpy as np
import pytest
from problems import independent
from quadratics import Factored, Quadratic, Renewing, gentle, spread

from xentropy._design import Design
from xentropy._lbfgs import Status
from xentropy._objective import Objective
from xentropy._solver import minimise
from xentropy._targets import learn_target


def solved(problem, theta=None, *, cost=np.inf, first=None, preconditioning=None, tol=1e-8, max_iter=10_000, **options):
    theta = np.zeros(len(problem.best)) if theta is None else theta
    preconditioning = preconditioning or Renewing(problem, cost=cost, first=first)
    return minimise(problem, theta, tol=tol, max_iter=max_iter, preconditioning=preconditioning, **options)


# preconditioners


def test_a_better_preconditioner_pays():
    A, best = spread()
    kept, renewing = Quadratic(A, best), Quadratic(A, best)
    slow, preconditioning = solved(kept), Renewing(renewing, cost=10.0)
    fast = solved(renewing, preconditioning=preconditioning)
    assert slow.converged
    assert fast.converged
    assert preconditioning.n_renewed == 1
    assert fast.n_evaluations < 20 < 100 < slow.n_evaluations
    assert fast.n_evaluations == renewing.n_exact
    assert preconditioning.n_counted == fast.n_evaluations - 1  # all but the start
    np.testing.assert_allclose(fast.theta, best, atol=1e-6)


# ends


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-9, 1e-12])
def test_tol_is_met_below_the_resolution_of_the_value(tol):
    A, best = spread()
    solution = solved(Quadratic(A, best), cost=10.0, tol=tol, max_iter=1000)
    assert solution.status is Status.CONVERGED
    gradient = np.linalg.solve(np.linalg.cholesky(A), A @ (solution.theta - best))
    assert np.linalg.norm(gradient) <= 2 * tol


def test_a_tol_out_of_reach_ends_where_float64_does():
    A, best = spread()
    solution = solved(Quadratic(A, best), cost=10.0, tol=1e-30, max_iter=1000)
    assert solution.status is Status.RESOLVED
    np.testing.assert_allclose(solution.theta, best, atol=1e-10)


def test_a_gradient_that_promises_what_the_value_does_not_keep_stalls():
    class Wrong(Quadratic):
        def __call__(self, theta, precision="float64"):
            value, gradient = super().__call__(theta, precision)
            return value, gradient + 1e-2

    solution = solved(Wrong(*gentle()), tol=1e-6, max_iter=1000)
    assert solution.status is Status.STALLED
    assert solution.n_iter < 200


def test_a_start_at_the_minimum_or_without_iterations_takes_one_evaluation():
    A, best = spread()
    solution = solved(Quadratic(A, best), best, tol=1e-9, max_iter=10)
    assert (solution.status, solution.n_iter, solution.n_evaluations) == (Status.CONVERGED, 0, 1)
    solution = solved(Quadratic(A, best), tol=1e-9, max_iter=0)
    assert (solution.status, solution.n_iter, solution.n_evaluations) == (Status.MAX_ITER, 0, 1)


def test_a_monitor_sees_each_iteration_and_may_stop():
    seen = []

    def monitor(at):
        seen.append((at.n_iter, at.value))
        return Status.STOPPED if at.n_iter == 30 else None

    solution = solved(Quadratic(*spread()), cost=40.0, tol=0.0, monitor=monitor)
    assert (solution.status, solution.converged) == (Status.STOPPED, False)
    assert [n for n, _ in seen] == list(range(1, 31))
    assert solution.value == seen[-1][1]
    values = [value for _, value in seen]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("l1", [None, np.full(30, 0.01)])
@pytest.mark.parametrize("float32_pays", [False, True])
def test_an_interrupt_returns_the_last_iteration(l1, float32_pays):
    class Interrupted(Quadratic):
        def __call__(self, theta, precision="float64"):
            if self.n_exact + self.n_low == 12:
                raise KeyboardInterrupt
            return super().__call__(theta, precision)

    solution = solved(Interrupted(*spread(), l1=l1, float32_pays=float32_pays), tol=0.0)
    assert solution.status is Status.INTERRUPTED
    assert 0 < solution.n_iter < 12
    plain, weights = Quadratic(*spread()), 0.0 if l1 is None else l1
    exact = plain(solution.theta)[0] + np.sum(weights * np.abs(solution.theta))
    if l1 is None:
        assert solution.value == pytest.approx(exact, rel=1e-8)
    else:  # far from the minimum both parts of an entry may be positive
        assert exact <= solution.value < 1.01 * exact
    assert exact < plain(np.zeros(30))[0]


@pytest.mark.filterwarnings("ignore:overflow")
def test_an_infinite_start_is_refused():
    with pytest.raises(ValueError, match="objective is inf at the start: X"):
        solved(Quadratic(np.eye(2), np.full(2, 1e200)))


# starts


def test_the_better_of_two_starts():
    A, best = spread()
    near, far = best + 1e-3, best + 1.0
    for theta, guess in ((near, far), (far, near)):
        problem = Quadratic(A, best)
        solution = solved(problem, theta, tol=1e-6, max_iter=0, guess=guess)
        np.testing.assert_array_equal(solution.theta, near)
        assert solution.n_evaluations == problem.n_exact == 2
        again = solved(problem, theta, tol=1e-6, guess=guess)
        assert again.converged
        assert again.n_evaluations == problem.n_exact - 2


@pytest.mark.parametrize(("tol", "n_evaluations"), [(1e-1, 1), (1e-4, 2)])
def test_a_guess_is_not_asked_for_where_the_last_minimisation_seems_to_have_solved_this_too(tol, n_evaluations):
    A, best = spread()
    problem = Quadratic(A, best)
    preconditioning = Renewing(problem)
    preconditioning.current = Factored(A)
    theta = best + np.linalg.solve(np.linalg.cholesky(A).T, np.full(30, 1e-2 / np.sqrt(30)))  # 1e-2 from the minimum
    solution = solved(problem, theta, tol=tol, max_iter=0, guess=best, preconditioning=preconditioning)
    assert solution.n_evaluations == n_evaluations
    np.testing.assert_array_equal(solution.theta, theta if n_evaluations == 1 else best)


def test_a_share_of_the_first_gradient_is_short_enough():
    A, best = np.diag(np.logspace(0, 2, 30)), np.zeros(30)
    first = np.linalg.norm(A.sum(axis=1)) / Quadratic(A, best)(best + 1.0)[0]  # in theta itself, where x is
    for guess in (None, best + 0.1):
        fits = [
            solved(Quadratic(A, best), best + 1.0, tol=1e-9, guess=guess, **loose)
            for loose in ({"share": 1e-3}, {"share": 1e-3, "loosest": 1e-5}, {"share": 1e-30}, {})
        ]
        assert all(fit.converged for fit in fits)
        for fit, at_least, at_most in zip(fits, (1e-5, 1e-9, 0.0, 0.0), (1e-3 * first, 1e-5, 1e-9, 1e-9), strict=True):
            assert at_least < fit.gradient_norm <= at_most


def test_a_share_of_the_first_subgradient_is_short_enough():
    A, best = gentle()
    fits = [solved(Quadratic(A, best, l1=np.full(30, 0.1)), share=share, loosest=1e-2) for share in (0.0, 1e-6, 0.5)]
    assert all(fit.converged for fit in fits)
    assert fits[0].gradient_norm <= 1e-8 < fits[2].gradient_norm <= 1e-2
    assert fits[2].n_evaluations < fits[1].n_evaluations <= fits[0].n_evaluations


@pytest.mark.parametrize("C", [1.0, 1e-3])
def test_many_rows_start_at_the_minimum_of_a_subsample(C):
    X, y = independent(90_000, 25, 8)
    starts, values = [], []
    for from_subsample in (False, True):
        objective = Objective(Design(X, learn_target(y)), C=C)
        seen = []
        options = {"from_subsample": from_subsample, "monitor": lambda at, seen=seen: seen.append(at.value)}
        found = minimise(objective, objective.start(), tol=1e-4, max_iter=1000, **options)
        assert found.converged
        assert found.n_iter == len(seen)  # those on the subsample do not count
        starts.append(seen[0])
        values.append(found.value)
    assert starts[1] - values[1] < 0.02 * (starts[0] - values[1])
    assert values[1] == pytest.approx(values[0], rel=1e-7)


# low precision


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-9])
@pytest.mark.parametrize("bias", [-1e-5, 0.0, 1e-5])
def test_what_is_far_from_the_minimum_is_evaluated_in_low_precision(bias, tol):
    problem, exact = Quadratic(*gentle(), float32_pays=True, bias=bias), Quadratic(*gentle())
    solution, plain = solved(problem, tol=tol, max_iter=1000), solved(exact, tol=tol, max_iter=1000)
    assert solution.converged
    assert solution.value == Quadratic(*gentle())(solution.theta)[0]
    assert solution.n_evaluations == problem.n_low + problem.n_exact <= 1.2 * plain.n_evaluations + 4
    assert problem.n_low > (0.9 if tol > 1e-4 else 0.3) * solution.n_evaluations
    assert exact.n_low == 0


@pytest.mark.parametrize("max_iter", [0, 3])
def test_the_value_where_it_ends_is_exact(max_iter):
    problem = Quadratic(*gentle(), float32_pays=True, bias=1e-5)
    solution = solved(problem, tol=1e-9, max_iter=max_iter)
    assert solution.status is Status.MAX_ITER
    assert solution.value == Quadratic(*gentle())(solution.theta)[0]


def test_a_value_that_overflows_in_low_precision_is_found_exactly():
    class Overflowing(Quadratic):
        def __call__(self, theta, precision="float64"):
            value, gradient = super().__call__(theta, precision)
            return (np.inf if precision == "float32" and self.n_low == 5 else value), gradient

    problem = Overflowing(*gentle(), float32_pays=True)
    assert solved(problem, tol=1e-9, max_iter=1000).converged
    assert problem.n_low == 5


def test_an_l1_term_is_minimised_in_full_precision():
    problem = Quadratic(*gentle(), l1=np.full(30, 0.1), float32_pays=True)
    assert solved(problem, tol=1e-9, max_iter=1000).converged
    assert problem.n_low == 0


def test_a_step_that_low_precision_cannot_judge_is_judged_in_full():
    """A resolution that promises too much ends a run, not the minimisation."""

    class Overconfident(Quadratic):
        def resolution(self):
            return 0.0

    problem = Overconfident(*gentle(), float32_pays=True)
    solution = solved(problem, tol=1e-9, max_iter=1000)
    assert solution.converged
    assert problem.n_exact > 5
    np.testing.assert_allclose(solution.theta, problem.best, atol=1e-7)
