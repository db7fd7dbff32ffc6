from typing import Any

import numpy as np
from numpy.typing import NDArray

def check_csr(X: Any) -> None: ...

class LinearPass:
    @property
    def n_partitions(self) -> int: ...
    @property
    def n_tiles(self) -> int: ...
    def __init__(
        self,
        X: Any,
        n_classes: int,
        *,
        rows: NDArray[np.int64] | None = None,
        labels: NDArray[np.int32] | None = None,
        distribution: NDArray[np.floating[Any]] | None = None,
        indicator: NDArray[Any] | None = None,
        sample_weight: NDArray[np.float64] | None = None,
        class_weight: NDArray[np.float64] | None = None,
        label_smoothing: float = 0.0,
        loss: tuple[str, tuple[float, ...]] | None = None,
        scale: float = 1.0,
        sigmoid: bool = False,
        compute: str = "float64",
        shift: NDArray[np.float64] | None = None,
        many_passes: bool = False,
        tile_rows: int | None = None,
    ) -> None: ...
    def select(
        self, label: NDArray[np.int64], positive: NDArray[np.float64], negative: NDArray[np.float64]
    ) -> None: ...
    def loss_gradient(
        self,
        coef: NDArray[np.float64],
        intercept: NDArray[np.float64],
        grad_coef: NDArray[np.float64],
        grad_intercept: NDArray[np.float64],
        n_threads: int = 1,
        row_loss: NDArray[np.float64] | None = None,
        grad_input: NDArray[np.floating[Any]] | None = None,
        label_loss: NDArray[np.float64] | None = None,
    ) -> float: ...

def linear_predict(
    X: Any,
    coef: NDArray[np.float64],
    intercept: NDArray[np.float64],
    *,
    n_classes: int,
    kind: str = "probabilities",
    compute: str = "float64",
    n_threads: int = 1,
) -> tuple[NDArray[Any], bool]: ...
