"""`xentropy predict` and `xentropy report`: a saved model on the rows of a table."""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import Any

import joblib
import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from . import scores
from .errors import InputError
from .files import check_output, replace_file
from .labels import read_labels
from .page import Page, need_matplotlib
from .text import count, paragraph, printable, say, short, some


def predict(options: argparse.Namespace) -> None:
    """Write a CSV file with the class of each row and the probability of each class."""
    if options.output is not None and options.output != "-":
        check_output("--output", options.output, options.data)
    model = _load(options.model)
    table = _read(options.data, model)
    for note in [*table.notes, *_surprises(model, table.frame)]:
        print(paragraph(note, "Note: ", "  "), file=sys.stderr)
    proba = _probabilities(model, table.frame)
    classes = model.classes_
    out = _as_csv(classes, proba)
    if options.output in (None, "-"):
        if sys.stdout.isatty():
            out = "".join(c if c == "\n" else printable(c) for c in out)
        sys.stdout.write(out)
    else:
        replace_file(options.output, lambda file: file.write(out.encode("utf-8", "surrogatepass")))
        say(paragraph(f"Wrote {count(len(proba), 'row')} to {printable(options.output)}"))


def report(options: argparse.Namespace) -> None:
    """Score the rows of a table, which have labels, and report where the loss comes from."""
    if options.report is not None:
        check_output("--report", options.report, options.data)
        need_matplotlib()
    model = _load(options.model)
    named = [("--weight", options.weight)] if options.weight is not None else []
    table = _read(options.data, model, options.target, named)
    labels = read_labels(table.labels, table.name, options.target)
    known = {str(label): k for k, label in enumerate(model.classes_)}
    new = [str(label) for label in labels.classes if str(label) not in known]
    if new:
        raise InputError(
            f"{printable(options.target)!r} holds labels that the model does not know: {some(new)}; it knows "
            f"{some(known)}"
        )
    rows = np.flatnonzero(labels.codes >= 0)
    codes = np.array([known[str(label)] for label in labels.classes])[labels.codes[rows]]
    weight = None
    if options.weight is not None:
        weight = table.frame[options.weight].to_numpy(dtype=np.float64, na_value=np.nan)[rows]
        if not (np.isfinite(weight) & (weight >= 0)).all() or not weight.any():
            raise InputError(f"--weight {printable(options.weight)}: weights must be finite, 0 or more, and not all 0")
    scored = scores.Scored(codes, _probabilities(model, table.frame.iloc[rows]), model.classes_, weight, rows)
    guess = scored.constant(scores.prior_of(codes, len(model.classes_), weight))
    table_rows = [
        ("the model", scored.log_loss, scored.accuracy),
        ("class frequencies of these rows", guess.log_loss, guess.accuracy),
    ]
    say(paragraph(f"{table.name}: {count(len(rows), 'row')}, {count(len(model.classes_), 'class')}"))
    notes = [*table.notes, *labels.notes, *_surprises(model, table.frame)]
    for note in notes:
        say(paragraph(note, "Note: ", "  "))
    say(f"\n{scores.table(table_rows)}")
    verdict = scores.verdict(scored, guess)
    if verdict:
        say(f"\n{paragraph(verdict)}")
    text = scores.report(scored)
    say(f"\n{scores.heading(scored)}\n\n{text}")
    if options.report is not None:
        page = Page(
            title=f"{table.name}: {printable(options.target)}",
            about=[("Data", table.name), ("Target", printable(options.target)), ("Model", printable(options.model)),
                   ("Rows", f"{len(rows):,}")],
            scores=table_rows,
            verdict=verdict,
            scored=scored,
            text=text,
            classifier=model[-1],
            features=_feature_names(model),
            columns=[],
            notes=notes,
        )  # fmt: skip
        content = page.html().encode("utf-8")
        replace_file(options.report, lambda file: file.write(content))
        say(f"\n{paragraph(f'Wrote the report: {printable(options.report)}')}")


