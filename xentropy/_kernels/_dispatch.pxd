from .kernels cimport xe_kernels, xe_loss

# The kernels in use, for float or for double.
cdef const xe_kernels *kernels_of(bint is_float) noexcept nogil

# A loss as the kernels take it: from the name of a formula in phi.h and its parameters, or None for the cross-entropy.
cdef xe_loss loss_of(object loss) except *

# Whether the processor's last cache answers late: see kernels.h.
cdef bint has_slow_last_cache() noexcept nogil

# A new uint8 array that starts on a cache line, so that no vector lies in two.
cdef object aligned(Py_ssize_t n_bytes)
