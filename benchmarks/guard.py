"""Evaluations, iterations and time of fits over many problems and penalties, of one build or of two side by side.

    python -m benchmarks.guard --base main --head HEAD            two commits, built here
    python -m benchmarks.guard --base main                        a commit, and what is installed here
    python -m benchmarks.guard --base-python A --head-python B    two interpreters that have xentropy installed
    python -m benchmarks.guard --reference FILE                   a file that --json wrote, and what is installed here
    python -m benchmarks.guard --json FILE                        what is installed here, to be such a file

Each build has a process of its own, and the two take turns in each cell, on one thread. Times are those of the CPU, so
that other processes on the machine disturb them less. The exit status is 1 where a cell takes many more evaluations
than its base, ends at a worse objective, or converges in one build only.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from math import exp, isfinite, log
from pathlib import Path
from statistics import median

import numpy as np
import scipy.sparse as sp

from . import problems

HERE = Path(__file__).resolve().parent
REFERENCE = HERE / "guard_reference.json"
BUILDS = HERE / ".asv" / "guard"

SLOW = 0.5  # seconds above which a cell has fewer rounds
LEAST = 0.05  # seconds that a round takes at least, by repeated fits
MANY_EVALUATIONS, MUCH_TIME, WORSE = 1.15, 1.10, 1e-6  # what is listed at the end

Figures = dict[str, float]

# Name here -> name in problems.py and share of its rows. A fit of SMALL ones takes much less than a second with any
# penalty, of MEDIUM ones with an L1 penalty that is not too weak. With the L2 penalty a fit of LARGE ones takes some
# seconds at most, and of the LARGEST if the penalty is not too weak.
SMALL = {
    **{name: (name, 1.0) for real in problems.REAL for name in (real, f"{real}_raw")},
    "heavy_tails_1e3x40_5": ("heavy_tails_1e5x40_5", 0.01),
    "heavy_tails_1e4x40_5": ("heavy_tails_1e5x40_5", 0.1),
    "weighted_1e3x40_5": ("weighted_1e5x40_5", 0.01),
    "weighted_1e4x40_5": ("weighted_1e5x40_5", 0.1),
    "land_cover_1e4x54_7": ("land_cover_5e5x54_7", 0.02),
    "3e4x37_6": ("3e5x37_6", 0.1),
}
MEDIUM = {
    "one_hot_1e4x184_4": ("one_hot_1e5x184_4", 0.1),
    "images_1200x784_10": ("images_6e4x784_10", 0.02),
    "embeddings_2e3x512_100": ("embeddings_2e4x512_100", 0.1),
    "sentiment_2e3x768_2": ("sentiment_2e4x768_2", 0.1),
    "text_1130x130000_20": ("text_11300x130000_20", 0.1),
    "csr_1e4x1e4_5": ("csr_2e5x1e4_5", 0.05),
}
LARGE = {
    "heavy_tails_1e5x40_5": ("heavy_tails_1e5x40_5", 1.0),
    "weighted_1e5x40_5": ("weighted_1e5x40_5", 1.0),
    "one_hot_1e5x184_4": ("one_hot_1e5x184_4", 1.0),
    "land_cover_5e5x54_7": ("land_cover_5e5x54_7", 1.0),
    "embeddings_2e4x512_100": ("embeddings_2e4x512_100", 1.0),
    "sentiment_2e4x768_2": ("sentiment_2e4x768_2", 1.0),
    "3e5x37_6": ("3e5x37_6", 1.0),
    "6e4x700_10": ("6e4x700_10", 1.0),
    "2e4x512_100": ("2e4x512_100", 1.0),
    "3e5x64_10": ("3e5x64_10", 1.0),
    "1e6x50_2": ("1e6x50_2", 1.0),
    "csr_5e4x1e4_5": ("csr_2e5x1e4_5", 0.25),
}
LARGEST = {
    "images_6e4x784_10": ("images_6e4x784_10", 1.0),
    "text_11300x130000_20": ("text_11300x130000_20", 1.0),
    "csr_2e5x1e4_5": ("csr_2e5x1e4_5", 1.0),
}
PROBLEMS = SMALL | MEDIUM | LARGE | LARGEST
SEARCHED = ("breast_cancer", "breast_cancer_raw", "digits", "digits_raw")
CS = (0.01, 1.0, 100.0, 1e4)
L2, ELASTIC, L1 = 0.0, 0.5, 1.0


@dataclass(frozen=True)
class Cell:
    """A fit: of `SoftmaxClassifier`, or for a C of None of the search over C by `SoftmaxClassifierCV`."""

    problem: str
    C: float | None
    l1_ratio: float = L2
    dtype: str = "float64"

    @property
    def name(self) -> str:
        if self.C is None:
            return f"{self.problem} search"
        penalty = {L2: "L2", ELASTIC: "elastic", L1: "L1"}[self.l1_ratio]
        return f"{self.problem} C={self.C:g} {penalty}" + " float32" * (self.dtype == "float32")


def _grid(names: Iterable[str], Cs=CS, l1_ratios=(L2,), dtypes=("float64",)) -> list[Cell]:
    return [Cell(*values) for values in product(names, Cs, l1_ratios, dtypes)]


def cells() -> list[Cell]:
    """All cells, those of a problem and a dtype one after the other."""
    found = [
        *_grid(SMALL | MEDIUM | LARGE),
        *_grid(LARGEST, Cs=(0.01, 1.0)),
        *_grid(SMALL, l1_ratios=(ELASTIC, L1)),
        *_grid(MEDIUM, Cs=(0.01, 1.0), l1_ratios=(ELASTIC, L1)),
        *_grid(set(MEDIUM) - {"images_1200x784_10"}, Cs=(100.0,), l1_ratios=(ELASTIC,)),
        *_grid(PROBLEMS, Cs=(1.0,), dtypes=("float32",)),
        *_grid(SMALL, Cs=(1e4,), dtypes=("float32",)),
        *_grid(SMALL, Cs=(1.0,), l1_ratios=(L1,), dtypes=("float32",)),
        *(Cell(name, None) for name in SEARCHED),
    ]
    order = list(PROBLEMS)
    return sorted(found, key=lambda cell: (order.index(cell.problem), cell.dtype != "float64", cell.l1_ratio))


def draw(name: str) -> problems.Problem:
    return problems.draw(*PROBLEMS[name])


def save(problem: problems.Problem, folder: Path) -> None:
    """Write a problem for guard_worker.py."""
    if sp.issparse(problem.X):
        sp.save_npz(folder / "X.npz", problem.X, compressed=False)
    else:
        np.save(folder / "X.npy", problem.X)
    np.save(folder / "y.npy", problem.y)
    if problem.weight is not None:
        np.save(folder / "weight.npy", problem.weight)


class Build:
    """A process that fits with one build of xentropy."""

    def __init__(self, command: Sequence[str | Path], path: str | None = None) -> None:
        environment = os.environ if path is None else {**os.environ, "PYTHONPATH": path}
        self.process = subprocess.Popen(
            [*command, "-P", HERE / "guard_worker.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tempfile.gettempdir(),
        )
        self.about = self._answer()
        self.about["commit"] = _commit(Path(self.about.pop("file")))

    def fit(self, cell: Cell, folder: str, times: int) -> list[Figures]:
        request = {"folder": folder, "dtype": cell.dtype, "C": cell.C, "l1_ratio": cell.l1_ratio, "times": times}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of a build ended with status {self.process.wait()}")
        return json.loads(line)


def _commit(file: Path) -> str:
    """The commit of the checkout that holds this file of a package, or of the folder that `built` made for it."""
    if BUILDS in file.parents:
        return file.relative_to(BUILDS).parts[0]
    git = ["git", "-C", str(file.parent)]
    if subprocess.run([*git, "ls-files", "--error-unmatch", file.name], capture_output=True).returncode:
        return "unknown"
    return _output(*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def built(ref: str) -> Build:
    """A commit, compiled into a folder that is kept, with all other packages from this environment.

    Without the module `site` there are neither its .pth files nor the import hook of an editable install.
    """
    commit = _output("git", "-C", str(HERE), "rev-parse", "--verify", f"{ref}^{{commit}}")
    folder = BUILDS / commit
    if not folder.exists():
        with tempfile.TemporaryDirectory() as scratch:
            source, wheels = f"{scratch}/source", f"{scratch}/wheels"
            _output("git", "-C", str(HERE), "worktree", "add", "--detach", source, commit)
            try:
                pip = [sys.executable, "-m", "pip"]
                _output(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", wheels, source)
            finally:
                _output("git", "-C", str(HERE), "worktree", "remove", "--force", source)
            (wheel,) = Path(wheels).iterdir()
            _output(*pip, "install", "-q", "--no-deps", "--no-index", "--target", f"{scratch}/built", str(wheel))
            BUILDS.mkdir(parents=True, exist_ok=True)
            _output("cp", "-r", f"{scratch}/built", str(folder))
    borrowed = [path for path in sys.path if Path(path).resolve() != HERE.parent]
    return Build([sys.executable, "-S"], os.pathsep.join([str(folder), *borrowed]))


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def measure(cell: Cell, builds: dict[str, Build], folder: str, rounds: int | None) -> dict[str, Figures]:
    """Figures of each build, whose fits take turns. A number of rounds that is None depends on the time of a fit."""
    first = {label: build.fit(cell, folder, 1)[0] for label, build in builds.items()}
    if rounds == 1:
        return {label: _middle([[figures]]) for label, figures in first.items()}
    seconds = max(figures["seconds"] for figures in first.values())
    rounds = rounds or (5 if seconds < SLOW else 3)
    times = 1 + int(LEAST / max(seconds, LEAST / 20))
    runs = {label: [[figures]] for label, figures in first.items()} if times == 1 else {label: [] for label in builds}
    for i in range(rounds - len(next(iter(runs.values())))):
        for label in sorted(builds, reverse=i % 2 == 0):  # the first fits had the order of `builds`
            runs[label].append(builds[label].fit(cell, folder, times))
    return {label: _middle(runs[label]) for label in builds}


def _middle(runs: list[list[Figures]]) -> Figures:
    """The figures of the first fit, with the median of the times; and the evaluations of all fits, if they differ."""
    every = [figures for run in runs for figures in run]
    found = {**every[0], "seconds": round(median(figures["seconds"] for figures in every), 6)}
    differing = {figures["evaluations"] for figures in every}
    return {**found, "varies": sorted(differing)} if len(differing) > 1 else found


def measure_all(chosen: list[Cell], builds: dict[str, Build], rounds: int | None, reference: dict) -> dict[str, dict]:
    """Cell -> label of a build -> figures; printed as they come."""
    found = {}
    print(_heading(), flush=True)
    for name, group in groupby(chosen, key=lambda cell: cell.problem):
        with tempfile.TemporaryDirectory() as folder:
            save(draw(name), Path(folder))
            for cell in group:
                figures = measure(cell, builds, folder, rounds)
                if cell.name in reference:
                    figures["base"] = {**reference[cell.name]["head"], "seconds": None}  # of another machine, or day
                found[cell.name] = figures
                print(_line(cell.name, figures), flush=True)
    return found


def ratios(found: dict[str, dict], what: str) -> dict[str, float]:
    """Cell -> head's figure over base's, where both are known."""
    pairs = {name: (f["head"][what], f["base"][what]) for name, f in found.items() if "base" in f}
    return {name: head / base for name, (head, base) in pairs.items() if head and base}


def excess(figures: dict[str, Figures]) -> float:
    """How far head's objective is above base's, relatively."""
    head, base = figures["head"]["objective"], figures["base"]["objective"]
    return (head - base) / max(abs(base), sys.float_info.min)


def _heading() -> str:
    columns = f"{'evaluations':>17} {'iterations':>11} {'seconds':>22} {'objective':>10}"
    return f"{'cell':42}{columns}  converged"


def _line(name: str, figures: dict[str, Figures]) -> str:
    head = figures["head"]
    if "base" not in figures:
        counts = f"{head['evaluations']:17} {head['iterations']:11} {head['seconds']:22.4f}"
        return f"{name:42}{counts} {head['objective']:10.4g}  {head['converged']}"
    base = figures["base"]
    evaluations = f"{base['evaluations']:5}{head['evaluations']:6}{head['evaluations'] / base['evaluations']:6.2f}"
    seconds = f"{'':15}{head['seconds']:7.4f}"
    if base["seconds"]:
        seconds = f"{base['seconds']:8.4f}{head['seconds']:8.4f}{head['seconds'] / base['seconds']:6.2f}"
    iterations = f"{base['iterations']:6}{head['iterations']:5}"
    flags = f"{base['converged']}" if base["converged"] == head["converged"] else f"only in {_only(figures)}"
    return f"{name:42}{evaluations:>17} {iterations:>11} {seconds:>22} {excess(figures):+10.1e}  {flags}"


def _only(figures: dict[str, Figures]) -> str:
    return "head" if figures["head"]["converged"] else "base"


def report(found: dict[str, dict]) -> bool:
    """Print what stands out, and say whether nothing does but times."""
    compared = {name: figures for name, figures in found.items() if "base" in figures}
    fine = True
    for what, limit in (("evaluations", MANY_EVALUATIONS), ("seconds", MUCH_TIME)):
        by_cell = ratios(compared, what)
        if by_cell:
            mean = exp(sum(map(log, by_cell.values())) / len(by_cell))
            print(f"\n{what}, head / base: geometric mean {mean:.3f} of {len(by_cell)} cells")
            worst = sorted(by_cell.items(), key=lambda item: -item[1])
            print("  worst: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in worst[:5]))
            above = [f"{name} {ratio:.2f}" for name, ratio in worst if ratio > limit]
            _list(f"{what} above {limit:.2f} times base's", above)
            fine = fine and (what == "seconds" or not above)
    worse = {name: excess(figures) for name, figures in compared.items()}
    worse = [f"{name} {value:+.1e}" for name, value in worse.items() if value > WORSE or not isfinite(value)]
    _list(f"objective worse by more than {WORSE:g}", worse)
    differing = [
        f"{name} only in {_only(figures)}"
        for name, figures in compared.items()
        if figures["base"]["converged"] != figures["head"]["converged"]
    ]
    _list("converged in one build only", differing)
    _list("converged in no build", [name for name, f in found.items() if not any(b["converged"] for b in f.values())])
    runs = [(name, label, run) for name, figures in found.items() for label, run in figures.items()]
    varying = [f"{name} {label} {run['varies']}" for name, label, run in runs if "varies" in run]
    _list("evaluations differ from run to run", varying)
    return fine and not worse and not differing


def _list(what: str, found: list[str]) -> None:
    if found:
        print(f"\n{what}: {len(found)} cells")
        print(*(f"  {line}" for line in found), sep="\n")


def write(path: Path, found: dict[str, dict], builds: dict[str, Build]) -> None:
    """A file with a line for each cell."""
    about = {"machine": _machine(), "builds": {label: build.about for label, build in builds.items()}}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(figures)}" for name, figures in found.items())
    path.write_text(f'{{"about": {json.dumps(about)},\n"cells": {{\n{lines}\n}}}}\n')


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.guard", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    base = parser.add_mutually_exclusive_group()
    base.add_argument("--base", metavar="REF", help="commit to compare with")
    base.add_argument("--base-python", metavar="PATH", help="interpreter to compare with")
    base.add_argument(
        "--reference", metavar="FILE", type=Path, nargs="?", const=REFERENCE,
        help="stored figures to compare with, without the times (default: guard_reference.json)",
    )  # fmt: skip
    head = parser.add_mutually_exclusive_group()
    head.add_argument("--head", metavar="REF", help="commit to judge (default: what is installed here)")
    head.add_argument("--head-python", metavar="PATH", default=sys.executable, help="interpreter to judge")
    parser.add_argument("--only", metavar="REGEX", default="", help="cells whose name has a match")
    parser.add_argument("--rounds", type=int, help=f"default: 5 for cells under {SLOW} s, otherwise 3")
    parser.add_argument("--quick", dest="rounds", action="store_const", const=1, help="one round")
    parser.add_argument("--json", metavar="FILE", type=Path, help="where to write all figures")
    given = parser.parse_args()

    chosen = [cell for cell in cells() if re.search(given.only, cell.name)]
    builds = {}
    if given.base or given.base_python:
        builds["base"] = built(given.base) if given.base else Build([given.base_python])
    builds["head"] = built(given.head) if given.head else Build([given.head_python])
    for label, build in builds.items():
        print(f"{label}: commit {build.about['commit']}, {', '.join(build.about['config'])}")
    reference = json.loads(given.reference.read_text())["cells"] if given.reference else {}
    found = measure_all(chosen, builds, given.rounds, reference)
    for build in builds.values():
        build.close()
    if given.json:
        write(given.json, found, builds)
    return 0 if report(found) else 1


if __name__ == "__main__":
    sys.exit(main())
