"""The floor of one evaluation here: X is read once and 4 n d K operations are done, at rates that are measured."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from time import perf_counter

import numpy as np
import scipy.sparse as sp

READ = 30_000_000 // 96 * 96  # doubles: 240 MB are in no cache
STEPS = 1_000_000


@lru_cache(maxsize=1)
def _loops() -> ctypes.CDLL:
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        raise NotImplementedError("the floor is measured by C loops, and there is no C compiler")
    folder = tempfile.mkdtemp()
    library = Path(folder) / "floor.so"
    source = Path(__file__).with_name("floor.c")
    flags = ["-O2", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", library, source], check=True)
    loops = ctypes.CDLL(str(library))
    shutil.rmtree(folder)
    loops.read_all.argtypes, loops.read_all.restype = [ctypes.c_void_p, ctypes.c_ssize_t], ctypes.c_double
    loops.multiply_add.argtypes, loops.multiply_add.restype = [ctypes.c_ssize_t], ctypes.c_double
    return loops


def machine(rounds: int = 5) -> tuple[float, float]:
    """Bytes read and float64 operations done by one core in a second: the best of some rounds."""
    loops = _loops()
    x = np.ones(READ)
    reading, computing = [], []
    for _ in range(rounds):
        start = perf_counter()
        loops.read_all(x.ctypes.data, x.size)
        reading.append(perf_counter() - start)
        start = perf_counter()
        loops.multiply_add(STEPS)
        computing.append(perf_counter() - start)
    return x.nbytes / min(reading), 24 * loops.lanes() * STEPS / min(computing)


def floor_seconds(X: np.ndarray | sp.csr_matrix, n_classes: int) -> float:
    """max(bytes / bandwidth, operations / peak) of one evaluation in X's dtype, rates measured now."""
    bandwidth, peak = machine()
    stored, n_bytes = X.size, X.nbytes if isinstance(X, np.ndarray) else X.data.nbytes + X.indices.nbytes
    operations = 4 * stored * (1 if n_classes == 2 else n_classes)
    return max(n_bytes / bandwidth, operations / (peak * 8 / X.dtype.itemsize))
