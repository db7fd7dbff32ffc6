"""Triangular factors against SciPy, over shapes around every vector, tile and strip."""

import threading

import numpy as np
import pytest
from scipy.linalg import solve_triangular

from xentropy._kernels import _dispatch
from xentropy._kernels._dispatch import available_isas, choose_isa
from xentropy._kernels._triangular import TriangularFactors

UNIT = {"float64": 2.0**-53, "float32": 2.0**-24}
METHODS = ["to_x", "to_theta", "to_gradient"]
# (n_factors, n_columns, m)
ONE_COLUMN = [(1, 1, m) for m in (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 65, 130, 257)]
COLUMNS = [(1, r, m) for r in (2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17, 24, 25, 33, 49) for m in (1, 5, 8, 13, 40)]
CLASSES = [(2, 2, 1), (3, 3, 5), (5, 5, 41), (10, 10, 65), (17, 17, 24)]
SHAPES = [*ONE_COLUMN, *COLUMNS, (1, 10, 65), (1, 30, 150), *CLASSES]


@pytest.fixture(scope="module", params=available_isas(), autouse=True)
def isa(request):
    choose_isa(request.param)
    yield request.param
    choose_isa(_dispatch.ISA)


def random_factors(n_factors, m, seed=0):
    """Of well-conditioned preconditioners, in units that differ by some digits. What must not be read is NaN."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((n_factors, m, 2 * m))
    factors = np.linalg.cholesky(root @ root.transpose(0, 2, 1) / m + np.eye(m))
    return factors * np.exp(3 * rng.standard_normal((n_factors, m, 1))) + np.triu(np.full((m, m), np.nan), 1)


def random_vector(m, n_columns, seed=1):
    return np.random.default_rng(seed).standard_normal(m * n_columns)


def scipy_result(method, factors, vector):
    rows = vector.reshape(factors.shape[1], -1)
    columns = []
    for k, column in enumerate(rows.T):
        factor = np.tril(factors[k if len(factors) > 1 else 0])
        if method == "to_x":
            columns.append(factor.T @ column)
        else:
            columns.append(solve_triangular(factor, column, lower=True, trans=int(method == "to_theta")))
    result = np.array(columns).T
    if method == "to_theta" and len(factors) > 1:
        result = result - result.mean(axis=1, keepdims=True)
    return result.ravel()


@pytest.mark.parametrize("precision", UNIT)
@pytest.mark.parametrize(("n_factors", "n_columns", "m"), SHAPES)
class TestShapes:
    def test_results(self, n_factors, n_columns, m, precision):
        factors, vector = random_factors(n_factors, m), random_vector(m, n_columns)
        stored = TriangularFactors.from_factors(factors, n_columns=n_columns, precision=precision)
        for method in METHODS:
            found = getattr(stored, method)(vector)
            assert found.shape == vector.shape
            assert found.flags.c_contiguous
            expected = scipy_result(method, factors, vector)
            error, sizes = (np.abs(a).reshape(m, n_columns) for a in (found - expected, expected))
            if method == "to_theta":  # in the units of its row
                units = np.linalg.norm(np.tril(factors), axis=2).T
                error, sizes = units * error, units * sizes
            assert error.max() <= {"float64": 1e-12, "float32": 1e-6}[precision] * sizes.max(), method
            np.testing.assert_array_equal(found, getattr(stored, method)(vector))

    def test_gradients_belong_to_the_variables(self, n_factors, n_columns, m, precision):
        factors, x = random_factors(n_factors, m), random_vector(m, n_columns)
        grad = random_vector(m, n_columns, seed=2).reshape(m, n_columns)
        if n_factors > 1:
            grad = grad - grad.mean(axis=1, keepdims=True)
        grad = grad.ravel()
        stored = TriangularFactors.from_factors(factors, n_columns=n_columns, precision=precision)
        theta, x_grad = stored.to_theta(x), stored.to_gradient(grad)
        assert abs(theta @ grad - x @ x_grad) <= 1e-13 * (np.abs(theta) @ np.abs(grad) + np.abs(x) @ np.abs(x_grad))
        if n_factors == 1:
            np.testing.assert_allclose(stored.to_theta(stored.to_x(theta)), theta, rtol=1e-11)


def backward_error(factor, solution, right, *, transposed=False):
    """The largest change of a number of the factor, relative to it, that would make the solution exact."""
    factor = np.tril(factor).astype(np.longdouble)
    factor = factor.T if transposed else factor
    solution, right = solution.astype(np.longdouble), right.astype(np.longdouble)
    return float(np.max(np.abs(factor @ solution - right) / (np.abs(factor) @ np.abs(solution))))


@pytest.mark.parametrize("precision", UNIT)
@pytest.mark.parametrize("n_columns", [1, 4, 20])
@pytest.mark.parametrize("m", [10, 70])
def test_solutions_are_backward_stable(m, n_columns, precision):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3 * m, 1)) + 1e-7 * rng.standard_normal((3 * m, m))  # columns that are nearly the same
    factor = np.linalg.qr(rows, mode="r").T
    factor *= np.sign(factor.diagonal())
    assert np.linalg.cond(factor) > 1e7
    stored = TriangularFactors.from_factors([factor], n_columns=n_columns, precision=precision)
    vector = random_vector(m, n_columns)
    allowed = (4 * UNIT["float64"] * m) + 4 * UNIT[precision]
    for method in ("to_theta", "to_gradient"):
        solutions = getattr(stored, method)(vector).reshape(m, n_columns)
        for solution, right in zip(solutions.T, vector.reshape(m, n_columns).T, strict=True):
            assert backward_error(factor, solution, right, transposed=method == "to_theta") <= allowed


@pytest.mark.parametrize("precision", UNIT)
def test_any_units(precision):
    factors, vector = random_factors(3, 20), random_vector(20, 3).reshape(20, 3)
    units = 10.0 ** np.random.default_rng(0).uniform(-150, 150, (20, 1))
    plain = TriangularFactors.from_factors(factors, precision=precision)
    scaled = TriangularFactors.from_factors(factors * units, precision=precision)
    rtol = 1e-11 if precision == "float64" else 1e-4
    np.testing.assert_allclose(scaled.to_x((vector / units).ravel()), plain.to_x(vector.ravel()), rtol=rtol)
    found = scaled.to_theta(vector.ravel()).reshape(20, 3) * units
    np.testing.assert_allclose(found, plain.to_theta(vector.ravel()).reshape(20, 3), rtol=rtol)
    np.testing.assert_allclose(
        scaled.to_gradient((vector * units).ravel()), plain.to_gradient(vector.ravel()), rtol=rtol
    )


def test_factors_and_vectors_as_they_lie_in_memory():
    (factor,), vector = random_factors(1, 13), random_vector(13, 4)
    expected = TriangularFactors.from_factors([factor], n_columns=4).to_theta(vector)
    fields = np.zeros((13, 13), [("value", "f8"), ("other", "i4")])
    fields["value"] = factor
    for same in (np.asfortranarray(factor), factor[::-1][::-1], fields["value"], factor.astype(">f8")):
        np.testing.assert_array_equal(TriangularFactors.from_factors([same], n_columns=4).to_theta(vector), expected)
    stored = TriangularFactors.from_factors(factor[None], n_columns=4)
    read_only = vector.copy()
    read_only.flags.writeable = False
    for same in (np.repeat(vector, 2)[::2], vector.astype(">f8"), read_only, vector.tolist()):
        np.testing.assert_array_equal(stored.to_theta(same), expected)
    np.testing.assert_array_equal(
        stored.to_theta(np.ones(52, dtype=np.float32)), stored.to_theta(np.ones(52, dtype=int))
    )


@pytest.mark.parametrize("precision", UNIT)
def test_several_threads_set_and_solve(precision):
    factors, vector = random_factors(8, 100), random_vector(100, 8)
    expected = TriangularFactors.from_factors(factors, precision=precision).to_theta(vector)
    stored = TriangularFactors(8, 100, precision=precision)
    threads = [threading.Thread(target=stored.set, args=(k, factors[k])) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend(stored.to_theta(vector) for _ in range(20))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    np.testing.assert_array_equal(found, np.broadcast_to(expected, (80, 800)))


@pytest.mark.parametrize("n_factors", [1, 9])
def test_a_column_that_is_not_finite_leaves_the_others_alone(n_factors):
    stored = TriangularFactors.from_factors(random_factors(n_factors, 21), n_columns=9)
    vector = random_vector(21, 9)
    broken = vector.reshape(21, 9).copy()
    broken[:, 4] = np.nan
    for method in METHODS if n_factors == 1 else ("to_x", "to_gradient"):
        expected = getattr(stored, method)(vector).reshape(21, 9)
        found = getattr(stored, method)(broken.ravel()).reshape(21, 9)
        assert np.isnan(found[:, 4]).all()
        np.testing.assert_array_equal(np.delete(found, 4, axis=1), np.delete(expected, 4, axis=1))


@pytest.mark.parametrize("precision", UNIT)
def test_a_singular_factor_shows_and_does_not_raise(precision):
    for factor in (np.zeros((11, 11)), np.full((11, 11), np.nan)):
        stored = TriangularFactors.from_factors([factor], precision=precision)
        assert not np.isfinite(stored.to_theta(np.ones(11))).any()
        assert not np.isfinite(stored.to_gradient(np.ones(11))).any()


def test_memory_is_that_of_the_triangle():
    for precision, size in (("float64", 8), ("float32", 4)):
        stored = TriangularFactors(2, 1000, precision=precision)
        assert (stored.n_factors, stored.m, stored.n_columns, stored.precision) == (2, 1000, 2, precision)
        assert size * 1000 * 1001 <= stored.n_bytes <= 1.03 * size * 1000 * 1001


class TestRefused:
    def test_numbers(self):
        for n_factors, m in ((0, 3), (3, 0), (-1, 3)):
            with pytest.raises(ValueError, match=f"n_factors={n_factors} and m={m} must be 1 or more"):
                TriangularFactors(n_factors, m)
        for n_factors, n_columns in ((3, 4), (3, 1), (1, 0)):
            with pytest.raises(ValueError, match=f"n_columns={n_columns} with n_factors={n_factors}"):
                TriangularFactors(n_factors, 2, n_columns=n_columns)
        with pytest.raises(ValueError, match="precision='flaot32'"):
            TriangularFactors(1, 2, precision="flaot32")

    def test_factors(self):
        stored = TriangularFactors(2, 3)
        for k in (-1, 2):
            with pytest.raises(ValueError, match=f"k={k} must be one of the 2 factors"):
                stored.set(k, np.eye(3))
        for shape in ((3,), (3, 2), (1, 3, 3)):
            with pytest.raises(ValueError, match=r"it must be \(3, 3\)"):
                stored.set(0, np.ones(shape))
        with pytest.raises(ValueError, match="factor has dtype complex128"):
            stored.set(0, np.eye(3) * 1j)
        with pytest.raises(ValueError, match=r"it must be \(3, 3\)"):
            TriangularFactors.from_factors([np.eye(3), np.eye(2)])
        for empty in ([], [1.0]):
            with pytest.raises(ValueError, match=r"factors must be some matrices \(m, m\)"):
                TriangularFactors.from_factors(empty)
        stored.set(0, np.eye(3))
        with pytest.raises(ValueError, match="factor 1 of 2 was not set"):
            stored.to_x(np.ones(6))

    def test_vectors(self):
        stored = TriangularFactors.from_factors([np.eye(3)], n_columns=2)
        for shape in ((5,), (3, 2), (), (0,)):
            with pytest.raises(ValueError, match=r"it must be \(6,\)"):
                stored.to_x(np.ones(shape))
        for dtype in (complex, "datetime64[s]", object):
            with pytest.raises(ValueError, match="vector has dtype"):
                stored.to_x(np.ones(6).astype(dtype))
