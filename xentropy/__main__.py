"""The command `xentropy`: choose, fit, score and save a softmax classifier, for handwritten digits or a CSV file."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import joblib
import numpy as np
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import xentropy as xe

from ._read_csv import InputError, Table, read_csv

_MAX_ITER = 1000
_TIMED_ROUNDS = 7
_TIMED_SECONDS = 10.0

_DESCRIPTION = """\
Choose the penalty and the label smoothing of a softmax classifier by the log loss of cross-validation, refit it, score
it on held-out rows beside scikit-learn's LogisticRegression, and save it.

Without DATA it does so on scikit-learn's handwritten digits."""

_EXAMPLES = """\
examples:
  xentropy                                             the digits that come with scikit-learn
  xentropy iris.csv --target species                   your own table: one column of classes, the others numbers
  xentropy iris.csv --target species --drop id --output iris.joblib
  xentropy iris.csv --target species --C 0.1,1,10 --smoothing 0

DATA is UTF-8 text whose first line names the columns. Fields are separated by comma, semicolon, tab or |, and may be
quoted.

exit status: 0 done, 1 the model could not be saved, 2 the input or the options are wrong, 130 interrupted."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`, by default that of the process, and return the exit status."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        if (options.data is None) != (options.target is None):
            parser.error("DATA and --target go together: name the CSV file and its column of classes")
        if options.drop and options.data is None:
            parser.error("--drop needs DATA")
        _check_output(options)
        _run(options)
        sys.stdout.flush()
    except InputError as error:
        print(f"xentropy: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of the output has closed it. Exit quietly, and prevent the interpreter from flushing to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except OSError as error:
        print(f"xentropy: error: {error.strerror}: {error.filename or options.output}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xentropy",
        usage="xentropy [DATA --target COLUMN] [options]",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("data", nargs="?", type=Path, metavar="DATA", help="a CSV file (default: scikit-learn's digits)")
    add("--target", metavar="COLUMN", help="the column of DATA that holds the classes")
    add("--drop", metavar="COLUMN", action="append", default=[], help="leave a column of DATA out; may be repeated")
    add(
        "--C",
        metavar="C,C,...",
        dest="Cs",
        type=_numbers(lambda C: C > 0, "greater than 0"),
        default=[0.01, 0.1, 1.0, 10.0],
        help="inverse strengths of the L2 penalty to try (default: 0.01,0.1,1,10)",
    )
    add(
        "--smoothing",
        metavar="S,S,...",
        type=_numbers(lambda smoothing: 0 <= smoothing < 1, "in [0, 1)"),
        default=[0.0, 0.02],
        help="label smoothings to try (default: 0,0.02)",
    )
    add("--folds", metavar="N", type=_whole_number(2), default=5, help="folds of the cross-validation (default: 5)")
    add(
        "--test-size",
        metavar="SHARE",
        type=_share,
        default=0.25,
        help="share of each class that is held out for the final score (default: 0.25)",
    )
    add("--seed", metavar="N", type=_whole_number(0), default=0, help="seed of the splits (default: 0)")
    add(
        "--output",
        metavar="FILE",
        type=Path,
        default=Path("xentropy-model.joblib"),
        help="where to save the model (default: xentropy-model.joblib)",
    )
    add("--version", action="version", version=f"xentropy {xe.__version__}")
    return parser


def _numbers(holds, condition):
    def parse(text: str) -> list[float]:
        values = [float(item) for item in text.split(",")]
        if not all(holds(value) for value in values):
            raise argparse.ArgumentTypeError(f"{text}: each number must be {condition}")
        return sorted(set(values))

    parse.__name__ = "list of numbers"  # argparse uses this name in messages
    return parse


def _whole_number(least):
    def parse(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    parse.__name__ = "whole number"
    return parse


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _check_output(options: argparse.Namespace) -> None:
    # this runs first, so that a mistyped name is found before the search
    output = options.output
    if output.is_dir():
        raise InputError(f"--output {output} is a folder: name a file in it")
    if not output.parent.is_dir():
        raise InputError(f"--output {output}: there is no folder {output.parent}")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(output))
    if options.data is not None and output.exists() and options.data.exists() and output.samefile(options.data):
        raise InputError(f"--output {output} would overwrite the data")


def _run(options: argparse.Namespace) -> None:
    if options.data is None:
        X, y = load_digits(return_X_y=True)
        name, table = "Handwritten digits (scikit-learn's load_digits)", Table(X, y, [])
    else:
        name, table = str(options.data), read_csv(options.data, options.target, options.drop)
    split = _split(table, options)
    _say(f"{name}: {len(table.y)} rows, {table.X.shape[1]} features, {len(split.classes)} classes")
    _say(f"{len(split.y_train)} rows to choose and fit with, {len(split.y_test)} held out for the final score")
    for note in split.notes:
        _say(f"Note: {note}")

    grid = {"classifier__C": options.Cs, "classifier__label_smoothing": options.smoothing}
    ours = _search(xe.SoftmaxClassifier(max_iter=_MAX_ITER), grid, split)
    _say(_folds_table(ours))
    _say(_edge_note(ours, options.Cs))

    peer = _search(LogisticRegression(max_iter=_MAX_ITER), {"classifier__C": options.Cs}, split)
    _say(_comparison(ours, peer, split))

    _save(ours.model, options.output)
    _say(f"Saved the chosen pipeline. To use it: joblib.load({str(options.output)!r}).predict_proba(X)")


# --- splits -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Split:
    X_train: Any
    y_train: np.ndarray
    X_test: Any
    y_test: np.ndarray
    folds: list[tuple[np.ndarray, np.ndarray]]  # indices of training rows, to fit and to score
    classes: np.ndarray
    notes: list[str]


def _split(table: Table, options: argparse.Namespace) -> _Split:
    """Hold out a share of each class, and distribute the rest to folds. Each training set has a row of each class."""
    classes, labels, counts = np.unique(table.y, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise InputError(
            f"{options.target!r} holds one class only, {classes[0]!s}, in all {len(labels)} rows of {options.data}: "
            "there is nothing to tell apart"
        )
    rng = np.random.default_rng(options.seed)
    held_out, kept = [], []
    for k in range(len(classes)):
        rows = rng.permutation(np.flatnonzero(labels == k))
        n_held_out = min(round(options.test_size * len(rows)), len(rows) - 1)
        held_out.append(rows[:n_held_out])
        kept.append(rows[n_held_out:])
    test, train = np.sort(np.concatenate(held_out)), np.sort(np.concatenate(kept))
    if not len(test):
        raise InputError(
            f"no class has enough rows to hold out {options.test_size:g} of it (the largest of the {len(classes)} "
            f"classes of {options.target!r} has {counts.max()}): use more rows, a larger --test-size, or other classes"
        )

    # Rows are distributed to the folds in turn, class by class, and each class continues where the last one ended. A
    # class with one row is in no fold, so every fit uses it.
    fold = np.full(len(labels), -1)
    repeated = [rows for rows in kept if len(rows) > 1]
    dealt = np.concatenate(repeated) if repeated else np.array([], dtype=int)
    n_folds = min(options.folds, len(dealt))
    if n_folds < 2:
        raise InputError(
            f"no class has two rows left for the folds (the largest of the {len(classes)} classes "
            f"of {options.target!r} has {counts.max()}): use more rows, a smaller --test-size, or other classes"
        )
    fold[dealt] = np.arange(len(dealt)) % n_folds
    fold = fold[train]
    folds = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(n_folds)]

    sizes = np.array([len(rows) for rows in kept])
    notes = []
    for rare, meaning in [
        ((sizes > 1) & (sizes < n_folds), f"fewer rows to fit with than there are folds ({n_folds}): some lack them"),
        (sizes == 1, "one row to fit with: it is in every fit and in no score"),
    ]:
        if rare.any():
            names = [str(name) for name in classes[rare][:5]] + ["..."] * (int(rare.sum()) > 5)
            notes.append(f"classes with {meaning}: {', '.join(names)}")
    take = (lambda rows: table.X.iloc[rows]) if hasattr(table.X, "iloc") else table.X.__getitem__
    return _Split(take(train), table.y[train], take(test), table.y[test], folds, classes, notes)


# --- the search -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    model: Pipeline
    params: list[dict[str, float]]
    losses: np.ndarray  # (settings, folds)
    best: int
    seconds: float
    n_unconverged: int

    @property
    def n_fits(self) -> int:
        return self.losses.size


def _search(classifier: Any, grid: dict[str, list[float]], split: _Split) -> _Found:
    pipeline = Pipeline([("scaler", StandardScaler()), ("classifier", classifier)])
    n_fits = len(split.folds) * int(np.prod([len(values) for values in grid.values()]))
    progress = _Progress(f"{type(classifier).__name__}: cross-validation", n_fits)

    def counted(model, X, y):
        loss = xe.neg_log_loss_scorer(model, X, y)
        progress.step()
        return loss

    start = perf_counter()
    with progress, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        search = GridSearchCV(pipeline, grid, scoring=counted, cv=split.folds, error_score="raise")
        search.fit(split.X_train, split.y_train)
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    results = search.cv_results_
    return _Found(
        model=search.best_estimator_,
        params=[{name.removeprefix("classifier__"): v for name, v in p.items()} for p in results["params"]],
        losses=-np.column_stack([results[f"split{f}_test_score"] for f in range(len(split.folds))]),
        best=int(search.best_index_),
        seconds=perf_counter() - start,
        n_unconverged=sum(issubclass(warning.category, ConvergenceWarning) for warning in caught),
    )


class _Progress:
    """A line on the terminal that counts fits and is erased at the end. It is not shown if stderr is not a terminal."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self.shown = sys.stderr.isatty()

    def step(self) -> None:
        self.done += 1
        self._write(f"\r{self.what}, fit {self.done} of {self.total}")

    def _write(self, text: str) -> None:
        if self.shown:
            print(text, end="", file=sys.stderr, flush=True)

    def __enter__(self) -> _Progress:
        self._write(f"\r{self.what}, {self.total} fits")
        return self

    def __exit__(self, *_: object) -> None:
        self._write("\r\033[K")


