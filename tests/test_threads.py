"""How many threads the kernels take: as many as OMP_NUM_THREADS, threadpoolctl, affinity and quotas allow."""

import contextlib
import itertools
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from xentropy import SoftmaxClassifier, _blas
from xentropy._blas import one_blas_thread
from xentropy._kernels._threads import effective_n_threads, has_openmp

needs_openmp = pytest.mark.skipif(not has_openmp(), reason="the kernels were compiled without OpenMP")


def in_a_new_process(code, **environment):
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | environment
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


ASK = "from xentropy._kernels._threads import effective_n_threads; print(effective_n_threads())"


def test_no_more_than_the_cores():
    expected = joblib.cpu_count(only_physical_cores=True) if has_openmp() else 1
    assert int(in_a_new_process(ASK)) == expected


@needs_openmp
def test_the_environment_limits_all_threads_of_openmp():
    assert in_a_new_process(ASK, OMP_THREAD_LIMIT="1") == "1"
    assert in_a_new_process(ASK, OMP_THREAD_LIMIT="3", OMP_NUM_THREADS="7") == "3"
    assert in_a_new_process(ASK, OMP_THREAD_LIMIT="7", OMP_NUM_THREADS="3") == "3"


@needs_openmp
def test_environment_decides():
    assert in_a_new_process(ASK, OMP_NUM_THREADS="1") == "1"
    assert in_a_new_process(ASK, OMP_NUM_THREADS="7") == "7"


@needs_openmp
def test_affinity_limits():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity masks")
    assert in_a_new_process("import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " + ASK) == "1"


def test_threadpoolctl_limits():
    with threadpool_limits(limits=1, user_api="openmp"):
        assert effective_n_threads() == 1


def fit_and_count():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 20))
    clf = SoftmaxClassifier(tol=1e-2).fit(X, np.arange(2000) % 4)
    return effective_n_threads(), clf.coef_


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_uses_one_thread_and_gives_the_same_bits():
    _, expected = fit_and_count()  # starts the threads of the parent
    with multiprocessing.get_context("fork").Pool(1) as pool:
        n_threads, coef = pool.apply_async(fit_and_count).get(timeout=60)
    assert n_threads == 1
    np.testing.assert_array_equal(coef, expected)


PASS = """
import os, threading, numpy as np
from xentropy._kernels._linear import LinearPass, linear_predict

rng = np.random.default_rng(0)
X, labels = rng.normal(size=(50_000, 40)), rng.integers(0, 5, 50_000).astype(np.int32)
coef, intercept = rng.normal(size=(40, 5)), rng.normal(size=5)

def numbers(n_threads):
    grad = np.empty((40, 5)), np.empty(5)
    value = LinearPass(X, 5, labels=labels).loss_gradient(coef, intercept, *grad, n_threads)
    proba, _ = linear_predict(X, coef, intercept, n_classes=5, n_threads=n_threads)
    return value, grad[0].tobytes(), grad[1].tobytes(), proba.tobytes()

assert LinearPass(X, 5, labels=labels).n_partitions > 2
expected = numbers(1)
"""


def test_python_threads_share_the_pool_and_get_the_same_bits():
    assert in_a_new_process(PASS + """
right = []
def work(first):
    for n_threads in np.roll([2, 3, 4, 7, 33, 1000], first):
        right.append(numbers(n_threads) == expected)

threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(right), all(right))
""") == "36 True"  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_forked_while_the_pool_works_works_alone():
    assert in_a_new_process(PASS + """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with several threads
busy = True
def work():
    while busy: numbers(4)

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for _ in range(4):
    pid = os.fork()
    if pid == 0: os._exit(0 if numbers(4) == expected else 1)
    print(os.waitpid(pid, 0)[1])
busy = False
for thread in threads: thread.join()
""").split() == ["0"] * 4  # fmt: skip


