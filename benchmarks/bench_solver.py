"""What the solver is claimed to do: few evaluations in any units, and less time than scikit-learn's solvers."""

import warnings

import numpy as np
from sklearn import datasets
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.preprocessing import StandardScaler

from xentropy import SoftmaxClassifier, SoftmaxClassifierCV

from . import problems
from .measuring import ratio

warnings.simplefilter("ignore")  # scikit-learn's peers warn: of not converging, and of parameters to come

_SUBOPTIMALITY = 1e-6


def _rows(name, units):
    """Rows of a real problem, in units "raw", "standardised", or "wild": over 12 decades, with offsets of a million."""
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    rng = np.random.default_rng(0)
    if units != "raw":
        X = StandardScaler().fit_transform(X)
    if units == "wild":
        d = X.shape[1]
        X = X * 10.0 ** rng.permutation(np.linspace(-6, 6, d)) + rng.choice([-1e6, 0.0, 1e6], d)
    return np.ascontiguousarray(X), y


class Evaluations:
    """Passes over the data until the objective is within 1e-6 of its minimum, relatively."""

    params = (list(problems.REAL), ["raw", "standardised", "wild"], [0.01, 1.0, 100.0])
    param_names = ("problem", "units", "C")

    def track_evaluations(self, name, units, C):
        history = SoftmaxClassifier(C=C, tol=1e-9).fit(*_rows(name, units)).history_
        within = history["objective"] <= history["objective"].min() * (1.0 + _SUBOPTIMALITY)
        return int(history["n_evaluations"][np.argmax(within)])


class RawUnits:
    """Time of scikit-learn's solver over ours, one thread, both at their defaults but for its `max_iter`."""

    params = (list(problems.REAL), ["lbfgs", "newton-cg", "newton-cholesky"])
    param_names = ("problem", "solver")
    units = "raw"

    def setup(self, name, solver):
        X, y = _rows(name, self.units)
        self.ours = lambda: SoftmaxClassifier().fit(X, y)
        self.peer = lambda: LogisticRegression(solver=solver, max_iter=10_000).fit(X, y)

    def track_ratio_one_thread(self, name, solver):
        return ratio(self.peer, self.ours, n_threads=1)

    def track_excess_of_the_peer(self, name, solver):
        """How far the peer's objective stays above ours, relatively."""
        X, y = _rows(name, self.units)
        peer = self.peer()
        z = peer.decision_function(X)
        z = z if z.ndim == 2 else np.column_stack([np.zeros_like(z), z])
        loss = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(y)), y]
        return (loss.sum() + 0.5 * np.sum(peer.coef_**2)) / self.ours().objective_ - 1.0


class StandardisedUnits(RawUnits):
    """The same where lbfgs is at its best: features of variance one."""

    params = (list(problems.REAL), ["lbfgs"])
    units = "standardised"


class ElasticNet:
    """Time of saga, run to 1e-10 where it gets there, over ours at 1e-9."""

    params = (["iris", "wine", "breast_cancer"], [0.5, 1.0], [0.1, 1.0])
    param_names = ("problem", "l1_ratio", "C")

    def track_ratio_one_thread(self, name, l1_ratio, C):
        X, y = _rows(name, "standardised")
        saga = LogisticRegression(solver="saga", C=C, l1_ratio=l1_ratio, tol=1e-10, max_iter=100_000)
        ours = SoftmaxClassifier(C=C, l1_ratio=l1_ratio, tol=1e-9)
        return ratio(lambda: saga.fit(X, y), lambda: ours.fit(X, y), n_threads=1, rounds=3)


class CrossValidation:
    """Time of `LogisticRegressionCV`, which stops far from the minimum where the penalty is weak, over ours."""

    params = (["breast_cancer", "digits", "digits_standardised", "5e4x50_5"],)
    param_names = ("problem",)
    timeout = 900

    def setup(self, name):
        if name == "5e4x50_5":
            rng = np.random.default_rng(0)
            X = rng.standard_normal((int(5e5 * problems.ROWS), 50))
            y = (X @ rng.standard_normal((50, 5)) / 3 + rng.gumbel(size=(len(X), 5))).argmax(axis=1)
        else:
            X, y = _rows(name.removesuffix("_standardised"), "standardised" if "_standardised" in name else "raw")
        self.ours = lambda: SoftmaxClassifierCV().fit(X, y)
        self.peer = lambda: LogisticRegressionCV(scoring="neg_log_loss").fit(X, y)

    def track_ratio_one_thread(self, name):
        return ratio(self.peer, self.ours, n_threads=1, rounds=3)

    def track_ratio_two_threads(self, name):
        return ratio(self.peer, self.ours, n_threads=2, rounds=3)

    def track_same_choice(self, name):
        return float(np.ravel(self.peer().C_)[0] == self.ours().C_)
