from typing import Any

import numpy as np
from numpy.typing import NDArray

def moments(
    X: Any, row_weight: NDArray[np.float64] | None = None, n_threads: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
