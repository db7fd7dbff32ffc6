"""Writes values for messages, and measures them."""

from __future__ import annotations

import unicodedata
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


def display_width(text: str) -> int:
    """The number of columns that a terminal needs for the text: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)
