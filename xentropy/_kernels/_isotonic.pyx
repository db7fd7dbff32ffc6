# cython: boundscheck=False, wraparound=False, cdivision=True
"""Isotonic regression of a probability."""

import numpy as np


def pool_adjacent(const double[::1] p, const double[::1] hit, const double[::1] weight=None):
    """Blocks of the isotonic regression of `hit` on `p`, which ascends.

    Rows of the same p share a block. The fitted value of a block is hits / mass, and it increases from block to block.

    Returns
    -------
    mass, hits : float64 arrays (n_blocks,)
        Sums of the weights, and of the weights times `hit`.

    References
    ----------
    Ayer et al. (1955), An empirical distribution function for sampling with incomplete information, Ann. Math. Stat.
    26(4), 641-647: pool adjacent violators.
    """
    cdef Py_ssize_t n = p.shape[0], i = 0, top = -1
    cdef double w, value
    if hit.shape[0] != n or (weight is not None and weight.shape[0] != n):
        raise ValueError(f"hit and weight must have {n} entries")
    # a stack of blocks, whose memory is touched only as far as it grows
    masses, sums = np.empty(n), np.empty(n)
    cdef double[::1] mass = masses, hits = sums
    with nogil:
        while i < n:
            value = p[i]
            top = top + 1
            mass[top], hits[top] = 0.0, 0.0
            while i < n and p[i] == value:
                w = 1.0 if weight is None else weight[i]
                mass[top] = mass[top] + w
                hits[top] = hits[top] + w * hit[i]
                i = i + 1
            while top > 0 and hits[top - 1] * mass[top] >= hits[top] * mass[top - 1]:
                mass[top - 1] = mass[top - 1] + mass[top]
                hits[top - 1] = hits[top - 1] + hits[top]
                top = top - 1
    return masses[:top + 1].copy(), sums[:top + 1].copy()
