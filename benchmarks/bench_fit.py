"""Large fits beside the fastest of scikit-learn's solvers: at the same objective, and at the defaults of both."""

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf, nan
from time import perf_counter

import numpy as np
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from xentropy import SoftmaxClassifier

from . import problems
from .measuring import extra_memory, ratio

warnings.simplefilter("ignore")  # the peers warn where they do not converge: their objective says so

FITTED = ["3e5x37_6", "6e4x700_10", "2e4x512_100", "csr_2e5x1e4_5", *problems.LIKE]
SAME = 1e-5  # objectives that differ by less, relatively, are the same
MOST_COUPLED = 3000  # coefficients of which newton-cholesky factors the Hessian
PATIENCE = 30.0  # seconds for one fit of a peer


class LargeFit:
    params = (FITTED, list(problems.DTYPES))
    param_names = ("problem", "dtype")
    timeout = 900

    def setup_cache(self):
        problems.save(FITTED)

    def setup(self, name, dtype):
        problem = problems.load(name, dtype)
        self.X, self.y = problem.X, problem.y
        dense = problem.X.shape[1] * problem.n_classes <= MOST_COUPLED
        self.solvers = ["newton-cholesky"] * dense + ["lbfgs", "newton-cg"]
        self.ours = SoftmaxClassifier()

    def time_one_thread(self, name, dtype):
        with threadpool_limits(1):
            self.fit(self.ours)

    def peakmem_one_thread(self, name, dtype):
        with threadpool_limits(1):
            self.fit(self.ours)

    def track_ratio_one_thread(self, name, dtype):
        """Each solver at the largest tol that brings it down to our objective. Where none is there after PATIENCE, the
        ratio of that time to ours: a lower bound."""
        goal = self.objective(self.fit(self.ours)) * (1.0 + SAME)
        return self.ratio_to(self.fastest((1e-4, 1e-5, 1e-6, 1e-7, 1e-8), goal))

    def track_ratio_of_defaults_one_thread(self, name, dtype):
        return self.ratio_to(self.fastest((1e-4,), inf))

    def track_excess_of_defaults(self, name, dtype):
        """How far the solver that is the fastest at its defaults ends above our objective, relatively."""
        peer = self.fastest((1e-4,), inf)
        return nan if peer is None else self.objective(peer) / self.objective(self.fit(self.ours)) - 1.0

    def fit(self, classifier):
        return classifier.fit(self.X, self.y)

    def fastest(self, tols: tuple[float, ...], goal: float) -> LogisticRegression | None:
        """The solver that is the first to bring the objective to `goal`, if one is within PATIENCE."""
        best, least = None, PATIENCE
        with threadpool_limits(1):
            self.fit(LogisticRegression(max_iter=1))  # what the first fit of a process loads is not timed
            for solver in self.solvers:
                for tol in tols:
                    peer = LogisticRegression(solver=solver, tol=tol, max_iter=10_000)
                    start = perf_counter()
                    try:
                        with _at_most(least):
                            self.fit(peer)
                    except TimeoutError:
                        break  # as it would be with a smaller tol
                    seconds = perf_counter() - start
                    if self.objective(peer) <= goal:
                        best, least = peer, min(seconds, least)
                        break
        return best

    def ratio_to(self, peer: LogisticRegression | None) -> float:
        if peer is not None:
            return ratio(lambda: self.fit(peer), lambda: self.fit(self.ours), n_threads=1, rounds=3)
        start = perf_counter()
        with threadpool_limits(1):
            self.fit(self.ours)
        return PATIENCE / (perf_counter() - start)

    def objective(self, classifier) -> float:
        coef = classifier.coef_.astype(np.float64)
        z = self.X @ coef.T + classifier.intercept_.astype(np.float64)
        z = np.hstack([np.zeros_like(z), z]) if z.shape[1] == 1 else z
        loss = logsumexp(z, axis=1) - z[np.arange(len(self.y)), self.y]
        return classifier.C * loss.sum() + 0.5 * np.sum(coef**2)


class Memory:
    """What a fit takes besides X: labels, blocks, and the optimiser's vectors."""

    params = (["4e5x100_50", "csr_2e5x1e4_5"], list(problems.DTYPES))
    param_names = ("problem", "dtype")

    def setup_cache(self):
        problems.save(self.params[0])

    def setup(self, name, dtype):
        problem = problems.load(name, dtype)
        self.X, self.y = problem.X, problem.y

    def fit(self):
        with threadpool_limits(1):
            SoftmaxClassifier(max_iter=50).fit(self.X, self.y)

    def track_extra_memory(self, name, dtype):
        return extra_memory(self.fit)

    def peakmem_one_thread(self, name, dtype):
        self.fit()


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """TimeoutError in what takes longer."""

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


LargeFit.track_ratio_one_thread.unit = "times as fast as scikit-learn"
LargeFit.track_ratio_of_defaults_one_thread.unit = "times as fast as scikit-learn"
LargeFit.track_excess_of_defaults.unit = "relative"
Memory.track_extra_memory.unit = "MB"