def _feature_names(model: Any) -> list[str] | None:
    from .preparation import feature_names

    return feature_names(model[0]) if isinstance(model[0], ColumnTransformer) else None


def _load(path: str) -> Any:
    shown = printable(path)
    try:
        model = joblib.load(path)
    except OSError as error:
        raise InputError(f"cannot read the model {shown}: {error.strerror or error}") from None
    except Exception as error:  # a pickle can raise anything
        raise InputError(f"{shown} is not a model that xentropy saved ({type(error).__name__}: {error})") from None
    if not isinstance(model, Pipeline) or not hasattr(model, "predict_proba"):
        raise InputError(f"{shown} holds a {type(model).__name__}, not a model that xentropy saved")
    if not hasattr(model, "feature_names_in_"):
        raise InputError(
            f"{shown} was not fitted on a table with named columns; in Python: joblib.load({shown!r}).predict_proba(X)"
        )
    return model


def _read(source: str, model: Any, target: str | None = None, named: Any = ()) -> Any:
    try:
        from .tables import read_table
    except ImportError:
        raise InputError("a table for a model is read with pandas: pip install 'xentropy[cli]'") from None
    table = read_table(source, target, named)
    present = set(table.frame.columns)
    missing = [name for name in model.feature_names_in_ if name not in present]
    if missing:
        raise InputError(
            f"{table.name} lacks {count(len(missing), 'column')} of the model: {some(map(repr, missing), 10)}; it has "
            f"{some(map(repr, table.frame.columns), 10)}"
        )
    return table


def _probabilities(model: Any, frame: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found unknown categories")  # a note says so
        try:
            return model.predict_proba(frame)
        except ValueError as error:  # such as a column of numbers that now holds words
            raise InputError(f"the model cannot predict these rows: {error}") from None


def _surprises(model: Any, frame: Any) -> list[str]:
    """Notes on cells that the model takes for missing, or for levels of which it knows nothing."""
    parts = getattr(model[0], "named_transformers_", {})
    notes = []
    if "numeric" in parts:
        notes += _words_among_numbers(frame[list(parts["numeric"].feature_names_in_)])
    if "levels" in parts:
        notes += _unknown_levels(frame, parts["levels"])
    return notes


def _words_among_numbers(frame: Any) -> list[str]:
    from .cells import as_numbers

    notes = []
    for name in frame.columns[[dtype.kind not in "iufb" for dtype in frame.dtypes]]:
        cells = frame[name].dropna().astype(str).str.strip()
        cells = cells[cells != ""]
        try:
            words = cells[as_numbers(cells.to_frame())[name].isna()]
        except ValueError:  # none is a number, which is an error when the model predicts
            continue
        if len(words):
            example = repr(short(words.iloc[0], 20))
            values = count(len(words), "value")
            notes.append(f"{short(name, 40)} has {values} (such as {example}) that count as missing, not as numbers.")
    return notes


def _unknown_levels(frame: Any, encoder: Any) -> list[str]:
    from .cells import as_text

    names = list(encoder.feature_names_in_)
    notes = []
    texts = as_text(frame[names])
    for name, levels in zip(names, encoder["encode"].categories_, strict=True):
        known = {level for level in levels if level == level}
        new = [level for level in texts[name].dropna().unique() if level not in known]
        if new:
            values = count(len(new), "value")
            notes.append(f"{short(name, 40)} has {values} that the model has not seen: {some(new, 3)}.")
    return notes


def _as_csv(classes: np.ndarray, proba: np.ndarray) -> str:
    import pandas as pd

    frame = pd.DataFrame({"predicted": classes[proba.argmax(axis=1)]})
    probabilities = pd.DataFrame(proba, columns=[f"p_{label}" for label in classes])
    return pd.concat([frame, probabilities], axis=1).to_csv(index=False, float_format="%.10g", lineterminator="\n")
