import numpy as np

def coordinate_descent(
    hessian: np.ndarray, l1: np.ndarray, z: np.ndarray, gradient: np.ndarray, n_sweeps: int
) -> None: ...
