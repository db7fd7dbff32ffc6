"""The log loss of predicted probabilities: ours, and scikit-learn's `log_loss`."""

import numpy as np
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

import xentropy as xe

from .measuring import ratio

SHAPES = {"1e6x2": (1_000_000, 2), "1e6x10": (1_000_000, 10), "1e5x10": (100_000, 10), "1e4x100": (10_000, 100)}


class LogLoss:
    params = (list(SHAPES), ["float64", "float32"], ["int", "str"])
    param_names = ("problem", "dtype", "labels")

    def setup(self, name, dtype, labels):
        n, n_classes = SHAPES[name]
        rng = np.random.default_rng(0)
        p = rng.gamma(0.5, size=(n, n_classes)).astype(dtype)
        self.p = p / p.sum(axis=1, keepdims=True)
        y = rng.integers(0, n_classes, n)
        self.y = y if labels == "int" else np.array([f"class {k:03}" for k in range(n_classes)])[y]

    def time_one_thread(self, name, dtype, labels):
        with threadpool_limits(1):
            xe.log_loss(self.y, self.p)

    def peakmem_one_thread(self, name, dtype, labels):
        with threadpool_limits(1):
            xe.log_loss(self.y, self.p)

    def track_ratio_one_thread(self, name, dtype, labels):
        ours, peer = xe.log_loss(self.y, self.p), log_loss(self.y, self.p)
        if not np.isclose(ours, peer, rtol=1e-6):
            raise AssertionError(f"the losses differ: {ours} and scikit-learn's {peer}")
        return ratio(lambda: log_loss(self.y, self.p), lambda: xe.log_loss(self.y, self.p), n_threads=1)

    def track_ratio_weighted(self, name, dtype, labels):
        weight = np.random.default_rng(1).random(len(self.y))
        return ratio(
            lambda: log_loss(self.y, self.p, sample_weight=weight),
            lambda: xe.log_loss(self.y, self.p, sample_weight=weight),
            n_threads=1,
        )


LogLoss.track_ratio_one_thread.unit = LogLoss.track_ratio_weighted.unit = "times as fast as scikit-learn"
