"""The threads of the BLAS, which are one setting of the whole process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import RLock
from typing import Any

from threadpoolctl import ThreadpoolController

# Guards the variables below: who limits the BLAS, each with what its own thread had before, and how many threads each
# library had for the whole process before the first of them came.
# A signal handler may come here while its own thread holds it.
_lock = RLock()
_users: dict[object, list[tuple[Any, int]]] = {}
_before: list[tuple[Any, int]] = []


@lru_cache(maxsize=1)
def _libraries() -> list[Any]:
    # Finding the thread pools of the process takes milliseconds, hence the cache.
    return [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit the BLAS, which L-BFGS itself calls, to one thread: its threads spin between calls and take the cores from
    the threads of the kernels. Digits took 1.45 s with two threads of each, and 0.065 s with one for the BLAS.

    Several threads of the process may be in here at once. The first to come sets the limit, and the last to go restores
    what was before it. So a fit has the same bits alone and beside others: some products of two threads are rounded
    in another way than those of one."""
    me = object()
    try:
        _limit(me)
        yield
    finally:
        _to_the_end(lambda: _restore(me))


def _limit(user: object) -> None:
    with _lock:
        _users[user] = [(library, library.num_threads) for library in _libraries() if _is_per_thread(library)]
        if not _before:  # a child of fork() may have inherited it, with the limit but without the users
            _before.extend((library, library.num_threads) for library in _libraries() if not _is_per_thread(library))
        for library in _libraries():
            _set_threads(library, 1)


def _restore(user: object) -> None:
    """Calling it again changes nothing."""
    with _lock:
        for library, n_threads in _users.get(user, ()):
            _set_threads(library, n_threads)
        _users.pop(user, None)
        if not _users:
            for library, n_threads in _before:
                _set_threads(library, n_threads)
            _before.clear()


def _is_per_thread(library: Any) -> bool:
    """Whether threadpoolctl sets the threads for calls from the current thread alone: those of OpenMP, from 3.8 on."""
    return getattr(library, "threading_layer", None) == "openmp" and hasattr(library, "clear_controlling_thread")


def _set_threads(library: Any, n_threads: int) -> None:
    """Set the threads of a library, whichever thread asks.

    From 3.8 on threadpoolctl takes the threads of OpenBLAS from one thread only, the first to set them, and ignores all
    others as long as that one lives. Fits in other threads would not be limited, and those that end last would restore
    nothing: Cholesky factors by two threads differ from those by one in their last bits."""
    let_another = getattr(library, "clear_controlling_thread", None)
    if let_another is not None:
        let_another(force=True)
    library.set_num_threads(n_threads)
    if let_another is not None:
        let_another()


def _to_the_end(action: Callable[[], None]) -> None:
    """Repeat an action that an interrupt has cut short, and raise the interrupt only then."""
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            action()
            break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _forget_users() -> None:
    """A child of fork() has none of the other threads, which may have held the lock."""
    global _lock
    _lock = RLock()
    _users.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_users)
