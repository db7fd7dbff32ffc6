"""Dask collections: kinds of input, lazy predictions, and a cluster whose workers come and go."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp

from xentropy import (
    RowBlocks,
    SoftmaxClassifier,
    SoftmaxClassifierCV,
    cross_entropy_report,
    log_loss,
    log_loss_samples,
    make_log_loss_scorer,
)

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
pd = pytest.importorskip("pandas")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

from xentropy._dask_rows import DaskRows  # noqa: E402

NAMES = np.array(["wren", "owl", "kite", "crow"])
COLUMNS = [f"f{j}" for j in range(5)]
WATCHDOG = 60  # seconds: a fit that takes longer hangs


def problem(n=4000, d=5, n_classes=4):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    return X, (X @ rng.standard_normal((d, n_classes)) + rng.gumbel(size=(n, n_classes))).argmax(axis=1)


def made(i, n, part):
    """A block that is made where it is needed, so that it can be made again."""
    X, y = problem()
    return (X if part == 0 else y)[i : i + n]


def collections(step=500):
    """The problem as Dask arrays whose blocks workers make."""
    X, y = problem()
    starts = range(0, len(X), step)
    ask = dask.delayed(made)
    blocks = [da.from_delayed(ask(i, step, 0), (step, X.shape[1]), X.dtype) for i in starts]
    labels = [da.from_delayed(ask(i, step, 1), (step,), y.dtype) for i in starts]
    return da.concatenate(blocks), da.concatenate(labels)


def within(fit, seconds=WATCHDOG):
    """The result of `fit`, which must not take longer."""
    found = []

    def run():
        try:
            found.append((fit(), None))
        except BaseException as error:
            found.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"it has not ended within {seconds} s"
    result, error = found[0]
    if error is not None:
        raise error
    return result


@pytest.fixture(params=["in this process", "on a cluster"])
def anywhere(request):
    if request.param == "on a cluster":
        request.getfixturevalue("client")


def assert_same(there, here, atol=1e-7, rel=1e-10):
    assert np.array_equal(there.classes_, here.classes_)
    np.testing.assert_allclose(there.coef_, here.coef_, atol=atol)
    assert there.objective_ == pytest.approx(here.objective_, rel=rel)


def test_frames_with_categories_that_differ_by_partition(anywhere):
    X, y = problem()
    dX, dy = collections()
    frame = dX.to_dask_dataframe(columns=COLUMNS)

    def categories(labels):
        names = NAMES[labels.to_numpy()]
        return pd.Series(pd.Categorical(names, categories=sorted(set(names), reverse=True)), index=labels.index)

    names = dy.to_dask_dataframe().map_partitions(categories, meta=pd.Series([], dtype="category"))
    there = SoftmaxClassifier(tol=1e-8).fit(frame, names)
    assert_same(there, SoftmaxClassifier(tol=1e-8).fit(pd.DataFrame(X, columns=COLUMNS), NAMES[y]))
    assert there.feature_names_in_.tolist() == COLUMNS
    assert np.array_equal(np.asarray(there.predict(frame)), there.predict(pd.DataFrame(X, columns=COLUMNS)))
    assert there.score(frame, names) == pytest.approx(np.mean(np.asarray(there.predict(frame)) == NAMES[y]))


def test_unknown_lengths_empty_partitions_and_single_rows(anywhere):
    dX, dy = collections()
    frame = dX.to_dask_dataframe(columns=COLUMNS).assign(y=dy.to_dask_dataframe())

    def some(part, partition_info=None):
        number = partition_info["number"] if partition_info else None
        return part[:0] if number == 2 else part[:1] if number == 5 else part

    few = frame.map_partitions(some, meta=frame._meta)
    kept = few.compute()
    assert len(kept) == 3001
    here = SoftmaxClassifier(tol=1e-8).fit(kept[COLUMNS].to_numpy(), kept["y"].to_numpy())
    arrays = few[COLUMNS].to_dask_array(), few["y"].to_dask_array()
    assert np.isnan(arrays[0].shape[0])
    assert_same(SoftmaxClassifier(tol=1e-8).fit(*arrays), here)
    there = SoftmaxClassifier(tol=1e-8).fit(few[COLUMNS], few["y"])
    assert_same(there, here)
    assert np.asarray(there.predict_proba(few[COLUMNS])).shape == (3001, 4)


def test_soft_targets_of_a_frame_and_weights(anywhere):
    X, _ = problem()
    dX, _ = collections()
    rng = np.random.default_rng(1)
    soft, weight = rng.dirichlet(np.full(4, 0.5), len(X)), rng.exponential(size=len(X))
    frame = da.from_array(soft, chunks=(500, 4)).to_dask_dataframe(columns=list(NAMES))
    there = SoftmaxClassifier(tol=1e-8).fit(dX, frame, sample_weight=da.from_array(weight, chunks=500))
    here = SoftmaxClassifier(tol=1e-8).fit(X, pd.DataFrame(soft, columns=NAMES), sample_weight=weight)
    assert_same(there, here)


def test_blocks_that_are_one_hot_by_chance():
    X, y = problem()
    soft = np.eye(4)[y]
    soft[3000:] = 0.9 * soft[3000:] + 0.025
    there = SoftmaxClassifier(tol=1e-8).fit(da.from_array(X, chunks=(500, 5)), da.from_array(soft, chunks=(500, 4)))
    assert_same(there, SoftmaxClassifier(tol=1e-8).fit(X, soft))


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_the_same_blocks_give_the_same_bits_on_a_cluster_and_in_blocks(storage, client, monkeypatch):
    X, y = problem()
    X = storage(np.where(X > 0, X, 0.0))
    dX, dy = da.from_array(problem()[0], chunks=(500, 5)), da.from_array(y, chunks=500)
    dX = dX.map_blocks(lambda x: storage(np.where(x > 0, x, 0.0)))
    blocks = SoftmaxClassifier().fit(RowBlocks(lambda: (X[i : i + 500] for i in range(0, 4000, 500))), y)
    fits = [SoftmaxClassifier().fit(dX, dy)]
    monkeypatch.setattr(DaskRows, "_grouped", lambda self: [[0, 3, 5], [1, 2, 7], [4, 6]])
    fits.append(SoftmaxClassifier().fit(dX, dy))
    for fit in fits:
        assert np.array_equal(fit.coef_, blocks.coef_)
        assert np.array_equal(fit.intercept_, blocks.intercept_)
        assert fit.objective_ == blocks.objective_


def test_blocks_are_grouped_by_the_memory_of_their_worker():
    class Client:
        def who_has(self, futures):
            return {future.key: ("a" if i % 2 else "b",) for i, future in enumerate(futures)}

        def scheduler_info(self, n_workers):
            return {"workers": {w: {"memory_limit": limit, "nthreads": 2} for w, limit in {"a": 0, "b": 1000}.items()}}

    class Future:
        def __init__(self, key):
            self.key = key

    rows = object.__new__(DaskRows)
    rows._client, rows._xs, rows._nbytes = Client(), [Future(i) for i in range(12)], [100] * 12
    groups = rows._grouped()
    assert sorted(i for group in groups for i in group) == list(range(12))
    assert groups == sorted(groups)
    assert [group for group in groups if group[0] % 2] == [[1, 3, 5], [7, 9, 11]]  # two threads hold all
    assert [group for group in groups if not group[0] % 2] == [[0], [2], [4], [6], [8], [10]]  # 5 % of the limit


def test_predictions_are_lazy(anywhere):
    X, y = problem()
    computed = []

    def block(x):
        computed.append(len(x))
        return x

    dX = da.from_array(X, chunks=(500, 5)).map_blocks(block, meta=np.empty((0, 0)))
    model = SoftmaxClassifier().fit(X.astype(np.float32), y)
    shapes = {model.predict: (4000,), model.predict_proba: (4000, 4), model.decision_function: (4000, 4)}
    for ask, shape in shapes.items():
        lazy = ask(dX)
        assert isinstance(lazy, da.Array)
        assert lazy.shape == shape
        assert not computed
        assert lazy.dtype == np.asarray(lazy).dtype == ask(X).dtype
        assert np.array_equal(np.asarray(lazy), ask(X))
        computed.clear()
    lazy = model.predict_proba(dX)
    before = model.predict_proba(X)
    model.fit(X, y[::-1])
    assert np.array_equal(np.asarray(lazy), before)
    two = SoftmaxClassifier().fit(X, y > 1)
    assert two.decision_function(dX).shape == (4000,)
    assert np.array_equal(np.asarray(two.predict(dX)), two.predict(X))


def test_metrics_of_collections(anywhere):
    X, y = problem()
    dX, dy = collections()
    weight = np.random.default_rng(1).exponential(size=len(X))
    weight[:500] = 0.0
    model = SoftmaxClassifier().fit(X, NAMES[y])
    proba, lazy = model.predict_proba(X), model.predict_proba(dX)
    names = dy.map_blocks(lambda labels: NAMES[labels], dtype=NAMES.dtype)
    for options in ({}, {"sample_weight": weight}, {"normalize": False}, {"eps": 0.1}):
        assert log_loss(names, lazy, **options) == pytest.approx(log_loss(NAMES[y], proba, **options), rel=1e-13)
    assert log_loss(NAMES[y], lazy) == pytest.approx(log_loss(NAMES[y], proba), rel=1e-13)
    few = da.from_array(np.where(y == 3, 0, y), chunks=500)  # class 3 is a column that no row has
    with pytest.raises(ValueError, match="labels"):
        log_loss(few, lazy)
    expected = log_loss(np.asarray(few), proba, labels=np.arange(4))
    assert log_loss(few, lazy, labels=np.arange(4)) == pytest.approx(expected, rel=1e-13)
    soft = np.random.default_rng(2).dirichlet(np.ones(4), len(X))
    there = log_loss(da.from_array(soft, chunks=(500, 4)), lazy)
    assert there == pytest.approx(log_loss(soft, proba), rel=1e-13)
    scorer = make_log_loss_scorer()
    assert scorer(model, dX, names) == pytest.approx(scorer(model, X, NAMES[y]), rel=1e-13)
    with_weights = scorer(model, dX, names, sample_weight=da.from_array(weight, chunks=500))
    assert with_weights == pytest.approx(scorer(model, X, NAMES[y], sample_weight=weight), rel=1e-13)
    expected = model.score(X, NAMES[y], sample_weight=weight)
    assert model.score(dX, names, sample_weight=weight) == pytest.approx(expected, rel=1e-13)


def test_what_needs_arrays_in_memory_says_so():
    X, y = problem()
    dX, dy = collections()
    model = SoftmaxClassifier().fit(X, y)
    proba = model.predict_proba(dX)
    with pytest.raises(ValueError, match=r"X is a Dask collection, but must be in memory: pass X\.compute\(\)"):
        SoftmaxClassifierCV().fit(dX, dy)
    with pytest.raises(ValueError, match=r"y is a Dask collection, .* pass y\.compute\(\)"):
        SoftmaxClassifier().fit(X, dy)
    with pytest.raises(ValueError, match=r"X_val is a Dask collection"):
        SoftmaxClassifier().fit(X, y, X_val=dX, y_val=y)
    with pytest.raises(ValueError, match="pass X_val and y_val"):
        SoftmaxClassifier(early_stopping=True).fit(dX, dy)
    for function in (cross_entropy_report, log_loss_samples):
        with pytest.raises(ValueError, match=r"pass y_true\.compute\(\)"):
            function(dy, proba)
    with pytest.raises(ValueError, match=r"pass y_true\.compute\(\)"):
        log_loss(dy, model.predict_proba(X))


def test_validation_rows_in_memory(client):
    X, y = problem()
    dX, dy = collections()
    there = SoftmaxClassifier(early_stopping=True).fit(dX, dy, X_val=X[:500], y_val=y[:500])
    here = SoftmaxClassifier(early_stopping=True).fit(X, y, X_val=X[:500], y_val=y[:500])
    assert there.history_["validation_loss"].min() == pytest.approx(here.history_["validation_loss"].min(), rel=1e-4)


def test_collections_that_do_not_fit_together(anywhere):
    dX, dy = collections()
    with pytest.raises(ValueError, match=r"blocks of columns: pass array\.rechunk"):
        SoftmaxClassifier().fit(dX.rechunk((500, 2)), dy)
    with pytest.raises(ValueError, match="X has 8 blocks of rows, and y has 4"):
        SoftmaxClassifier().fit(dX, dy.rechunk(1000))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SoftmaxClassifier().fit(dX, np.zeros(5))
    frame = dX.to_dask_dataframe(columns=COLUMNS)
    with pytest.raises(ValueError, match="unknown lengths, so y must be a Dask collection too"):
        SoftmaxClassifier().fit(frame, np.zeros(4000))


def test_blocks_of_other_lengths_on_a_cluster(client):
    dX, dy = collections()
    with pytest.raises(ValueError, match=r"block [01] of X has 500 rows, that of y (499|501): rechunk them alike"):
        SoftmaxClassifier().fit(dX, dy.rechunk(((499, 501, *[500] * 6),)))


def test_numbers_that_are_not_finite_are_named(anywhere):
    X, y = problem()
    X[3990, 3] = np.nan
    with pytest.raises(ValueError, match=r"NaN in block 7, row 490 of it \(row 3990 of all\), column 3"):
        SoftmaxClassifier().fit(da.from_array(X, chunks=(500, 5)), da.from_array(y, chunks=500))


def test_a_block_that_raises(anywhere):
    dX, dy = collections()

    def fails(x, block_id=None):
        if block_id and block_id[0] == 6:
            raise OSError("the network is down")
        return x

    with pytest.raises(OSError, match="the network is down"):
        within(lambda: SoftmaxClassifier().fit(dX.map_blocks(fails, dtype=dX.dtype, meta=np.empty((0, 0))), dy))


def test_negative_weights_are_refused(client):
    dX, dy = collections()
    with pytest.raises(ValueError, match="must hold finite numbers, 0 or more"):
        SoftmaxClassifier().fit(dX, dy, sample_weight=-da.ones(4000, chunks=500))


def test_two_fits_on_one_client(client):
    dX, dy = collections()
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda C: SoftmaxClassifier(C=C).fit(dX, dy), (1.0, 0.01))
    X, y = problem()
    for fit in (one, two):
        assert_same(fit, SoftmaxClassifier(C=fit.C).fit(X, y), atol=1e-3, rel=1e-6)


def test_an_interrupt_keeps_the_best_coefficients_and_releases_what_it_held(client, monkeypatch):
    dX, dy = collections()
    n_calls = [0]
    sums = DaskRows.sums

    def interrupted(*args):
        n_calls[0] += 1
        if n_calls[0] == 4:
            raise KeyboardInterrupt
        return sums(*args)

    monkeypatch.setattr(DaskRows, "sums", interrupted)
    model = SoftmaxClassifier(tol=1e-12)
    with pytest.raises(KeyboardInterrupt):
        model.fit(dX, dy)
    assert model.coef_.shape == (4, 5)
    assert not model.converged_
    deadline = time.monotonic() + 20
    while client.futures and time.monotonic() < deadline:
        import gc

        gc.collect()
        time.sleep(0.1)
    assert not client.futures


# Workers that come and go. Each test has a cluster of its own.


@pytest.fixture
def lost_client():
    """The client of a cluster whose workers a test may kill."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "memory_limit": "2GB"}
    with distributed.LocalCluster(**options, silence_logs=50) as cluster, distributed.Client(cluster) as client:
        yield client


