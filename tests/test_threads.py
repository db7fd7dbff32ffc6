"""How many threads the kernels take: as many as OMP_NUM_THREADS, threadpoolctl, affinity and quotas allow."""

import multiprocessing
import os
import subprocess
import sys

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from xentropy import SoftmaxClassifier
from xentropy._kernels._threads import effective_n_threads, has_openmp

needs_openmp = pytest.mark.skipif(not has_openmp(), reason="the kernels were compiled without OpenMP")


def in_a_new_process(code, **environment):
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | environment
    done = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


ASK = "from xentropy._kernels._threads import effective_n_threads; print(effective_n_threads())"


def test_no_more_than_the_cores():
    expected = joblib.cpu_count(only_physical_cores=True) if has_openmp() else 1
    assert int(in_a_new_process(ASK)) == expected


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
