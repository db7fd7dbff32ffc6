"""The speed table of docs/speed.md, and the rows of it that README.md shows: the ratios of the newest run that asv has
stored, and nothing else.

    python -m benchmarks.speed_table          writes both tables
    python -m benchmarks.speed_table --run    first has asv measure what it shows, in this environment
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from math import isfinite
from pathlib import Path

HERE = Path(__file__).resolve().parent
README, PAGE = HERE.parent / "README.md", HERE.parent / "docs" / "speed.md"
RESULTS = HERE / ".asv" / "results"
COMMAND = "python -m benchmarks.speed_table"
BEGIN, END = f"<!-- speed table, written by `{COMMAND}` -->", "<!-- end of the speed table -->"

SETTING = "bench_setting.Setting.track_share_of_rows"
# Heading of a column, and what it shows
COLUMNS = {
    "float64": ("track_ratio_one_thread", "float64"),
    "float32": ("track_ratio_one_thread", "float32"),
    "float64, 2 threads": ("track_ratio_two_threads", "float64"),
}


@dataclass(frozen=True)
class Entry:
    """Some problems of a benchmark class, for each of which the table has a row."""

    what: str
    peer: str
    benchmark: str
    problems: tuple[str, ...]
    columns: tuple[str, ...] = ("float64", "float32")
    dtypes: bool = True  # whether the dtype is a parameter of the class, after the problem
    others: tuple[str, ...] = ()  # its further parameters
    front: str = ""  # the problem that README.md shows too
    scaled: bool = True  # whether the problems' names tell the rows of which XENTROPY_BENCH_ROWS is the share

    def parameters(self, problem: str, column: str) -> tuple[str, ...]:
        return (problem, *(COLUMNS[column][1:] if self.dtypes else ()), *self.others)


ENTRIES = (
    Entry(
        "loss and gradient of a linear model",
        "scikit-learn's `LinearModelLoss`",
        "bench_kernels.LossGradient",
        ("1e6x50_2", "1e6x50_10", "2e5x784_10", "5e4x768_100", "2e4x768_1000", "csr_2e5x1e4_5", "csr_1e5x1e5_20"),
        columns=tuple(COLUMNS),
        front="1e6x50_10",
    ),
    Entry(
        "`SoftmaxClassifier().fit`",
        "`LogisticRegression`: its fastest solver to the same objective, given up after 30 s",
        "bench_fit.LargeFit",
        ("3e5x37_6", "6e4x700_10", "2e4x512_100", "sentiment_2e4x768_2", "csr_2e5x1e4_5", "text_11300x130000_20"),
        columns=("float64",),
        front="csr_2e5x1e4_5",
    ),
    Entry(
        "`SoftmaxClassifierCV().fit`",
        "`LogisticRegressionCV`",
        "bench_solver.CrossValidation",
        ("breast_cancer", "digits"),
        columns=("float64",),
        front="digits",
        dtypes=False,
    ),
    Entry("`predict_proba`", "`LogisticRegression`", "bench_classifier.PredictProba", ("1e6x50_2", "3e5x64_10")),
    Entry(
        "`log_loss`",
        "scikit-learn's `log_loss`",
        "bench_metrics.LogLoss",
        ("1e6x2", "1e6x10", "1e4x100"),
        others=("int",),
        front="1e6x10",
        scaled=False,
    ),
    Entry(
        "`cross_entropy` and its gradient",
        "PyTorch, forward and backward",
        "bench_functional.CrossEntropy",
        ("4e5x10", "4e4x100", "4e3x1000"),
        others=("labels",),
        front="4e5x10",
        scaled=False,
    ),
)


class Run:
    """A file of asv's results: for each benchmark a row of `result_columns`. Its `result` lists the product of its
    `params`, which are written as Python writes them."""

    def __init__(self, path: Path) -> None:
        stored = json.loads(path.read_text())
        self.path, self.commit, self.machine = path, stored["commit_hash"], stored["params"]
        columns = stored["result_columns"]
        self.rows = {name: dict(zip(columns, row, strict=False)) for name, row in stored["results"].items()}
        self.started = max((row["started_at"] for row in self.rows.values()), default=0) / 1000

    def values(self, benchmark: str) -> dict[tuple[str, ...], float]:
        """Parameters -> result, of what was measured."""
        row = self.rows.get(benchmark, {})
        every = product(*([value.strip("'") for value in values] for values in row.get("params", [])))
        results = row.get("result") or []  # null where all of it failed, as a null is where one did; NaN is left out
        return {key: value for key, value in zip(every, results, strict=False) if value is not None and isfinite(value)}

    def value(self, benchmark: str, parameters: tuple[str, ...]) -> float:
        values = self.values(benchmark)
        if parameters not in values:
            raise SystemExit(
                f"{self.path} has no result of {benchmark}{parameters}: it was not run, or it failed; measure all that "
                f"the table shows with `{COMMAND} --run`"
            )
        return values[parameters]


def newest_run(folder: Path) -> Run:
    paths = [path for path in folder.glob("*/*.json") if path.name != "machine.json"]
    if not paths:
        raise SystemExit(f"asv has stored no results in {folder}; measure with `{COMMAND} --run`")
    return max(map(Run, paths), key=lambda run: run.started)


def table(run: Run, entries: tuple[Entry, ...] = ENTRIES) -> str:
    """The table, and a line that says what was measured where."""
    settings = run.values(SETTING)
    if not settings:
        raise SystemExit(f"{run.path} does not say what it was measured with: measure with `{COMMAND} --run`")
    (((setting,), share),) = settings.items()
    lines = [f"| | compared with | on | {' | '.join(COLUMNS)} |", "|---|---|---|" + "---:|" * len(COLUMNS)]
    for entry in entries:
        for problem in entry.problems:
            cells = [""] * len(COLUMNS)
            for i, column in enumerate(COLUMNS):
                if column in entry.columns:
                    benchmark = f"{entry.benchmark}.{COLUMNS[column][0]}"
                    cells[i] = f"{run.value(benchmark, entry.parameters(problem, column)):.1f}"
            on = _shape(problem, share if entry.scaled else 1.0)
            told = (entry.what, entry.peer) if problem == entry.problems[0] else ("", "")
            lines.append(f"| {told[0]} | {told[1]} | {on} | {' | '.join(cells)} |")
    machine = f"{run.machine['cpu']}, {run.machine['num_cpu']} cores, {run.machine['os'].split()[0]}"
    day = datetime.fromtimestamp(run.started, UTC).date()
    return "\n".join([*lines, "", f"Measured on {day} at commit {run.commit[:8]}. {machine}; {setting}."])


def front_table(full: str, run_entries: tuple[Entry, ...] = ENTRIES) -> str:
    """The rows of the full table that README.md shows, with float64 on one thread."""
    lines = ["| | compared with | on | times as fast |", "|---|---|---|---:|"]
    rows = iter(re.findall(r"^\|(.*)\|$", full, flags=re.MULTILINE)[2:])
    for entry in run_entries:
        for problem, row in zip(entry.problems, rows, strict=False):
            if problem == entry.front:
                _, _, on, ratio, *_ = (cell.strip() for cell in row.split("|"))
                lines.append(f"| {entry.what} | {entry.peer.partition(':')[0]} | {on} | {ratio} |")
    return "\n".join(lines)


def written(page: str, new: str) -> str:
    """`page` with a new table between its markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"the page must hold the lines {BEGIN!r} and {END!r}, between which the table goes")
    return f"{before}{begin}\n\n{new}\n\n{end}{after}"


