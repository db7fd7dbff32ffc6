from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", np.float32, np.float64)

def softmax(logits: NDArray[F], *, log: bool = False, n_threads: int = 1) -> NDArray[F]: ...
def first_bad_distribution(y: NDArray[np.floating[Any]], rtol: float) -> int: ...
