"""Named problems: seeded shapes, and the real data sets that come with scikit-learn."""

import os
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn import datasets
from sklearn.preprocessing import StandardScaler

# Share of the rows of each shape: 1 takes minutes and gigabytes.
ROWS = float(os.environ.get("XENTROPY_BENCH_ROWS", "0.1"))

# (rows, features, classes), or for sparse ones also the share of values that are stored
SHAPES = {
    "1e6x50_2": (1_000_000, 50, 2),
    "1e6x50_10": (1_000_000, 50, 10),
    "2e5x784_10": (200_000, 784, 10),
    "3e5x64_10": (300_000, 64, 10),
    "5e4x768_100": (50_000, 768, 100),
    "2e4x768_1000": (20_000, 768, 1000),
    "csr_1e5x1e5_20": (100_000, 100_000, 20, 5e-4),
    "csr_2e5x1e4_5": (200_000, 10_000, 5, 5e-3),
}
REAL = ("iris", "wine", "breast_cancer", "digits")


DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Problem:
    X: np.ndarray | sp.csr_matrix
    y: np.ndarray
    n_classes: int


def save(names: list[str]) -> None:
    """Write the problems to the current folder in both dtypes, for `load`.

    Benchmarks call it in `setup_cache`, whose process is not theirs: so what it takes to draw a problem counts neither
    in their time nor in their peak of memory.
    """
    for name in names:
        problem = _real(name) if name in REAL else _shape(name)
        for dtype in DTYPES:
            X = problem.X.astype(dtype)
            if sp.issparse(X):
                sp.save_npz(f"{name}-{dtype}-X.npz", X, compressed=False)
            else:
                np.save(f"{name}-{dtype}-X.npy", X)
        np.save(f"{name}-y.npy", problem.y)


def load(name: str, dtype: str) -> Problem:
    """A problem that `save` wrote."""
    sparse = f"{name}-{dtype}-X.npz"
    X = sp.load_npz(sparse) if os.path.exists(sparse) else np.load(f"{name}-{dtype}-X.npy")
    y = np.load(f"{name}-y.npy")
    return Problem(X, y, len(np.unique(y)) if name in REAL else SHAPES[name][2])


def _shape(name: str) -> Problem:
    """Labels drawn from a softmax model of the features, so that fits have work to do."""
    n, d, n_classes, *density = SHAPES[name]
    n = max(1, round(n * ROWS))
    rng = np.random.default_rng(0)
    X = _zipf_csr(rng, n, d, density[0]) if density else rng.standard_normal((n, d))
    coef = rng.standard_normal((d, n_classes)) * (0.5 if density else 2 / np.sqrt(d))
    y = (X @ coef + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    return Problem(X, y, n_classes)


def _real(name: str) -> Problem:
    """A data set of scikit-learn's, its features standardised."""
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return Problem(np.ascontiguousarray(StandardScaler().fit_transform(X)), y, len(np.unique(y)))


def _zipf_csr(rng: np.random.Generator, n: int, d: int, density: float) -> sp.csr_matrix:
    """Rows of word counts: the k-th column is drawn with a probability proportional to 1 / k."""
    share = np.cumsum(1 / np.arange(1, d + 1))
    stored = round(n * d * density)
    columns = np.searchsorted(share, rng.random(stored) * share[-1])
    return sp.csr_matrix((np.ones(stored), (rng.integers(0, n, stored), columns)), shape=(n, d))
