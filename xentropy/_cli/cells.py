"""The functions that saved pipelines apply to the cells of a DataFrame. Models name them, so they keep their names."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pandas as pd

from .numbers_only import LARGEST


def as_numbers(frame: Any) -> Any:
    """Each column as float64. Text that is no number, and values that are not finite or beyond `LARGEST`, are missing.

    Raises
    ------
    ValueError
        If a column holds values, and none of them is a number.
    """
    if all(dtype.kind in "iufb" for dtype in frame.dtypes):
        values = frame.to_numpy(dtype=np.float64)
        names = frame.columns
    else:
        names = frame.columns
        values = np.column_stack([_numbers(frame[name], name) for name in names])
    usable = np.abs(values) <= LARGEST
    if not usable.all():
        values = np.where(usable, values, np.nan)
    return pd.DataFrame(values, columns=names, index=frame.index)


def _numbers(column: Any, name: str) -> np.ndarray:
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isnan(values).all() and column.notna().any():
        at = int(np.argmax(column.notna().to_numpy()))
        raise ValueError(
            f"column {name!r} holds no numbers, but the model was fitted on numbers; its row {at} holds "
            f"{column.iloc[at]!r}"
        )
    return values


def as_text(frame: Any) -> Any:
    """Each column as text, in which 1, 1.0 and "1 " are the same level. Missing values stay missing."""
    return pd.DataFrame({name: _texts(frame[name]) for name in frame.columns}, index=frame.index, dtype=object)


def _texts(column: Any) -> np.ndarray:
    codes, levels = pd.factorize(column)
    texts = np.array([*map(plain_text, levels), np.nan], dtype=object)
    return texts[codes]  # the code of a missing value is -1


def plain_text(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if number.is_integer() and abs(number) < 2**53:
            return str(int(number))
    return str(value).strip()


def as_documents(column: Any) -> Any:
    """The texts of one column without accents and in lower case. A missing one is empty."""
    texts = column.astype(object).where(column.notna(), "").map(str)
    return texts.map(_without_accents)


def _without_accents(text: str) -> str:
    text = text.lower()
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def date_parts(frame: Any, form: str | None = None, hours: bool = False) -> Any:
    """The year, with its fraction, and the month and weekday (and hour) of each date in a frame of one column."""
    (name,) = frame.columns
    date = as_dates(frame[name], form)
    missing = date.isna().to_numpy()
    year = date.dt.year + (date.dt.day_of_year - 1) / 366
    parts: dict[str, Any] = {f"{name} year": year.to_numpy(dtype=np.float64, na_value=np.nan)}
    words = {"month": date.dt.month_name(), "weekday": date.dt.day_name()}
    if hours:
        words["hour"] = date.dt.hour.map("{:02.0f}".format)
    for part, values in words.items():
        parts[f"{name} {part}"] = np.where(missing, np.nan, values.to_numpy(dtype=object))
    return pd.DataFrame(parts, index=frame.index)


def date_part_names(transformer: Any, names: Any) -> np.ndarray:
    (name,) = names
    parts = ["year", "month", "weekday", *(["hour"] if transformer.kw_args["hours"] else [])]
    return np.array([f"{name} {part}" for part in parts], dtype=object)


def as_dates(column: Any, form: str | None) -> Any:
    """The dates of a column, NaT where it holds none. The zone of a time is ignored, since weekdays are local."""
    if form is not None or column.dtype.kind not in "M":
        column = column.astype(object).where(column.notna(), None)
    try:
        dates = pd.to_datetime(column, format=form, errors="coerce")
    except ValueError:  # rows with different zones
        dates = pd.to_datetime(column, format=form, errors="coerce", utc=True)
    if getattr(dates.dtype, "tz", None) is not None:
        dates = dates.dt.tz_localize(None)
    return dates


def level_name(column: Any, level: Any) -> str:
    """The name of a one-hot feature."""
    return f"{column} = {'missing' if level is None or level != level else level}"
