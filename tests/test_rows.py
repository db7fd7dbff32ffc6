"""Rows that are in memory, in files or in blocks: one fit, whatever holds them."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from xentropy import FocalLoss, RowBlocks, SoftmaxClassifier
from xentropy._block_source import BlockSource
from xentropy._row_blocks import stored_array
from xentropy._row_loss import RowLoss
from xentropy._rows import rows_of
from xentropy._summed_design import Moments, PreciseSum
from xentropy._targets import Target


def problem(n=3000, d=7, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, (X @ rng.standard_normal((d, n_classes)) + rng.gumbel(size=(n, n_classes))).argmax(axis=1)


def cut(X, step):
    return lambda: (X[i : i + step] for i in range(0, X.shape[0], step))


def from_callable(X, tmp_path):
    return RowBlocks(cut(X, 701))


def from_cache(X, tmp_path):
    return RowBlocks(cut(X, 701), cache=tmp_path)


def from_memmap(X, tmp_path):
    mapped = np.memmap(tmp_path / "X", dtype=X.dtype, mode="w+", shape=X.shape, order="F")
    mapped[:] = X
    return RowBlocks(mapped, block_bytes=701 * X.shape[1] * X.itemsize)


def from_h5py(X, tmp_path):
    h5py = pytest.importorskip("h5py")
    file = h5py.File(tmp_path / "X.h5", "w")
    return RowBlocks(file.create_dataset("X", data=X, chunks=(100, X.shape[1])), block_bytes=1 << 16)


def from_zarr(X, tmp_path):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(store=str(tmp_path / "X.zarr"), shape=X.shape, dtype=X.dtype, chunks=(100, X.shape[1]))
    array[:] = X
    return RowBlocks(array, block_bytes=1 << 16)


def from_dask(X, tmp_path):
    da = pytest.importorskip("dask.array")
    if sp.issparse(X):
        return da.from_array(X.toarray(), chunks=(701, X.shape[1])).map_blocks(type(X))
    return da.from_array(X, chunks=(701, X.shape[1]))


def from_cluster(X, tmp_path):
    return from_dask(X, tmp_path)


STORES = [from_callable, from_cache, from_memmap, from_h5py, from_zarr, from_dask, from_cluster]


def weights(n):
    weight = np.random.default_rng(5).exponential(size=n)
    weight[::7] = 0.0
    return weight


CASES = {
    "two classes": {"n_classes": 2},
    "three classes": {},
    "fifty classes": {"n_classes": 50},
    "float32": {"change": lambda X, y: (X.astype(np.float32), y)},
    "weights": {"weighted": True},
    "class weights": {"class_weight": {0: 1.0, 1: 5.0, 2: 0.25}, "weighted": True},
    "balanced": {"class_weight": "balanced"},
    "smoothing": {"label_smoothing": 0.1},
    "soft targets": {"change": lambda X, y: (X, np.random.default_rng(6).dirichlet(np.full(3, 0.5), len(X)))},
    "strings": {"change": lambda X, y: (X, np.array(["owl", "kite", "wren"])[y])},
    "logit adjustment": {"logit_adjustment": 1.0},
    "without intercept": {"fit_intercept": False},
    "L1": {"l1_ratio": 1.0, "C": 0.01},
    "elastic net": {"l1_ratio": 0.5, "C": 0.01},
    "large offsets": {"change": lambda X, y: (X + 1e6, y)},
    "a constant column": {"change": lambda X, y: (np.where(np.arange(X.shape[1]) == 2, 5.1, X), y)},
    "many units": {"change": lambda X, y: (X * np.logspace(-4, 4, X.shape[1]), y)},
    "heavy tails": {"change": lambda X, y: (np.where(np.arange(len(X))[:, None] == 17, 1e4 * X, X), y)},
    "without penalty": {"C": np.inf},
    "focal loss": {"loss": FocalLoss(gamma=1.0)},
    "CSR": {"change": lambda X, y: (sp.csr_array(np.where(X > 0.5, X, 0.0)), y)},
    "CSR in float32": {"change": lambda X, y: (sp.csr_array(np.where(X > 0.5, X, 0.0).astype(np.float32)), y)},
    "CSR with empty columns": {"change": lambda X, y: (sp.csr_array(X * (np.arange(X.shape[1]) > 2)), y)},
}  # fmt: skip


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("case", CASES)
def test_a_fit_is_that_of_the_rows_in_memory(case, store, tmp_path, request):
    if store is from_cluster:
        request.getfixturevalue("client")
    options = dict(CASES[case])
    change, weighted = options.pop("change", lambda X, y: (X, y)), options.pop("weighted", False)
    X, y = change(*problem(n_classes=options.pop("n_classes", 3)))
    if sp.issparse(X) and store in (from_memmap, from_h5py, from_zarr):
        pytest.skip("files hold arrays")
    weight = weights(X.shape[0]) if weighted else None
    here = SoftmaxClassifier(tol=1e-8, **options).fit(X, y, sample_weight=weight)
    stored = store(X, tmp_path)
    there = SoftmaxClassifier(tol=1e-8, **options).fit(stored, y, sample_weight=weight)
    assert there.converged_
    assert there.coef_.dtype == here.coef_.dtype == X.dtype
    assert there.objective_ == pytest.approx(here.objective_, rel=1e-10)
    unit = np.sqrt(here.coef_.size) * np.abs(here.coef_).max()
    np.testing.assert_allclose(there.coef_, here.coef_, atol=(3e-6 if case == "float32" else 3e-7) * unit)
    if "l1_ratio" in options:
        assert np.array_equal(there.coef_ == 0.0, here.coef_ == 0.0)
        assert (here.coef_ == 0.0).any()
    assert np.array_equal(there.classes_, here.classes_)
    assert np.array_equal(np.asarray(there.predict(stored)), there.predict(X))
    for ask in (there.predict_proba, there.predict_log_proba, there.decision_function):
        rtol = 1e-6 if X.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(np.asarray(ask(stored)), ask(X), rtol=rtol, atol=1e-12)
    assert there.score(stored, y) == pytest.approx(here.score(X, y), abs=1e-12)


@pytest.mark.parametrize("weight", [None, weights(3000)], ids=["plain", "weighted"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_same_blocks_give_the_same_bits(n_classes, weight, tmp_path):
    X, y = problem(n_classes=n_classes)
    step = 100
    h5py = pytest.importorskip("h5py")
    dataset = h5py.File(tmp_path / "X.h5", "w").create_dataset("X", data=X)
    # one pass writes the cache, and the next ones read it
    blocks = [RowBlocks(cut(X, step)), RowBlocks(cut(X, step), cache=True), RowBlocks(dataset, block_bytes=step * 56)]
    fits = [SoftmaxClassifier().fit(it, y, sample_weight=weight) for it in (*blocks, blocks[1])]
    with threadpool_limits(limits=2, user_api="openmp"):
        fits.append(SoftmaxClassifier().fit(blocks[0], y, sample_weight=weight))
    for fit in fits[1:]:
        assert np.array_equal(fit.coef_, fits[0].coef_)
        assert np.array_equal(fit.intercept_, fits[0].intercept_)
        assert fit.objective_ == fits[0].objective_


@pytest.mark.parametrize("step", [1, 999, 3000])
def test_other_blocks_give_coefficients_that_are_next_to_equal(step):
    X, y = problem()
    one, other = (SoftmaxClassifier().fit(RowBlocks(cut(X, size)), y) for size in (500, step))
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=0.0, atol=1e-12)


def test_empty_blocks_do_not_matter():
    X, y = problem(n=500)
    plain = SoftmaxClassifier().fit(RowBlocks(cut(X, 100)), y)
    holes = SoftmaxClassifier().fit(
        RowBlocks(lambda: (part for block in cut(X, 100)() for part in (X[:0], block, X[:0]))), y
    )
    assert np.array_equal(plain.coef_, holes.coef_)
    assert np.array_equal(
        holes.predict(RowBlocks(lambda: (part for block in cut(X, 100)() for part in (X[:0], block)))), plain.predict(X)
    )


@pytest.mark.parametrize("dtype", [np.int16, np.float16, np.uint8, bool, ">f8"])
def test_other_dtypes_become_those_that_they_become_in_memory(dtype):
    X, y = problem()
    X = (10 * X).astype(dtype) if dtype is not bool else X > 0
    here, there = SoftmaxClassifier(tol=1e-8).fit(X, y), SoftmaxClassifier(tol=1e-8).fit(RowBlocks(cut(X, 701)), y)
    assert there.coef_.dtype == here.coef_.dtype
    np.testing.assert_allclose(there.coef_, here.coef_, rtol=1e-4, atol=1e-7)


def test_a_block_in_float64_makes_the_fit_float64():
    X, y = problem()
    parts = [X[:1000].astype(np.float32), X[1000:2000], X[2000:].astype(np.float32)]
    assert SoftmaxClassifier().fit(RowBlocks(lambda: iter(parts)), y).coef_.dtype == np.float64


@pytest.mark.parametrize("weight", [None, weights(3000)], ids=["plain", "weighted"])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_sums_over_blocks_are_those_of_the_design_in_memory(storage, weight):
    X, y = problem()
    X[:, 3] = 2.5
    X, target = storage(X), Target(np.arange(3), labels=y.astype(np.int32))
    row_loss = RowLoss(class_weight=np.array([1.0, 0.0, 3.0]), label_smoothing=0.2)
    here = rows_of(X, target, row_loss=row_loss, sample_weight=weight)
    there = rows_of(RowBlocks(cut(X, 171)), target, row_loss=row_loss, sample_weight=weight)
    for name in ("n_rows", "n_features", "n_columns", "n_theta", "nnz", "is_dense", "dtype", "weight_sum"):
        assert getattr(there, name) == getattr(here, name), name
    X_varies = np.arange(7) != 3  # moments of CSR matrices are rounded
    np.testing.assert_allclose(there.variance[X_varies], here.variance[X_varies], rtol=1e-12)
    for name in ("centre", "shares", "effective_size", "least_weight"):
        np.testing.assert_allclose(getattr(there, name), getattr(here, name), rtol=1e-12, atol=1e-13, err_msg=name)
    assert np.array_equal(there.constant, [3])
    theta = np.random.default_rng(1).standard_normal(here.n_theta)
    for precision, rtol in (("float64", 1e-12), ("float32", 1e-5)):
        (one, one_grad), (other, other_grad) = (it.loss_gradient(theta, precision) for it in (here, there))
        assert one == pytest.approx(other, rel=rtol)
        np.testing.assert_allclose(one_grad, other_grad, rtol=rtol, atol=rtol)


def test_a_sample_is_the_same_however_the_rows_are_cut():
    X, y = problem(n=30_000)
    target, weight = Target(np.arange(3), labels=y.astype(np.int32)), weights(30_000)
    samples = []
    for step in (30_000, 1000, 77):
        survey = BlockSource(RowBlocks(cut(X, step)), target, weight).survey(RowLoss(), lambda d, row_bytes: 500)
        assert survey.n_rows == 30_000
        samples.append(survey)
    for survey in samples[1:]:
        assert np.array_equal(survey.X, samples[0].X)
        assert np.array_equal(survey.target.labels, samples[0].target.labels)
        assert np.array_equal(survey.sample_weight, samples[0].sample_weight)
    assert 400 < len(survey.X) <= 500
    # rows come in as often as they weigh
    mean = np.average(X, axis=0, weights=weight)
    np.testing.assert_allclose(np.average(survey.X, axis=0, weights=survey.sample_weight), mean, atol=0.15)


def test_moments_can_be_added_up_in_any_order():
    rng = np.random.default_rng(0)
    X, weight = rng.standard_normal((1000, 5)) + [0.0, 1e3, 1e6, 1e-3, 7.0], weights(1000)
    X[:, 4] = 5.1
    whole = Moments.of(X, weight)
    parts = [Moments.of(X[i : i + 97], weight[i : i + 97]) for i in range(0, 1000, 97)]
    parts.insert(3, Moments.of(X[:0], weight[:0]))
    parts.insert(5, Moments.of(X[:10], np.zeros(10)))
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert total.weight == pytest.approx(whole.weight, rel=1e-14)
    np.testing.assert_allclose(total.mean, whole.mean, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(total.squares, whole.squares, rtol=1e-11)
    assert total.squares[4] == 0.0
    backwards = parts[-1]
    for part in parts[-2::-1]:
        backwards = backwards + part
    np.testing.assert_allclose(total.squares, backwards.squares, rtol=1e-11)


def test_a_precise_sum_does_not_depend_on_how_terms_are_grouped():
    rng = np.random.default_rng(0)
    terms = rng.standard_normal((200, 50)) * np.logspace(-12, 4, 200)[rng.permutation(200), None]
    one = PreciseSum(50)
    for term in terms:
        one.add(term)
    two = PreciseSum(50)
    for group in np.array_split(terms, 7):
        part = PreciseSum(50)
        for term in group:
            part.add(term)
        two.add(part.high, part.low)
    assert np.array_equal(one.value, two.value)
    exact = [float(sum(map(Fraction, column))) for column in terms.T]
    assert np.array_equal(one.value, exact)


def test_a_large_array_in_a_file_goes_through_blocks(monkeypatch, tmp_path):
    monkeypatch.setattr("xentropy._row_blocks._BLOCK_BYTES", 1000)
    X, y = problem()
    h5py, zarr = pytest.importorskip("h5py"), pytest.importorskip("zarr")
    fortran = np.memmap(tmp_path / "f", dtype=np.float64, mode="w+", shape=X.shape, order="F")
    fortran[:] = X
    integers = np.memmap(tmp_path / "i", dtype=np.int16, mode="w+", shape=X.shape)
    integers[:] = X
    half = np.memmap(tmp_path / "h", dtype=np.float16, mode="w+", shape=X.shape)
    half[:] = X
    group = zarr.create_array(store=str(tmp_path / "z"), shape=X.shape, dtype=X.dtype)
    group[:] = X
    stored = [fortran, integers, half, h5py.File(tmp_path / "X.h5", "w").create_dataset("X", data=X), group]
    for it in stored:
        assert isinstance(stored_array(it), RowBlocks)
        whole = np.array(it[:])
        assert stored_array(whole) is None
        there = SoftmaxClassifier(tol=1e-8).fit(it, y)
        here = SoftmaxClassifier(tol=1e-8).fit(whole, y)
        assert there.coef_.dtype == here.coef_.dtype
        np.testing.assert_allclose(there.coef_, here.coef_, rtol=1e-4, atol=1e-7)
        assert np.array_equal(there.predict(it), there.predict(whole))


def test_a_memory_map_that_kernels_can_read_is_read_in_place(tmp_path):
    X, y = problem()
    mapped = np.memmap(tmp_path / "X", dtype=X.dtype, mode="w+", shape=X.shape)
    mapped[:] = X
    assert np.array_equal(SoftmaxClassifier().fit(mapped, y).coef_, SoftmaxClassifier().fit(X, y).coef_)
    design = rows_of(mapped, Target(np.arange(3), labels=y.astype(np.int32)))
    assert not np.shares_memory(design.subsample(100).in_memory.rows(slice(None)), mapped)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_validation_rows_may_be_blocks(early_stopping):
    X, y = problem(n=2000)
    model = SoftmaxClassifier(early_stopping=early_stopping)
    here = model.fit(X[:1500], y[:1500], X_val=X[1500:], y_val=y[1500:])
    losses, coef = here.history_["validation_loss"], here.coef_
    blocks = RowBlocks(cut(X[:1500], 200)), RowBlocks(cut(X[1500:], 200))
    there = model.fit(blocks[0], y[:1500], X_val=blocks[1], y_val=y[1500:])
    np.testing.assert_allclose(there.coef_, coef, atol=1e-3)
    assert there.history_["validation_loss"][-1] == pytest.approx(losses[-1], rel=1e-3)
    there = model.fit(X[:1500], y[:1500], X_val=blocks[1], y_val=y[1500:])
    np.testing.assert_allclose(there.coef_, coef, atol=1e-10)


@pytest.mark.parametrize(
    ("n", "d", "n_classes", "most"), [(100_000, 50, 10, 6), (60_000, 20, 50, 5), (100_000, 30, 2, 6)]
)
def test_few_passes_are_made(n, d, n_classes, most):
    """Passes take long where the rows are read again in each of them: no more than in memory, and about five."""
    X, y = problem(n, d, n_classes)
    X *= np.logspace(-3, 3, d)
    n_passes = [0]

    def blocks():
        n_passes[0] += 1
        return cut(X, 10_000)()

    there = SoftmaxClassifier().fit(RowBlocks(blocks), y)
    here = SoftmaxClassifier().fit(X, y)
    n_evaluations = there.history_["n_evaluations"][-1]
    assert n_evaluations <= min(most, here.history_["n_evaluations"][-1])
    assert n_passes[0] <= n_evaluations + 3  # the first rows, the survey, and the last evaluation in float64
    assert there.objective_ == pytest.approx(here.objective_, rel=1e-7)


def test_columns_may_have_any_name():
    pd = pytest.importorskip("pandas")
    X, y = problem(n=300, d=3)
    frame = pd.DataFrame(X, columns=["first_rows", "target", "survey"])
    assert np.array_equal(SoftmaxClassifier().fit(frame, y).coef_, SoftmaxClassifier().fit(X, y).coef_)


def test_warm_start_on_blocks():
    X, y = problem()
    model = SoftmaxClassifier(warm_start=True).fit(RowBlocks(cut(X, 500)), y)
    assert model.fit(RowBlocks(cut(X, 500)), y).n_iter_[0] <= 1


def test_separated_rows_are_reported(recwarn):
    from sklearn.exceptions import ConvergenceWarning

    X, _ = problem(n=400)
    with pytest.warns(ConvergenceWarning, match="perfectly separable"):
        model = SoftmaxClassifier(C=np.inf).fit(RowBlocks(cut(X, 100)), (X[:, 0] > 0).astype(int))
    assert not model.converged_


def names_of(kind):
    if kind == "pandas":
        return pytest.importorskip("pandas").DataFrame
    pa = pytest.importorskip("pyarrow")

    def batch(X, columns):
        return pa.RecordBatch.from_arrays([pa.array(column) for column in np.asarray(X).T], names=columns)

    return batch


@pytest.mark.parametrize("kind", ["pandas", "arrow"])
def test_blocks_with_names(kind):
    pd, frame, (X, y) = pytest.importorskip("pandas"), names_of(kind), problem(d=3)
    columns = ["height", "width", "mass"]

    def blocks(names=columns):
        return RowBlocks(lambda: (frame(block, columns=names) for block in cut(X, 701)()))

    model = SoftmaxClassifier().fit(blocks(), y)
    assert model.feature_names_in_.tolist() == columns
    assert np.array_equal(model.coef_, SoftmaxClassifier().fit(RowBlocks(cut(X, 701)), y).coef_)
    assert np.array_equal(model.predict(blocks()), model.predict(pd.DataFrame(X, columns=columns)))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(blocks(["height", "mass", "width"]))


def test_interrupts_keep_the_best_coefficients():
    X, y = problem()
    n_passes = [0]

    def blocks():
        n_passes[0] += 1
        for i, block in enumerate(cut(X, 500)()):
            yield block
            if n_passes[0] == 6 and i == 2:
                import _thread

                _thread.interrupt_main()

    model = SoftmaxClassifier(tol=1e-12)
    with pytest.raises(KeyboardInterrupt):
        model.fit(RowBlocks(blocks), y)
    assert model.coef_.shape == (3, 7)
    assert 0.0 < model.objective_ < len(X) * np.log(3)
    assert not model.converged_


FAULTS = {
    "no blocks": (lambda X: [], "X has no blocks"),
    "other widths": (lambda X: [X[:100], X[100:, :3]], "block 1 of X has 3 columns, and those before have 7"),
    "too few rows": (lambda X: [X[:100], X[100:2000]], "X has 2000 rows in 2 blocks, and y has 3000"),
    "too many rows": (lambda X: [X, X[:5]], "block 1 of X ends at row 3005, but y has only 3000 rows"),
    "strings": (lambda X: [X[:9], np.full((2991, 7), "a")], "block 1 of X must hold numbers"),
    "complex": (lambda X: [X[:100], X[100:] * 1j], "block 1 of X holds complex numbers"),
    "one dimension": (lambda X: [X[:100], X[100:, 0]], "block 1 of X has shape"),
    "masked": (lambda X: [X[:9], np.ma.masked_greater(X[9:], 1.0)], "masked array"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_blocks_that_cannot_be(fault):
    X, y = problem()
    make, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier().fit(RowBlocks(lambda: iter(make(X))), y)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_numbers_that_are_not_finite_are_named(storage, value):
    X, y = problem()
    X[2950, 4] = value
    what = "NaN" if np.isnan(value) else "infinity"
    with pytest.raises(ValueError, match=rf"{what} in block 4, row 150 of it \(row 2950 of all\), column 4"):
        SoftmaxClassifier().fit(RowBlocks(cut(storage(X), 700)), y)


def test_a_csr_block_with_an_index_out_of_range():
    X, y = problem()
    X = sp.csr_array(X)
    blocks = [X[:1000], X[1000:]]
    blocks[1].indices[5] = 7
    with pytest.raises(ValueError, match="holds column 7"):
        SoftmaxClassifier().fit(RowBlocks(lambda: iter(blocks)), y)


def test_a_block_that_raises():
    X, y = problem()

    def blocks():
        yield X[:1000]
        raise OSError("the network is down")

    for fit in (lambda: SoftmaxClassifier().fit(RowBlocks(blocks), y), lambda: list(RowBlocks(blocks))):
        with pytest.raises(OSError, match="the network is down") as caught:
            fit()
        assert "block 1" in caught.value.__notes__[0]


@pytest.mark.parametrize("later", [2400, 600, 0, 3600])
def test_a_later_pass_of_another_length(later):
    X, y = problem()
    n_passes = [0]

    def blocks():
        n_passes[0] += 1
        rows = X if n_passes[0] < 4 else np.vstack([X, X])[:later]
        return cut(rows, 500)()

    with pytest.raises(ValueError, match=r"in the first( pass)?: blocks\(\) must"):
        SoftmaxClassifier().fit(RowBlocks(blocks), y)


def test_an_iterator_that_is_used_up():
    X, y = problem()
    once = cut(X, 500)()
    with pytest.raises(ValueError, match=r"blocks\(\) (must return|returned)|no blocks|500 rows"):
        SoftmaxClassifier().fit(RowBlocks(lambda: once), y)


def test_a_cache_is_read_in_place_of_the_blocks(tmp_path):
    X, y = problem()
    n_passes = [0]

    def blocks():
        n_passes[0] += 1
        return cut(X, 500)()

    stored = RowBlocks(blocks, cache=tmp_path)
    SoftmaxClassifier().fit(stored, y)
    assert n_passes[0] == 2  # the first rows, and all of them
    SoftmaxClassifier().fit(stored, y)
    assert n_passes[0] == 3  # the first rows again
    assert not list(tmp_path.iterdir())  # its name is gone


def test_a_cache_of_a_pass_that_has_failed_is_not_used(tmp_path):
    X, y = problem()
    fails = [True]

    def blocks():
        for i, block in enumerate(cut(X, 500)()):
            if i == 3 and fails[0]:
                raise OSError("once")
            yield block

    stored = RowBlocks(blocks, cache=tmp_path)
    with pytest.raises(OSError, match="once"):
        SoftmaxClassifier().fit(stored, y)
    fails[0] = False
    assert np.array_equal(SoftmaxClassifier().fit(stored, y).coef_, SoftmaxClassifier().fit(RowBlocks(blocks), y).coef_)


def test_a_full_disk(monkeypatch, tmp_path):
    import errno

    class Full:
        def __init__(self, file):
            self._file, self.size, self.closed = file, 0, False

        def write(self, view):
            if self.size + len(view) > 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.size += len(view)
            return self._file.write(view)

        def close(self):
            self.closed = True
            self._file.close()

    files = []
    from xentropy import _spool

    temporary = _spool.tempfile.TemporaryFile
    monkeypatch.setattr(
        _spool.tempfile, "TemporaryFile", lambda **options: files.append(Full(temporary(**options))) or files[-1]
    )
    X, y = problem()
    with pytest.raises(OSError, match=r"in block 3: No space left on device\. Pass cache= a folder") as caught:
        SoftmaxClassifier().fit(RowBlocks(cut(X, 500), cache=tmp_path), y)
    assert caught.value.errno == errno.ENOSPC
    assert files[0].closed  # the room is free again


def test_arguments_that_cannot_be(tmp_path):
    X, y = problem()
    for blocks in ([X], X[0], sp.csr_array(X), 5):
        with pytest.raises(TypeError, match="pass a callable that returns a new iterator"):
            RowBlocks(blocks)
    for size in (0, 1.5):
        with pytest.raises(ValueError, match="block_bytes="):
            RowBlocks(X, block_bytes=size)
    with pytest.raises(ValueError, match="is no folder"):
        RowBlocks(X, cache=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[3000, 2999\]"):
        SoftmaxClassifier().fit(RowBlocks(X), y[:-1])
    with pytest.raises(ValueError, match="pass X_val and y_val"):
        SoftmaxClassifier(early_stopping=True).fit(RowBlocks(X), y)
    with pytest.raises(ValueError, match="sample_weight"):
        SoftmaxClassifier().fit(RowBlocks(X), y, sample_weight=np.ones(5))
    model = SoftmaxClassifier().fit(X, y)
    with pytest.raises(ValueError, match="expecting 7 features"):
        model.predict(RowBlocks(X[:, :3]))
    with pytest.raises(ValueError, match="NaN") as caught:
        model.predict(RowBlocks(cut(np.vstack([X, X * np.nan]), 3000)))
    assert "block 1" in caught.value.__notes__[0]


def test_a_search_needs_rows_in_memory():
    from xentropy import SoftmaxClassifierCV

    X, y = problem()
    with pytest.raises(ValueError, match="selects the rows of its folds"):
        SoftmaxClassifierCV().fit(RowBlocks(X), y)


def test_errors_of_coefficients_need_rows_in_memory():
    X, y = problem(n=300)
    with pytest.raises(ValueError, match=r"pass X\[:\]"):
        SoftmaxClassifier().fit(X, y).covariance(RowBlocks(X, block_bytes=1000), y)


def test_two_threads_may_fit_the_same_blocks(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    X, y = problem()
    stored = RowBlocks(cut(X, 500), cache=tmp_path)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: SoftmaxClassifier().fit(stored, y).coef_, range(2))
    assert np.array_equal(one, two)


def test_reading_ahead_ends_with_the_pass():
    import threading

    X, _ = problem()
    closed = []

    def blocks():
        try:
            yield from cut(X, 500)()
        finally:
            closed.append(threading.current_thread().name)

    iterator = iter(RowBlocks(blocks))
    next(iterator)
    iterator.close()
    assert len(closed) == 1
    assert closed[0].startswith("xentropy-read-ahead")
    assert not any(thread.name.startswith("xentropy-read-ahead") for thread in threading.enumerate())
    assert sum(len(block) for block in RowBlocks(blocks)) == len(X)