# --- printed output ---------------------------------------------------------------------------------------------------


def _say(text: str) -> None:
    if text:
        print(text, flush=True)


def _folds_table(found: _Found, most_columns: int = 10) -> str:
    n_folds = found.losses.shape[1]
    each = n_folds <= most_columns
    head = f"{'C':>8} {'smoothing':>10} "
    head += "".join(f"{f'fold {f + 1}':>9}" for f in range(n_folds)) if each else f"{'least':>9}{'most':>9}"
    lines = [
        "",
        f"SoftmaxClassifier on standardised features: log loss of {n_folds} folds "
        f"({found.n_fits} fits, {found.seconds:.1f} s)",
        "",
        f"{head}{'mean':>10}{'std':>9}",
    ]
    for i, (params, losses) in enumerate(zip(found.params, found.losses, strict=True)):
        shown = losses if each else [losses.min(), losses.max()]
        lines.append(
            f"{params['C']:8g} {params['label_smoothing']:10g} "
            + "".join(f"{loss:9.4f}" for loss in shown)
            + f"{losses.mean():10.4f}{losses.std():9.4f}"
            + "  <- best" * (i == found.best)
        )
    if found.n_unconverged:
        lines.append(f"{found.n_unconverged} of the fits stopped at max_iter={_MAX_ITER} before they converged.")
    return "\n".join([*lines, ""])


