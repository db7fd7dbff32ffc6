"""One fit of a cell of guard.py, with the public interface of xentropy alone; as a script, the process of one build.

The script reads a request from each line of its standard input, and answers with a line, both as JSON. It imports
nothing from this folder, so that it runs where another version of xentropy is installed.
"""

import contextlib
import io
import json
import sys
import warnings
from pathlib import Path
from time import process_time

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

import xentropy

warnings.simplefilter("ignore")  # `converged` reports fits that do not end


def load(folder: Path, dtype: str) -> tuple:
    """X, y and the weights that `guard.save` wrote."""
    sparse, weight = folder / "X.npz", folder / "weight.npy"
    X = sp.load_npz(sparse) if sparse.exists() else np.load(folder / "X.npy")
    return X.astype(dtype, copy=False), np.load(folder / "y.npy"), np.load(weight) if weight.exists() else None


def estimator(C: float | None, l1_ratio: float):
    """A classifier with this penalty, or for a C of None the search for C over five folds."""
    if C is None:
        return xentropy.SoftmaxClassifierCV(cv=5)
    return xentropy.SoftmaxClassifier(C=C, l1_ratio=l1_ratio)


def fit(X, y, weight, C: float | None, l1_ratio: float) -> dict:
    """Figures of one fit, on one thread. Of a search, the evaluations are the iterations of all its fits, as it does
    not tell their evaluations; the objective is that of the fit to all rows."""
    model = estimator(C, l1_ratio)
    with threadpool_limits(1):
        start = process_time()
        model.fit(X, y, sample_weight=weight)
        seconds = process_time() - start
    iterations = int(np.sum(model.n_iter_))
    evaluations = [1, *model.history_["n_evaluations"]][-1]  # one where the fit ends at its start
    return {
        "evaluations": iterations if C is None else int(evaluations),
        "iterations": iterations,
        "objective": float(model.objective_),
        "converged": bool(model.converged_),
        "seconds": seconds,
    }


def about() -> dict:
    """Where the build lies, and what it says of itself."""
    config = io.StringIO()
    with contextlib.redirect_stdout(config):
        xentropy.show_config()
    return {"file": xentropy.__file__, "config": config.getvalue().splitlines()}


def serve() -> None:
    """Answer requests until the input ends. The rows of the last request are kept for the next."""
    answers, sys.stdout = sys.stdout, sys.stderr
    rng = np.random.default_rng(0)
    for C in (1.0, None):  # what the first fits of a process load is not timed
        fit(rng.standard_normal((100, 3)), np.arange(100) % 3, None, C, 0.0)
    print(json.dumps(about()), file=answers, flush=True)
    held, rows = None, ()
    for line in sys.stdin:
        request = json.loads(line)
        wanted = request["folder"], request["dtype"]
        if wanted != held:
            rows = ()  # before others are read, so that memory holds one problem
            rows, held = load(Path(request["folder"]), request["dtype"]), wanted
        figures = [fit(*rows, request["C"], request["l1_ratio"]) for _ in range(request["times"])]
        print(json.dumps(figures), file=answers, flush=True)


if __name__ == "__main__":
    serve()
