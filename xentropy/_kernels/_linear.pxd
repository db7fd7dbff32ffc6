from .kernels cimport xe_kernels

# The kernels in use of one type, for other extensions, which then need no copy of their own.
cdef const xe_kernels *kernels_of(bint is_float) noexcept nogil