def kill(client, how_many):
    for pid in list(client.run(os.getpid).values())[:how_many]:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("method", "call", "how_many"), [("survey", 1, 1), ("_sampled", 1, 1), ("sums", 1, 1), ("sums", 4, 2)]
)
def test_workers_that_are_killed(method, call, how_many, lost_client, monkeypatch):
    X, y = problem()
    dX, dy = collections()
    n_calls, whole = [0], getattr(DaskRows, method)

    def lossy(*args):
        n_calls[0] += 1
        if n_calls[0] == call:
            kill(lost_client, how_many)
        return whole(*args)

    expected = SoftmaxClassifier(tol=1e-8).fit(dX, dy)
    monkeypatch.setattr(DaskRows, method, lossy)
    there = within(lambda: SoftmaxClassifier(tol=1e-8).fit(dX, dy))
    assert n_calls[0] >= call
    assert np.array_equal(there.coef_, expected.coef_)
    assert_same(there, SoftmaxClassifier(tol=1e-8).fit(X, y))


@pytest.mark.filterwarnings("ignore")
def test_scattered_blocks_that_are_lost_end_the_fit(lost_client, monkeypatch):
    X, y = problem()
    blocks = [lost_client.scatter(X[i : i + 500]) for i in range(0, 4000, 500)]
    dX = da.concatenate([da.from_delayed(block, (500, 5), X.dtype) for block in blocks])
    sums, n_calls = DaskRows.sums, [0]

    def lossy(*args):
        n_calls[0] += 1
        if n_calls[0] == 2:
            kill(lost_client, 2)
        return sums(*args)

    monkeypatch.setattr(DaskRows, "sums", lossy)
    with pytest.raises(Exception, match=r"blocks of X or y are lost, .* client\.scatter"):
        within(lambda: SoftmaxClassifier().fit(dX, da.from_array(y, chunks=500)))


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_grows_and_shrinks(lost_client, monkeypatch):
    X, y = problem()
    dX, dy = collections()
    sums, n_calls = DaskRows.sums, [0]

    def changing(*args):
        n_calls[0] += 1
        if n_calls[0] == 2:
            lost_client.cluster.scale(3)
        if n_calls[0] == 4:
            lost_client.retire_workers(list(lost_client.scheduler_info(n_workers=-1)["workers"])[:1])
        return sums(*args)

    monkeypatch.setattr(DaskRows, "sums", changing)
    there = within(lambda: SoftmaxClassifier(tol=1e-8).fit(dX, dy))
    assert_same(there, SoftmaxClassifier(tol=1e-8).fit(X, y))


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_without_workers_ends_the_fit(lost_client, monkeypatch):
    dX, dy = collections()
    monkeypatch.setattr("xentropy._dask_rows._PATIENCE", 2.0)
    lost_client.cluster.scale(0)
    with pytest.raises(RuntimeError, match="has had no worker for 2 s"):
        within(lambda: SoftmaxClassifier().fit(dX, dy))
