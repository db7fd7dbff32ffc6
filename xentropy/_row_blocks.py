"""Rows that are read block by block in each pass over them: from files, generators and arrays not in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._arrays import is_mapped, refuse_masked
from ._kernels._linear import check_csr
from ._spool import Spool

# Packages whose arrays are not in memory, but have a shape, a dtype and slices.
_STORED_IN = ("h5py", "zarr")
_BLOCK_BYTES = 1 << 24  # up to three blocks are in memory at a time


class RowBlocks:
    """Rows that are too many for memory, which are read block by block.

    :class:`SoftmaxClassifier` takes them as X in `fit`, `predict`, `predict_proba`, `score` and so on, and holds two
    blocks at a time. A fit gives the same coefficients as that of all rows in memory. It reads the blocks once for each
    evaluation of the objective and once before, about five times in all. `y` and `sample_weight` are arrays in memory.

    Parameters
    ----------
    blocks : callable, or array-like of shape (n_samples, n_features)
        A callable without arguments that returns a new iterator over all blocks, the same in each pass. A block is a
        2-D array, CSR matrix, DataFrame or Arrow RecordBatch of any number of rows, and not overwritten by the next.
        Or an array with ``shape``, ``dtype`` and slices of rows, such as ``np.memmap``, ``h5py.Dataset`` or
        ``zarr.Array``.

    block_bytes : int, default=16777216
        The size of the blocks in which an array is read. Blocks of a callable are taken as they are.

    cache : bool, str or path, default=None
        Whether to write the rows to a temporary file in the first pass, as the kernels read them, and to read that file
        in the others: True means in the folder of temporary files, and a path names another folder. It pays where
        reading a block takes longer than reading its numbers, as from Parquet, CSV or a network. The file lasts as long
        as this object.

    Notes
    -----
    A thread reads the next block while this one is computed with, and calls `blocks` and its iterator. Sums over blocks
    are added in their order, in twice the precision of float64. float32 blocks stay float32, float16 becomes float32,
    and other numbers become float64.

    The names of columns in the first block are those of the fit. Rows are not shuffled and have no labels of their own:
    row i of `y` is the i-th row of all blocks.

    Examples
    --------
    >>> import numpy as np
    >>> import xentropy as xe
    >>> def blocks():  # in practice these come from files
    ...     for seed in range(10):
    ...         yield np.random.default_rng(seed).standard_normal((1000, 3))
    >>> y = np.concatenate([X[:, 0] + X[:, 1] > 0 for X in blocks()])
    >>> X = xe.RowBlocks(blocks)
    >>> model = xe.SoftmaxClassifier().fit(X, y)
    >>> round(model.score(X, y), 2)
    1.0

    With pyarrow, whose batches take time to decode, ``X = xe.RowBlocks(lambda:
    pq.ParquetFile("big.parquet").iter_batches(columns=features), cache=True)``.
    """

    def __init__(self, blocks: Any, *, block_bytes: int = _BLOCK_BYTES, cache: Any = None) -> None:
        if not isinstance(block_bytes, int) or block_bytes < 1:
            raise ValueError(f"block_bytes={block_bytes!r} must be a number of bytes, 1 or more")
        is_array = len(getattr(blocks, "shape", ())) == 2 and hasattr(blocks, "dtype") and not sp.issparse(blocks)
        if not (is_array or callable(blocks)):
            raise TypeError(
                f"blocks is of type {type(blocks).__name__}: pass a callable that returns a new iterator over the "
                f"blocks in each pass, or a 2-D array with shape, dtype and slices of rows"
            )
        if not (cache in (None, True, False) or Path(cache).is_dir()):
            raise ValueError(f"cache={str(cache)!r} is no folder: pass one that exists, or True")
        self._blocks, self._block_bytes, self._cache = blocks, block_bytes, cache
        self._spool: Spool | None = None
        self.n_rows: int | None = blocks.shape[0] if is_array else None  # as far as it is known

    def __iter__(self) -> Iterator[Any]:
        """The blocks as they are given, read ahead."""
        return read_ahead(self._read())

    def first_rows(self) -> Any:
        """The first row or none, as it is given."""
        blocks = self._read()
        try:
            first = next(blocks, None)
        finally:
            blocks.close()
        if first is None:
            raise ValueError("X has no blocks: the iterator that blocks() returned was at its end")
        return first.slice(0, 1) if hasattr(first, "column_names") else first[:1]

    def plain(self) -> Iterator[Any]:
        """The blocks as kernels read them, read ahead: C-ordered arrays or CSR matrices, float32 or float64."""
        return read_ahead(self._plain())

    def predictions(self, predict: Callable[[Any], np.ndarray]) -> np.ndarray:
        """What `predict` gives for each block, as one array."""
        found: list[np.ndarray] = []
        out: np.ndarray | None = None  # all of it, where its size is known: joining parts takes twice the memory
        first = 0
        for i, block in enumerate(self):
            if not block.shape[0]:
                continue
            try:
                of_block = predict(block)
            except ValueError as error:
                error.add_note(f"This was raised for block {i} of X.")
                raise
            if self.n_rows is None:
                found.append(of_block)
                continue
            out = np.empty((self.n_rows, *of_block.shape[1:]), of_block.dtype) if out is None else out
            out[first : first + len(of_block)] = of_block
            first += len(of_block)
        if out is None and not found:
            raise ValueError("X has no rows")
        return out if out is not None else np.concatenate(found)

    def _plain(self) -> Generator[Any]:
        if self._spool is not None:
            yield from self._spool
            return
        spool = None if self._cache in (None, False) else Spool(None if self._cache is True else self._cache)
        for i, block in enumerate(self._read()):
            plain = plain_block(block, f"block {i} of X")
            if spool is not None:
                spool.write(plain)
            yield plain
        self._spool = spool

    def _read(self) -> Generator[Any]:
        if callable(self._blocks):
            yield from _numbered(self._blocks())
            return
        X = self._blocks
        n, d = X.shape
        step = max(1, self._block_bytes // max(1, d * X.dtype.itemsize))
        chunk = (getattr(X, "chunks", None) or (1,))[0]  # a chunk is decoded as a whole
        step = max(1, step // chunk) * chunk
        copies = is_mapped(X)  # or else the file would be read when the kernels compute
        for start in range(0, n, step):
            block = X[start : min(start + step, n)]
            yield np.array(block, order="C") if copies else block


def _numbered(blocks: Iterable[Any]) -> Iterator[Any]:
    """The blocks. An error of one says which it is."""
    i, iterator = 0, iter(blocks)
    while True:
        try:
            block = next(iterator)
        except StopIteration:
            return
        except Exception as error:
            error.add_note(f"This was raised by the iterator over the blocks of X, for block {i}.")
            raise
        if type(block).__name__ == "RecordBatch":  # scikit-learn knows the columns of an Arrow Table only
            block = sys.modules["pyarrow"].Table.from_batches([block])
        yield block
        i += 1


def read_ahead(blocks: Generator[Any]) -> Iterator[Any]:
    """The blocks of a generator, which a thread runs: it reads the next one while this one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="xentropy-read-ahead") as reader:
        try:
            coming = reader.submit(next, blocks, None)
            while (block := coming.result()) is not None:
                coming = reader.submit(next, blocks, None)
                yield block
        finally:
            reader.submit(blocks.close)