def _edge_note(found: _Found, Cs: list[float]) -> str:
    C = found.params[found.best]["C"]
    if len(Cs) > 1 and C in (Cs[0], Cs[-1]):
        beyond = f"{C / 10:g},{C:g}" if Cs[0] == C else f"{C:g},{C * 10:g}"
        return f"Note: the best C is at the edge of those tried; --C {beyond} would look beyond.\n"
    return ""


def _comparison(ours: _Found, peer: _Found, split: _Split) -> str:
    """The held-out losses, of LogisticRegression at its best C, and of SoftmaxClassifier at its own and at that C."""
    C = peer.params[peer.best]["C"]
    same = {"C": C, "label_smoothing": 0.0}
    scaler = StandardScaler().fit(split.X_train)
    X_train, X_test = scaler.transform(split.X_train), scaler.transform(split.X_test)
    chosen = ours.model["classifier"]
    fair = clone(chosen).set_params(**same)
    classifiers = [fair, peer.model["classifier"]]
    fair_seconds, peer_seconds, rounds = _fit_times(classifiers, X_train, split.y_train)

    def row(name: str, classifier: Any, seconds: float | None) -> str:
        p_test = classifier.predict_proba(X_test)
        loss = xe.log_loss(split.y_test, p_test, labels=split.classes)
        accuracy = np.mean(classifier.predict(X_test) == split.y_test)
        smoothing = classifier.get_params().get("label_smoothing")
        return (
            f"{name:<32}{classifier.C:>8g}{'' if smoothing is None else format(smoothing, 'g'):>11}"
            f"{loss:>10.4f}{accuracy:>10.4f}{'' if seconds is None else f'{1000 * seconds:.1f} ms':>13}"
        )

    same_is_chosen = chosen.get_params()["C"] == C and not chosen.label_smoothing
    counts = np.array([np.sum(split.y_train == c) for c in split.classes])
    prior = np.tile(counts / counts.sum(), (len(split.y_test), 1))
    prior_loss = xe.log_loss(split.y_test, prior, labels=split.classes)
    prior_accuracy = np.mean(split.y_test == split.classes[counts.argmax()])
    ours_objective, peer_objective = (_objective(classifier, C, X_train, split.y_train) for classifier in classifiers)
    lines = [
        f"Held out, {len(split.y_test)} rows",
        "",
        f"{'':<32}{'C':>8}{'smoothing':>11}{'log loss':>10}{'accuracy':>10}{'fit time':>13}",
        row("SoftmaxClassifier", chosen, fair_seconds if same_is_chosen else None),
    ]
    if not same_is_chosen:
        lines.append(row("SoftmaxClassifier, same as below", fair, fair_seconds))
    lines += [
        row("LogisticRegression", peer.model["classifier"], peer_seconds),
        f"{'class frequencies, no features':<32}{'':>19}{prior_loss:>10.4f}{prior_accuracy:>10.4f}",
        "",
        f"scikit-learn {sklearn.__version__}'s LogisticRegression chose its C by the same folds. At that C, without "
        "smoothing, both minimise the",
        f"same objective on the same {X_train.shape[0]} x {X_train.shape[1]} values: they reached {ours_objective:.6f} "
        f"(SoftmaxClassifier) and {peer_objective:.6f}.",
        f"Fit time: one thread, tol=1e-4, max_iter={_MAX_ITER}, best of {rounds} alternating fits; "
        f"LogisticRegression takes {peer_seconds / fair_seconds:.2f} times as long.",
    ]
    if peer.n_unconverged:
        lines.append(f"{peer.n_unconverged} of {peer.n_fits} fits of LogisticRegression stopped at max_iter.")
    return "\n".join([*lines, ""])


