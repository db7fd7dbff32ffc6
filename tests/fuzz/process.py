"""Interrupts, threads, forks, memory limits and leaks: what a process meets in the middle of a call."""

import contextlib
import gc
import os
import resource
import signal
import threading
import time
import tracemalloc
from functools import cache

import numpy as np
import scipy.sparse as sp
from cases import chance, pick
from functions import CLEAN, raises
from models import METHODS, check_model
from sklearn.exceptions import NotFittedError

import xentropy as xe
from xentropy._kernels._dispatch import ISA, choose_isa


@cache
def _data(n_classes, is_sparse):
    """Some thousand rows, enough for several threads, and their labels."""
    rng = np.random.default_rng(n_classes)
    n, d = 6000, 30
    X = rng.standard_normal((n, d))
    y = (X @ rng.standard_normal((d, n_classes)) + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    return (sp.csr_array(np.where(np.abs(X) > 1, X, 0)) if is_sparse else X), y


@cache
def _fitted(n_classes, is_sparse):
    return xe.SoftmaxClassifier().fit(*_data(n_classes, is_sparse))


def _bits(model):
    return model.coef_.tobytes() + model.intercept_.tobytes()


def _works(n_classes, is_sparse):
    """Calls, by name, and what makes an estimator of the call, if it fits one."""
    X, y = _data(n_classes, is_sparse)
    clf = _fitted(n_classes, is_sparse)
    rows = X.toarray() if is_sparse else X
    logits = rows[:, :n_classes].copy()
    proba = xe.softmax(logits)

    def fit(model):
        return lambda: _bits(model.fit(X, y))

    def loss():
        value, grad = xe.cross_entropy(y, logits, return_grad=True)
        return repr(value).encode() + grad.tobytes()

    def linear():
        value, grad = xe.linear_cross_entropy(X, y, rows[:n_classes].copy(), return_grad=True)
        return repr(value).encode() + grad[0].tobytes()

    works = {method: lambda method=method: getattr(clf, method)(X).tobytes() for method in METHODS}
    works |= {"loss": loss, "linear": linear, "log_loss": lambda: repr(xe.log_loss(y, proba)).encode()}
    models = {
        "fit": xe.SoftmaxClassifier(),
        "L1": xe.SoftmaxClassifier(l1_ratio=1.0, C=0.01),
        "focal": xe.SoftmaxClassifier(loss="focal"),
        "early stopping": xe.SoftmaxClassifier(early_stopping=True, random_state=0),
        "CV": xe.SoftmaxClassifierCV(Cs=3, cv=2),
    }
    return works | {name: fit(model) for name, model in models.items()}, models


@cache
def _expected(name, n_classes, is_sparse):
    """What a call gives when nothing disturbs it, and the seconds that it takes."""
    work = _works(n_classes, is_sparse)[0][name]
    work()
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _drawn(rng, names=None):
    """A call, the model that it fits or None, what it gives, and its seconds."""
    choose_isa(ISA)  # bits are compared with those of earlier cases
    n_classes, is_sparse = int(pick(rng, [2, 4])), chance(rng, 0.3)
    works, models = _works(n_classes, is_sparse)
    name = str(pick(rng, names or list(works)))
    return name, works[name], models.get(name), *_expected(name, n_classes, is_sparse), _data(n_classes, is_sparse)[0]


def interrupts(rng):
    """Ctrl-C at any time: the model is whole or not fitted, and the next call gives the bits that it should."""
    name, work, model, expected, seconds, X = _drawn(rng)
    if chance(rng, 0.3):
        work()
    armed = False

    def on_alarm(number, frame):
        if armed:  # a late alarm is one that did not come
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, on_alarm)
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, max(1e-6, float(rng.uniform(0, 1.1) * seconds)))
        assert work() == expected, name
        armed = False
    except KeyboardInterrupt:
        armed = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if hasattr(model, "coef_") and hasattr(model, "intercept_"):
        check_model(model, X)
    elif model is not None:
        raises(model.predict, X, errors=(NotFittedError, AttributeError))
    assert work() == expected, f"{name} after an interrupt"


def threads(rng):
    """Threads that share a fitted estimator, or that fit others, get the bits that one thread gets."""
    works = [_drawn(rng) for _ in range(int(rng.integers(2, 7)))]
    wrong = []

    def run(name, work, expected):
        try:
            wrong.extend(name for _ in range(2) if work() != expected)
        except BaseException as error:
            wrong.append(f"{name}: {error!r}")

    running = [threading.Thread(target=run, args=(name, work, want)) for name, work, _, want, *_ in works]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not wrong, wrong


def forks(rng):
    """A child that is forked while other threads work gets the same bits, and does not hang."""
    finished = threading.Event()
    _, background, *_ = _drawn(rng, METHODS)
    name, work, _, expected, *_ = _drawn(rng)

    def keep_busy():
        while not finished.is_set():
            background()

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        time.sleep(float(rng.uniform(0, 0.003)))
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(60)
            os._exit(0 if work() == expected else 1)
        _, status = os.waitpid(child, 0)
    finally:
        finished.set()
        thread.join()
    assert status == 0, f"{name} in a child ended with status {status:#x}"
    assert work() == expected, name


def _address_space():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def memory(rng):
    """Under a limit of memory a call raises MemoryError or gives its result, and gives it without the limit."""
    name, work, _, expected, *_ = _drawn(rng)
    gc.collect()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _address_space() + int(2.0 ** rng.uniform(10, 24))
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        assert work() == expected, name
    except MemoryError:
        pass
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert work() == expected, f"{name} after a limit of memory"


def leaks(rng):
    """Calls, also those that end in an error, leave no array behind; an array of one number for each row has 48 kB."""
    name, work, model, *_ = _drawn(rng)
    if model is None and chance(rng, 0.5):
        X = np.zeros((4000, 3))
        bad = pick(
            rng,
            [
                lambda: xe.cross_entropy(np.full(4000, 7), X),
                lambda: xe.linear_cross_entropy(X, np.zeros(4000, int), np.zeros((3, 3)), class_weight=[1, 2, np.nan]),
                lambda: xe.log_loss(np.arange(4000) % 3, X + 2),
                lambda: xe.SoftmaxClassifier().fit(X + np.nan, np.arange(4000) % 2),
                lambda: xe.SoftmaxClassifier(C=-1).fit(X, np.arange(4000) % 2),
            ],
        )

        def work():
            with contextlib.suppress(*CLEAN):
                bad()

        name = "an error"

    def allocated():
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        for _ in range(3):
            work()
        before = allocated()
        for _ in range(10):
            work()
        grown = allocated() - before
    finally:
        tracemalloc.stop()
    # the caches of other packages grow by some kB
    assert grown < 100_000, f"10 calls of {name} leave {grown} bytes"
