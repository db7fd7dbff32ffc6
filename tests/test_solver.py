"""The solver on functions whose minimum is known, and the variables and moments that it stands on."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from xentropy import _solver
from xentropy._kernels._moments import moments
from xentropy._solver import Solution, minimize_lbfgs
from xentropy._spaces import Spanned
from xentropy._variables import ClassVariables, PackedClassVariables, PackedFactor, Variables


class Quadratic:
    """1 + (theta - best)^T A (theta - best) / 2."""

    coarse = last_variables = None
    coarse_resolution = 2e-7  # of values near one

    def __init__(self, A, best, *, l1=None, first=None, cost=np.inf):
        self.A, self.best, self.l1, self.cost = A, best, l1, cost
        self.first = np.ones(len(best)) if first is None else first
        self.n_evaluations = self.n_renewed = 0

    def __call__(self, theta):
        self.n_evaluations += 1
        gradient = self.A @ (theta - self.best)
        return 1.0 + 0.5 * float((theta - self.best) @ gradient), gradient

    def few_rows(self):
        return None

    def variables(self, theta):
        return Variables(self.first)

    def renewal_cost(self, decline):
        return self.cost if decline < 0.9999 else np.inf

    def renewed_variables(self, theta):
        self.n_renewed += 1
        return Variables.of_curvature(self.A.copy())

    def support_cost(self, n_free):
        return self.cost

    def support_variables(self, theta, free):
        self.n_renewed += 1
        return Variables.of_curvature(self.A[np.ix_(free, free)])

    def l1_weights(self):
        return self.l1


@pytest.fixture
def spread():
    """Curvatures over six decades."""
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.standard_normal((30, 30)))
    return Q @ np.diag(np.logspace(-3, 3, 30)) @ Q.T, rng.standard_normal(30)


def test_variables_are_the_change_that_a_factor_makes():
    rng = np.random.default_rng(1)
    for m, r in ((4, 1), (4, 3)):
        B = rng.standard_normal((m, m))
        A = B @ B.T + np.eye(m)
        upper = np.triu(A) + np.tril(np.full((m, m), np.nan), -1)  # no other entry is read
        theta = rng.standard_normal(m * r)
        for variables, L in (
            (Variables.of_curvature(upper), np.linalg.cholesky(A)),
            (Variables(np.sqrt(A.diagonal())), np.diag(np.sqrt(A.diagonal()))),
        ):
            np.testing.assert_allclose(variables.v(theta), (L.T @ theta.reshape(m, r)).ravel())
            np.testing.assert_allclose(variables.theta(variables.v(theta)), theta)
            np.testing.assert_allclose(variables.gradient(theta), np.linalg.solve(L, theta.reshape(m, r)).ravel())


def packed(curvatures):
    """What is below the diagonal is not read."""
    lower = np.tril(np.full(curvatures.shape[1:], np.nan), -1)
    return PackedClassVariables([PackedFactor(np.triu(curvature) + lower) for curvature in curvatures])


@pytest.mark.parametrize(("make", "rtol"), [(ClassVariables, 1e-12), (packed, 2e-6)])
@pytest.mark.parametrize("unit", [1.0, 1e-60])
def test_variables_of_each_class_leave_what_classes_share_alone(make, rtol, unit):
    rng = np.random.default_rng(1)
    K, m = 3, 4
    B = rng.standard_normal((K, m, m))
    units = np.array([1.0, unit, 1.0, 1.0 / unit])  # of the features
    A = (B @ B.transpose(0, 2, 1) + np.eye(m)) * units * units[:, None]
    variables = make(A.copy())
    theta = rng.standard_normal((m, K))
    theta -= theta.mean(axis=1, keepdims=True)
    theta /= units[:, None]
    L = np.linalg.cholesky(A)
    v = np.stack([L[k].T @ theta[:, k] for k in range(K)], axis=1).ravel()
    np.testing.assert_allclose(variables.v(theta.ravel()), v, rtol=rtol)
    np.testing.assert_allclose(variables.theta(v).reshape(m, K) * units[:, None], theta * units[:, None], rtol=rtol)
    grad = rng.standard_normal((m, K)) * units[:, None]
    grad -= grad.mean(axis=1, keepdims=True)
    expected = np.stack([np.linalg.solve(L[k], grad[:, k]) for k in range(K)], axis=1).ravel()
    np.testing.assert_allclose(variables.gradient(grad.ravel()), expected, rtol=rtol)
    other = rng.standard_normal(m * K)
    shared = variables.theta(other).reshape(m, K).sum(axis=1)
    np.testing.assert_allclose(shared * units, 0.0, atol=1e-14)
    # gradient is the transpose of theta, for gradients that sum to zero over the classes: to all digits, or a line
    # search would not find what the gradient promises
    np.testing.assert_allclose(variables.theta(other) @ grad.ravel(), other @ variables.gradient(grad.ravel()))
    descent = np.empty(m * K)
    variables.descent(grad.ravel(), out=descent)
    assert descent @ grad.ravel() == pytest.approx(expected @ expected, rel=4 * rtol)
    assert variables.inflation == pytest.approx(np.max(np.linalg.norm(L, axis=2) / np.diagonal(L, axis1=1, axis2=2)))


def test_a_curvature_that_is_not_positive_gives_its_diagonal():
    variables = Variables.of_curvature(np.array([[4.0, 9.0], [9.0, 1.0]]))
    assert variables.is_diagonal
    np.testing.assert_allclose(variables.v(np.ones(2)), [2.0, 1.0])


def test_better_variables_pay(spread):
    A, best = spread
    kept = Quadratic(A, best)
    slow = minimize_lbfgs(kept, np.zeros(30), tol=1e-8, max_iter=10_000)
    renewing = Quadratic(A, best, cost=10.0)
    fast = minimize_lbfgs(renewing, np.zeros(30), tol=1e-8, max_iter=10_000)
    assert slow.converged
    assert fast.converged
    assert (kept.n_renewed, renewing.n_renewed) == (0, 1)
    assert fast.n_evaluations < 20 < 100 < slow.n_evaluations
    assert fast.n_evaluations == renewing.n_evaluations
    np.testing.assert_allclose(fast.theta, best, atol=1e-6)


def spanned(monkeypatch, n_axes):
    """From here on two variables are very many."""
    monkeypatch.setattr(_solver, "_VERY_MANY", 2)
    monkeypatch.setattr(_solver, "_N_AXES", n_axes)


@pytest.mark.parametrize("kind", ["diagonal", "factor", "classes"])
def test_coordinates_in_the_span_of_gradients_are_those_of_the_variables(kind):
    rng = np.random.default_rng(0)
    n, K = 12, 3
    A = rng.standard_normal((n, n))
    A = A @ A.T + np.eye(n)
    factor = rng.standard_normal((4, 4, 4))
    factor = factor @ factor.transpose(0, 2, 1) + np.eye(4)
    variables = {
        "diagonal": Variables(np.sqrt(A.diagonal())),
        "factor": Variables.of_curvature(factor[0]),
        "classes": ClassVariables(factor[1:]),
    }[kind]
    space, start = Spanned(variables, 4), rng.standard_normal(n)
    gradients = rng.standard_normal((5, n // K, K))
    if kind == "classes":  # which leave out what classes share
        gradients -= gradients.mean(axis=2, keepdims=True)
    gradients = gradients.reshape(5, n)
    x = space.x(start, gradients[0])
    for i, gradient in enumerate(gradients):
        rejected = space.gradient(gradients[(i + 2) % 5])  # of a step that the line search went beyond
        g = space.gradient(gradient)
        length = np.linalg.norm(variables.gradient(gradient))
        norm, part = space.norms(x, g)
        assert norm == pytest.approx(length, rel=1e-12)
        assert part == pytest.approx(np.linalg.norm(g), rel=1e-9)
        if i < 4:
            assert part == pytest.approx(norm, rel=1e-9)
            assert np.linalg.norm(rejected) == pytest.approx(
                np.linalg.norm(variables.gradient(gradients[(i + 2) % 5])), rel=1e-9
            )
            x = x - 0.1 * g
        else:
            assert part < 0.95 * norm  # all axes are taken
        np.testing.assert_allclose(space.gradient_again(gradient), g, atol=1e-9 * norm)
        nearby = space.gradient_again(gradient + 1e-3 * gradients[0])
        assert np.linalg.norm(nearby - g) <= 1.001e-3 * np.linalg.norm(variables.gradient(gradients[0]))
        # x moves theta as far in v as in x, and the gradient is that with respect to x
        change = 1e-3 * rng.standard_normal(4) * (np.arange(4) <= i)
        there = space.theta(x + change) - space.theta(x)
        if kind != "classes":  # there theta has no part that all share, though v has
            assert np.linalg.norm(variables.v(there)) == pytest.approx(np.linalg.norm(change), rel=1e-9)
        assert gradient @ there == pytest.approx(g @ change, rel=1e-9)


@pytest.mark.parametrize("n_axes", [3, 12, 40])
def test_very_many_variables_start_in_the_span_of_gradients(n_axes, monkeypatch):
    rng = np.random.default_rng(0)
    A, best = np.diag(np.logspace(0, 2, 30)), rng.standard_normal(30)
    whole = minimize_lbfgs(Quadratic(A, best), np.zeros(30), tol=1e-8, max_iter=1000)
    spanned(monkeypatch, n_axes)
    solution = minimize_lbfgs(Quadratic(A, best), np.zeros(30), tol=1e-8, max_iter=1000)
    assert solution.converged
    np.testing.assert_allclose(solution.theta, best, atol=1e-6)
    assert n_axes == 3 or solution.n_iter <= whole.n_iter + 12
    if n_axes > whole.n_iter:
        assert solution.n_iter == whole.n_iter


def test_a_gradient_that_is_not_finite_ends_a_span_as_it_ends_any_other(monkeypatch):
    class Wall(Quadratic):
        def __call__(self, theta):
            value, gradient = super().__call__(theta)
            return (np.inf, np.full(30, np.nan)) if theta[0] > 0.3 else (value, gradient)

    A, best = np.diag(np.logspace(0, 2, 30)), np.full(30, 2.0)
    with np.errstate(invalid="ignore"):
        whole = minimize_lbfgs(Wall(A, best), np.zeros(30), tol=1e-8, max_iter=1000)
        spanned(monkeypatch, 20)
        solution = minimize_lbfgs(Wall(A, best), np.zeros(30), tol=1e-8, max_iter=1000)
    assert solution.status == whole.status == "stalled"


def test_variables_whose_curvature_is_next_to_nothing(monkeypatch):
    """The square of the inverse of their factor overflows."""
    spanned(monkeypatch, 20)
    units = np.array([1.0, 1e-158, 1e3])
    problem = Quadratic(np.diag(units**2), 1.0 / units, first=units)
    solution = minimize_lbfgs(problem, np.zeros(3), tol=1e-8, max_iter=100)
    assert solution.converged
    np.testing.assert_allclose(solution.theta * units, 1.0, atol=1e-7)


def test_renewed_variables_after_the_span_of_gradients(spread, monkeypatch):
    spanned(monkeypatch, 20)
    problem = Quadratic(*spread, cost=10.0)
    solution = minimize_lbfgs(problem, np.zeros(30), tol=1e-8, max_iter=1000)
    assert solution.converged
    assert problem.n_renewed == 1
    np.testing.assert_allclose(solution.theta, spread[1], atol=1e-6)


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-9, 1e-12])
def test_tol_is_met_below_the_resolution_of_the_value(tol, spread):
    A, best = spread
    problem = Quadratic(A, best, cost=10.0)
    solution = minimize_lbfgs(problem, np.zeros(30), tol=tol, max_iter=1000)
    assert solution.status == "converged"
    gradient = np.linalg.solve(np.linalg.cholesky(A), A @ (solution.theta - best))
    assert np.linalg.norm(gradient) <= 2 * tol


def test_a_tol_out_of_reach_ends_where_float64_does(spread):
    A, best = spread
    solution = minimize_lbfgs(Quadratic(A, best, cost=10.0), np.zeros(30), tol=1e-30, max_iter=1000)
    assert solution.status == "resolved"
    np.testing.assert_allclose(solution.theta, best, atol=1e-10)


def test_l1_is_the_soft_threshold():
    best, l1 = np.array([3.0, 0.5, -0.2, -2.0, 0.0, 7.0]), np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    expected = np.sign(best) * np.maximum(np.abs(best) - l1, 0.0)
    units = np.logspace(-3, 3, 6)
    A = np.diag(units**-2)
    problem = Quadratic(A, best * units, l1=l1 / units, first=1.0 / units)
    for start in (np.zeros(6), -5.0 * units):
        solution = minimize_lbfgs(problem, start, tol=1e-12, max_iter=100)
        assert solution.converged
        np.testing.assert_allclose(solution.theta, expected * units, rtol=1e-10)
        np.testing.assert_array_equal(solution.theta == 0.0, expected == 0.0)
        np.testing.assert_allclose(solution.value, problem(solution.theta)[0] + l1 @ np.abs(solution.theta / units))


def test_the_better_of_two_starts(spread):
    A, best = spread
    near, far = best + 1e-3, best + 1.0
    for theta, guess in ((near, far), (far, near)):
        problem = Quadratic(A, best)
        solution = minimize_lbfgs(problem, theta, tol=1e-6, max_iter=0, guess=guess)
        np.testing.assert_array_equal(solution.theta, near)
        assert solution.n_evaluations == problem.n_evaluations == 2
        solved = minimize_lbfgs(problem, theta, tol=1e-6, max_iter=1000, guess=guess)
        assert solved.converged
        assert solved.n_evaluations == problem.n_evaluations - 2


def test_a_share_of_the_first_gradient_is_short_enough():
    A, best = np.diag(np.logspace(0, 2, 30)), np.zeros(30)
    first = np.linalg.norm(A.sum(axis=1)) / Quadratic(A, best)(best + 1.0)[0]  # its `variables` are theta itself
    for guess in (None, best + 0.1):
        fits = [
            minimize_lbfgs(Quadratic(A, best), best + 1.0, tol=1e-9, max_iter=1000, guess=guess, **loose)
            for loose in ({"share": 1e-3}, {"share": 1e-3, "loosest": 1e-5}, {"share": 1e-30}, {})
        ]
        assert all(fit.converged for fit in fits)
        for fit, at_least, at_most in zip(fits, (1e-5, 1e-9, 0.0, 0.0), (1e-3 * first, 1e-5, 1e-9, 1e-9), strict=True):
            assert at_least < fit.gradient_norm <= at_most


@pytest.mark.parametrize("seed", range(8))
def test_the_support_of_an_l1_penalty_has_variables_of_its_own(seed):
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((40, 40)))
    A, best = Q @ np.diag(np.logspace(-2, 2, 40)) @ Q.T, rng.standard_normal(40)
    l1 = np.where(np.arange(40) < 2, 0.0, 0.3)
    fits = []
    for cost in (np.inf, 5.0):
        problem = Quadratic(A, best, l1=l1, first=np.sqrt(A.diagonal()), cost=cost)
        fit = minimize_lbfgs(problem, np.zeros(40), tol=1e-10, max_iter=2000)
        assert fit.converged
        assert fit.n_evaluations == problem.n_evaluations
        assert (problem.n_renewed > 0) == np.isfinite(cost)
        grad = A @ (fit.theta - best)
        violation = np.where(fit.theta == 0, np.maximum(np.abs(grad) - l1, 0), np.abs(grad + l1 * np.sign(fit.theta)))
        assert violation.max() < 1e-8
        fits.append(fit)
    slow, fast = fits
    np.testing.assert_array_equal(fast.theta == 0.0, slow.theta == 0.0)
    np.testing.assert_allclose(fast.theta, slow.theta, atol=1e-7)
    assert 5 < np.count_nonzero(fast.theta) < 38
    assert fast.n_evaluations < 0.6 * slow.n_evaluations


def test_watch_sees_each_iteration_and_may_stop(spread):
    seen = []

    def watch(at):
        seen.append((at.n_iter, at.value, at.n_evaluations))
        return "enough" if at.n_iter == 7 else None

    solution = minimize_lbfgs(Quadratic(*spread), np.zeros(30), tol=0.0, max_iter=100, watch=watch)
    assert solution.status == "enough"
    assert not solution.converged
    assert [n for n, _, _ in seen] == list(range(1, 8))
    assert solution.value == seen[-1][1]
    values = [value for _, value, _ in seen]
    assert values == sorted(values, reverse=True)


def test_an_interrupt_returns_the_best_point(spread):
    class Interrupted(Quadratic):
        def __call__(self, theta):
            if self.n_evaluations == 12:
                raise KeyboardInterrupt
            return super().__call__(theta)

    problem = Interrupted(*spread)
    solution = minimize_lbfgs(problem, np.zeros(30), tol=0.0, max_iter=100)
    assert solution.status == "interrupted"
    assert 0 < solution.n_iter < 12
    assert solution.value == Quadratic(*spread)(solution.theta)[0] < Quadratic(*spread)(np.zeros(30))[0]


def test_start_at_the_minimum_or_with_no_iterations(spread):
    A, best = spread
    solution = minimize_lbfgs(Quadratic(A, best), best, tol=1e-9, max_iter=10)
    assert (solution.status, solution.n_iter, solution.n_evaluations) == ("converged", 0, 1)
    solution = minimize_lbfgs(Quadratic(A, best), np.zeros(30), tol=1e-9, max_iter=0)
    assert (solution.status, solution.n_iter, solution.n_evaluations) == ("max_iter", 0, 1)


@pytest.mark.filterwarnings("ignore:overflow")
def test_an_infinite_start_is_refused():
    with pytest.raises(ValueError, match="objective is inf at the start: X"):
        minimize_lbfgs(Quadratic(np.eye(2), np.full(2, 1e200)), np.zeros(2), tol=1e-9, max_iter=10)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("max_iter", r"max_iter=5 .* 2\.0e-03 .* tol=1\.0e-04 .* 5\.0e-02 of the objective off.*Increase max_iter"),
        ("stalled", r"no further decrease after 5 iterations.*Increase tol"),
        ("separated", "perfectly separable.*Set a finite C"),
    ],
)
def test_warnings_say_how_far_and_what_to_do(status, message):
    solution = Solution(np.zeros(1), 2.0, gradient_norm=2e-3, decrease=0.1, n_iter=5, n_evaluations=6, status=status)
    with pytest.warns(ConvergenceWarning, match=message):
        solution.warn(1e-4, 5)
    for quiet in ("converged", "resolved", "early", "stopped"):
        Solution(np.zeros(1), 2.0, status=quiet).warn(1e-4, 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments(dtype, weighted, offset):
    rng = np.random.default_rng(2)
    X = (rng.standard_normal((3000, 19)) * np.logspace(-3, 3, 19) + offset).astype(dtype)
    X[:, 2] = 5.1
    X[rng.random(X.shape) < 0.1] *= offset == 0.0  # some zeros
    weight = rng.random(3000) * (rng.random(3000) < 0.7) if weighted else None
    exact = X.astype(np.longdouble)
    mean = np.average(exact, axis=0, weights=weight)
    variance = np.average((exact - mean) ** 2, axis=0, weights=weight)
    indices64 = sp.csr_array(X)
    indices64.indices, indices64.indptr = indices64.indices.astype(np.int64), indices64.indptr.astype(np.int64)
    for stored in (X, sp.csr_array(X), indices64):
        found = moments(stored, weight, 1)
        assert (np.abs(found[0] - mean) <= 1e-13 * np.abs(mean) + 2e-14 * np.sqrt(variance)).all()
        np.testing.assert_allclose(found[1], variance.astype(float), rtol=1e-9, atol=1e-20)
        for again in zip(found, moments(stored, weight, 2), strict=True):
            np.testing.assert_array_equal(*again)


def test_rows_of_no_weight_are_not_looked_at():
    X = np.array([[1.0, 2.0], [3.0, 2.0], [np.nan, np.inf]])
    weight = np.array([1.0, 1.0, 0.0])
    for stored in (X, sp.csr_array(X)):
        mean, variance = moments(stored, weight)
        np.testing.assert_array_equal(mean, [2.0, 2.0])
        np.testing.assert_array_equal(variance, [1.0, 0.0])


@pytest.fixture
def gentle():
    """Curvatures over two decades."""
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.standard_normal((30, 30)))
    return Q @ np.diag(np.logspace(-1, 1, 30)) @ Q.T, rng.standard_normal(30)


class Coarse(Quadratic):
    """With an evaluation that is off by `bias`, of nine digits and a gradient of seven."""

    def __init__(self, A, best, *, bias=0.0, **options):
        super().__init__(A, best, **options)
        self.bias, self.n_coarse = bias, 0

    def coarse(self, theta):
        self.n_coarse += 1
        gradient = self.A @ (theta - self.best)
        value = 1.0 + 0.5 * float((theta - self.best) @ gradient) + self.bias
        return round(value, 9), gradient.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-9])
@pytest.mark.parametrize("bias", [-1e-5, 0.0, 1e-5])
def test_what_is_far_from_the_minimum_is_evaluated_coarsely(gentle, bias, tol):
    problem, exact = Coarse(*gentle, bias=bias), Quadratic(*gentle)
    solution = minimize_lbfgs(problem, np.zeros(30), tol=tol, max_iter=1000)
    plain = minimize_lbfgs(exact, np.zeros(30), tol=tol, max_iter=1000)
    assert solution.converged
    assert solution.value == Quadratic(*gentle)(solution.theta)[0]
    assert solution.n_evaluations == problem.n_coarse + problem.n_evaluations <= 1.2 * plain.n_evaluations + 4
    assert problem.n_coarse > (0.9 if tol > 1e-4 else 0.3) * solution.n_evaluations


@pytest.mark.parametrize("max_iter", [0, 3])
def test_the_value_where_it_ends_is_exact(gentle, max_iter):
    problem = Coarse(*gentle, bias=1e-5)
    solution = minimize_lbfgs(problem, np.zeros(30), tol=1e-9, max_iter=max_iter)
    assert solution.status == "max_iter"
    assert solution.value == Quadratic(*gentle)(solution.theta)[0]


def test_a_coarse_value_that_overflows_is_found_exactly(gentle):
    class Overflowing(Coarse):
        def coarse(self, theta):
            value, gradient = super().coarse(theta)
            return value if self.n_coarse < 5 else np.inf, gradient

    problem = Overflowing(*gentle)
    assert minimize_lbfgs(problem, np.zeros(30), tol=1e-9, max_iter=1000).converged
    assert problem.n_coarse == 5
