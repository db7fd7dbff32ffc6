"""A temporary file of blocks of rows."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from threading import Lock
from typing import Any
from weakref import finalize

import numpy as np
import scipy.sparse as sp


class Spool:
    """Blocks as kernels read them, in a temporary file that the system deletes when it is closed."""

    def __init__(self, folder: Any) -> None:
        self._folder = str(folder or tempfile.gettempdir())
        self._file: Any = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 (it lasts as this does)
        finalize(self, self._file.close)
        self._lock = Lock()  # two fits may read at once
        # Of each block: its shape, and for each of its arrays the dtype, the length and the place in the file.
        self._blocks: list[tuple[tuple[int, int], list[tuple[np.dtype, int, int]]]] = []
        self._size = 0

    def write(self, block: Any) -> None:
        arrays = [block.ravel()] if isinstance(block, np.ndarray) else [block.data, block.indices, block.indptr]
        places = []
        for array in map(np.ascontiguousarray, arrays):
            places.append((array.dtype, len(array), self._size))
            self._write(_bytes_of(array))
        self._blocks.append((block.shape, places))

    def _write(self, view: memoryview) -> None:
        while len(view):
            try:
                written = self._file.write(view)
            except OSError as error:
                self._file.close()
                raise OSError(
                    error.errno,
                    f"the cache of X could not be written beyond {self._size / 1e9:.3g} GB, in block "
                    f"{len(self._blocks)}: {os.strerror(error.errno or 0)}. Pass cache= a folder with room for all "
                    f"rows, or cache=None to read the blocks anew in each pass",
                    self._folder,
                ) from None
            self._size, view = self._size + written, view[written:]

    def __iter__(self) -> Iterator[Any]:
        for shape, places in self._blocks:
            arrays = [self._read(*place) for place in places]
            yield arrays[0].reshape(shape) if len(arrays) == 1 else sp.csr_array(tuple(arrays), shape=shape)

    def _read(self, dtype: np.dtype, n: int, start: int) -> np.ndarray:
        array = np.empty(n, dtype)
        view = _bytes_of(array)
        with self._lock:
            self._file.seek(start)
            while len(view):
                n_read = self._file.readinto(view)
                if not n_read:
                    raise OSError(f"the cache of X in {self._folder} has been cut short")
                view = view[n_read:]
        return array


def _bytes_of(array: np.ndarray) -> memoryview:
    return array.view(np.uint8).data if len(array) else memoryview(b"")
