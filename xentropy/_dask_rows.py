"""Rows of Dask collections on the workers of a cluster: what a design of sums asks of them.

Each evaluation sends the coefficients to one task for each group of blocks, which adds up the sums of its blocks. Tasks
are not bound to workers, so that Dask computes the blocks of a worker that has gone again, on another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp

from . import _dask_tasks
from ._design import sample_places
from ._kernels._linear import LinearPass
from ._row_blocks import plain_block
from ._row_loss import RowLoss, Weighting
from ._summed_design import PreciseSum, Survey
from ._targets import Target

# Seconds between looks at futures that are not finished, and without any worker or progress, after which a fit ends.
_POLL, _PATIENCE = 1.0, 25.0
# Blocks of a worker are one task for each of its threads if they take less than this share of its memory, and otherwise
# tasks of this share: a task needs all of its blocks in memory at once.
_HOLDS_ALL, _AT_ONCE = 0.5, 0.1


class DaskTarget:
    """The targets of a fit on a cluster, as far as the client knows them."""

    def __init__(self, classes: np.ndarray, n_rows: int, mass: np.ndarray, *, is_distribution: bool) -> None:
        self.classes, self.n_classes, self._n_rows, self._mass = classes, len(classes), n_rows, mass
        self.labels = None
        self.distribution = True if is_distribution else None

    def __len__(self) -> int:
        return self._n_rows

    def class_mass(self, sample_weight: Any = None) -> np.ndarray:
        """The weight of each class, with the weights of the fit."""
        return self._mass


class DaskRows:
    """Rows, targets and weights on the workers of a cluster: a `RowSource`.

    Parameters
    ----------
    xs, ys, ws : lists of delayed blocks
        `ws` is a list of None where there are no weights.
    client : distributed.Client
    names : list of str, optional
        Of the columns.

    Attributes
    ----------
    target : DaskTarget
    n_rows, n_features : int
    """

    def __init__(self, xs: list[Any], ys: list[Any], ws: list[Any], client: Any, names: Any = None) -> None:
        self._client, self._names = client, names
        xs, ys, ws = (client.compute(blocks) if blocks[0] is not None else blocks for blocks in (xs, ys, ws))
        triples = list(zip(xs, ys, ws, strict=True))
        submit = partial(client.submit, pure=False)
        looks = self._gather([submit(_dask_tasks.look, i, *triple) for i, triple in enumerate(triples)])
        self._n_rows = [look["n_rows"] for look in looks]
        self.n_rows = sum(self._n_rows)
        filled = [look for look in looks if look["n_rows"]]
        if not filled:
            raise ValueError("X has no rows in any block")
        for name, what in (("n_features", "columns"), ("is_distribution", "kinds of y"), ("is_sparse", "storages")):
            if len({look[name] for look in filled}) > 1:
                i = next(i for i, look in enumerate(looks) if look["n_rows"] and look[name] != filled[0][name])
                raise ValueError(f"blocks of X and y have different {what}: block {i} is not like the first")
        self.n_features = filled[0]["n_features"]
        soft = filled[0]["is_distribution"]
        classes = filled[0]["classes"] if soft else np.unique(np.concatenate([look["classes"] for look in filled]))
        self.n_classes, self._nbytes = len(classes), [look["nbytes"] for look in looks]
        self._dtype = np.result_type(*[look["dtype"] for look in filled])
        # blocks that kernels can read stay as they are, which takes no memory
        self._xs = [
            x if look["is_plain"] else submit(plain_block, x, f"block {i} of X")
            for i, (x, look) in enumerate(zip(xs, looks, strict=True))
        ]
        self._ts = [submit(_dask_tasks.encode, i, y, w, classes) for i, (_, y, w) in enumerate(triples)]
        mass = self._gather([submit(_dask_tasks.class_mass, t) for t in self._ts])
        self._finished(self._xs)
        self._groups = self._grouped()
        self.target = DaskTarget(classes, self.n_rows, np.sum(mass, axis=0), is_distribution=soft)

    def first_rows(self) -> Any:
        """None of the rows, with the names of the columns."""
        if self._names is None:
            return np.empty((0, self.n_features))
        import pandas as pd

        return pd.DataFrame(columns=list(self._names), dtype=np.float64)

    def _grouped(self) -> list[list[int]]:
        """Numbers of blocks that are on the same worker, in their order, as many as may be in memory at once."""
        where, workers = self._client.who_has(self._xs), self._client.scheduler_info(n_workers=-1)["workers"]
        of_worker: dict[str, list[int]] = {}
        for i, future in enumerate(self._xs):
            homes = sorted(w for w in where.get(future.key, ()) if w in workers)
            of_worker.setdefault(homes[0] if homes else "", []).append(i)
        groups: list[list[int]] = []
        for worker, numbers in of_worker.items():
            about = workers.get(worker, {"memory_limit": 0, "nthreads": 1})
            total, limit = sum(self._nbytes[i] for i in numbers), about["memory_limit"]
            fits = not limit or total < _HOLDS_ALL * limit
            most = total / about["nthreads"] + 1 if fits else _AT_ONCE * limit / about["nthreads"]
            size = np.inf
            for i in numbers:
                if size + self._nbytes[i] > most:
                    groups.append([])
                    size = 0
                groups[-1].append(i)
                size += self._nbytes[i]
        return sorted(groups)

    def _ask(self, task: Callable[..., Any], *args: Any, of_blocks: list[list[Any]] | None = None) -> list[Any]:
        """task(*args, what `of_blocks` has for each block of a group, their numbers, their blocks) for each group."""
        futures = []
        for numbers in self._groups:
            mine = [[values[i] for i in numbers] for values in of_blocks or []]
            blocks = [future for i in numbers for future in (self._xs[i], self._ts[i])]
            futures.append(self._client.submit(task, *args, *mine, numbers, *blocks, pure=False))
        return self._gather(futures)

    def _by_block(self, answers: list[list[Any]], numbers: list[list[int]]) -> list[Any]:
        found: dict[int, Any] = {}
        for group, of_group in zip(numbers, answers, strict=True):
            found.update(zip(group, of_group, strict=True))
        return [found[i] for i in sorted(found)]

    def _gather(self, futures: list[Any]) -> list[Any]:
        try:
            return self._finished(futures, lambda: self._client.gather(futures))
        finally:
            for future in futures:
                if not future.done():
                    future.cancel()

    def _finished(self, futures: list[Any], then: Callable[[], Any] = lambda: None) -> Any:
        """What `then` gives when all have finished or failed; but it does not wait for workers that do not come."""
        from distributed import CancelledError, wait

        moved, before = time.monotonic(), None
        while True:
            try:
                wait(futures, timeout=_POLL)
                return then()
            except CancelledError as error:
                raise RuntimeError(
                    "blocks of X or y are lost, with the worker that held them, and Dask cannot compute them again, as "
                    "it cannot after client.scatter: load them with Dask, such as da.from_delayed or dd.read_parquet"
                ) from error
            except TimeoutError:
                now = [future.status for future in futures]
                if self._client.scheduler_info(n_workers=-1)["workers"] or now != before:
                    moved, before = time.monotonic(), now
                if time.monotonic() - moved > _PATIENCE:
                    raise RuntimeError(
                        f"the cluster has had no worker for {_PATIENCE:.0f} s: start one, and fit again"
                    ) from None

    def survey(self, row_loss: RowLoss, sample_size: Callable[[int, float], int]) -> Survey:
        n, mass = sum(self._n_rows), self.target.class_mass()
        scale = Weighting(mass, n, row_loss).scale
        firsts = np.concatenate([[0], np.cumsum(self._n_rows)]).tolist()
        answers = self._ask(_dask_tasks.survey, row_loss, scale, of_blocks=[firsts[:-1]])
        found = self._by_block(answers, self._groups)
        total = found[0][0]
        for moments, *_ in found[1:]:
            total = moments if not total.weight else total + moments
        weights = np.array([moments.weight for moments, *_ in found])
        size = sample_size(self.n_features, sum(self._nbytes) / n)
        places: list[Any] = [None] * len(found)
        if size < n:
            ends = np.concatenate([[0.0], np.cumsum(weights)])
            at = sample_places(size) * ends[-1]
            cut = np.searchsorted(at, ends)
            places = [at[cut[i] : cut[i + 1]] - ends[i] for i in range(len(weights))]
        parts = [part for group in self._sampled(row_loss, scale, places) for part in group]
        Xs, targets, sampled = zip(*parts, strict=True)
        join: Callable[..., Any] = partial(sp.vstack, format="csr") if sp.issparse(Xs[0]) else np.concatenate
        labels = None if targets[0].labels is None else np.concatenate([t.labels for t in targets])
        soft = None if targets[0].distribution is None else np.concatenate([t.distribution for t in targets])
        return Survey(
            n_rows=n,
            nnz=sum(nnz for *_, nnz in found),
            dtype=self._dtype,
            class_mass=mass,
            effective_size=float(weights.sum() ** 2 / sum(squares for _, squares, *_ in found)),
            least_weight=float(min(least for _, _, least, _ in found)),
            moments=total,
            X=join(Xs),
            target=Target(self.target.classes, labels=labels, distribution=soft),
            sample_weight=None if sampled[0] is None else np.concatenate(sampled),
        )

    def _sampled(self, row_loss: RowLoss, scale: float, places: list[Any]) -> list[list[tuple]]:
        """The sampled parts, block by block."""
        groups, self._groups = self._groups, [[i] for i in range(len(places)) if places[i] is None or len(places[i])]
        try:
            return self._ask(_dask_tasks.sample, row_loss, scale, of_blocks=[places])
        finally:
            self._groups = groups

    def sums(
        self, new_pass: Callable[..., LinearPass], coef: np.ndarray, intercept: np.ndarray, n_threads: int
    ) -> np.ndarray:
        total = PreciseSum(coef.size + len(intercept) + 1)
        for high, low in self._ask(_dask_tasks.sums, new_pass, coef, intercept):
            total.add(high, low)
        return total.value
