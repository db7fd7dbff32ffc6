from typing import Any

import numpy as np
from numpy.typing import NDArray

def mark_labels(labels: NDArray[Any], low: int, size: int) -> NDArray[np.uint8]: ...
def encode_labels(labels: NDArray[Any], low: int, table: NDArray[np.int32]) -> NDArray[np.int32]: ...
def number_records(
    records: NDArray[Any], most: int = 4096
) -> tuple[NDArray[np.int32] | None, NDArray[np.int64]]: ...
def proba_rows(
    proba: NDArray[Any],
    n_classes: int,
    *,
    labels: NDArray[Any] | None = None,
    low: int = 0,
    table: NDArray[np.int32] | None = None,
    distribution: NDArray[Any] | None = None,
    sample_weight: NDArray[np.float64] | None = None,
    eps: float,
    sum_tolerance: float,
    row_loss: NDArray[np.float64] | None = None,
    n_threads: int = 1,
) -> tuple[float, int, int, int]: ...
