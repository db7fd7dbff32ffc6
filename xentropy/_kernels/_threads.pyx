"""The threads of the kernels: their number, decided as scikit-learn's OpenMP code decides it, and the pool of them.

The caller of `run_parts` works itself, and waits only for parts that another thread has begun. An OpenMP region waits
for all of its threads. If another process has a core, it waits until a thread gets a time slice there and finds that
nothing is left to do, which with two threads took 5 ms instead of 1.
"""

import os
from functools import lru_cache

import joblib

cdef extern from "pythread.h":  # CPython's portable threads, none of which needs the GIL
    ctypedef void *PyThread_type_lock
    const int WAIT_LOCK, NOWAIT_LOCK
    PyThread_type_lock PyThread_allocate_lock() nogil
    int PyThread_acquire_lock(PyThread_type_lock lock, int wait) nogil
    void PyThread_release_lock(PyThread_type_lock lock) nogil
    unsigned long PyThread_start_new_thread(void (*function)(void *), void *argument) nogil
    const unsigned long PYTHREAD_INVALID_THREAD_ID

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    static int xe_max_threads(void)
    {
        const int n = omp_get_max_threads(), limit = omp_get_thread_limit();
        return n < limit ? n : limit;
    }
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
    # It honours affinity masks and container quotas. It asks the system, which takes milliseconds, hence the cache.
    return joblib.cpu_count(only_physical_cores=True)


def effective_n_threads():
    """Number of threads that a kernel started now may use: an int, 1 or more.

    It follows ``OMP_NUM_THREADS`` where that is set, ``OMP_THREAD_LIMIT``, `threadpoolctl` limits, and otherwise the
    physical cores that this process may use (affinity masks and container quotas included).
    """
    if os.getpid() != _IMPORTING_PID:
        return 1  # libgomp hangs in a child after fork() if the parent had started its threads
    if os.environ.get("OMP_NUM_THREADS"):
        return xe_max_threads()
    return min(xe_max_threads(), _usable_cores())


def has_openmp():
    """Whether the kernels were compiled with OpenMP: a bool."""
    return bool(xe_has_openmp)


# ---- the pool ----

cdef enum:
    _MOST_WORKERS = 255
    _PATIENCE = 5000  # a thread tries a lock so often, some 100 microseconds, before it sleeps: waking it takes 50

cdef struct Worker:
    PyThread_type_lock bell  # locked while there is nothing to do
    bint waits  # whether it waits for the bell

cdef Worker _workers[_MOST_WORKERS]
cdef Py_ssize_t _n_workers = 0
cdef bint _is_usable = True  # False in a child after fork(), which has none of the threads
cdef PyThread_type_lock _owner = PyThread_allocate_lock()  # held by the caller whose parts are worked on
cdef PyThread_type_lock _done = PyThread_allocate_lock()  # locked until the last part that the owner waits for is done
PyThread_acquire_lock(_done, WAIT_LOCK)

cdef PyThread_type_lock _guard = PyThread_allocate_lock()  # guards the variables below, and Worker.waits
cdef part_of_work _work = NULL
cdef void *_context = NULL
cdef Py_ssize_t _next_part = 0, _n_parts = 0, _n_begun = 0
cdef Py_ssize_t _n_invited = 0  # workers that may take parts
cdef bint _owner_waits = False


def _leave_pool():
    global _is_usable
    _is_usable = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_pool)


cdef void _wait(PyThread_type_lock lock) noexcept nogil:
    cdef int _
    for _ in range(_PATIENCE):
        if PyThread_acquire_lock(lock, NOWAIT_LOCK):
            return
    PyThread_acquire_lock(lock, WAIT_LOCK)


cdef void _serve(void *argument) noexcept nogil:
    """The life of a worker, whose number is `argument`."""
    global _next_part, _n_begun, _owner_waits
    cdef Py_ssize_t i = <Py_ssize_t> argument, part
    cdef part_of_work work
    cdef void *context
    while True:
        PyThread_acquire_lock(_guard, WAIT_LOCK)
        while i < _n_invited and _next_part < _n_parts:
            part, work, context = _next_part, _work, _context
            _next_part += 1
            _n_begun += 1
            PyThread_release_lock(_guard)
            work(context, part, <int> i + 1)
            PyThread_acquire_lock(_guard, WAIT_LOCK)
            _n_begun -= 1
            if _owner_waits and _n_begun == 0:
                _owner_waits = False
                PyThread_release_lock(_done)
        _workers[i].waits = True
        PyThread_release_lock(_guard)
        _wait(_workers[i].bell)


cdef void _hire(Py_ssize_t n) noexcept with gil:  # CPython reads the current thread's state to start another
    """Start workers until there are n of them, or as many as the system allows."""
    global _n_workers
    while _n_workers < min(n, _MOST_WORKERS):
        if _workers[_n_workers].bell == NULL:
            _workers[_n_workers].bell = PyThread_allocate_lock()
            if _workers[_n_workers].bell == NULL:
                return
            PyThread_acquire_lock(_workers[_n_workers].bell, WAIT_LOCK)
        _workers[_n_workers].waits = False
        if PyThread_start_new_thread(_serve, <void *> _n_workers) == PYTHREAD_INVALID_THREAD_ID:
            return
        _n_workers += 1


cdef void run_parts(part_of_work work, void *context, Py_ssize_t n_parts, int n_threads) noexcept nogil:
    """Call work(context, part, thread) for each part in [0, n_parts), on n_threads threads at most.

    Parts are begun in their order. If another thread of this process is working here, the caller works alone.
    """
    global _work, _context, _next_part, _n_parts, _n_begun, _n_invited, _owner_waits
    cdef Py_ssize_t part, i
    cdef bint waits
    if n_threads < 2 or n_parts < 2 or not _is_usable or not PyThread_acquire_lock(_owner, NOWAIT_LOCK):
        for part in range(n_parts):
            work(context, part, 0)
        return
    if _n_workers < min(n_threads, n_parts) - 1:
        _hire(min(n_threads, n_parts) - 1)
    PyThread_acquire_lock(_guard, WAIT_LOCK)
    _work, _context, _next_part, _n_parts = work, context, 0, n_parts
    _n_invited = min(_n_workers, min(n_threads, n_parts) - 1)
    for i in range(_n_invited):
        if _workers[i].waits:
            _workers[i].waits = False
            PyThread_release_lock(_workers[i].bell)
    while _next_part < n_parts:
        part = _next_part
        _next_part += 1
        PyThread_release_lock(_guard)
        work(context, part, 0)
        PyThread_acquire_lock(_guard, WAIT_LOCK)
    waits = _owner_waits = _n_begun > 0
    PyThread_release_lock(_guard)
    if waits:
        _wait(_done)
    PyThread_release_lock(_owner)