def test_the_interpreter_ends_while_the_pool_works():
    assert in_a_new_process(PASS + """
begun = threading.Event()
def work():
    while True:
        numbers(4)
        begun.set()

for _ in range(2): threading.Thread(target=work, daemon=True).start()
begun.wait()
print("ends")
""") == "ends"  # fmt: skip


# the threads of the BLAS


@pytest.fixture
def blas():
    """Each library, limited to three threads."""
    libraries = [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]
    with threadpool_limits(limits=3, user_api="blas"):
        if not libraries or any(library.num_threads != 3 for library in libraries):
            pytest.skip("needs a BLAS whose threads can be limited")
        yield lambda: {library.num_threads for library in libraries}


def test_the_last_of_several_users_restores_the_threads_of_the_blas(blas):
    first, second = one_blas_thread(), one_blas_thread()
    first.__enter__()
    second.__enter__()
    assert blas() == {1}
    first.__exit__(None, None, None)
    assert blas() == {1}
    second.__exit__(None, None, None)
    assert blas() == {3}


def test_fits_in_threads_restore_the_threads_of_the_blas(blas):
    X, y = np.random.default_rng(0).normal(size=(200, 5)), np.arange(200) % 3
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda C: SoftmaxClassifier(C=C).fit(X, y), np.logspace(-2, 2, 40)))
    assert blas() == {3}


def in_a_thread(work):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_any_thread_limits_the_blas_and_restores_it(blas):
    """Also where threadpoolctl would only let the main thread, which has set the limit of three."""

    def fit():
        with one_blas_thread():
            return blas()

    assert in_a_thread(fit) == {1}
    assert blas() == {3}
    first, second = one_blas_thread(), one_blas_thread()
    first.__enter__()
    in_a_thread(second.__enter__)
    first.__exit__(None, None, None)
    assert blas() == {1}
    in_a_thread(lambda: second.__exit__(None, None, None))
    assert blas() == {3}


def test_each_thread_restores_what_is_its_own(monkeypatch):
    """A BLAS whose threads are OpenMP's has a limit for each thread of Python."""

    class Library:
        threading_layer = "openmp"
        of_thread = threading.local()

        def clear_controlling_thread(self, force=False): ...

        @property
        def num_threads(self):
            return getattr(self.of_thread, "n", 4)

        def set_num_threads(self, n):
            self.of_thread.n = n

    library = Library()
    monkeypatch.setattr(_blas, "_libraries", lambda: [library])

    def nested():
        library.set_num_threads(2)
        with one_blas_thread():
            with one_blas_thread():
                inside = library.num_threads
            return inside, library.num_threads

    with one_blas_thread():
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(nested).result() == (1, 1)
            assert pool.submit(lambda: library.num_threads).result() == 2
        assert library.num_threads == 1
    assert library.num_threads == 4


@pytest.mark.parametrize("method", ["get_num_threads", "set_num_threads"])
@pytest.mark.parametrize("at", range(6))
def test_an_interrupt_at_any_time_restores_the_threads_of_the_blas(blas, monkeypatch, method, at):
    calls = itertools.count()

    def interrupting(real):
        def call(*args):
            if next(calls) == at:
                raise KeyboardInterrupt
            return real(*args)

        return call

    with monkeypatch.context() as patch:
        for kind in {type(c) for c in ThreadpoolController().lib_controllers if c.user_api == "blas"}:
            patch.setattr(kind, method, interrupting(getattr(kind, method)))
        with contextlib.suppress(KeyboardInterrupt), one_blas_thread():
            pass
    assert blas() == {3}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_forked_in_a_fit_restores_the_threads_of_the_blas():
    assert in_a_new_process("""
import os, warnings
from threadpoolctl import ThreadpoolController, threadpool_limits
from xentropy._blas import one_blas_thread

warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with several threads
libraries = [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]
with threadpool_limits(limits=3, user_api="blas"):
    before = [library.num_threads for library in libraries]
    with one_blas_thread():
        pid = os.fork()
        if pid == 0:
            with one_blas_thread(): pass
            os._exit(0 if [library.num_threads for library in libraries] == before else 1)
        print(os.waitpid(pid, 0)[1])
""") == "0"  # fmt: skip


