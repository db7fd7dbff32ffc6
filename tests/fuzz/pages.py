"""Kernels on arrays that begin or end beside a page without access, where a byte too far ends the process."""

import contextlib
import ctypes
import mmap

import numpy as np
from cases import chance, pick, size
from functions import CLEAN
from kernels import CALLS

PAGE = mmap.PAGESIZE
PROT_NONE = 0
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def beside_a_guard(a, *, at_end=True):
    """A copy of an array between two pages without access: it ends at the second, or begins after the first."""
    room = max(1, -(-a.nbytes // PAGE)) * PAGE
    whole = np.frombuffer(mmap.mmap(-1, room + 2 * PAGE), np.uint8)  # which keeps the map alive
    for start in (0, PAGE + room):
        if _libc.mprotect(whole.ctypes.data + start, PAGE, PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    first = PAGE + room - a.nbytes if at_end else PAGE
    there = whole[first : first + a.nbytes].view(a.dtype).reshape(a.shape)
    there[...] = a
    return there


def guarded(rng, arrays):
    return {name: a if a is None else beside_a_guard(a, at_end=chance(rng, 0.8)) for name, a in arrays.items()}


def pages(rng):
    """A kernel gives the same bits beside guard pages, and does not write to what it reads."""
    call = pick(rng, CALLS)(rng)
    moved = guarded(rng, call.arrays)
    want = call.run(**{name: a if a is None else a.copy() for name, a in call.arrays.items()})
    for a, b in zip(call.run(**moved), want, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=call.name)


def _other(rng, a):
    """An array that may not fit where `a` does: of another length, rank or dtype, or laid out in another way."""
    how = pick(rng, ["shorter", "longer", "empty", "transposed", "flat", "deeper", "dtype", "strided", "other"])
    if how in ("shorter", "longer") and a.ndim:
        axis, by = int(rng.integers(a.ndim)), -1 if how == "shorter" else 1
        if a.shape[axis] + by >= 0:
            return np.resize(a, [n + by * (i == axis) for i, n in enumerate(a.shape)]).astype(a.dtype)
    if how == "empty":
        return a[:0]
    if how == "transposed":
        return a.T
    if how == "flat":
        return a.ravel()
    if how == "deeper":
        return a[..., None]
    if how == "dtype":
        dtype = pick(rng, [np.float32, np.float64, np.float16, np.int32, np.int64, np.complex128, object, ">f8", "S3"])
        return a.astype(dtype)
    if how == "strided":
        return np.repeat(a, 2, axis=0)[::2] if a.ndim else a
    return np.zeros([size(rng, 0, 9) for _ in range(int(rng.integers(4)))], a.dtype)


def misfits(rng):
    """A kernel whose arrays do not fit together raises, or does what it should: it never reads past an array."""
    call = pick(rng, CALLS)(rng)
    names = [name for name in call.checked if call.arrays.get(name) is not None]
    moved = guarded(rng, call.arrays)
    for name in rng.choice(names, min(len(names), int(rng.integers(1, 3))), replace=False) if names else []:
        other = _other(rng, call.arrays[name])
        is_plain = other.flags.c_contiguous and other.dtype.hasobject is False
        moved[name] = beside_a_guard(other) if is_plain else other
    with np.errstate(all="ignore"), contextlib.suppress(*CLEAN, IndexError):
        call.run(**moved)
