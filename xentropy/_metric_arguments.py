"""Checks of the arguments that the metrics of probabilities share."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import check_array

from ._arrays import refuse_masked
from ._messages import plain


def epsilon(dtype: np.dtype) -> float:
    return float(np.finfo(dtype if dtype.name in ("float16", "float32") else np.float64).eps)


def check_eps(eps: float | str, dtype: Any = np.float64) -> float:
    if isinstance(eps, str) and eps == "auto":
        return epsilon(np.dtype(dtype))
    if not isinstance(eps, Real) or isinstance(eps, bool) or not 0.0 <= eps < 0.5:
        raise ValueError(f"eps={plain(eps)!r} is neither 'auto' nor a number in [0, 0.5)")
    return float(eps)


def check_weights(sample_weight: Any, n: int) -> tuple[np.ndarray | None, float]:
    """The weights of n rows, and their sum."""
    if sample_weight is None:
        return None, float(n)
    if np.ndim(sample_weight) != 1:
        raise ValueError(f"sample_weight must be 1-D, a number for each row; it is {np.ndim(sample_weight)}-D")
    refuse_masked(sample_weight, "sample_weight")
    weights = check_array(
        sample_weight, dtype=np.float64, ensure_2d=False, ensure_all_finite=False, input_name="sample_weight"
    )
    weights = np.require(weights, dtype=np.float64, requirements=["C", "A"])
    with np.errstate(over="ignore"):
        mass = float(weights.sum())
    if np.isinf(mass) and np.isfinite(weights).all():
        raise ValueError("sample_weight sums to inf: divide it by its largest entry")
    if not (weights.min() >= 0.0 and np.isfinite(mass)):
        bad = int(np.argmin((weights >= 0.0) & np.isfinite(weights)))
        if np.isnan(weights[bad]):
            problem = "Input sample_weight contains NaN."
        elif np.isinf(weights[bad]):
            problem = "Input sample_weight contains infinity or a value too large for dtype('float64')."
        else:
            problem = "Negative values in data passed to `sample_weight`."
        raise ValueError(f"{problem} Row {bad} has {weights[bad]}; weights are finite numbers, 0 or more")
    if mass == 0.0:
        raise ValueError("Sample weights must contain at least one non-zero number. Here every row is ignored")
    return weights, mass
