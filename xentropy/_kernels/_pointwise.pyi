from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", np.float32, np.float64)
Doubles = NDArray[np.float64]
Loss = tuple[int, float, float]

CROSS_ENTROPY: int
FOCAL: int
GENERALIZED: int
BLEND: int

def softmax_loss(
    logits: NDArray[F],
    *,
    labels: NDArray[np.int32] | None = None,
    distribution: NDArray[F] | None = None,
    sample_weight: Doubles | None = None,
    class_weight: Doubles | None = None,
    label_smoothing: float = 0.0,
    loss: Loss = (0, 0.0, 0.0),
    scale: float = 1.0,
    row_loss: Doubles | None = None,
    grad: NDArray[F] | None = None,
    n_threads: int = 1,
) -> float: ...
def binary_loss(
    logits: NDArray[F],
    y: NDArray[F],
    *,
    sample_weight: Doubles | None = None,
    run: int = 1,
    pos_weight: Doubles | None = None,
    label_smoothing: float = 0.0,
    loss: Loss = (0, 0.0, 0.0),
    scale: float = 1.0,
    element_loss: Doubles | None = None,
    grad: NDArray[F] | None = None,
    n_threads: int = 1,
) -> float: ...
def hessian_product(
    logits: NDArray[F],
    v: NDArray[F],
    *,
    sigmoid: bool = False,
    labels: NDArray[np.int32] | None = None,
    distribution: NDArray[F] | None = None,
    sample_weight: Doubles | None = None,
    class_weight: Doubles | None = None,
    label_smoothing: float = 0.0,
    loss: Loss = (0, 0.0, 0.0),
    scale: float = 1.0,
) -> NDArray[F]: ...
def softmax(logits: NDArray[F], *, log: bool = False, n_threads: int = 1) -> NDArray[F]: ...
def encode_labels(
    y: NDArray[np.integer[Any]],
    n_classes: int,
    ignore: int | None,
    sample_weight: Doubles | None,
    class_weight: Doubles | None = None,
) -> tuple[NDArray[np.int32], float, int]: ...
def first_bad_distribution(
    y: NDArray[np.floating[Any]], rtol: float, sample_weight: Doubles | None = None
) -> int: ...
def distribution_mass(
    y: NDArray[np.floating[Any]], sample_weight: Doubles | None = None, class_weight: Doubles | None = None
) -> float: ...
def first_outside_unit(y: NDArray[np.floating[Any]], sample_weight: Doubles | None = None, run: int = 1) -> int: ...
