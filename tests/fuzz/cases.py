"""Random arrays, targets and sparse matrices, among them many that no careful user would pass."""

import numpy as np
import scipy.sparse as sp

import xentropy as xe

# around one and several vectors of each instruction set, and the changes from few to many classes
SIZES = [0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 25, 31, 32, 33, 49, 65, 100]
LAYOUTS = ["C", "F", "strided", "reversed", "read-only", "byte-swapped", "unaligned", "offset", "list"]


def chance(rng, p=0.5):
    return rng.random() < p


def pick(rng, choices):
    """One of some objects of any kind."""
    return choices[rng.integers(len(choices))]


def size(rng, least=0, most=100):
    return int(pick(rng, [n for n in SIZES if least <= n <= most]))


def specials(dtype):
    info = np.finfo(dtype)
    small = [info.smallest_subnormal, 3 * info.smallest_subnormal, info.tiny, info.eps]
    return np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, *small, info.max, -info.max, info.max / 2], dtype)


def numbers(rng, shape, dtype=np.float64, *, scale=1.0, odd=0.0, finite=False):
    """Normal numbers, a share `odd` of which is replaced with NaN, infinities, subnormals, the largest numbers."""
    with np.errstate(over="ignore"):
        out = np.asarray(scale * rng.standard_normal(shape)).astype(dtype)
    at = np.asarray(rng.random(shape) < odd)
    choices = specials(dtype)
    choices = choices[np.isfinite(choices)] if finite else choices
    out[at] = rng.choice(choices, np.count_nonzero(at))
    return out


def laid_out(rng, a, layout=None):
    """The same numbers in another layout in memory."""
    a = np.asarray(a)
    layout = layout or pick(rng, LAYOUTS)
    if a.ndim == 0 and layout != "byte-swapped":
        return a
    if layout == "F":
        return np.asfortranarray(a)
    if layout == "strided":
        wide = np.zeros([2 * n + 1 for n in a.shape], a.dtype)[tuple(slice(0, 2 * n, 2) for n in a.shape)]
        wide[...] = a
        return wide
    if layout == "reversed":
        back = (slice(None, None, -1),) * a.ndim
        return np.ascontiguousarray(a[back])[back]
    if layout == "read-only":
        a = a.copy()
        a.flags.writeable = False
        return a
    if layout == "byte-swapped":
        return a.astype(a.dtype.newbyteorder())
    if layout in ("unaligned", "offset"):
        start = 1 if layout == "unaligned" else a.itemsize
        there = np.zeros(a.nbytes + start, np.uint8)[start:].view(a.dtype).reshape(a.shape)
        there[...] = a
        return there
    if layout == "list" and a.dtype == np.float64 and a.size:  # else the dtype or the shape is lost
        return a.tolist()
    return a.copy()


def labels(rng, n, n_classes, *, wrong=False):
    """Class indices of some integer dtype, one of them out of range where `wrong`."""
    fitting = [np.int64, np.int32, np.uint16, np.uint64, *([np.int8] if n_classes < 128 else [])]
    y = rng.integers(0, n_classes, n).astype(pick(rng, fitting))
    if wrong and n:
        info = np.iinfo(y.dtype)
        outside = [v for v in (-1, n_classes, info.min, info.max) if info.min <= v <= info.max]
        outside = [v for v in outside if not 0 <= v < n_classes]
        y[rng.integers(n)] = pick(rng, outside)
    return y


def distribution(rng, n, n_classes, dtype=np.float64):
    """Soft or one-hot rows."""
    soft = rng.dirichlet(np.ones(n_classes), n).reshape(n, n_classes)
    hot = np.eye(n_classes)[rng.integers(0, n_classes, n)]
    return np.where(rng.random((n, 1)) < 0.5, soft, hot).astype(dtype)


def weights(rng, n):
    """Sample weights, 0 among them, or None. Those of a row may be huge next to those of another."""
    if chance(rng):
        return None
    choices = [0.0, 0.5, 1.0, 3.0, 1e-3, 1e3]
    how = pick(rng, ["usual", "usual", "huge and tiny", "decades"])
    if how == "decades":
        return 10.0 ** rng.uniform(-300, 300, n)
    return rng.choice(choices + [1e300, 1e-300, 5e-324] * (how == "huge and tiny"), n)


def loss(rng):
    return pick(
        rng,
        [
            xe.CrossEntropy(),
            xe.CrossEntropy(),
            xe.FocalLoss(gamma=float(pick(rng, [0.0, 0.5, 2.0, 5.0]))),
            xe.GeneralizedCrossEntropy(q=float(pick(rng, [0.1, 0.7, 1.0]))),
            xe.PolyLoss(epsilon=float(pick(rng, [-0.5, 1.0, 4.0]))),
            xe.SymmetricCrossEntropy(alpha=0.1, beta=float(pick(rng, [0.0, 1.0]))),
        ],
    )


