"""Named problems: seeded shapes, draws that look like data of some kind, and the real data sets of scikit-learn."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.sparse as sp
from sklearn import datasets
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import StandardScaler

# Share of the rows of each shape: 1 takes minutes and gigabytes.
ROWS = float(os.environ.get("XENTROPY_BENCH_ROWS", "0.1"))

# (rows, features, classes), or for sparse ones also the share of values that are stored
SHAPES = {
    "1e6x50_2": (1_000_000, 50, 2),
    "1e6x50_10": (1_000_000, 50, 10),
    "2e5x784_10": (200_000, 784, 10),
    "3e5x64_10": (300_000, 64, 10),
    "3e5x37_6": (300_000, 37, 6),
    "6e4x700_10": (60_000, 700, 10),
    "2e4x512_100": (20_000, 512, 100),
    "5e4x768_100": (50_000, 768, 100),
    "2e4x768_1000": (20_000, 768, 1000),
    "4e5x100_50": (400_000, 100, 50),
    "csr_1e5x1e5_2": (100_000, 100_000, 2, 5e-4),
    "csr_1e5x1e5_12": (100_000, 100_000, 12, 5e-4),
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
    weight: np.ndarray | None = None  # of each row; None where all rows count alike


def save(names: list[str]) -> None:
    """Write the problems to the current folder in both dtypes, for `load`.

    Benchmarks call it in `setup_cache`, whose process is not theirs: so what it takes to draw a problem counts neither
    in their time nor in their peak of memory.
    """
    for name in names:
        problem = draw(name)
        for dtype in DTYPES:
            X = problem.X.astype(dtype)
            if sp.issparse(X):
                sp.save_npz(f"{name}-{dtype}-X.npz", X, compressed=False)
            else:
                np.save(f"{name}-{dtype}-X.npy", X)
        np.save(f"{name}-y.npy", problem.y)
        if problem.weight is not None:
            np.save(f"{name}-weight.npy", problem.weight)


def load(name: str, dtype: str) -> Problem:
    """A problem that `save` wrote."""
    sparse = f"{name}-{dtype}-X.npz"
    X = sp.load_npz(sparse) if os.path.exists(sparse) else np.load(f"{name}-{dtype}-X.npy")
    y = np.load(f"{name}-y.npy")
    weight = f"{name}-weight.npy"
    n_classes = SHAPES[name][2] if name in SHAPES else len(np.unique(y))
    return Problem(X, y, n_classes, np.load(weight) if os.path.exists(weight) else None)


def draw(name: str, share: float = ROWS) -> Problem:
    """A problem with this share of its rows. The real ones have all their rows always, and features of variance one
    unless their name ends in "_raw"."""
    if name.removesuffix("_raw") in REAL:
        return _real(name)
    if name in SHAPES:
        return _shape(name, share)
    draw_rows, n = (LIKE | UNEVEN)[name]
    X, y, *weight = draw_rows(np.random.default_rng(0), max(1, round(n * share)))
    return Problem(X, y, len(np.unique(y)), *weight)


def _shape(name: str, share: float) -> Problem:
    """Labels drawn from a softmax model of the features, so that fits have work to do."""
    n, d, n_classes, *density = SHAPES[name]
    n = max(1, round(n * share))
    rng = np.random.default_rng(0)
    X = _zipf_csr(rng, n, d, density[0]) if density else rng.standard_normal((n, d))
    coef = rng.standard_normal((d, n_classes)) * (0.5 if density else 2 / np.sqrt(d))
    y = (X @ coef + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    return Problem(X, y, n_classes)


def _real(name: str) -> Problem:
    """A data set of scikit-learn's."""
    X, y = getattr(datasets, f"load_{name.removesuffix('_raw')}")(return_X_y=True)
    X = X if name.endswith("_raw") else StandardScaler().fit_transform(X)
    return Problem(np.ascontiguousarray(X), y, len(np.unique(y)))


def _zipf_csr(rng: np.random.Generator, n: int, d: int, density: float) -> sp.csr_matrix:
    """Rows of word counts: the k-th column is drawn with a probability proportional to 1 / k."""
    share = np.cumsum(1 / np.arange(1, d + 1))
    stored = round(n * d * density)
    columns = np.searchsorted(share, rng.random(stored) * share[-1])
    return sp.csr_matrix((np.ones(stored), (rng.integers(0, n, stored), columns)), shape=(n, d))


