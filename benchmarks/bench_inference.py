"""What coefficients are worth: tables with the fit beside statsmodels' Newton, and leave-one-out beside n fits."""

from time import process_time

import numpy as np
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

import xentropy as xe

from .measuring import extra_memory, ratio
from .problems import ROWS


def overlapping(n, d, n_classes):
    """Standardised features and classes that overlap, so that there is a minimum without a penalty."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    z = X @ (0.3 * rng.standard_normal((d, n_classes)))
    return X, (z + rng.gumbel(size=z.shape)).argmax(axis=1)


class CoefficientTable:
    """3e5x37_6 has the shape of 30 000 x 37 with 6 classes by default, a tenth of it."""

    params = (["3e5x37_6", "1e6x20_2"], ["model", "robust"])
    param_names = ("problem", "kind")
    timeout = 600

    def setup(self, name, kind):
        n, d, n_classes = {"3e5x37_6": (300_000, 37, 6), "1e6x20_2": (1_000_000, 20, 2)}[name]
        self.X, self.y = overlapping(int(ROWS * n), d, n_classes)
        self.model = xe.SoftmaxClassifier(C=np.inf)
        self.model.fit(self.X, self.y)

    def ours(self, kind):
        self.model.fit(self.X, self.y)
        return xe.coefficient_table(self.model, self.X, self.y, kind=kind)

    def time_with_the_fit(self, name, kind):
        with threadpool_limits(1):
            self.ours(kind)

    def time_marginal_effects(self, name, kind):
        with threadpool_limits(1):
            xe.marginal_effects(self.model, self.X, self.y, kind=kind)

    def track_extra_memory(self, name, kind):
        return extra_memory(lambda: xe.coefficient_table(self.model, self.X, self.y, kind=kind))

    def track_ratio_with_the_fit(self, name, kind):
        try:
            import statsmodels.api as sm
        except ImportError:
            raise NotImplementedError from None  # asv skips it
        design = sm.add_constant(self.X, prepend=False)
        covariance = "HC0" if kind == "robust" else "nonrobust"

        def peer():
            return sm.MNLogit(self.y, design).fit(method="newton", cov_type=covariance, disp=0)

        return ratio(peer, lambda: self.ours(kind), n_threads=1, rounds=5)


CoefficientTable.track_ratio_with_the_fit.unit = "times as fast as statsmodels' MNLogit, both with the fit"
CoefficientTable.track_extra_memory.unit = "MB"


class LeaveOneOut:
    params = (0.01, 1.0, 100.0)
    param_names = ("C",)

    def setup(self, C):
        X, self.y = load_digits(return_X_y=True)
        self.X = X / 16.0
        self.model = xe.SoftmaxClassifier(C=C).fit(self.X, self.y)

    def time_digits(self, C):
        with threadpool_limits(1):
            xe.leave_one_out(self.model, self.X, self.y)

    def track_ratio_digits(self, C):
        """A sample of the fits without a row, as all of them take half a minute."""
        rows = np.arange(0, len(self.y), 90)
        with threadpool_limits(1):
            start = process_time()
            for i in rows:
                weight = np.ones(len(self.y))
                weight[i] = 0.0
                xe.SoftmaxClassifier(C=C).fit(self.X, self.y, weight)
            refits = (process_time() - start) / len(rows) * len(self.y)
            start = process_time()
            xe.leave_one_out(self.model, self.X, self.y)
            return refits / (process_time() - start)


LeaveOneOut.track_ratio_digits.unit = "times as fast as fits without each row"
