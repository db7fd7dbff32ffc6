"""Whole fits and predictions: ours, and those of scikit-learn's `LogisticRegression` at the same objective."""

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from xentropy import SoftmaxClassifier

from . import problems
from .measuring import ratio

FITTED = [*problems.REAL, "1e6x50_2", "3e5x64_10", "csr_2e5x1e4_5"]


class _OnProblem:
    param_names = ("problem", "dtype")
    timeout = 600

    def setup_cache(self):  # asv runs it once for all classes that inherit it
        problems.save(FITTED)

    def setup(self, name, dtype):
        problem = problems.load(name, dtype)
        self.X, self.y = problem.X, problem.y
        self.ours = SoftmaxClassifier(tol=1e-4, max_iter=1000)
        self.peer = LogisticRegression(tol=1e-4, max_iter=1000)


class Fit(_OnProblem):
    params = (FITTED, list(problems.DTYPES))

    def time_one_thread(self, name, dtype):
        with threadpool_limits(1):
            self.ours.fit(self.X, self.y)

    def peakmem_one_thread(self, name, dtype):
        with threadpool_limits(1):
            self.ours.fit(self.X, self.y)

    def track_ratio_one_thread(self, name, dtype):
        return ratio(self.fit_peer, self.fit_ours, n_threads=1, rounds=5)

    def track_ratio_two_threads(self, name, dtype):
        return ratio(self.fit_peer, self.fit_ours, n_threads=2, rounds=3)

    def track_objective_excess(self, name, dtype):
        """How far our objective is above the lower of the two, relative: a faster fit must not be a worse one."""
        with threadpool_limits(1):
            self.fit_ours()
            self.fit_peer()
        ours, peer = self.objective(self.ours), self.objective(self.peer)
        return (ours - min(ours, peer)) / min(ours, peer)

    def fit_ours(self):
        self.ours.fit(self.X, self.y)

    def fit_peer(self):
        self.peer.fit(self.X, self.y)

    def objective(self, classifier):
        # from logits: scikit-learn's predict_log_proba is -inf where probabilities underflow
        z = classifier.decision_function(self.X).astype(np.float64)
        log_p = log_softmax(z if z.ndim == 2 else np.column_stack([np.zeros_like(z), z]), axis=1)
        loss = -log_p[np.arange(len(self.y)), self.y].sum()
        return classifier.C * loss + 0.5 * np.sum(classifier.coef_.astype(np.float64) ** 2)


class PredictProba(_OnProblem):
    params = (["digits", "1e6x50_2", "3e5x64_10"], list(problems.DTYPES))

    def setup(self, name, dtype):
        super().setup(name, dtype)
        self.ours.set_params(max_iter=1, tol=1e9).fit(self.X, self.y)
        self.peer = self.ours.to_sklearn()

    def time_one_thread(self, name, dtype):
        with threadpool_limits(1):
            self.ours.predict_proba(self.X)

    def peakmem_one_thread(self, name, dtype):
        with threadpool_limits(1):
            self.ours.predict_proba(self.X)

    def track_ratio_one_thread(self, name, dtype):
        return ratio(lambda: self.peer.predict_proba(self.X), lambda: self.ours.predict_proba(self.X), n_threads=1)


for _benchmark in (
    Fit.track_ratio_one_thread,
    Fit.track_ratio_two_threads,
    PredictProba.track_ratio_one_thread,
):
    _benchmark.unit = "times as fast as scikit-learn"
Fit.track_objective_excess.unit = "relative"