def plain_block(block: Any, name: str) -> Any:
    """A block as a C-ordered array or CSR matrix of float32 or float64."""
    refuse_masked(block, name)
    if sp.issparse(block):
        csr = block.tocsr()
        csr = csr.astype(_plain_dtype(csr.dtype, name), copy=False)
        check_csr(csr)
        return csr
    if hasattr(block, "to_numpy"):
        block = block.to_numpy()
    elif hasattr(block, "column_names"):  # Arrow's
        block = np.column_stack([np.asarray(column) for column in block.columns])
    array = np.asarray(block)
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}, but must have rows and columns: pass it as block[:, None]")
    try:
        return np.require(array, dtype=_plain_dtype(array.dtype, name), requirements=["C", "A"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers, not {array.dtype}: {error}") from None


def _plain_dtype(dtype: np.dtype, name: str) -> type:
    if dtype.kind == "c":
        raise ValueError(f"{name} holds complex numbers")
    return np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64


def stored_array(X: Any) -> Any:
    """X itself if it gives rows in blocks already. Blocks of an array that is not in memory, and would be copied
    whole; None for others, and if it is no larger than a block."""
    if hasattr(type(X), "first_rows"):  # of its class: a DataFrame may have such a column
        return X
    is_stored = type(X).__module__.partition(".")[0] in _STORED_IN
    if isinstance(X, np.ndarray) and is_mapped(X):
        is_stored = not (X.flags.c_contiguous and X.flags.aligned and X.dtype in (np.float32, np.float64))
    if not is_stored or len(X.shape) != 2 or 8 * X.shape[0] * X.shape[1] <= _BLOCK_BYTES:
        return None
    return RowBlocks(X)