def csr(rng, n, d, dtype=np.float64, *, density=0.3):
    """A valid CSR matrix whose rows may be unsorted and hold a column twice, with indices of either width."""
    index = pick(rng, [np.int32, np.int64])
    lengths = rng.binomial(d, density, n) if d else np.zeros(n, int)
    indptr = np.append(0, np.cumsum(lengths)).astype(index)
    indices = rng.integers(0, max(d, 1), indptr[-1]).astype(index)
    data = rng.standard_normal(len(indices)).astype(dtype)
    return assembled(data, indices, indptr, (n, d), pick(rng, [sp.csr_matrix, sp.csr_array]))


def assembled(data, indices, indptr, shape, make=sp.csr_array):
    """A CSR matrix of these three arrays, which SciPy does not look at."""
    X = make(shape, dtype=data.dtype if isinstance(data, np.ndarray) and data.dtype.kind == "f" else np.float64)
    X.data, X.indices, X.indptr = data, indices, indptr
    return X


# What is done to a CSR matrix after it was made. Those of HARMLESS leave it valid.
HARMLESS = ["nothing", "unsorted", "duplicated", "long arrays", "read-only"]
HARMFUL = [
    "column out of range", "negative column", "huge column", "indptr decreases", "indptr ends late",
    "indptr starts late", "indptr negative", "indptr huge", "indptr short", "indptr long", "indptr swapped",
    "indices short", "indices swapped", "data short", "float indices", "object data", "unsigned indices",
    "complex data", "2-D data", "byte-swapped indices", "strided indices", "wide indptr", "NaN",
]  # fmt: skip


def spoilt(rng, X, how):
    """A copy of a CSR matrix X with this done to it."""
    data, indices, indptr = X.data.copy(), X.indices.copy(), X.indptr.copy()
    n, d = X.shape
    at = int(rng.integers(len(indices))) if len(indices) else None
    row = int(rng.integers(n + 1))
    if how in ("column out of range", "negative column", "huge column"):
        if at is not None:
            wrong = {"column": d, "negative": -1, "huge": np.iinfo(indices.dtype).max}[how.split()[0]]
            indices[at] = wrong + (rng.integers(3) if how[0] == "c" else 0)
    elif how == "indptr decreases" and n > 1 and at is not None:
        indptr[1 + row % (n - 1)] = len(indices) + 1
        indptr[-1] = len(indices)
    elif how == "indptr ends late":
        indptr[-1] += 1 + rng.integers(1 << 20)
    elif how == "indptr starts late":
        indptr[0] = 1
    elif how == "indptr negative":
        indptr[row] = -1
    elif how == "indptr huge":
        indptr[row] = np.iinfo(indptr.dtype).max
    elif how == "indptr short":
        indptr = indptr[:-1]
    elif how == "indptr long":
        indptr = np.append(indptr, indptr[-1:]).astype(indptr.dtype)
    elif how == "indices short":
        indices = indices[:-1]
    elif how == "data short":
        data = data[:-1]
    elif how == "indices swapped":
        indices = rng.permutation(len(indptr)).astype(indices.dtype)
    elif how == "indptr swapped":
        indptr = indices.copy()
    elif how == "float indices":
        indices = indices.astype(np.float64)
    elif how == "object data":
        data = data.astype(object)
    elif how == "unsigned indices":
        indices, indptr = indices.astype(np.uint64), indptr.astype(np.uint64)
    elif how == "complex data":
        data = data.astype(np.complex128)
    elif how == "2-D data":
        data = data.reshape(-1, 1)
    elif how == "byte-swapped indices":
        indices, indptr = indices.astype(indices.dtype.newbyteorder()), indptr.astype(indptr.dtype.newbyteorder())
    elif how == "strided indices":
        indices = laid_out(rng, indices, "strided")
    elif how == "NaN" and at is not None:
        data[at] = pick(rng, [np.nan, np.inf, -np.inf])
    elif how == "unsorted":
        for i in range(n):
            order = rng.permutation(int(indptr[i + 1] - indptr[i])) + int(indptr[i])
            indices[indptr[i] : indptr[i + 1]], data[indptr[i] : indptr[i + 1]] = indices[order], data[order]
    elif how == "duplicated" and d:
        indices[:] = indices // 2
    elif how == "wide indptr":
        indptr = indptr.astype(np.int64)
    elif how == "long arrays":  # past the end of the last row
        data, indices = np.append(data, data[:3]), np.append(indices, indices[:3])
    elif how == "read-only":
        data.flags.writeable = indices.flags.writeable = indptr.flags.writeable = False
    return assembled(data, indices, indptr, X.shape, type(X))


def dense_of(X):
    """The matrix that valid CSR arrays describe, by the definition."""
    out = np.zeros(X.shape, X.dtype)
    for i in range(X.shape[0]):
        for t in range(X.indptr[i], X.indptr[i + 1]):
            out[i, X.indices[t]] += X.data[t]
    return out
