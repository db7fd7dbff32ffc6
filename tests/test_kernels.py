"""The fused pass agrees with a naive oracle, on shapes around the size of every block, vector, tile and partition."""

from time import thread_time

import numpy as np
import pytest
from scipy import sparse

from xentropy._kernels import _dispatch
from xentropy._kernels._dispatch import available_isas, choose_isa
from xentropy._kernels._linear import LinearPass, linear_predict

DTYPES = ["float32", "float64"]
# the format of X, and the rows of a tile
TILED = [(np.asarray, None), (sparse.csr_array, None), (sparse.csr_array, 13)]


@pytest.fixture(scope="module", params=available_isas(), autouse=True)
def isa(request):
    """The instruction set: every test runs under each one that this machine has."""
    choose_isa(request.param)
    yield request.param
    choose_isa(_dispatch.ISA)


def oracle(X, coef, intercept, K, *, labels=None, distribution=None, sample_weight=None, class_weight=None, eps=0.0):
    """Loss and gradient in extended precision, straight from the formulas, without the rows of weight 0."""
    long = np.longdouble
    n = X.shape[0]
    s = np.ones(n) if sample_weight is None else sample_weight
    X = (X.toarray() if sparse.issparse(X) else X)[s != 0].astype(long)
    t = np.eye(K)[labels] if distribution is None else distribution
    t = t[s != 0].astype(long)
    s = s[s != 0].astype(long)
    coef, intercept = coef.astype(long), intercept.astype(long)
    z = X @ coef + intercept
    sigmoid = coef.shape[1] == 1 and K == 2
    if sigmoid:
        z = np.hstack([np.zeros_like(z), z])
    a = (1 - long(eps)) * t + long(eps) / K
    a = a * s[:, None] * (1 if class_weight is None else class_weight)
    z = z - z.max(axis=1, keepdims=True)
    lse = np.log(np.exp(z).sum(axis=1, keepdims=True))
    loss = (a * (lse - z)).sum()
    g = a.sum(axis=1, keepdims=True) * np.exp(z - lse) - a
    if sigmoid:
        g = g[:, 1:]
    return float(loss), (X.T @ g).astype(float), g.sum(axis=0).astype(float)


def problem(n, d, K, dtype, *, seed=0, sigmoid=False, scale=1.0):
    rng = np.random.default_rng(seed)
    R = 1 if sigmoid else K
    X = rng.standard_normal((n, d)).astype(dtype)
    coef = scale * rng.standard_normal((d, R)) / np.sqrt(max(d, 1))
    return X, rng.integers(0, K, n, dtype=np.int32), coef, rng.standard_normal(R)


def evaluate(X, K, coef, intercept, *, n_threads=1, **options):
    grad, grad_b = np.full(coef.shape, np.nan), np.full(intercept.shape, np.nan)
    value = LinearPass(X, K, **options).loss_gradient(coef, intercept, grad, grad_b, n_threads)
    return value, grad, grad_b


def check(X, K, coef, intercept, *, compute="float64", sigmoid=False, eps=0.0, tile_rows=None, **target):
    options = {"compute": compute, "sigmoid": sigmoid, "label_smoothing": eps, "tile_rows": tile_rows}
    got = evaluate(X, K, coef, intercept, **options, **target)
    want = oracle(X, coef, intercept, K, eps=eps, **target)
    n, d = X.shape
    unit = 1e-12 if compute == "float64" else 2e-6
    rtol = unit * (1 + np.sqrt(d))
    weight = 1.0 if target.get("sample_weight") is None else target["sample_weight"].max()
    size = weight * (1.0 if target.get("class_weight") is None else target["class_weight"].max())
    assert got[0] == pytest.approx(want[0], rel=rtol, abs=1e-300)
    for g, w in zip(got[1:], want[1:], strict=True):
        np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol * np.sqrt(n + 1) * size)


