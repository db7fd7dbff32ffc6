import numpy as np
from numpy.typing import NDArray

def pool_adjacent(
    p: NDArray[np.float64], hit: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
