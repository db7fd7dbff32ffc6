"""The cells of guard.py, each by itself: for asv's history of commits. `python -m benchmarks.guard` compares two."""

from threadpoolctl import threadpool_limits

from . import guard, guard_worker


class Guard:
    params = ([cell.name for cell in guard.cells()],)
    param_names = ("cell",)
    timeout = 600

    def setup(self, name):
        (self.cell,) = (cell for cell in guard.cells() if cell.name == name)
        problem = guard.draw(self.cell.problem)
        self.rows = problem.X.astype(self.cell.dtype), problem.y, problem.weight

    def track_evaluations(self, name):
        return self.figures()["evaluations"]

    def track_iterations(self, name):
        return self.figures()["iterations"]

    def time_one_thread(self, name):
        X, y, weight = self.rows
        with threadpool_limits(1):
            guard_worker.estimator(self.cell.C, self.cell.l1_ratio).fit(X, y, sample_weight=weight)

    def figures(self):
        return guard_worker.fit(*self.rows, self.cell.C, self.cell.l1_ratio)