# around one and two vectors of each instruction set, tiles of three vectors, and the change from few to many classes
WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 49, 65, 100]


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize("K", WIDTHS)
def test_number_of_classes(K, compute):
    for d in (1, 5, 19):
        X, labels, coef, intercept = problem(37, d, K, compute, seed=K)
        check(X, K, coef, intercept, labels=labels, compute=compute)


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize("K", [1, 2, 3, 10, 13, 30])
def test_number_of_features(K, compute):
    for d in [0, *WIDTHS, 127, 128, 129, 200, 300, 1035]:
        X, labels, coef, intercept = problem(21, d, K, compute, seed=d)
        check(X, K, coef, intercept, labels=labels, compute=compute)
        if K == 2:
            check(X, K, coef[:, :1].copy(), intercept[:1], labels=labels, compute=compute, sigmoid=True)


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize(("K", "sigmoid"), [(2, True), (2, False), (3, False), (10, False), (40, False)])
def test_number_of_rows(K, sigmoid, compute):
    for n in [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 257, 511, 513, 5000]:
        X, labels, coef, intercept = problem(n, 11, K, compute, seed=n, sigmoid=sigmoid)
        check(X, K, coef, intercept, labels=labels, compute=compute, sigmoid=sigmoid)


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize("stored", DTYPES)
def test_blocks_of_one_output_in_one_stream(stored, compute):
    """Whole blocks follow each other; features are in one tile or several; rows are read in place, copied, or both."""
    rng = np.random.default_rng(0)
    for d in [1, 4, 7, 8, 20, 39, 40, 41, 45, 79, 80, 81, 90, 161, 300]:
        X, labels, coef, intercept = problem(1100, d, 2, stored, seed=d, sigmoid=True)
        options = {"labels": labels, "compute": compute, "sigmoid": True}
        check(X, 2, coef, intercept, **options)
        shift = rng.standard_normal(d)
        got = evaluate(X, 2, coef, intercept, shift=shift, **options)
        want = oracle(X - shift, coef, intercept, 2, labels=labels)
        rtol = (1e-12 if compute == "float64" else 2e-6) * (1 + np.sqrt(d))
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=rtol, atol=40 * rtol)
        weight = np.ones(1100)
        weight[400], X[400] = 0.0, np.nan
        check(X, 2, coef, intercept, sample_weight=weight, **options)


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize(("K", "sigmoid"), [(2, True), (2, False), (3, False), (10, False), (40, False)])
def test_some_of_the_rows(K, sigmoid, stored, compute):
    rng = np.random.default_rng(K)
    X, _, coef, intercept = problem(900, 21, K, stored, sigmoid=sigmoid)
    rows, shift = rng.integers(0, 900, 700), rng.standard_normal(21)
    rows[-1] = 899
    labels, weight = rng.integers(0, K, 700, dtype=np.int32), rng.integers(0, 3, 700).astype(float)
    for moved in (None, shift):
        options = {"labels": labels, "sample_weight": weight, "sigmoid": sigmoid, "compute": compute, "shift": moved}
        got = evaluate(X, K, coef, intercept, rows=rows, **options)
        for g, w in zip(got, evaluate(X[rows], K, coef, intercept, **options), strict=True):
            assert np.array_equal(g, w)  # both have ignored rows, and so both are copied block by block


def targets(n, K, rng):
    labels = rng.integers(0, K, n, dtype=np.int32)
    soft = rng.dirichlet(np.ones(K), n)
    weight = rng.integers(0, 3, n).astype(float)
    by_class = rng.uniform(0.5, 2.0, K)
    by_class[0] = 0.0
    yield {"labels": labels}
    yield {"labels": labels, "sample_weight": weight}
    yield {"labels": labels, "class_weight": by_class}
    yield {"labels": labels, "sample_weight": weight, "class_weight": by_class}
    yield {"labels": labels, "eps": 0.1}
    yield {"labels": labels, "eps": 0.1, "sample_weight": weight, "class_weight": by_class}
    yield {"distribution": soft}
    yield {"distribution": soft, "sample_weight": weight, "class_weight": by_class, "eps": 0.1}