SMALL_STACKS = """
import threading
threading.stack_size(32768)  # the least that CPython allows: of the threads that start from now on
import numpy as np, scipy.sparse as sp
from xentropy._kernels._dispatch import available_isas, choose_isa
from xentropy._kernels._gram import add_grams
from xentropy._kernels._linear import LinearPass, linear_predict
from xentropy._kernels._moments import moments
from xentropy._kernels._pointwise import binary_loss, softmax, softmax_loss
from xentropy._kernels._proba import proba_rows

rng = np.random.default_rng(0)
n, d = 50_000, 40
X, values = rng.normal(size=(n, d)), rng.normal(size=(n, 30))
sparse = sp.csr_matrix(X * (rng.random((n, d)) < 0.3))

def bits(*arrays):
    return [np.asarray(array).tobytes() for array in arrays]

def of_logits(real, K, n_threads):
    z = values[:20_000, :K].astype(real)
    y, q = (np.arange(len(z)) % K).astype(np.int32), softmax(z, n_threads=n_threads)
    yield bits(q, softmax(z, log=True, n_threads=n_threads))
    focal = ("focal", (2.0,))
    targets = dict(labels=y), dict(distribution=q), dict(labels=y, label_smoothing=0.1), dict(labels=y, loss=focal)
    for target in targets:
        grad = np.empty_like(z)
        yield bits(softmax_loss(z, grad=grad, n_threads=n_threads, **target), grad)
    yield bits(binary_loss(z.ravel(), q.ravel(), n_threads=n_threads))
    table = np.arange(K, dtype=np.int32)
    yield bits(*proba_rows(q, K, labels=y, table=table, eps=1e-9, sum_tolerance=1e-3, n_threads=n_threads))

def of_a_model(X, K, compute, n_threads, **options):
    R = 1 if K == 2 else K
    coef, intercept, y = values[:X.shape[1], :R].copy(), values[0, :R].copy(), (np.arange(n) % K).astype(np.int32)
    rows = LinearPass(X, K, sigmoid=K == 2, labels=y, compute=compute, **options)
    grad = np.empty_like(coef), np.empty_like(intercept)
    yield bits(rows.loss_gradient(coef, intercept, *grad, n_threads), *grad)
    yield bits(linear_predict(X, coef, intercept, n_classes=K, compute=compute, n_threads=n_threads)[0])

def numbers(n_threads):
    for real in ("float32", "float64"):
        for K in (2, 3, 10, 30):
            yield from of_logits(real, K, n_threads)
            yield from of_a_model(X, K, real, n_threads)
            yield from of_a_model(sparse, K, real, n_threads, tile_rows=2000 if K == 10 else None)
        grams = np.zeros((8, d, d))
        add_grams(X, np.abs(values[:, :8]), grams, compute=real, n_threads=n_threads)
        yield bits(grams, *moments(X.astype(real), n_threads=n_threads))

for isa in available_isas():
    choose_isa(isa)
    assert list(numbers(4)) == list(numbers(1)), isa
print("equal")
"""


def test_threads_may_have_small_stacks():
    assert in_a_new_process(SMALL_STACKS) == "equal"


def test_a_fit_on_threads_with_small_stacks():
    assert in_a_new_process("""
import threading
threading.stack_size(32768)
import numpy as np
from xentropy import SoftmaxClassifier
rng = np.random.default_rng(0)
X = rng.normal(size=(30_000, 20))
y = (X @ rng.normal(size=(20, 30)) + rng.gumbel(size=(30_000, 30))).argmax(axis=1)
model = SoftmaxClassifier().fit(X, y)
print(model.converged_, model.predict_proba(X).shape)
""", OMP_NUM_THREADS="4") == "True (30000, 30)"  # fmt: skip
