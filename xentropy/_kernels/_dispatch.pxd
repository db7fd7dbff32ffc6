from .kernels cimport xe_kernels

# The kernels in use, for float or for double.
cdef const xe_kernels *kernels_of(bint is_float) noexcept nogil

# Whether the processor's last cache answers late: see kernels.h.
cdef bint has_slow_last_cache() noexcept nogil

# A uint8 array that starts on a cache line, which whole vectors need.
cdef object aligned(Py_ssize_t n_bytes)
