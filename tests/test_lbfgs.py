"""Runs of L-BFGS on functions whose minimum is known: where they end, and why."""

from math import inf

import numpy as np
import pytest
from quadratics import Factored, Quadratic, gentle, spread
from sklearn.exceptions import ConvergenceWarning

from xentropy._lbfgs import Minimisation, Preconditioned, Run, Solution, Status, steps_remembered
from xentropy._preconditioner import Diagonal


def begun(fun, theta, *, tol=0.0, max_iter=1000, **options):
    m = Minimisation(fun, theta, tol=tol, max_iter=max_iter, **options)
    m.begin()
    return m


def run(m, preconditioner=None, ends=lambda _: None, *, by_slope=False):
    preconditioner = Diagonal(np.ones(len(m.at.theta))) if preconditioner is None else preconditioner
    m.by_slope = by_slope
    return Run(m, Preconditioned(preconditioner), ends).minimise()


def roughly(A):
    """The preconditioner of a matrix of which each eigenvalue is off by a factor of up to two."""
    values, vectors = np.linalg.eigh(A)
    values = values * 2.0 ** np.random.default_rng(0).uniform(-1.0, 1.0, len(values))
    return Factored(vectors * values @ vectors.T)


# ends


@pytest.mark.parametrize("tol", [1e-1, 1e-3, 1e-5])
def test_a_run_ends_where_the_gradient_is_within_tol(tol):
    A, best = spread()
    m = begun(Quadratic(A, best), np.zeros(30), tol=tol)
    near = roughly(A)
    assert run(m, near) is Status.CONVERGED
    gradient = near.to_gradient(A @ (m.at.theta - best))
    assert np.linalg.norm(gradient) == pytest.approx(m.at.gradient_norm * m.at.value)
    assert m.at.gradient_norm <= tol
    assert m.solution(Status.CONVERGED).converged


def test_a_start_at_the_minimum_is_the_end():
    A, best = spread()
    m = begun(Quadratic(A, best), best, tol=1e-9)
    assert run(m) is Status.CONVERGED
    assert (m.at.n_iter, m.at.n_evaluations, m.at.gradient_norm) == (0, 1, 0.0)


@pytest.mark.parametrize("max_iter", [0, 1, 5])
def test_all_runs_together_take_max_iter(max_iter):
    m = begun(Quadratic(*spread()), np.zeros(30), max_iter=max_iter)
    assert run(m) is Status.MAX_ITER
    before = m.at.n_evaluations
    assert run(m) is Status.MAX_ITER
    assert (m.at.n_iter, m.at.n_evaluations) == (max_iter, before)
    assert not m.solution(Status.MAX_ITER).converged


def test_a_value_of_next_to_nothing_is_the_end():
    for size, at_once in ((1e-6, True), (1e-5, False)):  # the gradient is long at both
        m = begun(lambda theta: (0.5 * float(theta @ theta), theta), np.array([size]), tol=1e-3)
        assert run(m) is Status.CONVERGED
        assert (m.at.n_iter == 0) == at_once


def test_a_value_counts_where_the_least_value_is_less():
    A, best = 1e-20 * np.eye(3), np.array([1.0, 2.0, 3.0])

    def fun(theta):
        return 0.5e-20 * float((theta - best) @ (theta - best)) + 1e-25, 1e-20 * (theta - best)

    assert begun(fun, np.zeros(3), tol=1e-4).is_solved()
    m = begun(fun, np.zeros(3), tol=1e-4, least_value=1e-40)
    assert run(m, Factored(A)) in (Status.CONVERGED, Status.STAGNATED)
    assert m.at.value == pytest.approx(1e-25, rel=1e-6)
    assert m.relative(1.0, 0.0) == pytest.approx(1e40)
    assert np.isfinite(begun(fun, np.zeros(3), least_value=0.0).relative(1.0, 1.0))


