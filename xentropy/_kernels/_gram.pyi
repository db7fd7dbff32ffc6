import numpy as np
from numpy.typing import NDArray

def add_grams(
    rows: NDArray[np.float64],
    weights: NDArray[np.float64],
    to: NDArray[np.float64],
    *,
    floor: float = 0.0,
    compute: str = "float64",
    n_threads: int = 1,
) -> NDArray[np.float64]: ...
