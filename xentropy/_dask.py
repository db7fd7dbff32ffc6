"""Dask collections: their rows for a fit, lazy predictions, and means over blocks.

dask and distributed are imported only where a Dask collection has come in.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ._arrays import is_dask
from ._dask_rows import DaskRows
from ._row_blocks import RowBlocks
from ._targets import is_distribution, learn_target


def rows_of_collection(X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """X, y and the weights of a fit: rows on the workers of the current client, which know their y and weights, or
    without a client rows that are computed block by block in this process."""
    xs, ys, ws = _aligned_blocks(X, y, sample_weight)
    try:
        from distributed import get_client

        client = get_client()
    except (ImportError, ValueError):
        weight = None if ws[0] is None else _joined([w.compute() for w in ws])
        return RowBlocks(lambda: (x.compute() for x in xs)), _joined([y.compute() for y in ys]), weight
    return DaskRows(xs, ys, ws, client, names=getattr(X, "columns", None)), None, None


def mean_over_blocks(
    of_block: Callable[..., float], X: Any, y: Any, sample_weight: Any = None
) -> tuple[float, float]:
    """The mean over all rows of what is the mean over those of a block, `of_block(x, y, weight)`, and their weight."""
    import dask

    blocks = zip(*_aligned_blocks(X, y, sample_weight), strict=True)
    means, weights = np.array(dask.compute(*[dask.delayed(_mean)(of_block, *block) for block in blocks])).T
    if not weights.sum():
        raise ValueError("no row has any weight")
    return float(means @ weights / weights.sum()), float(weights.sum())


def _mean(of_block: Callable[..., float], x: Any, y: Any, weight: Any) -> tuple[float, float]:
    mass = float(len(y)) if weight is None else float(np.sum(weight))
    return (of_block(x, y, weight), mass) if mass else (0.0, 0.0)


def all_classes(y: Any) -> np.ndarray | None:
    """The classes of all blocks of labels; None for distributions."""
    import dask

    if not is_dask(y):
        return _classes(y)
    found = [c for c in dask.compute(*[dask.delayed(_classes)(part) for part in _blocks_of(y)]) if c is not None]
    return np.unique(np.concatenate(found)) if found else None


def _classes(y: Any) -> np.ndarray | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return None if not len(y) or is_distribution(y) else learn_target(y).classes


def dtype_of(X: Any) -> np.dtype:
    """float32 if kernels would read the collection as that, and otherwise float64."""
    dtypes = [X.dtype] if hasattr(X, "dtype") else list(X.dtypes)
    single = all(dtype.kind == "f" and dtype.itemsize <= 4 for dtype in map(np.dtype, dtypes))
    return np.dtype(np.float32 if single else np.float64)


def predictions(predict: Callable[[Any], np.ndarray], X: Any, example: np.ndarray) -> Any:
    """A lazy array of what `predict` gives for each block of X, like the rows of `example`."""
    import dask
    import dask.array as da

    blocks = _blocks_of(X)
    sizes = X.chunks[0] if hasattr(X, "chunks") else [np.nan] * len(blocks)
    ask = dask.delayed(partial(_predict, predict, example[:0]), pure=True)
    shape = example.shape[1:]
    return da.concatenate(
        [da.from_delayed(ask(b), (n, *shape), example.dtype) for b, n in zip(blocks, sizes, strict=True)],
        allow_unknown_chunksizes=True,
    )


def _predict(predict: Callable[[Any], np.ndarray], none: np.ndarray, x: Any) -> np.ndarray:
    return predict(x) if x.shape[0] else none


def _joined(parts: list[Any]) -> Any:
    """Blocks of y or of weights as one array."""
    parts = [part for part in parts if len(part)]
    if hasattr(parts[0], "columns"):
        import pandas as pd

        return pd.concat(parts)
    return np.concatenate([np.asarray(part) for part in parts])


def _aligned_blocks(X: Any, y: Any, sample_weight: Any) -> list[list[Any]]:
    """The blocks of each as delayed objects, or None for each block where there are no weights."""
    xs = _blocks_of(X)
    all_blocks = [xs]
    for name, it in (("y", y), ("sample_weight", sample_weight)):
        if it is None:
            all_blocks.append([None] * len(xs))
            continue
        if not is_dask(it):
            it = _cut_like(it, X, name)
        blocks = _blocks_of(it)
        if len(blocks) != len(xs):
            raise ValueError(f"X has {len(xs)} blocks of rows, and {name} has {len(blocks)}: rechunk {name} like X")
        all_blocks.append(blocks)
    return all_blocks


def _cut_like(it: Any, X: Any, name: str) -> Any:
    import dask.array as da

    chunks = getattr(X, "chunks", ((np.nan,),))[0]
    array = np.asarray(it)
    if np.isnan(chunks).any():
        raise ValueError(f"X is a Dask collection of unknown lengths, so {name} must be a Dask collection too")
    if sum(chunks) != len(array):
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {[sum(chunks), len(array)]}")
    return da.from_array(array, chunks=(chunks, *array.shape[1:]))


def _blocks_of(collection: Any) -> list[Any]:
    n_blocks = tuple(getattr(collection, "numblocks", ()))
    if len(n_blocks) == 2 and n_blocks[1] > 1:
        raise ValueError(f"a Dask array is cut into {n_blocks[1]} blocks of columns: pass array.rechunk({{1: -1}})")
    return np.asarray(collection.to_delayed(), dtype=object).ravel().tolist()