@pytest.mark.parametrize("distance", [0.01, 0.4])
def test_the_first_step_is_newtons(distance):
    A, best = spread()
    direction = np.ones(30) * distance / np.sqrt(np.ones(30) @ A @ np.ones(30))
    m = begun(Quadratic(A, best), best + direction, tol=1e-6)
    assert run(m, Factored(A)) is Status.CONVERGED
    assert (m.at.n_iter, m.at.n_evaluations) == (1, 2)


# where rounding hides what is left


def test_slopes_show_what_the_rounding_of_the_value_hides():
    A, best = spread()
    m = begun(Quadratic(A, best), np.zeros(30), tol=1e-30)
    near = roughly(A)
    assert run(m, near) is Status.STAGNATED
    by_value, before = m.at.gradient_norm, m.at.n_evaluations
    assert by_value > 1e-10
    assert run(m, near, by_slope=True) is Status.STAGNATED
    assert m.at.gradient_norm < 1e-3 * by_value
    assert m.at.n_evaluations - before < 200
    solution = m.solution(m.run(Preconditioned(near), lambda _: None))
    assert (solution.status, solution.converged) == (Status.RESOLVED, True)
    np.testing.assert_allclose(solution.theta, best, atol=1e-10)


def test_a_gradient_that_promises_what_the_value_does_not_keep_stalls():
    A, best = gentle()

    def wrong(theta):
        value, gradient = Quadratic(A, best)(theta)
        return value, gradient + 1e-2

    m = begun(wrong, np.zeros(30), tol=1e-6)
    assert run(m) in (Status.STAGNATED, Status.LINE_SEARCH_FAILED)
    assert run(m, by_slope=True) in (Status.STAGNATED, Status.LINE_SEARCH_FAILED)
    solution = m.solution(m.run(Preconditioned(Diagonal(np.ones(30))), lambda _: None))
    assert (solution.status, solution.converged) == (Status.STALLED, False)
    assert solution.value < 1.1


def test_a_gradient_whose_square_overflows_is_no_error():
    def steep(theta):
        return 1e-9 + 1e150 * abs(float(theta[0])), np.array([1e150 * np.sign(theta[0])])

    m = begun(steep, np.array([1e-159]), tol=1e-4)
    assert m.falls_short(1e200)
    ended = m.run(Preconditioned(Diagonal(np.ones(1))), lambda _: None)
    assert m.at.gradient_norm > 1e154
    assert ended in (Status.STALLED, Status.RESOLVED)


def test_a_failed_line_search_ends_at_the_lowest_point_that_it_saw():
    values = []

    def flat(theta):
        """It keeps a millionth of what its gradient promises, and nothing beyond three."""
        values.append(1.0 - 1e-6 * min(theta[0], 3.0))
        return values[-1], np.array([-1.0])

    m = begun(flat, np.zeros(1), max_iter=20)
    assert run(m) is Status.LINE_SEARCH_FAILED
    assert m.at.value == min(values) < values[0]
    assert m.at.value == flat(m.at.theta)[0]
    assert m.at.n_iter == 1
    while run(m) is Status.LINE_SEARCH_FAILED:
        assert m.at.value == min(values)
    assert run(m) is Status.STAGNATED  # where no line search finds a lower point
    assert m.at.value == 1.0 - 3e-6


def test_an_iteration_cannot_be_seen_to_decrease_the_value_any_more():
    A, best = gentle()
    m = begun(Quadratic(A, best), best + 1e-9)
    assert run(m) is Status.STAGNATED
    assert m.at.n_iter <= 3


# who ends a run


def test_a_monitor_sees_each_iteration_and_may_stop():
    seen = []

    def monitor(at):
        seen.append((at.n_iter, at.value, at.n_evaluations, at.decrease))
        return Status.EARLY if at.n_iter == 7 else None

    m = begun(Quadratic(*spread()), np.zeros(30), monitor=monitor)
    start = m.at.value
    assert run(m) is Status.EARLY
    assert [n for n, *_ in seen] == list(range(1, 8))
    values = [start] + [value for _, value, *_ in seen]
    assert values == sorted(values, reverse=True)
    np.testing.assert_allclose([decrease for *_, decrease in seen], -np.diff(values))
    assert m.solution(Status.EARLY).value == values[-1]


