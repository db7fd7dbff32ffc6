"""One evaluation of the data term and its gradient: ours, and scikit-learn's `LinearModelLoss.loss_gradient`."""

from time import perf_counter

import numpy as np
from sklearn._loss import HalfBinomialLoss, HalfMultinomialLoss
from sklearn.linear_model._linear_loss import LinearModelLoss

from xentropy._kernels._linear import LinearPass

from . import problems
from .floor import floor_seconds
from .measuring import ratio


class LossGradient:
    params = (list(problems.SHAPES), list(problems.DTYPES))
    param_names = ("problem", "dtype")
    timeout = 600

    def setup_cache(self):
        problems.save(list(problems.SHAPES))

    def setup(self, name, dtype):
        problem = problems.load(name, dtype)
        self.n_classes = n_classes = problem.n_classes
        d = problem.X.shape[1]
        binary = n_classes == 2
        coef = np.random.default_rng(1).standard_normal((d, 1 if binary else n_classes)) / np.sqrt(d)
        intercept = np.zeros(coef.shape[1])
        self.arguments = (coef, intercept, np.empty_like(coef), np.empty_like(intercept))
        self.ours = LinearPass(
            problem.X, n_classes, labels=problem.y.astype(np.int32), sigmoid=binary, compute=dtype, many_passes=True
        )
        self.X, self.y = problem.X, problem.y.astype(dtype)  # scikit-learn's kernels take labels of X's dtype
        self.peer = LinearModelLoss(
            HalfBinomialLoss() if binary else HalfMultinomialLoss(n_classes=n_classes), fit_intercept=True
        )
        theta = np.column_stack([coef.T, intercept]).astype(dtype)
        self.theta = theta.ravel() if binary else np.asfortranarray(theta)

    def run_ours(self, n_threads=1):
        return self.ours.loss_gradient(*self.arguments, n_threads=n_threads)

    def run_peer(self, n_threads=1):
        return self.peer.loss_gradient(self.theta, self.X, self.y, n_threads=n_threads)

    def time_one_thread(self, name, dtype):
        self.run_ours()

    def peakmem_one_thread(self, name, dtype):
        self.run_ours()

    def track_ratio_one_thread(self, name, dtype):
        self.check()
        return ratio(self.run_peer, self.run_ours, n_threads=1)

    def track_ratio_two_threads(self, name, dtype):
        return ratio(lambda: self.run_peer(2), lambda: self.run_ours(2), n_threads=2)

    def track_floor_one_thread(self, name, dtype):
        """Our time over the floor of floor.py, each the best of some rounds."""
        self.run_ours()
        times = []
        for _ in range(7):
            start = perf_counter()
            self.run_ours()
            times.append(perf_counter() - start)
        return min(times) / floor_seconds(self.X, self.n_classes)

    def check(self):
        """A ratio between different computations would mean nothing."""
        ours, peer = self.run_ours() / len(self.y), self.run_peer()[0]
        if not np.isclose(ours, peer, rtol=1e-4):
            raise AssertionError(f"the mean losses differ: {ours} and scikit-learn's {peer}")


LossGradient.track_ratio_one_thread.unit = LossGradient.track_ratio_two_threads.unit = "times as fast as scikit-learn"
LossGradient.track_floor_one_thread.unit = "times the floor"