def storages(X, rng):
    """X in every format; rows have any length, and columns are unsorted and repeated."""
    X = np.where(rng.random(X.shape) < 0.3, X, 0)
    X[::5] = 0
    yield X
    for index in (np.int32, np.int64):
        A = sparse.csr_matrix(X)
        rows, cols, vals = A.nonzero()[0], A.indices, A.data
        order = np.lexsort((rng.random(len(rows)), rows))
        # each value is split in two, so its column is repeated
        rows, cols = np.repeat(rows[order], 2), np.repeat(cols[order], 2)
        vals = np.column_stack([vals[order] * 0.5, vals[order] * 0.5]).ravel()
        indptr = np.searchsorted(rows, np.arange(len(X) + 1)).astype(index)
        B = sparse.csr_matrix((len(X), X.shape[1]), dtype=X.dtype)
        B.data, B.indices, B.indptr = vals.astype(X.dtype), cols.astype(index), indptr
        yield B


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize(("K", "sigmoid"), [(2, True), (2, False), (3, False), (6, False), (12, False), (20, False),
                                            (33, False), (70, False)])  # fmt: skip
def test_targets_and_storages(K, sigmoid, stored, compute):
    rng = np.random.default_rng(K)
    X, _, coef, intercept = problem(70, 13, K, stored, sigmoid=sigmoid, scale=3.0)
    for A in storages(X, rng):
        for target in targets(len(X), K, rng):
            if "distribution" in target:
                target["distribution"] = target["distribution"].astype(compute)
            for tile_rows in (None, 30) if sparse.issparse(A) else (None,):
                check(A, K, coef, intercept, compute=compute, sigmoid=sigmoid, tile_rows=tile_rows, **target)


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize(("make", "tile_rows"), TILED)
@pytest.mark.parametrize(("K", "sigmoid"), [(2, True), (3, False), (10, False), (40, False)])
def test_ignored_rows_are_not_read(K, sigmoid, make, tile_rows, compute):
    X, labels, coef, intercept = problem(50, 9, K, compute, sigmoid=sigmoid)
    weight = np.ones(50)
    weight[[0, 17, 48, 49]] = 0.0
    bad = X.copy()
    bad[weight == 0] = np.nan
    bad[17, 3] = np.inf
    options = {"labels": labels, "sample_weight": weight, "compute": compute, "sigmoid": sigmoid}
    options["tile_rows"] = tile_rows
    got = evaluate(make(bad), K, coef, intercept, **options)
    want = evaluate(make(X), K, coef, intercept, **options)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-6)


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(("K", "sigmoid"), [(2, True), (3, False), (10, False), (40, False)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_row_makes_the_loss_nan(bad, K, sigmoid, make, compute):
    X, labels, coef, intercept = problem(50, 9, K, compute, sigmoid=sigmoid)
    labels[23] = 0
    coef[4, :] = np.abs(coef[4, :]) + 0.1  # the logit is +inf, for which the sigmoid form has the loss +inf
    X[23, 4] = bad
    value, _, _ = evaluate(make(X), K, coef, intercept, labels=labels, compute=compute, sigmoid=sigmoid)
    assert value == np.inf if sigmoid and bad == np.inf else np.isnan(value)


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize(("K", "sigmoid"), [(2, True), (3, False), (10, False), (40, False)])
def test_a_loss_keeps_its_digits_far_below_the_rounding_of_one(K, sigmoid, compute):
    R = 1 if sigmoid else K
    X = np.array([[1.0]] * 9, dtype=compute)
    for gap in (20.0, 100.0, 300.0, 700.0):
        coef = np.zeros((1, R))
        coef[0, 0] = gap
        labels = np.full(9, 1 if sigmoid else 0, dtype=np.int32)
        value, _, grad_b = evaluate(X, K, coef, np.zeros(R), labels=labels, compute=compute, sigmoid=sigmoid)
        others = 1 if sigmoid else K - 1
        assert value == pytest.approx(9 * others * np.exp(-gap), rel=4e-6)
        if gap == 20.0:
            assert grad_b[0] == pytest.approx(-9 * others * np.exp(-gap), rel=1e-5)


@pytest.mark.parametrize(("K", "sigmoid"), [(2, True), (3, False), (10, False), (40, False)])
def test_confident_rows_are_not_slow(K, sigmoid):
    """Denormal numbers make arithmetic a hundred times slower: probabilities of e^-95 must leave none in the sums."""
    X, _, coef, intercept = problem(4000, 30, K, "float32", sigmoid=sigmoid)
    X[:, 0] = 1.0
    seconds = {}
    for gap in (0.0, 95.0):
        coef[0] = gap if sigmoid else gap * (np.arange(K) == 0)
        work = LinearPass(X, K, labels=np.full(4000, int(sigmoid), dtype=np.int32), sigmoid=sigmoid, compute="float32")
        grad, grad_b = np.empty_like(coef), np.empty_like(intercept)
        times = []
        for _ in range(7):
            start = thread_time()
            work.loss_gradient(coef, intercept, grad, grad_b)
            times.append(thread_time() - start)
        seconds[gap] = min(times)
    assert seconds[95.0] < 4 * seconds[0.0]


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize(("make", "tile_rows"), TILED)
@pytest.mark.parametrize(("K", "sigmoid"), [(2, True), (3, False), (10, False), (40, False)])
def test_the_same_bits_for_any_number_of_threads(K, sigmoid, make, tile_rows, compute):
    X, labels, coef, intercept = problem(200_000, 12, K, compute, sigmoid=sigmoid)
    A = make(X)
    options = {"labels": labels, "compute": compute, "sigmoid": sigmoid, "tile_rows": tile_rows}
    first = evaluate(A, K, coef, intercept, **options)
    for n_threads in (2, 3, 7):
        again = evaluate(A, K, coef, intercept, n_threads=n_threads, **options)
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
    assert LinearPass(A, K, **options).n_partitions >= 4


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize("K", [3, 20, 40])
def test_tiles_of_many_columns(K, compute):
    """Columns have one value or hundreds, rows and tiles any length, and column numbers up to three digits."""
    rng = np.random.default_rng(K)
    n, d = 700, 5_000_000
    columns = np.concatenate([rng.integers(0, d, 300), [0, 1, 2047, 2048, (1 << 22) - 1, 1 << 22, d - 2, d - 1]])
    columns = columns[(rng.random(n * 9) ** 5 * len(columns)).astype(int)]
    rows = np.sort(rng.integers(0, n, len(columns)))
    indptr = np.searchsorted(rows, np.arange(n + 1))
    few, narrow = np.unique(columns, return_inverse=True)
    values = rng.standard_normal(len(columns)).astype(compute)
    wide = sparse.csr_array((values, columns, indptr), shape=(n, d))
    X = sparse.csr_array((values, narrow, indptr), shape=(n, len(few)))
    labels = rng.integers(0, K, n).astype(np.int32)
    coef, intercept = rng.standard_normal((len(few), K)), rng.standard_normal(K)
    for tile_rows in (1, 64, 600, 65536):
        check(X, K, coef, intercept, compute=compute, labels=labels, tile_rows=tile_rows)
    if K > 3:
        return
    want = evaluate(X, K, coef, intercept, compute=compute, labels=labels, tile_rows=300)
    options = {"labels": labels, "compute": compute, "tile_rows": 300}
    coef_wide = np.zeros((d, K))
    coef_wide[few] = coef
    got = evaluate(wide, K, coef_wide, intercept, **options)
    assert got[0] == want[0]
    np.testing.assert_array_equal(got[1][few], want[1])
    assert np.count_nonzero(got[1]) <= len(few) * K


def test_tiles_are_made_where_they_pay():
    def tiles(d, K, **options):
        X = sparse.random(2000, d, 20 / d, "csr", random_state=np.random.default_rng(0))
        labels = np.zeros(2000, dtype=np.int32)
        return LinearPass(X, K, labels=labels, sigmoid=K == 2, **options).n_tiles

    assert tiles(20_000, 20, many_passes=True) >= 1
    assert tiles(20_000, 20) == 0
    assert tiles(200, 20, many_passes=True) == 0  # everything is in the cache anyway
    assert tiles(200, 20, tile_rows=300) == 7
    with pytest.raises(ValueError, match=r"tile_rows=65537 is not in \[0, 65536\]"):
        tiles(200, 20, tile_rows=65537)


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize(("d", "K"), [(100_000, 2), (13_000, 7), (20_000, 20), (60_000, 20), (3_000, 60), (400_000, 2)])
@pytest.mark.parametrize("n", [300, 20_000])
def test_tiles_agree_with_rows(n, d, K, compute, isa):
    """Features have few or many values, columns ascend or are sorted by length, and outputs are one or many."""
    rng = np.random.default_rng(d)
    nnz = 20 * n
    columns = (d * rng.random(nnz) ** 4).astype(np.int32)  # some hold most of the values
    columns[:2] = d - 1, d // 2
    X = sparse.csr_array((rng.standard_normal(nnz), columns, np.arange(0, nnz + 1, 20, dtype=np.int32)), (n, d))
    sigmoid = K == 2
    coef, intercept = rng.standard_normal((d, 1 if sigmoid else K)), rng.standard_normal(1 if sigmoid else K)
    options = {"labels": rng.integers(0, K, n, dtype=np.int32), "compute": compute, "sigmoid": sigmoid}
    # AVX-512 gathers the coefficients of one output
    assert (LinearPass(X, K, many_passes=True, **options).n_tiles >= 1) == (isa != "avx512" or K > 2)
    got, want = (evaluate(X, K, coef, intercept, many_passes=tiled, **options) for tiled in (True, False))
    rtol = 1e-12 if compute == "float64" else 2e-5
    assert got[0] == pytest.approx(want[0], rel=rtol)
    for g, w in zip(got[1:], want[1:], strict=True):
        np.testing.assert_allclose(g, w, rtol=rtol, atol=10 * rtol)


def test_threads_share_large_coefficients():
    X, labels, coef, intercept = problem(600, 300, 300, "float64")
    first = evaluate(X, 300, coef, intercept, labels=labels)
    check(X, 300, coef, intercept, labels=labels)
    for a, b in zip(first, evaluate(X, 300, coef, intercept, labels=labels, n_threads=3), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(("K", "sigmoid"), [(2, True), (5, False), (30, False)])
def test_gradient_against_central_differences(K, sigmoid, make):
    X, labels, coef, intercept = problem(40, 6, K, "float64", sigmoid=sigmoid)
    A = make(X)
    _, grad, grad_b = evaluate(A, K, coef, intercept, labels=labels, sigmoid=sigmoid)
    h = 1e-5
    for j, k in [(0, 0), (3, coef.shape[1] - 1), (5, coef.shape[1] // 2)]:
        step = np.zeros_like(coef)
        step[j, k] = h
        up = evaluate(A, K, coef + step, intercept, labels=labels, sigmoid=sigmoid)[0]
        down = evaluate(A, K, coef - step, intercept, labels=labels, sigmoid=sigmoid)[0]
        assert grad[j, k] == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-6)
    step = np.zeros_like(intercept)
    step[-1] = h
    up = evaluate(A, K, coef, intercept + step, labels=labels, sigmoid=sigmoid)[0]
    down = evaluate(A, K, coef, intercept - step, labels=labels, sigmoid=sigmoid)[0]
    assert grad_b[-1] == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-6)


def test_inputs_are_not_modified():
    X, labels, coef, intercept = problem(100, 7, 3, "float64")
    arrays = [X, labels, coef, intercept]
    for array in arrays:
        array.flags.writeable = False
    before = [array.copy() for array in arrays]
    evaluate(X, 3, coef, intercept, labels=labels)
    linear_predict(X, coef, intercept, n_classes=3)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


# ---- prediction ----


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(("K", "sigmoid"), [(1, False), (2, True), (2, False), (3, False), (10, False), (24, False),
                                            (25, False), (70, False)])  # fmt: skip
def test_predict(K, sigmoid, make, stored, compute):
    for n in (1, 9, 300):
        X, _, coef, intercept = problem(n, 11, K, stored, sigmoid=sigmoid, scale=5.0)
        z = X.astype(np.longdouble) @ coef + intercept
        full = np.hstack([np.zeros_like(z), z]) if sigmoid else z
        log_p = full - full.max(axis=1, keepdims=True)
        log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
        for kind, want in {"logits": z, "probabilities": np.exp(log_p), "log_probabilities": log_p}.items():
            options = {"n_classes": K, "kind": kind, "compute": compute}
            got, finite = linear_predict(make(X), coef, intercept, **options)
            assert finite
            assert got.dtype == compute
            tol = 1e-13 if compute == "float64" else 1e-5
            np.testing.assert_allclose(got, want.astype(float), rtol=10 * tol, atol=tol)
            np.testing.assert_array_equal(got, linear_predict(make(X), coef, intercept, n_threads=3, **options)[0])
        options = {"n_classes": K, "compute": compute}
        z, _ = linear_predict(make(X), coef, intercept, kind="logits", **options)
        top, finite = linear_predict(make(X), coef, intercept, kind="classes", n_threads=3, **options)
        assert finite
        assert top.dtype == np.intp
        np.testing.assert_array_equal(top, (z[:, 0] > 0) if sigmoid else z.argmax(axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [3, 10, 30])
def test_of_equal_logits_the_first_class_counts(K, dtype):
    X = np.ones((70, 5), dtype)
    coef, intercept = np.zeros((5, K)), np.zeros(K)
    intercept[[1, K - 1]] = 1.0
    assert set(linear_predict(X, coef, intercept, n_classes=K, kind="classes", compute=dtype)[0]) == {1}


def test_predict_of_a_bad_row_is_nan():
    X, _, coef, intercept = problem(20, 4, 3, "float64")
    X[7, 2] = np.nan
    for kind in ("logits", "probabilities", "log_probabilities"):
        out, finite = linear_predict(X, coef, intercept, n_classes=3, kind=kind)
        assert list(np.flatnonzero(np.isnan(out).all(axis=1))) == [7]
        assert not finite


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("K", "sigmoid"), [(2, True), (3, False), (10, False), (30, False)])
def test_a_number_that_is_not_finite_shows_in_the_logits(K, sigmoid, bad, make, dtype):
    for n, d in ((1, 3), (9, 11), (600, 40)):
        X, _, coef, intercept = problem(n, d, K, dtype, sigmoid=sigmoid)
        coef[:, 0] = 0.0  # times infinity is NaN
        for i, j in ((0, 0), (n - 1, d - 1), (n // 2, d // 2)):
            before, X[i, j] = X[i, j], bad
            assert not linear_predict(make(X), coef, intercept, n_classes=K, compute=dtype)[1]
            X[i, j] = before


# ---- bad arguments ----


def test_shapes_that_do_not_fit():
    X, labels, coef, intercept = problem(10, 4, 3, "float64")
    with pytest.raises(ValueError, match=r"labels has 9 entries for 10 rows"):
        LinearPass(X, 3, labels=labels[:9])
    with pytest.raises(ValueError, match=r"labels holds 3 \(row 0\)"):
        LinearPass(X, 3, labels=np.full(10, 3, dtype=np.int32))
    with pytest.raises(ValueError, match=r"the model has shapes \(4, 3\) and \(3,\)"):
        evaluate(X, 3, coef[:3].copy(), intercept, labels=labels)
    with pytest.raises(ValueError, match="one of labels, distribution and indicator"):
        LinearPass(X, 3)
    with pytest.raises(ValueError, match="kind='odds'"):
        linear_predict(X, coef, intercept, n_classes=3, kind="odds")
    for outside in (-1, 10):
        with pytest.raises(ValueError, match=rf"rows holds {outside} \(at 1\), outside of \[0, 10\)"):
            LinearPass(X, 3, rows=np.array([0, outside]), labels=labels[:2])
    some = LinearPass(X, 3, rows=np.array([0, 9]), labels=labels[:2])
    with pytest.raises(ValueError, match=r"row_loss has 10 entries for 2 rows"):
        some.loss_gradient(coef, intercept, coef.copy(), intercept.copy(), row_loss=np.empty(10))
    with pytest.raises(ValueError, match=r"pass X\[rows\]"):
        some.loss_gradient(coef, intercept, coef.copy(), intercept.copy(), grad_input=np.empty_like(X))
    A = sparse.csr_matrix(X)
    with pytest.raises(ValueError, match=r"X\[rows\] of a CSR matrix"):
        LinearPass(A, 3, rows=np.arange(10), labels=labels)
    A.indices[5] = 4
    with pytest.raises(ValueError, match=r"column 4, outside of \[0, 4\)"):
        LinearPass(A, 3, labels=labels)


def labels_oracle(X, coef, intercept, y, positive, negative, *, sample_weight=None, eps=0.0):
    """The loss of each label and the gradient in extended precision, without missing labels and rows of weight 0."""
    long = np.longdouble
    s = np.ones(len(y)) if sample_weight is None else sample_weight
    X = np.where((s != 0)[:, None], X.toarray() if sparse.issparse(X) else X, 0.0).astype(long)
    known = ~np.isnan(y)
    t = (1 - long(eps)) * np.where(known, y, 0.0) + long(eps) / 2
    weight = known * s[:, None].astype(long)
    a1, a0 = weight * positive * t, weight * negative * (1 - t)
    z = X @ coef.astype(long) + intercept.astype(long)
    loss = (a1 * np.logaddexp(0, -z) + a0 * np.logaddexp(0, z)).sum(axis=0)
    g = a0 / (1 + np.exp(-z)) - a1 / (1 + np.exp(z))
    return loss.astype(float), (X.T @ g).astype(float), g.sum(axis=0).astype(float)


def check_labels(X, y, coef, intercept, selected, *, compute="float64", hard=True, **options):
    """Losses and gradients of some columns of y, where NaN is missing."""
    rng = np.random.default_rng(len(selected))
    stored = np.where(np.isnan(y), 2, y).astype(np.uint8) if hard else y
    made = LinearPass(X, y.shape[1], indicator=stored, compute=compute, **options)
    positive, negative = rng.uniform(0.5, 2.0, (2, len(selected)))
    made.select(selected, positive, negative)
    coef, intercept = np.ascontiguousarray(coef[:, selected]), np.ascontiguousarray(intercept[selected])
    grad, grad_b, loss = np.full(coef.shape, np.nan), np.full(intercept.shape, np.nan), np.full(len(selected), np.nan)
    total = made.loss_gradient(coef, intercept, grad, grad_b, label_loss=loss)
    assert total == pytest.approx(loss.sum(), rel=1e-14)
    weight, eps = options.get("sample_weight"), options.get("label_smoothing", 0.0)
    of_selected = np.asarray(y, dtype=float)[:, selected]
    want = labels_oracle(X, coef, intercept, of_selected, positive, negative, sample_weight=weight, eps=eps)
    rtol = (1e-12 if compute == "float64" else 4e-6) * (1 + np.sqrt(X.shape[1]))
    for g, w in zip((loss, grad, grad_b), want, strict=True):
        np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol * np.sqrt(X.shape[0] + 1) * 4)


def indicator(n, L, seed=0, soft=False):
    rng = np.random.default_rng(seed)
    y = rng.random((n, L)) if soft else rng.integers(0, 2, (n, L)).astype(float)
    y[rng.random((n, L)) < 0.2] = np.nan
    return y


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize(("of", "tile_rows"), TILED)
@pytest.mark.parametrize("L", [*WIDTHS, 520])
def test_independent_labels(L, of, tile_rows, compute):
    for d in (1, 19):
        X, _, coef, intercept = problem(150, d, L, compute, seed=L)
        for hard in (True, False):
            check_labels(
                of(X), indicator(150, L, seed=L, soft=not hard), coef, intercept, np.arange(L), hard=hard,
                compute=compute, tile_rows=tile_rows, label_smoothing=0.1 * hard, scale=1.0,
            )  # fmt: skip


@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize(("of", "tile_rows"), TILED)
def test_some_labels_of_many(of, tile_rows, compute):
    rng = np.random.default_rng(0)
    X, _, coef, intercept = problem(300, 40, 60, compute)
    y, weight = indicator(300, 60), rng.integers(0, 3, 300).astype(float)
    for n_selected in (60, 25, 24, 5, 1):
        selected = rng.permutation(60)[:n_selected]
        check_labels(
            of(X), y, coef, intercept, selected, compute=compute, tile_rows=tile_rows, sample_weight=weight
        )
    y[weight == 0.0], X[weight == 0.0] = np.nan, np.nan  # neither is read
    if of is np.asarray:
        check_labels(X, y, coef, intercept, np.arange(7), compute=compute, sample_weight=weight)


@pytest.mark.parametrize("n", [1, 7, 8, 65, 257, 5000])
def test_rows_of_independent_labels(n):
    for L in (1, 6, 30):
        X, _, coef, intercept = problem(n, 11, L, "float64", seed=n)
        for stored in DTYPES:
            y = indicator(n, L, soft=True).astype(stored)
            check_labels(X, y, coef, intercept, np.arange(L), hard=False)


def test_threads_do_not_change_labels():
    X, _, coef, intercept = problem(40_000, 60, 12, "float64")
    y, found = indicator(40_000, 12, soft=True), []
    for n_threads in (1, 2, 3):
        grad, grad_b, loss = np.empty_like(coef), np.empty_like(intercept), np.empty(12)
        made = LinearPass(X, 12, indicator=y)
        assert made.n_partitions > 1
        made.loss_gradient(coef, intercept, grad, grad_b, n_threads, label_loss=loss)
        found.append((loss, grad, grad_b))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_labels_are_checked_at_the_door():
    X, _, coef, intercept = problem(20, 3, 4, "float64")
    y = np.zeros((20, 4), dtype=np.uint8)
    for wrong in (y[:, :3], y[:10], y.astype(int), np.asfortranarray(y)):
        with pytest.raises(ValueError, match="indicator"):
            LinearPass(X, 4, indicator=wrong)
    made, ones = LinearPass(X, 4, indicator=y), np.ones(2)
    for label in ([0, 4], [-1, 0]):
        with pytest.raises(ValueError, match="outside of"):
            made.select(np.array(label), ones, ones)
    with pytest.raises(ValueError, match="at least one label"):
        made.select(np.arange(3), ones, ones)
    with pytest.raises(ValueError, match="label_loss"):
        made.loss_gradient(coef, intercept, coef.copy(), intercept.copy())
    with pytest.raises(ValueError, match="label_loss with 4"):
        made.loss_gradient(coef, intercept, coef.copy(), intercept.copy(), label_loss=ones)
    with pytest.raises(ValueError, match="no labels"):
        LinearPass(X, 4, labels=np.zeros(20, dtype=np.int32)).select(np.arange(2), ones, ones)