def _labels(rng: np.random.Generator, logits: np.ndarray) -> np.ndarray:
    return (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def _land_cover(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Like covtype: ten correlated measurements in metres, degrees and 0..255; indicators of 4 areas and 40 soils."""
    mean = np.array([2959, 156, 14, 269, 46, 2350, 212, 223, 143, 1980])
    spread = np.array([280, 112, 7.5, 213, 58, 1559, 27, 20, 38, 1325])
    mixed = rng.standard_normal((10, 10)) / 2 + np.eye(10)
    measured = rng.standard_normal((n, 10)) @ (mixed / np.linalg.norm(mixed, axis=0))
    area = _labels(rng, np.log([0.45, 0.05, 0.44, 0.06]) + measured[:, :1] * [0.75, 0.5, 0, -2])
    soil = _labels(rng, measured[:, :3] @ rng.standard_normal((3, 40)) - 1.2 * np.log(np.arange(1, 41)))
    standard = np.hstack([measured, np.eye(4)[area], np.eye(40)[soil]])
    shares = [0.36, 0.49, 0.06, 0.005, 0.016, 0.03, 0.035]
    y = _labels(rng, standard @ rng.standard_normal((54, 7)) + np.log(shares))
    return np.hstack([np.rint(mean + spread * measured), standard[:, 10:]]), y


def _images(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Like MNIST: 28 x 28 pixels of 0..255, most of them zero, and those at the border always."""
    at = np.arange(28)
    centre = rng.uniform(7, 21, size=(60, 2, 1))
    profile = np.exp(-((at - centre) ** 2) / 8)
    strokes = (profile[:, 0, :, None] * profile[:, 1, None, :]).reshape(60, 784)
    y = rng.integers(0, 10, n)
    ink = (0.45 * rng.standard_normal((10, 60))[y] + 1.2 * rng.standard_normal((n, 60))) @ strokes
    return np.rint(np.clip(90 * ink - 60, 0, 255)), y


def _embeddings(rng: np.random.Generator, n: int, d: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Like the output of a network: features of unit length, correlated with a slowly falling spectrum, around the
    centres of the classes."""
    spectrum = np.arange(1, d + 1) ** -0.5
    turned = np.linalg.qr(rng.standard_normal((d, d)))[0]
    y = rng.integers(0, n_classes, n)
    X = ((rng.standard_normal((n_classes, d))[y] + 1.5 * rng.standard_normal((n, d))) * spectrum) @ turned + 0.05
    return X / np.linalg.norm(X, axis=1, keepdims=True), y


def _sentiment(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of 768 features, and a label of two values that depends on them."""
    X, _ = _embeddings(rng, n, d=768, n_classes=100)
    said = (X - X.mean(axis=0)) @ rng.standard_normal(768)
    return X, _labels(rng, np.outer(3.0 * said / said.std(), [0.0, 1.0]))


def _text(rng: np.random.Generator, n: int) -> tuple[sp.csr_matrix, np.ndarray]:
    """Like the TF-IDF of 20 newsgroups: 130 000 words by Zipf's law, whose shares differ between the groups."""
    n_words, n_groups = 130_000, 20
    y = rng.integers(0, n_groups, n)
    length = np.maximum(5, rng.lognormal(4.8, 0.8, n)).astype(np.int64)
    indices = np.empty(length.sum(), dtype=np.int32)
    group = np.repeat(y, length)
    for k in range(n_groups):
        share = np.cumsum(np.exp(rng.standard_normal(n_words)) / np.arange(1, n_words + 1))
        mine = np.flatnonzero(group == k)
        indices[mine] = np.searchsorted(share, rng.random(len(mine)) * share[-1])
    counts = sp.csr_matrix((np.ones(len(indices)), indices, np.r_[0, np.cumsum(length)]), shape=(n, n_words))
    counts.sum_duplicates()
    return sp.csr_matrix(TfidfTransformer(sublinear_tf=True).fit_transform(counts)), y


def _heavy_tails(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Like amounts and counts: log-normal features, of which few rows hold most of the sum, and labels that depend on
    their logarithms."""
    logs = 1.5 * rng.standard_normal((n, 40))
    return np.exp(logs), _labels(rng, logs @ rng.standard_normal((40, 5)) / 3)


def _weighted(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Like a survey: weights of the rows over six decades."""
    X = rng.standard_normal((n, 40))
    y = _labels(rng, X @ rng.standard_normal((40, 5)) / 3)
    return X, y, 10.0 ** rng.uniform(-3, 3, n)


def _one_hot(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Like a table of categories, dense: indicators of 12 categories with Zipf's shares, which sum to one for each, and
    thermometers of 8 numbers, whose columns say which of 7 thresholds the number is above."""
    columns = []
    for n_values in (2, 3, 3, 4, 5, 6, 8, 10, 12, 15, 20, 40):
        share = 1 / np.arange(1, n_values + 1)
        columns.append(np.eye(n_values)[rng.choice(n_values, n, p=share / share.sum())])
    numbers = rng.standard_normal((n, 8)) + rng.standard_normal((n, 1))
    columns.append((numbers[:, :, None] > np.linspace(-2, 3, 7)).reshape(n, 56).astype(float))
    X = np.hstack(columns)
    return X, _labels(rng, X @ rng.standard_normal((X.shape[1], 4)) / 2)


# How problems are drawn, with labels that depend on the features, and how many rows they have
LIKE: dict[str, tuple[Callable, int]] = {
    "land_cover_5e5x54_7": (_land_cover, 500_000),
    "images_6e4x784_10": (_images, 60_000),
    "embeddings_2e4x512_100": (partial(_embeddings, d=512, n_classes=100), 20_000),
    "sentiment_2e4x768_2": (_sentiment, 20_000),
    "text_11300x130000_20": (_text, 11_300),
}

# The same for problems whose rows or columns count very unequally
UNEVEN: dict[str, tuple[Callable, int]] = {
    "heavy_tails_1e5x40_5": (_heavy_tails, 100_000),
    "weighted_1e5x40_5": (_weighted, 100_000),
    "one_hot_1e5x184_4": (_one_hot, 100_000),
}
