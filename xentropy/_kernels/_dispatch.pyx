# cython: boundscheck=False, wraparound=False, cdivision=True
"""The instruction set in use and its kernels: this extension owns them, the others take them from here."""

import os

import numpy as np
from cython cimport floating

from .kernels cimport (
    XE_MAX_PARAMS, xe_choose_isa, xe_compiler, xe_has_slow_last_cache, xe_isa_is_available, xe_isa_name, xe_kernels,
    xe_kernels_of, xe_loss, xe_loss_kind,
)


def available_isas():
    """Instruction sets that were compiled in and that this machine has, best first: a list of names."""
    cdef int i = 0
    names = []
    while xe_isa_name(i) != NULL:
        if xe_isa_is_available(i):
            names.append(xe_isa_name(i).decode())
        i += 1
    return names


def choose_isa(name):
    """Use the instruction set `name`, or the best one for None; returns its name."""
    wanted = name.encode() if name else None
    cdef const char *chars = NULL
    if wanted is not None:
        chars = wanted
    cdef int chosen = xe_choose_isa(chars)
    if chosen < 0:
        raise ImportError(f"XENTROPY_ISA={name!r} is not available here; choose one of {available_isas()}, or unset it")
    return xe_isa_name(chosen).decode()


def compiler():
    """Name and version of the compiler that built the kernels."""
    return xe_compiler().decode()


cdef const xe_kernels *kernels_of(bint is_float) noexcept nogil:
    return xe_kernels_of(is_float)


cdef xe_loss loss_of(object loss) except *:
    cdef xe_loss c
    cdef int i
    name, params = ("cross_entropy", ()) if loss is None else loss
    c.kind = xe_loss_kind(name.encode())
    if c.kind < 0 or len(params) > XE_MAX_PARAMS:
        raise ValueError(f"loss={loss!r} is no formula of phi.h and its parameters, {XE_MAX_PARAMS} at most")
    for i in range(XE_MAX_PARAMS):
        c.param[i] = params[i] if i < len(params) else 0.0
    return c


cdef bint has_slow_last_cache() noexcept nogil:
    return xe_has_slow_last_cache()


cdef object aligned(Py_ssize_t n_bytes):
    buffer = np.empty(n_bytes + 64, dtype=np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + n_bytes]


# ---- elementary functions, for the tests that measure them ----

def vector_exp(const floating[::1] x):
    """The kernels' exp of each number, none above 0, as a new array."""
    out = np.empty(x.shape[0], dtype=np.float32 if floating is float else np.float64)
    cdef floating[::1] to = out
    if x.shape[0]:
        xe_kernels_of(floating is float).exp(&x[0], x.shape[0], &to[0])
    return out


def vector_log(const double[::1] x):
    """The kernels' logarithm of each number x >= 0, as a new array."""
    out = np.empty(x.shape[0])
    cdef double[::1] to = out
    if x.shape[0]:
        xe_kernels_of(False).log(&x[0], x.shape[0], &to[0])
    return out


def vector_log1p(const double[::1] x):
    """The kernels' log(1 + x) of each number x >= 0, as a new array."""
    out = np.empty(x.shape[0])
    cdef double[::1] to = out
    if x.shape[0]:
        xe_kernels_of(False).log1p(&x[0], x.shape[0], &to[0])
    return out


ISA = choose_isa(os.environ.get("XENTROPY_ISA"))
