# A part of some work. `thread` is below the number of threads given to `run_parts`, and no two parts have the same one
# at a time.
ctypedef void (*part_of_work)(void *context, Py_ssize_t part, int thread) noexcept nogil

cdef void run_parts(part_of_work work, void *context, Py_ssize_t n_parts, int n_threads) noexcept nogil
