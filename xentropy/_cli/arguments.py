"""The options of the command."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

import numpy as np

import xentropy as xe

from .._losses import LOSSES

_FIT = """\
Fit a softmax classifier to a table: prepare its columns, choose the penalty by
the log loss of cross-validation, score the model on held-out rows, say where
its loss comes from, and save it.

Without DATA it does so on scikit-learn's handwritten digits.

  xentropy predict MODEL DATA            classes and probabilities of new rows
  xentropy report MODEL DATA --target Y  the report of new rows with labels"""

_EXAMPLES = """\
examples:
  xentropy
  xentropy loans.csv --target default
  xentropy loans.csv.gz --target default --drop notes --report loans.html
  cat loans.csv | xentropy - --target default --output loans.joblib
  xentropy predict loans.joblib new.csv -o predicted.csv

DATA is CSV text (also gzipped; the first line names the columns; separated by
comma, semicolon, tab or |; decimal points or commas; UTF-8, UTF-16 or Latin-1),
a Parquet file where pyarrow is installed, or - for standard input. Columns of
text, dates and missing values need pandas: pip install 'xentropy[cli]'.

exit status: 0 done, 1 a file could not be written, 2 the input or the options
are wrong, 130 interrupted."""

_TRUST = """\
MODEL is a file that xentropy saved. Open models only from people that you
trust: a model is a pickle, which can run any program when it is opened."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, with `command` in "fit", "predict" and "report". Exits with a message if they are wrong."""
    command = argv[0] if argv and argv[0] in ("predict", "report") else "fit"
    parser = {"fit": _fit, "predict": _predict, "report": _report}[command]()
    options = parser.parse_args(argv if command == "fit" else argv[1:])
    options.command = command
    if command == "fit":
        _check(parser, options)
    return options


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if (options.data is None) != (options.target is None):
        parser.error("DATA and --target go together: name the table and its column of classes")
    for option in ("drop", "categorical", "numeric", "text", "weight"):
        if options.data is None and getattr(options, option):
            parser.error(f"--{option} needs DATA")


def _parser(prog: str, usage: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} {usage}",
        description=description,
        epilog=epilog,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=80)


def _fit() -> argparse.ArgumentParser:
    parser = _parser("xentropy", "[DATA --target COLUMN] [options]", _FIT, _EXAMPLES)
    parser.add_argument("data", nargs="?", metavar="DATA", help="a table, or - (default: scikit-learn's digits)")
    add = parser.add_argument_group("columns (options with COLUMN may be repeated)").add_argument
    add("--target", metavar="COLUMN", help="the column of the classes")
    add("--drop", metavar="COLUMN", action="append", default=[], help="leave this column out")
    for kind, meaning in [
        ("categorical", "its values are levels, also if they are numbers"),
        ("numeric", "its values are numbers, also if they look like ids"),
        ("text", "its values are texts, whose words count"),
    ]:
        add(f"--{kind}", metavar="COLUMN", action="append", default=[], help=meaning)
    add("--weight", metavar="COLUMN", help="the column of the weights of the rows")
    add = parser.add_argument_group("model").add_argument
    add(
        "--C",
        metavar="C,C,...",
        dest="Cs",
        type=_numbers(lambda C: C > 0, "greater than 0"),
        default=np.logspace(-4, 4, 10).tolist(),
        help="inverse strengths of the penalty to try (default: ten from 1e-4 to 1e4)",
    )
    add(
        "--l1-ratio",
        metavar="R,R,...",
        type=_numbers(lambda ratio: 0 <= ratio <= 1, "in [0, 1]"),
        default=[0.0],
        help="shares of the L1 penalty to try, which makes coefficients zero (default: 0)",
    )
    add(
        "--smoothing",
        metavar="S,S,...",
        type=_numbers(lambda smoothing: 0 <= smoothing < 1, "in [0, 1)"),
        default=[0.0],
        help="label smoothings to try (default: 0)",
    )
    add("--loss", choices=list(LOSSES), default="cross_entropy", help="the loss to minimise (default: cross_entropy)")
    add("--class-weight", choices=["balanced"], help="give every class the same total weight")
    add = parser.add_argument_group("search and score").add_argument
    add("--folds", metavar="N", type=_whole_number(2), default=5, help="folds of the cross-validation (default: 5)")
    add(
        "--test-size",
        metavar="SHARE",
        type=_share,
        default=0.25,
        help="share of each class that is held out for the score (default: 0.25)",
    )
    add("--seed", metavar="N", type=_whole_number(0), default=0, help="seed of the splits (default: 0)")
    add("--jobs", metavar="N", type=_whole_number(1), help="folds that are fitted at once (default: 1)")
    add("--no-compare", action="store_true", help="leave out the comparison with LogisticRegression")
    add("--yes", action="store_true", help="take every value of the target for a class without asking")
    add = parser.add_argument_group("output").add_argument
    add(
        "--output",
        metavar="FILE",
        default="xentropy-model.joblib",
        help="where to save the model (default: xentropy-model.joblib)",
    )
    add("--report", metavar="FILE.html", help="write a page with the report and its pictures")
    add("--version", action="version", version=f"xentropy {xe.__version__}")
    return parser


def _predict() -> argparse.ArgumentParser:
    parser = _parser(
        "xentropy predict",
        "MODEL DATA [-o OUT.csv]",
        "Predict the class of each row of DATA, with the probability of every class.",
        _TRUST,
    )
    parser.add_argument("model", metavar="MODEL", help="the model")
    parser.add_argument("data", metavar="DATA", help="a table with the columns of the model, or -")
    parser.add_argument("-o", "--output", metavar="OUT.csv", help="where to write (default: standard output)")
    return parser


def _report() -> argparse.ArgumentParser:
    parser = _parser(
        "xentropy report",
        "MODEL DATA --target COLUMN [options]",
        "Score a model on rows with labels, and report where its loss comes from.",
        _TRUST,
    )
    parser.add_argument("model", metavar="MODEL", help="the model")
    parser.add_argument("data", metavar="DATA", help="a table with the columns of the model, or -")
    parser.add_argument("--target", metavar="COLUMN", required=True, help="the column of the classes")
    parser.add_argument("--weight", metavar="COLUMN", help="the column of the weights of the rows")
    parser.add_argument("--report", metavar="FILE.html", help="write a page with the report and its pictures")
    return parser


def _numbers(holds: Callable[[float], bool], condition: str) -> Callable[[str], list[float]]:
    def parse(text: str) -> list[float]:
        values = [float(item) for item in text.split(",")]
        if not all(holds(value) for value in values):
            raise argparse.ArgumentTypeError(f"{text}: each number must be {condition}")
        return sorted(set(values))

    parse.__name__ = "list of numbers"  # argparse uses this name in messages
    return parse


def _whole_number(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    parse.__name__ = "whole number"
    return parse


def _share(text: str) -> float:
    value = float(text)
    if math.isnan(value) or not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value
