"""`xentropy DATA --target COLUMN`: from a table to a saved model and a report."""

from __future__ import annotations

import argparse
from typing import Any

import joblib
import numpy as np
from sklearn.pipeline import Pipeline

from . import scores, search
from .errors import InputError
from .files import check_output, replace_file
from .page import Page, need_matplotlib
from .problem import Problem, read_problem
from .splitting import Split, split_rows
from .text import count, in_columns, paragraph, printable, say, short

_MOST_LISTED = 40
_LEAST_SECONDS = 1.0  # for the comparison: a search of some milliseconds gives the other no time to begin


def run(options: argparse.Namespace) -> None:
    check_output("--output", options.output, options.data)
    if options.report is not None:
        check_output("--report", options.report, options.data)
        need_matplotlib()
    problem = read_problem(options)
    _introduce(problem, options)
    split = split_rows(
        problem.labels.codes, problem.labels.classes, options.target or "target", options.test_size, options.folds,
        options.seed,
    )  # fmt: skip
    say(f"{count(len(split.train), 'row')} to choose and fit with, {len(split.test):,} held out for the score.")
    for note in split.notes:
        say(paragraph(note, "Note: ", "  "))

    codes, classes = problem.labels.codes, problem.labels.classes
    weight = problem.weights(split.train)
    X_train = problem.prepare.fit_transform(problem.rows(split.train))
    try:
        found = search.search(
            X_train, codes[split.train], classes, weight, split.fold,
            Cs=options.Cs, l1_ratios=options.l1_ratio, smoothings=options.smoothing, loss=options.loss,
            class_weight=options.class_weight, jobs=options.jobs,
        )  # fmt: skip
    except ValueError as error:  # such as a loss that is not defined with smoothing
        raise InputError(f"the model cannot be fitted: {error}") from None
    say(f"\n{_search_table(found, X_train.shape[1])}")
    if note := _edge_note(found, options.Cs):
        say(paragraph(note, "Note: ", "  "))
    model = Pipeline([("prepare", problem.prepare), ("classifier", found.classifier)])

    X_test, test_weight = problem.rows(split.test), problem.weights(split.test)
    index = split.test if problem.columns else None
    held_out = scores.Scored(codes[split.test], model.predict_proba(X_test), classes, test_weight, index)
    guess = held_out.constant(scores.prior_of(codes[split.train], len(classes), weight))
    table = [
        ("SoftmaxClassifier, the saved model", held_out.log_loss, held_out.accuracy),
        ("class frequencies, no features", guess.log_loss, guess.accuracy),
    ]
    title = f"Score on the {count(len(split.test), 'held-out row')}"
    say(f"\n{title}\n\n{scores.table(table)}")
    verdict = scores.verdict(held_out, guess)
    if verdict and options.class_weight:
        verdict += " With --class-weight, probabilities are those of equally frequent classes, not of these rows."
    if verdict:
        say(f"\n{paragraph(verdict)}")
    text = scores.report(held_out)
    say(f"\n{scores.heading(held_out)}\n\n{text}\n")
    replace_file(options.output, lambda file: joblib.dump(model, file))
    say(paragraph(f"Saved the model: {printable(options.output)}"))
    if not options.no_compare:
        lines, row = _comparison(problem, split, found, X_train, held_out, options)
        say(f"\n{lines}")
        if row is not None:
            table.insert(1, row)
    if options.report is not None:
        page = Page(
            title=f"{problem.name}: {printable(options.target or 'digit')}",
            about=_about(problem, split, found, options),
            scores=table,
            verdict=verdict,
            scored=held_out,
            text=text,
            classifier=found.classifier,
            features=problem.feature_names(),
            columns=problem.columns,
            notes=[*problem.notes, *split.notes],
        )
        content = page.html().encode("utf-8")
        replace_file(options.report, lambda file: file.write(content))
        say(paragraph(f"Wrote the report: {printable(options.report)}"))


# --- what is printed --------------------------------------------------------------------------------------------------


def _introduce(problem: Problem, options: argparse.Namespace) -> None:
    n_rows, classes = int(problem.labels.counts.sum()), problem.labels.classes
    features = [c for c in problem.columns if c.kind.is_feature] if problem.columns else None
    n_columns = len(features) if features is not None else problem.X.shape[1]
    say(
        paragraph(
            f"{problem.name}: {count(n_rows, 'row')}, {count(n_columns, 'column')} to learn from, "
            f"{count(len(classes), 'class')}"
        )
    )
    if problem.columns:
        say(f"\n{column_table(problem.columns)}\n")
    noted = [c for c in problem.columns if c.note and c.kind.is_feature]
    for column in noted[:_MOST_LISTED]:
        say(paragraph(f"{short(column.name, 40)}: {column.note}.", "Note: ", "  "))
    left_out = [c for c in problem.columns if not c.kind.is_feature]
    if left_out:
        which = "; ".join(f"{short(c.name, 40)} {c.note}" for c in left_out[:_MOST_LISTED])
        way_back = ""
        if any(c.kind == "id-like" for c in left_out):
            way_back = " To use an id-like column: --numeric, --categorical or --text COLUMN."
        say(paragraph(f"{which}.{way_back}", "Left out: ", "  "))
    for note in problem.notes:
        say(paragraph(note, "Note: ", "  "))


