"""Weighted sums of outer products agree with extended precision, on shapes around every vector, tile and block."""

import numpy as np
import pytest

from xentropy._kernels import _dispatch
from xentropy._kernels._dispatch import available_isas, choose_isa
from xentropy._kernels._gram import add_grams

UNIT = {"float64": 2.0**-52, "float32": 2.0**-23}


@pytest.fixture(scope="module", params=available_isas(), autouse=True)
def isa(request):
    choose_isa(request.param)
    yield request.param
    choose_isa(_dispatch.ISA)


def problem(n, d, m, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.exponential(size=(n, m))


def oracle(rows, weights, floor=0.0):
    long = np.longdouble
    used = np.where(weights > floor, weights, 0.0).astype(long)
    rows = np.where((used != 0).any(axis=1)[:, None], rows, 0.0).astype(long)
    sizes = np.abs(rows)
    return [np.array([a.T @ (w[:, None] * a) for w in used.T]) for a in (rows, sizes)]


@pytest.mark.parametrize("compute", UNIT)
@pytest.mark.parametrize(
    ("n", "d"),
    [(n, d) for n in (1, 63, 64, 65) for d in (1, 2, 7, 24, 25)]
    + [(130, d) for d in (3, 4, 5, 6, 8, 9, 11, 12, 13, 15, 16, 17, 23, 31, 32, 47, 48, 49, 63, 64, 65, 71, 97, 150)],
)
def test_grams(n, d, compute):
    rows, weights = problem(n, d, 3)
    exact, size = oracle(rows, weights)
    start = np.full((3, d, d), 2.0)
    found = start.copy()
    left = add_grams(rows, weights, found, compute=compute)
    # the square roots of the weights, the products, and their sums over 64 rows have a few roundings each
    assert np.all(np.abs(found - start - exact) <= 8 * UNIT[compute] * (size + 2))
    np.testing.assert_array_equal(found, found.transpose(0, 2, 1))
    np.testing.assert_array_equal(left, 0.0)


@pytest.mark.parametrize("compute", UNIT)
def test_rows_that_are_left_out_are_weighed_and_not_read(compute):
    rows, weights = problem(300, 13, 2)
    weights[::5] = 0.0
    weights[1::7] = 0.4
    rows[(weights <= 0.4).all(axis=1)] = np.nan
    exact, size = oracle(rows, weights, 0.4)
    found = np.zeros((2, 13, 13))
    left = add_grams(rows, weights, found, floor=0.4, compute=compute)
    assert np.all(np.abs(found - exact) <= 8 * UNIT[compute] * size)
    np.testing.assert_allclose(left, np.where(weights <= 0.4, weights, 0.0).sum(axis=0), rtol=1e-14)


def test_weights_as_they_lie_in_memory():
    rows, weights = problem(100, 10, 4)
    plain, columns, reversed_ = np.zeros((3, 4, 10, 10))
    add_grams(rows, weights, plain)
    add_grams(rows, np.asfortranarray(weights), columns)
    add_grams(rows[::-1].copy(), weights[::-1], reversed_)
    np.testing.assert_array_equal(plain, columns)
    np.testing.assert_allclose(plain, reversed_, rtol=1e-12, atol=1e-12)
    fields = np.zeros(100, [("weight", "f8"), ("other", "i4")])
    fields["weight"] = weights[:, 0]
    of_field = np.zeros((1, 10, 10))
    add_grams(rows, fields["weight"][:, None], of_field)
    np.testing.assert_array_equal(of_field[0], plain[0])


@pytest.mark.parametrize("compute", UNIT)
def test_the_same_bits_for_any_number_of_threads(compute):
    rows, weights = problem(500, 33, 7)
    one, many = np.zeros((2, 7, 33, 33))
    add_grams(rows, weights, one, compute=compute)
    for n_threads in (2, 3, 16):
        many[:] = 0.0
        add_grams(rows, weights, many, compute=compute, n_threads=n_threads)
        np.testing.assert_array_equal(one, many)


def test_nan_weights_show_and_do_not_raise():
    rows, weights, found = np.ones((3, 2)), np.array([[1.0], [np.nan], [4.0]]), np.zeros((1, 2, 2))
    assert np.isnan(add_grams(rows, weights, found)).all()
    np.testing.assert_array_equal(found, 5.0)
    assert np.isnan(add_grams(rows, weights, found, floor=np.nan)).all()


def test_nothing_to_add():
    found = np.ones((2, 3, 3))
    for rows, weights in ((np.zeros((0, 3)), np.zeros((0, 2))), (np.ones((4, 3)), np.zeros((4, 2)))):
        np.testing.assert_array_equal(add_grams(rows, weights, found), [0.0, 0.0])
    assert add_grams(np.ones((4, 3)), np.zeros((4, 0)), np.ones((0, 3, 3))).shape == (0,)
    assert add_grams(np.ones((4, 0)), np.ones((4, 1)), np.ones((1, 0, 0))).tolist() == [0.0]
    np.testing.assert_array_equal(found, 1.0)


def test_bad_arguments_are_refused():
    rows, weights, to = np.ones((4, 3)), np.ones((4, 2)), np.zeros((2, 3, 3))
    for wrong in ((rows[:3], weights, to), (rows, weights[:, :1], to), (rows, weights, np.zeros((2, 3, 4)))):
        with pytest.raises(ValueError, match=r"must be \(n, d\), \(n, m\) and \(m, d, d\)"):
            add_grams(*wrong)
    with pytest.raises(ValueError, match=r"floor=-1\.0"):
        add_grams(rows, weights, to, floor=-1.0)
    with pytest.raises(ValueError, match="compute='flaot32'"):
        add_grams(rows, weights, to, compute="flaot32")
    np.testing.assert_array_equal(to, 0.0)
