"""
Data larger than memory
=======================

A fit reads its rows about five times, from the first to the last. They need not be in memory for that: ``RowBlocks``
reads them block by block, and the fit is the same.
"""

import tempfile
import tracemalloc
from pathlib import Path
from time import perf_counter

import numpy as np
from matplotlib import pyplot as plt

import xentropy as xe

# %%
# A file of measurements, written in parts. Here it has 77 MB.

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "X.npy"
rng = np.random.default_rng(0)
n, d, n_classes = 240_000, 40, 4
coef = rng.normal(size=(d, n_classes)) / np.sqrt(d)
X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(n, d))
y = np.empty(n, dtype=np.int8)
for part in np.array_split(np.arange(n), 20):
    rows = rng.normal(size=(len(part), d))
    y[part] = (3 * rows @ coef + rng.gumbel(size=(len(part), n_classes))).argmax(axis=1)
    X[part] = rows
del X

# %%
# ``RowBlocks`` takes a function that opens the file and yields its rows, in each pass anew. In its place there may be
# the batches of a Parquet file, the result of a query, or one of several files after the other. Here it also notes how
# much memory is in use.

used = []


def blocks():
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        for _ in range(0, n, 10_000):
            used.append((perf_counter(), tracemalloc.get_traced_memory()[0]))
            yield np.fromfile(file, count=10_000 * d).reshape(-1, d)


tracemalloc.start()
model = xe.SoftmaxClassifier().fit(xe.RowBlocks(blocks), y)
tracemalloc.stop()

when, traced = np.array(used).T
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.plot(when - when[0], traced / 1e6, label="in use")
ax.axhline(path.stat().st_size / 1e6, color="0.6", linestyle="--", label="size of X")
ax.set(xlabel="seconds of the fit", ylabel="MB", ylim=(0, None))
ax.legend()
plt.show()

# %%
# The curve stays far below the line whatever the size of the file, because a fit holds some blocks, a sample of the
# rows, and its own vectors. An array in a file that has slices of rows needs no function: an ``np.memmap`` such as
# this one, an ``h5py.Dataset`` or a ``zarr.Array``. Both fits find the same minimum.

X = np.load(path, mmap_mode="r")
same = xe.SoftmaxClassifier().fit(X, y)
print(f"largest difference of a coefficient: {np.abs(model.coef_ - same.coef_).max():.0e}")
print(f"relative difference of the objectives: {abs(model.objective_ / same.objective_ - 1):.0e}")
print(f"passes over all rows: {len(used) * 10_000 // n}")
print(f"accuracy, block by block: {model.score(xe.RowBlocks(blocks), y):.3f}")
del X
folder.cleanup()
