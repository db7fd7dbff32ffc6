from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

_F = TypeVar("_F", np.float32, np.float64)
_Doubles: TypeAlias = NDArray[np.float64]
_Loss: TypeAlias = tuple[str, tuple[float, ...]]

def softmax_loss(
    logits: NDArray[_F],
    *,
    labels: NDArray[np.int32] | None = None,
    distribution: NDArray[_F] | None = None,
    sample_weight: _Doubles | None = None,
    class_weight: _Doubles | None = None,
    label_smoothing: float = 0.0,
    loss: _Loss | None = None,
    scale: float = 1.0,
    row_loss: _Doubles | None = None,
    grad: NDArray[_F] | None = None,
    n_threads: int = 1,
) -> float: ...
def binary_loss(
    logits: NDArray[_F],
    y: NDArray[_F],
    *,
    sample_weight: _Doubles | None = None,
    run: int = 1,
    pos_weight: _Doubles | None = None,
    label_smoothing: float = 0.0,
    loss: _Loss | None = None,
    scale: float = 1.0,
    element_loss: _Doubles | None = None,
    grad: NDArray[_F] | None = None,
    n_threads: int = 1,
) -> float: ...
def hessian_product(
    logits: NDArray[_F],
    v: NDArray[_F],
    *,
    sigmoid: bool = False,
    labels: NDArray[np.int32] | None = None,
    distribution: NDArray[_F] | None = None,
    sample_weight: _Doubles | None = None,
    class_weight: _Doubles | None = None,
    label_smoothing: float = 0.0,
    loss: _Loss | None = None,
    scale: float = 1.0,
) -> NDArray[_F]: ...
def softmax(logits: NDArray[_F], *, log: bool = False, n_threads: int = 1) -> NDArray[_F]: ...
def encode_labels(
    y: NDArray[np.integer[Any]],
    n_classes: int,
    ignore: int | None,
    sample_weight: _Doubles | None,
    class_weight: _Doubles | None = None,
) -> tuple[NDArray[np.int32], float, int]: ...
def first_bad_distribution(
    y: NDArray[np.floating[Any]], rtol: float, sample_weight: _Doubles | None = None
) -> int: ...
def distribution_mass(
    y: NDArray[np.floating[Any]], sample_weight: _Doubles | None = None, class_weight: _Doubles | None = None
) -> float: ...
def first_outside_unit(y: NDArray[np.floating[Any]], sample_weight: _Doubles | None = None, run: int = 1) -> int: ...
