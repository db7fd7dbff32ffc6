"""How many threads the kernels may use, decided as scikit-learn's OpenMP code decides it."""

import os
from functools import lru_cache

import joblib

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define xe_max_threads() omp_get_max_threads()
    #define xe_has_openmp 1
    #else
    #define xe_max_threads() 1
    #define xe_has_openmp 0
    #endif
    """
    int xe_max_threads() nogil
    const int xe_has_openmp

_IMPORTING_PID = os.getpid()


@lru_cache(maxsize=1)
def _usable_cores():
    # honours affinity masks and container quotas; asks the system, which takes milliseconds, hence the cache
    return joblib.cpu_count(only_physical_cores=True)


def effective_n_threads():
    """Number of threads that a kernel started now may use: an int, 1 or more.

    It follows ``OMP_NUM_THREADS`` where that is set, `threadpoolctl` limits, and otherwise the physical cores that
    this process may use (affinity masks and container quotas included).
    """
    if os.getpid() != _IMPORTING_PID:
        return 1  # libgomp hangs in a child after fork() if the parent had started its threads
    if os.environ.get("OMP_NUM_THREADS"):
        return xe_max_threads()
    return min(xe_max_threads(), _usable_cores())


def has_openmp():
    """Whether the kernels were compiled with OpenMP: a bool."""
    return bool(xe_has_openmp)
