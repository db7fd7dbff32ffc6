"""What the loss says: `cross_entropy_report` beside scikit-learn's `log_loss`, which gives one of its numbers."""

import numpy as np
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

import xentropy as xe

from .measuring import ratio
from .problems import ROWS

SHAPES = {"1e6x10": (1_000_000, 10), "1e6x2": (1_000_000, 2), "1e5x100": (100_000, 100)}


class Report:
    params = (list(SHAPES), ["text", "dict"])
    param_names = ("problem", "output")

    def setup(self, name, output):
        n, n_classes = SHAPES[name]
        n = int(ROWS * n)
        rng = np.random.default_rng(0)
        p = rng.gamma(0.5, size=(n, n_classes))
        self.p = p / p.sum(axis=1, keepdims=True)
        self.y = rng.integers(0, n_classes, n)

    def report(self, output):
        return xe.cross_entropy_report(self.y, self.p, output_dict=output == "dict")

    def time_one_thread(self, name, output):
        with threadpool_limits(1):
            self.report(output)

    def peakmem_one_thread(self, name, output):
        with threadpool_limits(1):
            self.report(output)

    def track_ratio_one_thread(self, name, output):
        return ratio(lambda: log_loss(self.y, self.p), lambda: self.report(output), n_threads=1)


Report.track_ratio_one_thread.unit = "times as fast as scikit-learn's log_loss alone"