def test_ends_is_asked_after_each_iteration_with_the_run():
    asked = []

    def ends(of):
        asked.append((of.n_evaluations, of.value, of.norm))
        np.testing.assert_allclose(of.theta, of.x / 2.0)
        np.testing.assert_allclose(of.gradient, of.grad / 2.0)
        return Status.STOPPED if len(asked) == 5 else None

    m = begun(Quadratic(*spread()), np.zeros(30))
    m.at.n_evaluations += 3
    assert run(m, Diagonal(np.full(30, 4.0)), ends) is Status.STOPPED
    assert asked[-1][0] == m.at.n_evaluations - 4
    assert asked[-1][1] == m.at.value
    assert asked[-1][2] == pytest.approx(m.at.gradient_norm * m.at.value)


@pytest.mark.parametrize(
    ("cost", "tol", "after"),
    [(inf, 1e-9, None), (1e4, 1e-9, None), (2.0, 1e-9, 8), (40.0, 0.0, 8), (40.0, 1e-6, None)],
    ids=["never", "expensive", "cheap", "without a goal", "nearly done"],
)
def test_a_renewal_pays_where_the_pace_leaves_more_than_its_cost(cost, tol, after):
    A, best = gentle()
    m = begun(Quadratic(A, best), np.zeros(30), tol=tol, max_iter=60)
    ended = run(m, roughly(A), lambda of: of.renewal_pays(cost))
    assert (ended is Status.RENEW) == (after is not None)
    if after is not None:
        assert after <= m.at.n_evaluations - 1 <= after + 2  # not before the run shows a pace


def test_an_interrupt_leaves_the_last_iteration():
    problem = Quadratic(*spread())

    def interrupted(theta):
        if problem.n_exact == 12:
            raise KeyboardInterrupt
        return problem(theta)

    m = begun(interrupted, np.zeros(30))
    with pytest.raises(KeyboardInterrupt):
        run(m)
    solution = m.solution(Status.INTERRUPTED)
    assert not solution.converged
    assert 0 < solution.n_iter < 12
    assert solution.value == Quadratic(*spread())(solution.theta)[0] < Quadratic(*spread())(np.zeros(30))[0]


# starts


def test_a_try_moves_the_start_to_a_lower_value_only():
    A, best = spread()
    m = begun(Quadratic(A, best), best + 1e-2)
    m.try_start(best + 1.0)
    np.testing.assert_array_equal(m.at.theta, best + 1e-2)
    m.try_start(best + 1e-3)
    np.testing.assert_array_equal(m.at.theta, best + 1e-3)
    assert m.at.value == Quadratic(A, best)(best + 1e-3)[0]
    np.testing.assert_array_equal(m.grad, A @ (best + 1e-3 - best))
    assert m.at.n_evaluations == 3


def test_values_of_starts_include_the_l1_term():
    m = begun(Quadratic(np.eye(2), np.zeros(2)), np.array([1.0, -2.0]), l1=np.array([3.0, 0.5]))
    assert m.at.value == 1.0 + 2.5 + 4.0
    m.try_start(np.array([1.1, 0.0]))  # 1 + 0.605 + 3.3
    assert m.at.value == pytest.approx(4.905)


@pytest.mark.filterwarnings("ignore:overflow")
def test_an_infinite_start_is_refused():
    with pytest.raises(ValueError, match="objective is inf at the start: X"):
        begun(Quadratic(np.eye(2), np.full(2, 1e200)), np.zeros(2))


# low precision


def in_low_precision(problem, **options):
    return begun(problem, np.zeros(30), low_precision=problem.low, resolution=problem.resolution, **options)


@pytest.mark.parametrize("tol", [1e-2, 1e-4])
@pytest.mark.parametrize("bias", [-1e-5, 0.0, 1e-5])
def test_low_precision_serves_until_it_hides_what_is_left(bias, tol):
    problem = Quadratic(*gentle(), bias=bias)
    m = in_low_precision(problem, tol=tol)
    assert run(m) is Status.CONVERGED
    assert m.at.value == Quadratic(*gentle())(m.at.theta)[0]
    assert m.at.n_evaluations == problem.n_low + problem.n_exact
    assert problem.n_exact <= (1 if tol > 1e-3 else 0.3 * m.at.n_evaluations)
    plain = begun(Quadratic(*gentle()), np.zeros(30), tol=tol)
    run(plain)
    assert m.at.n_evaluations <= 1.2 * plain.at.n_evaluations + 4


