"""What a fit takes besides X: labels, blocks and the optimiser's vectors, and never a copy of X."""

import json
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from xentropy import SoftmaxClassifier
from xentropy._design import Design
from xentropy._hessian import class_hessians, each_class_hessian, full_hessian, gram_matrix, share_of_rows
from xentropy._kernels._linear import LinearPass, linear_predict
from xentropy._lbfgs import _MEMORY
from xentropy._targets import Target

ROWS, FEATURES, CLASSES = 200_000, 64, 8

# The peak of resident memory since it was reset, over what was resident then: see proc(5), clear_refs.
MEASURE = f"""
import json, warnings
import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits
from xentropy import SoftmaxClassifier

def resident(what):
    line = next(line for line in open("/proc/self/status") if line.startswith(what))
    return 1024 * int(line.split()[1])

def extra(X):
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = resident("VmRSS")
    SoftmaxClassifier(max_iter=3).fit(X, y)
    return resident("VmHWM") - before

warnings.simplefilter("ignore")  # three iterations are no fit
rng = np.random.default_rng(0)
y = rng.integers(0, {CLASSES}, {ROWS})
X = {{}}
X["float32"] = rng.standard_normal(({ROWS}, {FEATURES}), dtype=np.float32)
X["float64"] = X["float32"].astype(np.float64)
X["csr"] = sp.csr_matrix(X["float64"])
X["a copy"] = np.asfortranarray(X["float32"])
with threadpool_limits(1):
    SoftmaxClassifier(max_iter=3).fit(X["float32"][:1000], y[:1000])  # what the first fit of a process loads
    print(json.dumps({{name: extra(it) for name, it in X.items()}}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_x_is_not_copied():
    # what is freed goes back to the system: or else arrays would lie where others have been, and show in no peak
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, "-P", "-c", MEASURE], capture_output=True, text=True, env=env)
    if "/proc/self/clear_refs" in done.stderr and "Error" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    extra = json.loads(done.stdout)
    vectors = (2 * _MEMORY + 12) * 8 * CLASSES * (FEATURES + 1)
    most, copy = 5e6 + vectors, 4 * ROWS * FEATURES
    assert extra["a copy"] > copy > 2 * most  # or else a copy would not show
    assert extra["float32"] < most
    assert extra["float64"] < most
    assert extra["csr"] < 2 * copy  # its values are float64; a block of its rows is there as CSR and as an array


# What is made block by block of rows takes no more than this, however many rows, features and classes there are.
MOST = 64e6


def peak(run):
    """The most bytes that `run` had allocated at once, with two threads."""
    with threadpool_limits(limits=2, user_api="openmp"):
        tracemalloc.start()
        try:
            run()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def classes_of(X, n_classes):
    """Labels that follow from X: with random ones a fit ends before it makes a Hessian."""
    rng = np.random.default_rng(1)
    coef = 2.0 * rng.standard_normal((X.shape[1], n_classes))
    y = np.concatenate([(rows @ coef + rng.gumbel(size=(len(rows), n_classes))).argmax(1) for rows in np.split(X, 50)])
    y[:n_classes] = np.arange(n_classes)
    return y


STORAGES = [np.asarray, sp.csr_array]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(("n", "d", "n_classes"), [(12_000, 2, 300), (2000, 3, 1500), (100, 1, 5000)])
def test_hessians_are_made_in_bounded_blocks(n, d, n_classes, storage):
    rng = np.random.default_rng(0)
    target = Target(np.arange(n_classes), labels=np.arange(n, dtype=np.int32) % n_classes)
    design = Design(storage(rng.standard_normal((n, d))), target)
    theta, gram = rng.standard_normal(design.n_theta), gram_matrix(design)
    few = np.sort(rng.permutation(design.n_theta)[:500])
    assert peak(lambda: class_hessians(design, theta, gram)) < MOST + 8 * n_classes * (d + 1) ** 2
    assert peak(lambda: full_hessian(design, theta, few, gram)) < MOST
    assert peak(lambda: full_hessian(design, theta, few)) < MOST
    assert peak(lambda: share_of_rows(design, theta, 1.0)) < MOST
    options = {"negligible": 1.0, "precision": "float64"}
    assert peak(lambda: each_class_hessian(design, theta, lambda k, hessian: None, gram, **options)) < MOST


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    ("n", "d", "n_classes", "options"),
    [
        (20_000, 2, 200, {}),
        (6000, 10, 600, {"early_stopping": True}),
    ],
)
def test_a_fit_of_many_classes_takes_bounded_memory(n, d, n_classes, options, storage):
    X = np.random.default_rng(0).standard_normal((n, d))
    y, model, X = classes_of(X, n_classes), SoftmaxClassifier(**options), storage(X)
    vectors = (2 * _MEMORY + 12) * 8 * n_classes * (d + 1)
    assert peak(lambda: model.fit(X, y)) < MOST + vectors
    assert model.n_iter_[0] > 5


@pytest.mark.parametrize(
    ("n_classes", "storage"), [(4000, np.asarray), (40_000, np.asarray), (4000, sp.csr_array), (16_000, sp.csr_array)]
)
def test_a_pass_over_very_many_classes_takes_bounded_memory(n_classes, storage):
    """Threads have scratch of their own, and are fewer where it is large; any number of them gives the same bits."""
    rng = np.random.default_rng(0)
    X, y = storage(rng.standard_normal((300, 3))), np.arange(300, dtype=np.int32)
    coef, intercept = rng.standard_normal((3, n_classes)), np.zeros(n_classes)
    passes, predictions = [], []

    def evaluate(n_threads):
        grad, grad_intercept = np.empty_like(coef), np.empty_like(intercept)
        bound = LinearPass(X, n_classes, labels=y)
        loss = bound.loss_gradient(coef, intercept, grad, grad_intercept, n_threads=n_threads)
        passes.append((loss, grad, grad_intercept))

    def predict(n_threads):
        predictions.append(linear_predict(X, coef, intercept, n_classes=n_classes, kind="classes", n_threads=n_threads))

    for n_threads in (1, 2, 16):
        assert peak(lambda n_threads=n_threads: evaluate(n_threads)) < 1 << 26
        assert peak(lambda n_threads=n_threads: predict(n_threads)) < 1 << 26
    for results in (passes, predictions):
        for other in results[1:]:
            for one, two in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("storage", STORAGES)
def test_predictions_take_little_besides_themselves(storage):
    n, d, n_classes = 10_000, 5, 1000
    X = np.random.default_rng(0).standard_normal((n, d))
    model = SoftmaxClassifier(tol=3.0).fit(X, classes_of(X, n_classes))
    X = storage(X)
    for change in (model.densify, model.sparsify):
        change()
        assert peak(lambda: model.predict(X)) < MOST
        assert peak(lambda: model.predict_proba(X)) < MOST + 8 * n * n_classes
