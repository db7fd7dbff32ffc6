# cython: boundscheck=False, wraparound=False, cdivision=True
"""Coordinate descent on a quadratic with an L1 term."""

from libc.math cimport fabs


def coordinate_descent(const double[:, ::1] hessian, const double[::1] l1, double[::1] z, double[::1] gradient,
                       Py_ssize_t n_sweeps):
    """Minimise (z - z0)^T g + (z - z0)^T H (z - z0) / 2 + sum_j l1_j |z_j| over one coordinate after the other.

    Each step is a soft threshold (Friedman, Hastie & Tibshirani, 2010, J. Stat. Softw. 33(1), section 2.1).

    Parameters
    ----------
    hessian : float64 ndarray of shape (m, m), C-ordered
        Symmetric, with a positive diagonal.
    l1 : float64 ndarray of shape (m,)
        Not negative.
    z, gradient : float64 ndarrays of shape (m,)
        Where to start, and the gradient of the quadratic there, g + H (z - z0). Both are overwritten.
    n_sweeps : int
        How often to go through the coordinates. It ends earlier where none of them moves any more.
    """
    cdef Py_ssize_t m = z.shape[0], j, k
    cdef double before, after, curvature, step
    cdef bint moved
    if not (hessian.shape[0] == hessian.shape[1] == l1.shape[0] == gradient.shape[0] == m):
        raise ValueError(
            f"hessian {hessian.shape[0], hessian.shape[1]}, l1 ({l1.shape[0]},), z ({m},) and gradient "
            f"({gradient.shape[0]},) must be (m, m), (m,), (m,) and (m,)")
    with nogil:
        for _ in range(n_sweeps):
            moved = False
            for j in range(m):
                before, curvature = z[j], hessian[j, j]
                after = curvature * before - gradient[j]
                after = 0.0 if fabs(after) <= l1[j] else (after - l1[j] if after > 0.0 else after + l1[j]) / curvature
                step = after - before
                if step == 0.0:
                    continue
                moved, z[j] = True, after
                for k in range(m):
                    gradient[k] += step * hessian[j, k]
            if not moved:
                break
