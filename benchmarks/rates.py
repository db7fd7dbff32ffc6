"""Measure what the work of a preconditioner takes: the table of rates in xentropy/_preconditioning.py.

    python -m benchmarks.rates            print the rates of this machine
    python -m benchmarks.rates --write    write them into the module

Only their ratios matter: a preconditioner costs so many evaluations. Each rate is the median over several shapes, each
of which is timed by the CPU time of its fastest run, on one thread.
"""

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from warnings import catch_warnings, simplefilter

import numpy as np
from threadpoolctl import threadpool_limits

from xentropy import SoftmaxClassifier
from xentropy._design import Design
from xentropy._kernels._gram import add_grams
from xentropy._preconditioner import factored
from xentropy._targets import learn_target

MODULE = Path(__file__).parents[1] / "xentropy" / "_preconditioning.py"
SHAPES = ((2000, 64, 10), (20_000, 50, 6), (5000, 300, 5), (10_000, 40, 4), (20_000, 128, 20))
CALLS = 7  # of which the fastest counts


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds of the fastest of some calls, each repeated to take a while."""
    call()
    start = process_time()
    call()
    n = max(1, round(0.02 / max(process_time() - start, 1e-6)))
    times = []
    for _ in range(CALLS):
        start = process_time()
        for _ in range(n):
            call()
        times.append((process_time() - start) / n)
    return min(times)


def _probabilities(design: Design, theta: np.ndarray) -> None:
    for at, _ in design.blocks():
        design.probabilities(design.rows(at), theta)


def rates() -> dict[str, float]:
    """Nanoseconds of each kind of work."""
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {name: [] for name in ("evaluation", "row", "gram", "factor", "entry")}
    for n, d, n_classes in SHAPES:
        design = Design(rng.standard_normal((n, d)), learn_target(rng.integers(n_classes, size=n)))
        theta, size = 0.1 * rng.standard_normal(design.n_theta), d + 1
        rows = design.rows(slice(0, 1000))
        weight, to = np.full((len(rows), 1), 1.0 / n), np.zeros((1, size, size))
        found["evaluation"].append(seconds(partial(design.loss_gradient, theta)) / (n * d * n_classes))
        found["row"].append(seconds(partial(_probabilities, design, theta)) / (n * size))
        found["gram"].append(seconds(partial(add_grams, rows, weight, to)) / (len(rows) * size**2))
    small, large = np.eye(64), np.eye(600)
    entry = seconds(lambda: factored(small.copy())) / small.size
    found["entry"].append(entry)
    found["factor"].append(max(0.0, seconds(lambda: factored(large.copy())) / large.size - entry) / len(large))
    X, y = rng.standard_normal((100, 5)), rng.integers(3, size=100)
    model = SoftmaxClassifier(tol=0.0, max_iter=40)
    with catch_warnings():
        simplefilter("ignore")  # of fits that do not converge
        step = seconds(lambda: model.fit(X, y)) / model.n_iter_[0]
    nanoseconds = {name: 1e9 * median(values) for name, values in found.items()}
    return {**nanoseconds, "call": 1e9 * step}


def line(found: dict[str, float]) -> str:
    return "RATES = Rates(" + ", ".join(f"{name}={float(f'{rate:.2g}'):g}" for name, rate in found.items()) + ")"


def main() -> None:
    with threadpool_limits(1):
        found = line(rates())
    print(found)
    if "--write" in sys.argv[1:]:
        MODULE.write_text(re.sub(r"^RATES = Rates\(.*\)$", found, MODULE.read_text(), flags=re.MULTILINE))


if __name__ == "__main__":
    main()
