"""Writes values for error messages."""

from __future__ import annotations

from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The value with Python's numbers, strings and lists in place of NumPy's: 1 rather than np.int64(1)."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, dict):
        return {plain(key): plain(entry) for key, entry in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(map(plain, value))
    return value
