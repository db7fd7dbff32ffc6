"""Random problems on which a fit may end too early: huge values, heavy tails, rare columns, units, weights over twelve
decades. And a damped Newton's method, which is slow but needs no scale."""

from dataclasses import dataclass
from math import inf, isfinite, isinf

import numpy as np
import scipy.sparse as sp

KINDS = ("huge", "huge", "huge in several columns", "log-normal", "pareto", "rare", "units", "collinear")
HUGE = (-1e6, -999999.0, -(2.0**31), 1e9, 1e12, 1e5, -9999.0)


@dataclass
class HardProblem:
    """X of shape (n, d), labels 0 to K - 1 and weights, with the options of a fit; `stored` is X as it is passed."""

    X: np.ndarray
    stored: object
    y: np.ndarray
    sample_weight: np.ndarray | None
    n_classes: int
    C: float
    l1_ratio: float
    fit_intercept: bool
    kind: str

    def value(self, coef, intercept):
        """C times the sum of the losses, plus the penalty, in extended precision."""
        z = self._logits(coef, intercept).astype(np.longdouble)
        top = z.max(axis=1, keepdims=True)
        losses = top[:, 0] + np.log(np.exp(z - top).sum(axis=1)) - z[np.arange(len(z)), self.y]
        total = losses.sum() if self.sample_weight is None else losses @ self.sample_weight
        if isinf(self.C):
            return float(total)
        penalty = (1.0 - self.l1_ratio) / 2.0 * np.sum(coef**2) + self.l1_ratio * np.sum(np.abs(coef))
        return float(self.C * total + penalty)

    def newton(self, coef, intercept, max_iter=60):
        """The value where Newton's method ends, with Levenberg's damping in units of the Hessian's diagonal, about the
        mean of X weighted with the curvature. Without an L1 term."""
        X, (n, d), K, rows = self.X, self.X.shape, self.n_classes, np.arange(len(self.y))
        R, l2, scale = len(coef), 0.0 if isinf(self.C) else 1.0, 1.0 if isinf(self.C) else self.C
        weight = scale * (np.ones(n) if self.sample_weight is None else self.sample_weight)
        coef, intercept, value, damping = coef.copy(), intercept.copy(), self.value(coef, intercept), 1e-6
        for _ in range(max_iter):
            z = self._logits(coef, intercept)
            e = np.exp(z - z.max(axis=1, keepdims=True))
            p, top, others = e / e.sum(axis=1, keepdims=True), e.argmax(axis=1), e.copy()
            others[rows, top] = 0.0
            q = 1.0 - p
            q[rows, top] = others.sum(axis=1) / e.sum(axis=1)
            grad = p.copy()
            grad[rows, self.y] = -q[rows, self.y]
            curvature, grad, p = (p * q * weight[:, None])[:, K - R :], grad[:, K - R :], p[:, K - R :]
            mass = curvature.sum(axis=1)
            centre = mass @ X / max(mass.sum(), 1e-300) if self.fit_intercept else np.zeros(d)
            A = np.hstack([X - centre, np.ones((n, 1))]) if self.fit_intercept else X
            m = A.shape[1]
            hessian = -np.einsum("i,ik,il,ia,ib->kalb", weight, p, p, A, A, optimize=True)
            for k in range(R):
                hessian[k, :, k] = A.T @ (A * curvature[:, k, None])
                hessian[k, range(d), k, range(d)] += l2
            g = (grad * weight[:, None]).T @ A
            g[:, :d] += l2 * coef
            hessian = hessian.reshape(R * m, R * m)
            unit = np.sqrt(np.maximum(hessian.diagonal(), 1e-300))
            curvatures, axes = np.linalg.eigh(hessian / unit / unit[:, None])
            before = value
            for _ in range(12):
                step = -(axes @ (axes.T @ (g.ravel() / unit) / (np.maximum(curvatures, 0.0) + damping))) / unit
                step = step.reshape(R, m)
                b = intercept + (step[:, d] - step[:, :d] @ centre if self.fit_intercept else 0.0)
                found = self.value(coef + step[:, :d], b)
                if found < value:
                    coef, intercept, value, damping = coef + step[:, :d], b, found, max(0.1 * damping, 1e-15)
                    break
                damping *= 10.0
            if before - value <= 1e-13 * abs(value):
                break
        return value

    def _logits(self, coef, intercept):
        z = self.X @ coef.T + intercept
        return np.hstack([np.zeros_like(z), z]) if self.n_classes == 2 else z


def hard_problem(seed):
    rng = np.random.default_rng(seed)
    kind, n, d, K = rng.choice(KINDS), *(int(rng.choice(of)) for of in ([200, 500, 1500], [1, 2, 5, 10], [2, 2, 3, 4]))
    X, W = rng.normal(size=(n, d)), rng.normal(size=(K, d)) * rng.choice([0.5, 1.0, 3.0])
    if kind == "log-normal":
        X = np.exp(X * rng.choice([1.0, 2.0, 3.0, 5.0])) * rng.choice([-1.0, 1.0], size=(n, d))
    elif kind == "pareto":
        X = (rng.pareto(0.5, size=(n, d)) + 1.0) * rng.choice([-1.0, 1.0], size=(n, d))
    elif kind == "rare":
        X[:, : max(1, d // 2)] = rng.random((n, max(1, d // 2))) < rng.choice([0.003, 0.01, 0.05])
    elif kind == "collinear" and d > 1:
        X[:, 0] = X[:, 1] + rng.choice([1e-3, 1e-5]) * rng.normal(size=n)
    signal = np.sign(X) * np.log1p(np.abs(X)) if kind in ("log-normal", "pareto") else X
    y = (signal @ W.T + rng.gumbel(size=(n, K))).argmax(axis=1)
    if kind == "units":
        X = X * 10.0 ** rng.integers(-6, 7, size=d)
    if kind.startswith("huge"):
        n_rows = int(rng.choice([1, 3, n // 50]))
        n_columns = 1 if kind == "huge" else int(rng.integers(1, d + 1))
        columns = rng.choice(d, size=n_columns, replace=False)
        for j in columns:
            rows = rng.choice(n, size=n_rows, replace=False)
            X[rows, j] = rng.choice(HUGE)
            if rng.random() < 0.4:
                y[rows] = rng.integers(K)
    y[:K] = np.arange(K)
    C = float(rng.choice([1e-4, 1e-2, 1.0, 100.0, 1e4, 1e6, inf]))
    l1_ratio = float(rng.choice([0.0, 0.0, 0.0, 1.0, 0.5])) if isfinite(C) else 0.0
    sample_weight = 10.0 ** rng.uniform(-6, 6, size=n) if rng.random() < 0.25 else None
    stored = sp.csr_array(X) if rng.random() < 0.3 else X
    return HardProblem(X, stored, y, sample_weight, K, C, l1_ratio, bool(rng.random() < 0.85), str(kind))