def names(entries: tuple[Entry, ...] = ENTRIES) -> Iterator[str]:
    """Regular expressions for `asv run --bench`, which searches in `benchmark('parameter', ...)`."""
    yield re.escape(SETTING)
    for entry in entries:
        for column in entry.columns:
            for problem in entry.problems:
                parameters = ", ".join(map(repr, entry.parameters(problem, column)))
                yield "^" + re.escape(f"{entry.benchmark}.{COLUMNS[column][0]}({parameters})") + "$"


def measure() -> None:
    def output(*command: str) -> str:
        return subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True).stdout.strip()

    if output("git", "status", "--porcelain", "--untracked-files=no"):
        raise SystemExit("the results are stored under the commit, which this is not: commit what has changed first")
    asv = [sys.executable, "-m", "asv"]
    output(*asv, "machine", "--yes")
    bench = [argument for name in names() for argument in ("--bench", name)]
    run = [*asv, "run", "--show-stderr", "--set-commit-hash", output("git", "rev-parse", "HEAD"), *bench]
    failed = subprocess.run(run, cwd=HERE).returncode
    if failed:
        raise SystemExit(failed)


def _shape(problem: str, share: float) -> str:
    """What the name of a problem says: 1e6x50_10 is a tenth of 1e6 rows, of 50 features, in 10 classes."""
    parts = re.fullmatch(r"([a-z_]*?)_?(\d[\de]*)x(\d[\de]*)(?:_(\d+))?", problem)
    if parts is None:
        return problem.replace("_", " ")
    kind, n, d, n_classes = parts.groups()
    shape = f"{kind.replace('csr', 'CSR')} {round(float(n) * share):_} × {round(float(d)):_}".replace("_", " ").strip()
    return f"{shape}, {n_classes} classes" if n_classes else shape


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0])
    parser.add_argument("--run", action="store_true", help="first measure, with asv, what the table shows")
    if parser.parse_args().run:
        measure()
    full = table(newest_run(RESULTS))
    for path, new in ((PAGE, full), (README, front_table(full))):
        path.write_text(written(path.read_text(), new))