def _objective(classifier: Any, C: float, X: np.ndarray, y: np.ndarray) -> float:
    losses = xe.log_loss_samples(y, classifier.predict_proba(X), labels=classifier.classes_, eps=0)
    return C * losses.sum() + 0.5 * np.sum(classifier.coef_**2)


def _fit_times(classifiers: list[Any], X: np.ndarray, y: np.ndarray) -> tuple[float, float, int]:
    """The least seconds to fit the first and the second of `classifiers`, and the number of fits of each."""
    times: tuple[list[float], list[float]] = ([], [])
    start = perf_counter()
    progress = _Progress("fit times", 2 * _TIMED_ROUNDS)
    # One thread, because the threads of two alternating libraries wait for each other, which they do not for users.
    with progress, threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        while len(times[1]) < _TIMED_ROUNDS and (not times[1] or perf_counter() - start < _TIMED_SECONDS):
            for classifier, seconds in zip(classifiers, times, strict=True):
                begin = perf_counter()
                classifier.fit(X, y)
                seconds.append(perf_counter() - begin)
                progress.step()
    return min(times[0]), min(times[1]), len(times[0])  # other processes can only increase the times


def _save(model: Pipeline, output: Path) -> None:
    # Write under another name first, so that an interrupted run leaves no incomplete model and keeps the last one.
    part = output.with_name(output.name + ".part")
    try:
        joblib.dump(model, part)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
