"""Ratios to a peer, measured in one process: absolute times stay on the machine they come from, these travel."""

import tracemalloc
from collections.abc import Callable
from statistics import median
from time import perf_counter

from threadpoolctl import threadpool_limits


def ratio(peer: Callable[[], object], ours: Callable[[], object], *, n_threads: int, rounds: int = 7) -> float:
    """Median time of `peer` over the median time of `ours`, both with `n_threads` threads: above 1 we are faster.

    The two take turns, so that a slow spell of the machine meets both. With several threads they do not: the pools of
    two libraries that take turns wait for each other, which says nothing of either.
    """
    with threadpool_limits(n_threads):
        for call in (peer, ours):
            call()
        if n_threads == 1:
            pairs = [(_seconds(peer), _seconds(ours)) for _ in range(rounds)]
            return median(p for p, _ in pairs) / median(o for _, o in pairs)
        return median(_seconds(peer) for _ in range(rounds)) / median(_seconds(ours) for _ in range(rounds))


def _seconds(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


def extra_memory(call: Callable[[], object]) -> float:
    """Megabytes of Python's and NumPy's that `call` holds at its peak."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
