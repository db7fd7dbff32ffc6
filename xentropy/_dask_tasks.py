"""What the workers of a cluster do for a fit, in tasks: to one block, or to a group of blocks with their targets."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._block_source import refuse_not_finite
from ._kernels._linear import LinearPass
from ._row_blocks import plain_block
from ._row_loss import RowLoss
from ._summed_design import Moments, PreciseSum, block_sums
from ._targets import Target, is_distribution, learn_target, match_target


def look(i: int, x: Any, y: Any, w: Any) -> dict[str, Any]:
    """What has to be known of a block before it is encoded."""
    n = len(y)
    if x.shape[0] != n or (w is not None and len(w) != n):
        of_weight = "" if w is None else f", and {len(w)} weights"
        raise ValueError(f"block {i} of X has {x.shape[0]} rows, that of y {n}{of_weight}: rechunk them alike")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a block of few rows may look like regression targets
        classes = learn_target(y).classes if n else None
    plain = plain_block(x, f"block {i} of X")
    return {
        "n_rows": n,
        "n_features": x.shape[1],
        "is_distribution": is_distribution(y),
        "classes": classes,
        "is_sparse": sp.issparse(x),
        "dtype": plain.dtype,
        "is_plain": plain is x,
        "nbytes": plain.nbytes if isinstance(plain, np.ndarray) else plain.data.nbytes + plain.indices.nbytes,
    }


def encode(i: int, y: Any, w: Any, classes: np.ndarray) -> tuple[Target, np.ndarray | None]:
    if not len(y):
        return Target(classes, labels=np.empty(0, np.int32)), None if w is None else np.empty(0)
    weight = None if w is None else np.ascontiguousarray(np.asarray(w).ravel(), dtype=np.float64)
    if weight is not None and not (np.isfinite(weight).all() and (weight >= 0.0).all()):
        raise ValueError(f"sample_weight of block {i} must hold finite numbers, 0 or more")
    return match_target(y, classes), weight


def class_mass(target_and_weight: tuple[Target, np.ndarray | None]) -> np.ndarray:
    target, weight = target_and_weight
    return target.class_mass(weight)


def _row_weight(target: Target, weight: np.ndarray | None, row_loss: RowLoss, scale: float) -> np.ndarray | None:
    row_weight = target.row_mass(weight, row_loss.class_weight, row_loss.label_smoothing)
    return None if row_weight is None else scale * row_weight


def survey(row_loss: RowLoss, scale: float, firsts: list[int], numbers: list[int], *blocks: Any) -> list[tuple]:
    found = []
    for i, first, x, (target, weight) in zip(numbers, firsts, blocks[::2], blocks[1::2], strict=True):
        refuse_not_finite(x, i, first)
        row_weight = _row_weight(target, weight, row_loss, scale)
        moments = Moments.of(x, row_weight)
        squares = moments.weight if row_weight is None else float(row_weight @ row_weight)
        least = 1.0 if row_weight is None else row_weight.min(initial=np.inf, where=row_weight > 0.0) / scale
        found.append((moments, squares, least, x.size if isinstance(x, np.ndarray) else x.nnz))
    return found


def sample(row_loss: RowLoss, scale: float, places: list[Any], numbers: list[int], *blocks: Any) -> list[tuple]:
    """The rows of each block at places in units of the weights from its start, or all where places are None."""
    found = []
    for here, x, (target, weight) in zip(places, blocks[::2], blocks[1::2], strict=True):
        row_weight = _row_weight(target, weight, row_loss, scale)
        if here is None:
            at, sampled = np.arange(x.shape[0]), weight
        elif row_weight is None:
            at, sampled = np.minimum(here.astype(np.int64), max(0, x.shape[0] - 1)), None
        else:
            at, times = np.unique(np.searchsorted(np.cumsum(row_weight), here, side="right"), return_counts=True)
            at = np.minimum(at, np.flatnonzero(row_weight)[-1] if row_weight.any() else 0)
            sampled = times * ((1.0 if weight is None else weight[at]) / (row_weight[at] / scale))
        if len(at):
            found.append((x[at], target[at], sampled))
    return found


def sums(
    new_pass: Callable[..., LinearPass], coef: np.ndarray, intercept: np.ndarray, numbers: list[int], *blocks: Any
) -> tuple[np.ndarray, np.ndarray]:
    total = PreciseSum(coef.size + len(intercept) + 1)
    for x, (target, weight) in zip(blocks[::2], blocks[1::2], strict=True):
        if x.shape[0]:
            total.add(block_sums(new_pass, x, target, weight, coef, intercept))
    return total.high, total.low