def column_table(columns: list[Any]) -> str:
    """What each column is taken for."""
    rows = [["column", "kind", "distinct", "missing", ""]]
    for column in columns[:_MOST_LISTED]:
        missing = f"{column.n_missing:,}" if column.n_missing else ""
        fate = "" if column.kind.is_feature else "left out"
        rows.append([short(column.name, 30), str(column.kind), f"{column.n_distinct:,}", missing, fate])
    lines = [in_columns(rows, left=(0, 1, 4))]
    if len(columns) > _MOST_LISTED:
        kinds: dict[str, int] = {}
        for column in columns[_MOST_LISTED:]:
            kinds[str(column.kind)] = kinds.get(str(column.kind), 0) + 1
        others = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
        lines.append(paragraph(f"and {len(columns) - _MOST_LISTED:,} more: {others}", "  "))
    return "\n".join(lines)


def _search_table(found: search.Found, n_features: int) -> str:
    """The log loss of each setting. Only what differs among the settings has a column."""
    n_folds = found.losses.shape[1]
    shown = [("C", lambda s: f"{s.C:.4g}")]
    for name, value in (("l1_ratio", lambda s: f"{s.l1_ratio:g}"), ("smoothing", lambda s: f"{s.smoothing:g}")):
        if len({value(setting) for setting in found.settings}) > 1:
            shown.append((name, value))
    head = f"Log loss in {n_folds} folds, {count(n_features, 'feature')} ({found.seconds:.1f} s)"
    rows = [[*(name for name, _ in shown), "mean", "std. error", ""]]
    for i, (setting, losses) in enumerate(zip(found.settings, found.losses, strict=True)):
        error = losses.std(ddof=1) / np.sqrt(n_folds)
        mark = "<- best" if i == found.best else ""
        rows.append([*(value(setting) for _, value in shown), f"{losses.mean():.4f}", f"{error:.4f}", mark])
    lines = [head, "", in_columns(rows, left=(len(shown) + 2,))]
    if found.n_unconverged:
        fits = count(found.n_unconverged, "fit")
        lines.append(paragraph(f"{fits} stopped after {search.MAX_ITER} iterations.", "Note: ", "  "))
    return "\n".join(lines)


def _edge_note(found: search.Found, Cs: list[float]) -> str:
    """Where to look further, if the best C is the first or last one and the loss still decreases there.

    The grid that the note names holds all of this one, so that the search that follows it cannot lead back.
    """
    best = found.settings[found.best]
    if len(Cs) < 2 or best.C not in (Cs[0], Cs[-1]):
        return ""
    inner = Cs[1] if Cs[0] == best.C else Cs[-2]
    losses = found.losses.mean(axis=1)
    (beside,) = (
        losses[i]
        for i, s in enumerate(found.settings)
        if inner == s.C and s.l1_ratio == best.l1_ratio and s.smoothing == best.smoothing
    )
    end, word = ("smallest", "smaller") if Cs[0] == best.C else ("largest", "larger")
    if beside - losses[found.best] < 1e-3 * beside or np.isinf(best.C):
        return f"The best C is the {end} one, but the loss hardly changes there: {word} values would change little."
    further = [best.C / 100, best.C / 10] if Cs[0] == best.C else [best.C * 10, best.C * 100]
    wider = ",".join(f"{C:.4g}" for C in sorted({*Cs, *further}))
    return f"The best C is the {end} one. To search further: --C={wider}"


def _comparison(
    problem: Problem, split: Split, found: search.Found, X_train: Any, held_out: scores.Scored,
    options: argparse.Namespace,
) -> tuple[str, tuple[str, float, float] | None]:  # fmt: skip
    """The score of scikit-learn's LogisticRegression after the same search, if it takes no longer than ours."""
    if not search.can_limit_time():
        return "No comparison with LogisticRegression: this system cannot limit its time.", None
    seconds = max(found.seconds, _LEAST_SECONDS)
    codes, weight = problem.labels.codes, problem.weights(split.train)
    peer = search.logistic_regression(
        X_train, codes[split.train], weight, split.fold, options.Cs, options.class_weight, seconds
    )
    if peer is None:
        return paragraph(
            f"scikit-learn's LogisticRegression did not finish the same search in the {seconds:.1f} s that it was "
            f"given; this one took {found.seconds:.1f} s."
        ), None
    proba = peer.classifier.predict_proba(problem.prepare.transform(problem.rows(split.test)))
    theirs = scores.Scored(held_out.codes, proba, held_out.classes, held_out.weight)
    ratio = peer.seconds / found.seconds
    line = paragraph(
        f"scikit-learn's LogisticRegression, after the same search (C = {peer.classifier.C:.4g}), has a log loss of "
        f"{theirs.log_loss:.4f} and an accuracy of {theirs.accuracy:.4f} on the held-out rows. Its search took "
        f"{peer.seconds:.1f} s, {ratio:.1f} times as long."
    )
    return line, ("LogisticRegression, the same search", theirs.log_loss, theirs.accuracy)


def _about(
    problem: Problem, split: Split, found: search.Found, options: argparse.Namespace
) -> list[tuple[str, str]]:
    best = found.settings[found.best]
    entries = [
        ("Data", problem.name),
        ("Target", printable(options.target or "digit")),
        ("Rows", f"{len(split.train):,} to fit with, {len(split.test):,} held out"),
        ("Penalty", f"C = {best.C:.4g}" + (f", l1_ratio = {best.l1_ratio:g}" if best.l1_ratio else "")),
    ]
    if best.smoothing:
        entries.append(("Label smoothing", f"{best.smoothing:g}"))
    if options.loss != "cross_entropy":
        entries.append(("Loss", options.loss))
    if options.class_weight:
        entries.append(("Class weight", options.class_weight))
    if options.weight:
        entries.append(("Weights", printable(options.weight)))
    return entries
