"""Fits of several labels: ours, and scikit-learn's of one label after the other."""

import os

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from threadpoolctl import threadpool_limits

from xentropy import MultilabelClassifier, binary_log_loss

from .measuring import ratio

# Share of the rows: 1 takes minutes with the peers.
ROWS = float(os.environ.get("XENTROPY_BENCH_ROWS", "0.1"))


def tall(rng):
    X = rng.standard_normal((round(1e5 * ROWS), 100))
    return X, X @ rng.standard_normal((100, 20)) * 0.2


def embeddings(rng):
    n = round(2e4 * ROWS)
    X = rng.standard_normal((n, 64)) @ rng.standard_normal((64, 768)) / 8 + 0.3 * rng.standard_normal((n, 768))
    return X, X @ rng.standard_normal((768, 80)) * 0.05


def text(rng):
    """A hundred words in each row, of which the k-th is drawn with a probability proportional to 1 / k."""
    n, d = round(2e4 * ROWS), 100_000
    share = np.cumsum(1 / np.arange(1, d + 1))
    words = np.searchsorted(share, rng.random(100 * n) * share[-1]).astype(np.int32)
    X = sp.csr_matrix((np.ones(100 * n), (np.repeat(np.arange(n), 100), words)), shape=(n, d))
    X.sum_duplicates()
    X = TfidfTransformer(sublinear_tf=True).fit_transform(X)
    return X, X @ rng.standard_normal((d, 50)) * 4


def draw(problem):
    """X and an indicator: each label has a logistic model, and about a quarter of the rows."""
    rng = np.random.default_rng(0)
    X, z = problem(rng)
    z = np.asarray(z)
    return X, (z - np.quantile(z, 0.75, axis=0) + rng.logistic(size=z.shape) > 0).astype(int)


PROBLEMS = {f.__name__: f for f in (tall, embeddings, text)}
PEERS = {"MultiOutputClassifier": MultiOutputClassifier, "OneVsRestClassifier": OneVsRestClassifier}


class Fit:
    params = (list(PROBLEMS), list(PEERS))
    param_names = ("problem", "peer")
    timeout = 900

    def setup(self, problem, peer):
        self.X, self.y = draw(PROBLEMS[problem])
        self.ours, self.peer = MultilabelClassifier(), PEERS[peer](LogisticRegression(max_iter=1000))

    def track_ratio_one_thread(self, problem, peer):
        return ratio(self.fit_peer, self.fit_ours, n_threads=1, rounds=3)

    def track_ratio_two_threads(self, problem, peer):
        return ratio(self.fit_peer, self.fit_ours, n_threads=2, rounds=3)

    def time_one_thread(self, problem, peer):
        with threadpool_limits(1):
            self.ours.fit(self.X, self.y)

    def peakmem_one_thread(self, problem, peer):
        with threadpool_limits(1):
            self.ours.fit(self.X, self.y)

    def fit_ours(self):
        self.ours.fit(self.X, self.y)

    def fit_peer(self):
        self.peer.fit(self.X, self.y)


class BinaryLogLoss:
    def setup(self):
        rng = np.random.default_rng(0)
        self.y, self.p = rng.integers(0, 2, (100_000, 20)), rng.random((100_000, 20))

    def time_binary_log_loss(self):
        binary_log_loss(self.y, self.p)