def test_full_precision_begins_where_the_gradient_promises_less_than_low_precision_resolves():
    problem, seen = Quadratic(*gentle()), []

    def monitor(at):
        seen.append((0.5 * (at.gradient_norm * at.value) ** 2, problem.n_exact))

    low = {"low_precision": problem.low, "resolution": lambda: 1e-2}
    m = begun(problem, np.zeros(30), tol=1e-6, monitor=monitor, **low)
    assert run(m) is Status.CONVERGED
    first = next(i for i, (promised, _) in enumerate(seen) if promised <= 1e-2)
    assert 0 < first < len(seen) - 5
    assert [n_exact for _, n_exact in seen[:first]] == [0] * first
    assert seen[first][1] == 1


def test_the_value_of_a_solution_is_exact():
    problem = Quadratic(*gentle(), bias=1e-5)
    m = in_low_precision(problem, max_iter=3)
    assert run(m) is Status.MAX_ITER
    assert problem.n_exact == 0
    assert m.solution(Status.MAX_ITER).value == Quadratic(*gentle())(m.at.theta)[0]
    assert problem.n_exact == 1


def test_an_interrupted_solution_asks_for_nothing_more():
    problem = Quadratic(*gentle(), bias=1e-5)
    m = in_low_precision(problem, max_iter=3)
    run(m)
    m.solution(Status.INTERRUPTED)
    assert problem.n_exact == 0


@pytest.mark.parametrize("part", [0, 1])
def test_what_overflows_in_low_precision_is_found_exactly(part):
    problem = Quadratic(*gentle())

    def overflowing(theta):
        found = list(problem.low(theta))
        if problem.n_low == 5:
            found[part] = found[part] * np.inf
        return tuple(found)

    m = begun(problem, np.zeros(30), tol=1e-6, low_precision=overflowing, resolution=problem.resolution)
    with np.errstate(invalid="ignore"):
        assert run(m) is Status.CONVERGED
    assert problem.n_low == 5
    assert problem.n_exact > 5


def test_refining_keeps_the_point():
    problem = Quadratic(*gentle(), bias=1e-5)
    m = in_low_precision(problem)
    before = m.at.value
    m.refine()
    assert m.at.value == pytest.approx(before - 1e-5, abs=2e-9)
    np.testing.assert_array_equal(m.at.theta, 0.0)
    m.refine()
    assert (problem.n_low, problem.n_exact) == (1, 1)


# memory and messages


def test_fewer_steps_are_remembered_of_very_many_variables():
    assert [steps_remembered(n) for n in (0, 1, 20_000, 40_000, 200_000, 10**7)] == [30, 30, 30, 15, 3, 3]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (Status.MAX_ITER, r"max_iter=5 .* 2\.0e-03 .* tol=1\.0e-04 .* 5\.0e-02 of the objective off.*Increase max_i"),
        (Status.STALLED, r"no further decrease after 5 iterations.*Increase tol"),
    ],
)
def test_warnings_say_how_far_and_what_to_do(status, message):
    solution = Solution(np.zeros(1), 2.0, gradient_norm=2e-3, decrease=0.1, n_iter=5, n_evaluations=6, status=status)
    with pytest.warns(ConvergenceWarning, match=message):
        solution.warn(1e-4, 5)
    assert not solution.converged


@pytest.mark.parametrize("status", [Status.CONVERGED, Status.RESOLVED, Status.EARLY, Status.STOPPED])
def test_other_ends_do_not_warn(status):
    solution = Solution(np.zeros(1), 2.0, status=status)
    solution.warn(1e-4, 5)  # a warning would be an error
    assert solution.converged == (status in ("converged", "resolved"))
