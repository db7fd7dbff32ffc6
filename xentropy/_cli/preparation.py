"""Builds the scikit-learn transformer that turns the columns of a table into features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from . import cells
from .columns import MIN_FREQUENCY, Column, Kind


def build(columns: Sequence[Column]) -> ColumnTransformer:
    """The transformer for these columns: its input is a DataFrame that has them, in any order and beside others.

    Numbers are standardised after the median has replaced missing ones, which an indicator marks. Levels are one-hot,
    where levels of few rows are pooled and unknown ones count as such. A date gives its year, month and weekday. A text
    gives the TF-IDF weights of its words.
    """
    by_kind: dict[Kind, list[str]] = {}
    for column in columns:
        by_kind.setdefault(column.kind, []).append(column.name)
    parts: list[tuple[str, Any, Any]] = []
    if Kind.NUMERIC in by_kind:
        parts.append(("numeric", _numeric(), by_kind[Kind.NUMERIC]))
    levels = by_kind.get(Kind.CATEGORICAL, []) + by_kind.get(Kind.BOOLEAN, [])
    if levels:
        parts.append(("levels", _levels(), levels))
    dates = [column for column in columns if column.kind is Kind.DATE]
    parts += [(f"date {i}", _date(column), [column.name]) for i, column in enumerate(dates)]
    texts = by_kind.get(Kind.TEXT, [])
    parts += [(f"text {i}", _text(), name) for i, name in enumerate(texts)]
    return ColumnTransformer(parts)


def _numeric() -> Pipeline:
    return Pipeline(
        [
            ("numbers", FunctionTransformer(cells.as_numbers, feature_names_out="one-to-one")),
            ("impute", SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )


def _levels() -> Pipeline:
    return Pipeline(
        [("text", FunctionTransformer(cells.as_text, feature_names_out="one-to-one")), ("encode", _one_hot())]
    )


def _one_hot() -> OneHotEncoder:
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=MIN_FREQUENCY, feature_name_combiner=cells.level_name
    )


def _date(column: Column) -> Pipeline:
    options = {"form": column.date_format, "hours": column.hours}
    parts = [f"{column.name} month", f"{column.name} weekday", *([f"{column.name} hour"] if column.hours else [])]
    year = Pipeline(
        [
            ("impute", SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )
    return Pipeline(
        [
            ("parts", FunctionTransformer(cells.date_parts, kw_args=options, feature_names_out=cells.date_part_names)),
            ("encode", ColumnTransformer([("year", year, [f"{column.name} year"]), ("cycle", _one_hot(), parts)])),
        ]
    )


def _text() -> Pipeline:
    return Pipeline(
        [
            ("document", FunctionTransformer(cells.as_documents, feature_names_out="one-to-one")),
            # a word of one row says nothing of another
            ("words", TfidfVectorizer(lowercase=False, sublinear_tf=True, min_df=2)),
        ]
    )


def feature_names(prepare: ColumnTransformer) -> list[str]:
    """What each feature is, for people: "age", "city = Paris", "review: good", "age is missing"."""
    texts = {part: name for part, _, name in prepare.transformers_ if part.startswith("text ")}
    names = []
    for full in prepare.get_feature_names_out():
        part, _, name = full.partition("__")
        if part.startswith("date "):
            name = name.partition("__")[2]
        if part in texts:
            name = f"{texts[part]}: {name}"
        if name.startswith("missingindicator_"):
            name = f"{name.removeprefix('missingindicator_')} is missing"
        names.append(name.replace("infrequent_sklearn", "(rare)"))
    return names
